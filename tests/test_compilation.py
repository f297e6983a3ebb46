"""The compiled loop: equal to plain Python, found again on disk, made anew after any edit, and the same on threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import SIGNALS, Golden, assert_equal, gradients, trajectories

import controlnet
from controlnet import ClosedLoop, DivergedError
from controlnet._source import source_tag
from controlnet.adaptation import DFC, FeedbackLearning, SinglePhase
from controlnet.base import AbstractLaw, Array
from controlnet.controllers import PI, PID, Proportional
from controlnet.errors import KernelError
from controlnet.integrators import RK4, AbstractNoise, FilteredNoise, Sequential, WhiteNoise
from controlnet.plants import DeepNetwork, Pendulum

ROOT = Path(controlnet.__file__).parent.parent
SWINGING = ClosedLoop(Pendulum(), PID(k_p=20, k_i=5, k_d=3, derivative_filter=0.05, upper=9.0), integrator=RK4())
OPTIONS: dict[str, Any] = {"initial_state": [[0.0, 0.0], [2.0, -1.0]], "dt": 0.02, "steps": 100}
# The same loop in a new process: prints the last state, and how often the disk cache was hit and missed.
SCRIPT = """
import json
from controlnet import ClosedLoop
from controlnet._loop import bind
from controlnet.controllers import PID
from controlnet.integrators import RK4
from controlnet.plants import Pendulum
loop = ClosedLoop(Pendulum(), PID(k_p=20, k_i=5, k_d=3, derivative_filter=0.05, upper=9.0), integrator=RK4())
response = loop.simulate([1.0], initial_state=[[0.0, 0.0], [2.0, -1.0]], dt=0.02, steps=100)
stats = getattr(bind(loop.system, True), "stats", None)
counts = [sum(stats.cache_hits.values()), sum(stats.cache_misses.values())] if stats else None
print(json.dumps([response.final["x"].tolist(), counts]))
"""


def learning(dtype: type = np.float64, **options: Any) -> ClosedLoop:
    plant = DeepNetwork.initialize((3, 5, 4, 2), seed=3, dtype=dtype, tau_apical=0.1)
    return ClosedLoop(plant, PI(k_p=1.0, leak=0.01), law=DFC(), **options)


def lesson_of(size: int, dtype: type = np.float64) -> tuple[Array, dict[str, Any]]:
    rng = np.random.default_rng(0)
    r, x = rng.normal(size=(size, 2)).astype(dtype), rng.normal(size=(size, 3)).astype(dtype)
    return r, {"inputs": x, "dt": 0.02, "steps": 40, "record": ("y", "u", "x", "r")}


def run_python(code: str, **environment: str) -> Any:
    """Run code in a new process and give the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_learning_network_equals_plain_python(dtype: type, tolerance: float) -> None:
    r, options = lesson_of(20, dtype)
    compiled, plain = (learning(dtype, compiled=choice).simulate(r, **options) for choice in (True, False))
    assert compiled.y.dtype == dtype
    for name, signal in compiled.to_dict().items():
        np.testing.assert_allclose(signal, plain.to_dict()[name], rtol=0, atol=tolerance)
    assert compiled.change.keys() == {"W0", "b0", "W1", "b1", "W2", "b2"}
    for name, change in compiled.change.items():
        assert change.dtype == dtype
        np.testing.assert_allclose(change, plain.change[name], rtol=0, atol=tolerance)
        assert np.abs(change).max() > 1e-3


def test_threads_give_the_same_bits() -> None:
    r, options = lesson_of(50)
    one, two, all_cores = (learning().simulate(r, threads=threads, **options) for threads in (1, 2, None))
    for other in (two, all_cores):
        assert other.y.tobytes() == one.y.tobytes()
        assert other.u.tobytes() == one.u.tobytes()
        assert all(other.change[name].tobytes() == change.tobytes() for name, change in one.change.items())


NOISY: dict[str, tuple[AbstractLaw, AbstractNoise]] = {
    "single phase": (SinglePhase(), FilteredNoise(sigma=0.05, sigma_output=0.02, tau=0.1)),
    "feedback": (FeedbackLearning(high_pass=0.3), WhiteNoise(sigma=0.05)),
}
"""The second combination is that of `test_feedback_theory`."""


def noisy(name: str, **options: Any) -> ClosedLoop:
    law, noise = NOISY[name]
    return replace(learning(**options), law=law, integrator=Sequential(noise=noise))


@pytest.mark.parametrize("name", NOISY)
def test_noisy_network_equals_plain_python(name: str) -> None:
    """From the same seed: the numbers drawn are those of the compiled code, to their rounding."""
    r, options = lesson_of(20)
    options["record"] += ("v_apical",)
    compiled, plain = (noisy(name, compiled=choice).simulate(r, seed=4, **options) for choice in (True, False))
    for signal, values in compiled.to_dict().items():
        np.testing.assert_allclose(values, plain.to_dict()[signal], rtol=0, atol=1e-12, err_msg=signal)
    for signal, means in compiled.mean.items():
        np.testing.assert_allclose(means, plain.mean[signal], rtol=0, atol=1e-12, err_msg=signal)
    assert compiled.change.keys() == plain.change.keys() >= {"Q0", "Q1", "Q2"}
    for parameter, change in compiled.change.items():
        np.testing.assert_allclose(change, plain.change[parameter], rtol=0, atol=1e-12, err_msg=parameter)
        assert np.abs(change).max() > 1e-4


@pytest.mark.parametrize("name", NOISY)
def test_threads_and_other_blocks_do_not_touch_the_noise(name: str) -> None:
    r, options = lesson_of(40)
    one, two = (noisy(name).simulate(r, seed=4, threads=threads, **options) for threads in (1, 2))
    for signal, values in one.to_dict().items():
        assert values.tobytes() == two.to_dict()[signal].tobytes()
    assert all(two.change[parameter].tobytes() == change.tobytes() for parameter, change in one.change.items())
    first = noisy(name).simulate(r[:16], seed=4, **(options | {"inputs": options["inputs"][:16]}))
    assert first.x.tobytes() == one.x[:, :16].tobytes()
    assert first.x.tobytes() != noisy(name).simulate(r, seed=5, **options).x[:, :16].tobytes()


def test_divergence_in_compiled_code() -> None:
    r, options = lesson_of(20)
    r[18] = 1e9
    with pytest.raises(DivergedError, match="in sample 18: take a smaller dt") as raised:
        learning().simulate(r, limit=1e6, **options)
    assert raised.value.time == pytest.approx(0.02 * raised.value.step)


def test_a_function_that_is_not_marked_is_told() -> None:
    class Unmarked(Proportional):
        command = staticmethod(lambda t, z, e, q, u: None)

    with pytest.raises(KernelError, match="'command'.* is every function of the parts marked with @kernel"):
        ClosedLoop(Pendulum(), Unmarked()).simulate([0.1], steps=2)


@pytest.mark.parametrize("name", ["a_controller_base", "d_not_proactive", "g_strong_ce"])
def test_golden_case_of_each_loop(name: str) -> None:
    """The first shares the loop of the tests above, the others have another integrator or comparator."""
    case = Golden(name)
    response = case.simulate(compiled=True)
    found = trajectories(response, case) | gradients(response.change, "_cont")
    assert_equal(found, {name: case.arrays[name] for name in found})


@pytest.mark.parametrize("name", ["j1_fb_two_phase", "j2_fb_two_phase_filtered"])
def test_golden_case_of_feedback_learning(name: str) -> None:
    case = Golden(name)
    loop = case.loop(compiled=True, law=FeedbackLearning())
    found = trajectories(case.lesson.simulate(loop, record=("u", *SIGNALS)), case)
    assert_equal(found, {name: case.arrays[name] for name in found})


@pytest.fixture(scope="module")
def swung() -> Any:
    """Give the response of the compiled pendulum, which fills the cache on disk."""
    return SWINGING.simulate([1.0], **OPTIONS)


def test_pendulum_equals_plain_python(swung: Any) -> None:
    plain = replace(SWINGING, compiled=False).simulate([1.0], **OPTIONS)
    assert plain.u.max() == 9.0
    for name, signal in plain.signals.items():
        np.testing.assert_allclose(getattr(swung, name), signal, rtol=0, atol=1e-12)


def test_pendulum_equals_process_without_compiler(swung: Any) -> None:
    state, counts = run_python(SCRIPT, NUMBA_DISABLE_JIT="1")
    assert counts is None
    np.testing.assert_allclose(state, swung.final["x"], rtol=0, atol=1e-12)


def test_second_process_finds_the_loop_on_disk(swung: Any) -> None:
    state, (hits, misses) = run_python(SCRIPT)
    assert (hits, misses) == (1, 0)
    assert state == swung.final["x"].tolist()


PACKAGE = {
    "__init__.py": "",
    "constants.py": "SLOPE = 3.0\n",
    "helper.py": """
from controlnet import kernel

@kernel
def double(value):
    return 2.0 * value
""",
    "plant.py": """
from controlnet import kernel
from controlnet.base import AbstractPlant
from .constants import SLOPE
from .helper import double

@kernel
def dynamics(t, x, u, w, p, dx):
    for b in range(x.shape[1]):
        dx[0, b] = double(SLOPE)

@kernel
def output(t, x, u, w, p, y):
    y[0, 0] = x[0, 0]

class Ramp(AbstractPlant):
    nstates = ninputs = noutputs = 1
    dynamics = staticmethod(dynamics)
    output = staticmethod(output)

    def params(self, batch):
        return ()
""",
}
USE_PACKAGE = """
from controlnet import ClosedLoop
from controlnet.controllers import Proportional
from controlnet.integrators import Euler
from ramps.plant import Ramp
loop = ClosedLoop(Ramp(), Proportional(0.0), integrator=Euler())
print(loop.simulate([0.0], dt=0.5, steps=2).final["x"][0, 0])
"""
EDITS = {"constants.py": ("3.0", "7.0"), "helper.py": ("2.0", "5.0")}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Write a plant whose kernel takes a helper from a second file and a constant from a third."""
    folder = tmp_path / "ramps"
    folder.mkdir()
    for name, text in PACKAGE.items():
        (folder / name).write_text(text)
    return folder


def edit(package: Path, name: str) -> None:
    path = package / name
    path.write_text(path.read_text().replace(*EDITS[name]))


def test_edit_in_another_file_is_compiled_anew(package: Path) -> None:
    environment = {
        "PYTHONPATH": os.pathsep.join([str(package.parent), str(ROOT)]),
        "NUMBA_CACHE_DIR": str(package.parent / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    assert run_python(USE_PACKAGE, **environment) == 2 * 3
    for name in EDITS:
        edit(package, name)
    assert run_python(USE_PACKAGE, **environment) == 5 * 7


@pytest.fixture
def ramp_kernel(package: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Import the package's kernel, and forget its modules afterwards."""
    monkeypatch.syspath_prepend(str(package.parent))
    for name in ("ramps", "ramps.plant", "ramps.helper", "ramps.constants"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    from ramps.plant import dynamics

    return dynamics


@pytest.mark.parametrize("name", [*EDITS, "plant.py"])
def test_each_file_enters_the_tag(name: str, package: Path, ramp_kernel: Callable[..., None]) -> None:
    before = source_tag([ramp_kernel])
    assert source_tag([ramp_kernel]) == before
    with (package / name).open("a") as file:
        file.write("# edited\n")
    assert source_tag([ramp_kernel]) != before


@pytest.mark.parametrize("other", ["controlnet.data", "controlnet.equilibrium", "controlnet.experiments"])
def test_tag_does_not_depend_on_what_else_is_loaded(other: str) -> None:
    """Otherwise a process that has loaded another room does not find the loop on disk."""
    tags = [
        run_python(
            f"{first}\nimport json\nfrom controlnet import ClosedLoop\nfrom controlnet._source import source_tag\n"
            "from controlnet.plants import Pendulum\nprint(json.dumps(source_tag([Pendulum.dynamics])))"
        )
        for first in ("", f"import {other}")
    ]
    assert tags[0] == tags[1]
