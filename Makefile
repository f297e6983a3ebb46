# Two commands do everything on a machine with Python >= 3.11 and make:
#   make run    installs into .venv and runs the main job
#   make test   installs the test extras as well and runs every check
PYTHON ?= python3
BIN = .venv/bin

.PHONY: run test lint bench clean

run: .venv/installed
	$(BIN)/controlnet run

test: .venv/tested lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

lint: .venv/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/tested
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-disable-gc -q

.venv/installed: setup.py pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "controlnet needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/tested: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
