"""The README tells the truth: its Python runs, its links lead somewhere, its experiments and methods exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controlnet.experiments import METHODS, catalogue

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block, names)
    assert (tmp_path / "response.png").stat().st_size > 0
    assert names["steady"].converged.all()  # type: ignore[attr-defined]


DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))]


@pytest.mark.parametrize("document", [*DOCUMENTS, "benchmarks/README.md"])
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert not re.search(r"@[A-Z]+@", text)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / document).parent.joinpath(target).exists(), target


def test_methods_and_experiments_exist() -> None:
    listed = set(re.findall(r"^\| `([a-z0-9-]+)` \| [^|]*\| [A-Z]", README, re.MULTILINE))
    assert listed == set(METHODS)
    commands = re.findall(r"controlnet run ([a-z][a-z-]*)(?![\w.-])", README)
    assert commands and set(commands) <= set(catalogue())
