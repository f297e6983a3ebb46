"""Kernels that are compiled with their loop alone: the bits of plain Numba, and one loop for all phases."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.extending import register_jitable
from test_phases import BOTH, settled
from test_training import tiny

from controlnet import ClosedLoop, kernel
from controlnet._kernel import machine_code
from controlnet._loop import bind
from controlnet.adaptation import DFC, FeedbackLearning, SinglePhase
from controlnet.base import AbstractLaw, Array
from controlnet.controllers import PI
from controlnet.experiments.training import Trainer
from controlnet.integrators import AbstractNoise, FilteredNoise, Sequential, WhiteNoise
from controlnet.plants import DeepNetwork

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
Tree = Callable[[Array, Array, Array], None]


def tree(mark: Callable[..., Any]) -> Tree:
    """Give functions four calls deep, some of them called twice, whose bits depend on what is fused and vectorised."""

    @mark
    def leaf(x: Any) -> Any:
        return x * x * x + np.exp(-x * x) / (x + x * x) if x > 0 else x * x + np.sin(x) * x - x

    @mark
    def branch(a: Array, out: Array) -> None:
        for i in range(a.shape[0]):
            for j in range(a.shape[1]):
                out[i, j] = leaf(a[i, j]) * a[i, j] + out[i, j]

    @mark
    def total(a: Array) -> Any:
        s = a[0, 0]
        for i in range(a.shape[0]):
            for j in range(a.shape[1]):
                s = leaf(a[i, j]) - s / (1 + s * s)
        return s

    @mark
    def trunk(a: Array, b: Array, out: Array) -> None:
        np.dot(a, b, out)
        branch(b, out)
        out[0, 0] += total(a)
        branch(a, out)

    def root(a: Array, b: Array, out: Array) -> None:
        trunk(a, b, out)

    return root


COMPILED: dict[str, Callable[[], Tree]] = {
    "kernels alone": lambda: numba.njit(**OPTIONS)(tree(kernel)),
    "kernels kept on the disk": lambda: machine_code(tree(kernel), "test"),
    "plain jitable functions": lambda: numba.njit(**OPTIONS)(tree(register_jitable)),
}


@pytest.fixture(scope="module")
def plain() -> Tree:
    """Give the same functions with each compiled by Numba itself."""
    mark = numba.njit(**OPTIONS)
    function: Tree = mark(tree(mark))
    return function


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("how", COMPILED)
def test_kernels_have_the_bits_of_plain_numba(
    how: str, dtype: type, plain: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    a, b = np.random.default_rng(0).normal(size=(2, 17, 17)).astype(dtype)
    expected, found = np.zeros((2, 17, 17), dtype)
    plain(a, b, expected)
    COMPILED[how]()(a, b, found)
    assert np.isfinite(expected).all()
    assert found.tobytes() == expected.tobytes()


# A loop in which all kernels of the package take part, by their own mark or by Numba's.
WHOLE = """
import sys
if sys.argv[1] == "plain":
    import controlnet._kernel
    from numba.extending import register_jitable
    controlnet._kernel.kernel = register_jitable
from test_kernels import fingerprint
print(fingerprint())
"""


def learning(law: AbstractLaw, noise: AbstractNoise | None, dtype: type = np.float64) -> ClosedLoop:
    activation = ("tanh", "softplus", "sigmoid")
    plant = DeepNetwork.initialize((3, 5, 4, 4, 2), activation=activation, seed=3, dtype=dtype, tau_apical=0.1)
    return ClosedLoop(plant, PI(k_p=1.0, leak=0.01), law=law, integrator=Sequential(noise=noise))


def fingerprint() -> str:
    """Give a hash of all that comes out of noisy loops that learn, in both precisions."""
    found = hashlib.sha256()
    for dtype in (np.float64, np.float32):
        loop = learning(SinglePhase(), FilteredNoise(sigma=0.05, tau=0.1), dtype)
        rng = np.random.default_rng(0)
        r, x = rng.normal(size=(20, 2)).astype(dtype), rng.normal(size=(20, 3)).astype(dtype)
        response = loop.simulate(r, inputs=x, dt=0.02, steps=40, seed=4)
        for values in (*response.to_dict().values(), *response.change.values()):
            found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


@pytest.mark.slow
def test_a_whole_loop_has_the_bits_of_plain_numba(tmp_path: Path) -> None:
    prints = []
    for mark in ("kernel", "plain"):
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "NUMBA_CACHE_DIR": str(tmp_path / mark)}
        command = [sys.executable, "-c", WHOLE, mark]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        prints.append(done.stdout)
    assert prints[0] == prints[1]


# --- one loop


LAWS: dict[str, tuple[AbstractLaw, AbstractNoise | None]] = {
    "forward weights": (DFC(), None),
    "forward weights by voltage": (DFC(rule="voltage-difference"), None),
    "forward weights under noise": (DFC(), WhiteNoise(sigma=0.1)),
    "last step": (DFC(update="last-step"), FilteredNoise(sigma=0.1, tau=0.1)),
    "feedback weights": (FeedbackLearning(), WhiteNoise(sigma=0.1)),
    "feedback weights by high-pass": (FeedbackLearning(high_pass=0.3), FilteredNoise(sigma=0.1, tau=0.1)),
    "both": (SinglePhase(), WhiteNoise(sigma=0.1)),
}


def test_all_laws_bind_the_same_loop_with_noise_and_without() -> None:
    assert len({bind(learning(*each).system, True) for each in LAWS.values()}) == 1


@pytest.mark.parametrize("method", ["dfc", "strong-dfc", "strong-dfc-2phase"])
def test_all_phases_of_a_method_bind_the_same_loop(method: str) -> None:
    trainer = Trainer(settled(method, noise={"sigma": 0.0 if method == "dfc" else 0.02}, feedback=BOTH), tiny())
    phases = (trainer.forward, trainer.sleep, trainer.pretraining)
    assert len({bind(phase.loop(trainer.plant).system, True) for phase in phases if phase}) == 1


def test_training_in_three_phases_compiles_one_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arrays that the phases hand over have the same types too, though some of them are empty."""
    trainer = Trainer(settled("dfc", noise={"sigma": 0.0}, feedback=BOTH), tiny())
    runs: set[Any] = set()
    monkeypatch.setattr("controlnet.loop.bind", lambda *which: runs.add(bind(*which)) or bind(*which))
    list(trainer.epochs())
    (run,) = runs
    assert len([types for types in run.signatures if "array(float64, 2d" in str(types)]) == 1
