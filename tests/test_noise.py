"""Noise: what it does to a network, and that it depends on the seed and the block alone."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import SMALL_PLANTS
from scipy.signal import lfilter

from controlnet import ClosedLoop
from controlnet._parallel import block_size
from controlnet._random import fill_normal, stream
from controlnet.base import Array
from controlnet.controllers import PI
from controlnet.errors import DimensionError, InputError
from controlnet.integrators import FilteredNoise, Sequential, WhiteNoise, make_noise
from controlnet.integrators.noise import disturb, transpose_disturb
from controlnet.plants import DeepNetwork

DT, SIGMA = 0.02, 0.3
NOISES: dict[str, Any] = {"white": WhiteNoise(sigma=SIGMA), "filtered": FilteredNoise(sigma=SIGMA, tau=0.07)}


def network(**options: Any) -> DeepNetwork:
    return DeepNetwork.initialize((3, 4, 3, 2), seed=1, **options)


def deaf(**options: Any) -> DeepNetwork:
    """Give a network whose apical compartments hear nothing but the noise."""
    net = network(**options)
    return net.with_parameters({f"Q{i}": np.zeros_like(q) for i, q in enumerate(net.feedback or ())})


def loop_of(net: DeepNetwork, noise: Any, control: Any = "new") -> ClosedLoop:
    return ClosedLoop(net, PI(k_p=0.5, leak=0.1), integrator=Sequential(control, noise=noise), compiled=False)


def simulated(net: DeepNetwork, noise: Any, batch: int = 3, control: Any = "new", **options: Any) -> Any:
    rng = np.random.default_rng(0)
    r, x = rng.normal(size=(batch, 2)), rng.normal(size=(batch, 3))
    record = ("y", "u", "e", "x", "v", "v_basal", "v_apical", "r")
    grid = {"dt": DT, "steps": 12, "record": record, **options}
    return loop_of(net, noise, control).simulate(r, inputs=x, **grid)


def apical(response: Any) -> Array:
    return np.concatenate(response.v_apical, axis=2)


def same_bits(first: Any, second: Any, part: slice = slice(None)) -> bool:
    """Say whether the second response is those samples of the first."""
    a, b = first.to_dict(), second.to_dict()
    return a.keys() == b.keys() and all(a[name][:, part].tobytes() == b[name].tobytes() for name in a if name != "t")


@pytest.mark.parametrize("batch", [2, 3])
def test_a_network_takes_the_numbers_of_its_blocks_stream(batch: int) -> None:
    """White noise adds sigma / sqrt(dt) xi where the apical compartment has no dynamics; 27 numbers are odd."""
    response = simulated(deaf(), WhiteNoise(sigma=SIGMA), batch, seed=7)
    n = 9 * batch
    xi, key = np.zeros((12, n + n % 2)), stream(np.random.SeedSequence(7), 0)
    for step in range(12):
        fill_normal(key, step, xi[step])
    xi = xi[:, :n].reshape(12, 9, batch).swapaxes(1, 2)
    np.testing.assert_allclose(apical(response)[1:], SIGMA / math.sqrt(DT) * xi, rtol=1e-14)
    recorded = simulated(deaf(), WhiteNoise(sigma=SIGMA, recorded=xi), batch, seed=8)
    assert same_bits(recorded, response)


@pytest.fixture(scope="module", params=["white", "filtered"])
def process(request: pytest.FixtureRequest) -> tuple[Array, float, float]:
    """Give a noise process at rest, what it was made of: (time, n), time constant and size of a step."""
    tau, dt, steps = 0.1, 0.04, 300
    white = request.param == "white"
    noise = WhiteNoise(sigma=0.3, sigma_output=0.6) if white else FilteredNoise(sigma=0.3, sigma_output=0.6, tau=tau)
    net = DeepNetwork.initialize((1, 3, 3), seed=1, tau_apical=tau if white else None)
    net = net.with_parameters({"Q0": np.zeros((3, 3)), "Q1": np.zeros((3, 3))})
    response = loop_of(net, noise).simulate(np.zeros((40, 3)), dt=dt, steps=steps, record="v_apical", seed=3)
    assert all((layer[0] == 0).all() for layer in response.v_apical)
    hidden, output = (layer[40:].reshape(steps - 39, -1) for layer in response.v_apical)
    return np.concatenate([hidden / 0.3, output / 0.6], axis=1), tau, dt


def test_strength_of_the_noise(process: tuple[Array, float, float]) -> None:
    """The variance is sigma^2 / (2 tau - dt), in hidden and output layers alike."""
    x, tau, dt = process
    decay = (1 - dt / tau) ** 2
    for group in np.split(x, 2, axis=1):
        error = math.sqrt(2 / group.size * (1 + decay) / (1 - decay))
        assert group.var() * (2 * tau - dt) == pytest.approx(1, abs=5 * error)
        assert abs(group.mean()) < 5 * error * group.std()


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_memory_of_the_noise(k: int, process: tuple[Array, float, float]) -> None:
    """The correlation over k steps is (1 - dt / tau)^k; its standard error is at most Bartlett's."""
    x, tau, dt = process
    decay = (1 - dt / tau) ** 2
    error = math.sqrt((1 + decay) / (1 - decay) / x.size)
    found = np.vdot(x[k:], x[:-k]) / np.vdot(x, x) * len(x) / (len(x) - k)
    assert found == pytest.approx((1 - dt / tau) ** k, abs=5 * error)


def test_noise_of_different_neurons_is_independent(process: tuple[Array, float, float]) -> None:
    x, tau, dt = process
    rho = (1 - dt / tau) ** 2
    correlation = np.corrcoef(x.T) - np.eye(x.shape[1])
    assert np.abs(correlation).max() < 5.5 * math.sqrt((1 + rho) / (1 - rho) / len(x))


def test_noise_of_the_layers_is_set_apart() -> None:
    xi = np.random.default_rng(1).normal(size=(12, 3, 9))
    both = simulated(deaf(), WhiteNoise(sigma=0.3, recorded=xi))
    hidden = simulated(deaf(), WhiteNoise(sigma=0.3, sigma_output=0.0, recorded=xi))
    output = simulated(deaf(), WhiteNoise(sigma=0.0, sigma_output=0.6, recorded=xi))
    for i in range(2):
        assert not output.v_apical[i].any()
        assert np.array_equal(hidden.v_apical[i], both.v_apical[i])
    assert not hidden.v_apical[2].any()
    np.testing.assert_allclose(output.v_apical[2], 2 * both.v_apical[2], rtol=1e-14)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "apical": {"tau_apical": 0.1},
    "filtered control": {"tau_control": 0.05, "tau_apical": 0.1},
    "instantaneous soma": {"soma": "instantaneous"},
    "instantaneous soma, apical": {"soma": "instantaneous", "tau_apical": 0.1},
    "delayed": {"transmission": "delayed", "tau_apical": 0.1},
    "J^T": {"feedback": "jacobian-transpose"},
    "J^T, apical": {"feedback": "jacobian-transpose", "tau_apical": 0.1},
    "float32": {"dtype": np.float32, "tau_apical": 0.1},
}


def by_hand(net: DeepNetwork, noise: Any, control: str, r: Array, x: Array, steps: int) -> dict[str, Array]:
    """Simulate as the equations read, the layers as lists of (batch, n_i)."""
    sizes, edges = net.sizes[1:], np.cumsum(net.sizes[1:-1])
    v = net.voltages(x)
    rates, below = [*map(np.tanh, v[:-1]), v[-1]], np.asarray(x)
    apical, n = ([np.zeros((len(x), m)) for m in sizes] for _ in range(2))
    u, z, low = [np.zeros_like(r)], np.zeros_like(r), np.zeros_like(r)
    kept: dict[str, Array] = {}
    for t in range(steps):
        e = r - rates[-1]
        z = z + DT * (e - 0.1 * u[t])
        u.append(z + 0.5 * e)
        s = t + (control == "new")
        low = u[s] if net.tau_control is None or s <= 1 else low + DT / net.tau_control * (u[s] - low)
        J = np.split(np.stack([jacobian_by_hand(net, one) for one in zip(*rates, strict=True)]), edges, axis=2)
        old = [below, *rates[:-1]]
        for i, weight in enumerate(net.weights):
            sent = low @ net.feedback[i].T if net.feedback else np.einsum("bij,bi->bj", J[i], low)
            share = DT / (net.tau_apical or DT)
            xi = np.split(noise.recorded[t], edges, axis=1)[i]
            n[i] = DT / (noise.tau * math.sqrt(DT)) * xi + (1 - DT / noise.tau) * n[i] if noise.correlation_time else xi
            scale = 1.0 if noise.correlation_time else math.sqrt(DT) / (net.tau_apical or DT)
            apical[i] = apical[i] + share * (sent - apical[i]) + noise.strengths[i == 2] * scale * n[i]
            seen = old[i] if net.transmission == "delayed" or i == 0 else rates[i - 1]
            rest = seen @ weight.T + net.biases[i] + apical[i]
            v[i] = v[i] + DT / net.tau_v * (rest - v[i]) if net.soma == "dynamic" else rest
            rates[i] = np.tanh(v[i]) if i < 2 else v[i]
    for i in range(3):
        kept |= {f"v{i}": v[i], f"v_apical{i}": apical[i], f"r{i}": rates[i]}
    return kept | {"u": u[-1], "y": rates[-1]}


def jacobian_by_hand(net: DeepNetwork, rates: tuple[Array, ...]) -> Array:
    """Give J of one sample, by the chain rule from the output down."""
    J = [np.eye(2)]
    for i in (1, 0):
        J.insert(0, J[0] @ net.weights[i + 1] * (1 - rates[i] ** 2))
    return np.hstack(J)


@pytest.mark.parametrize("control", ["new", "old"])
@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_noisy_network_follows_its_equations(options: dict[str, Any], kind: str, control: str) -> None:
    rng, net = np.random.default_rng(0), network(**options)
    r, x = rng.normal(size=(3, 2)), rng.normal(size=(3, 3))
    noise = replace(NOISES[kind], sigma_output=0.1, recorded=rng.normal(size=(12, 3, 9)))
    found = simulated(net, noise, control=control).to_dict()
    atol = 1e-12 if net.dtype == np.float64 else 1e-5
    for name, expected in by_hand(net, noise, control, r, x, 12).items():
        assert found[name].dtype == net.dtype
        np.testing.assert_allclose(found[name][-1], expected, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_noise_without_strength_changes_nothing(options: dict[str, Any], kind: str) -> None:
    """And a little noise moves the network a little."""
    net = network(**options)
    silent, zero = simulated(net, None), simulated(net, replace(NOISES[kind], sigma=0.0))
    assert all(np.array_equal(signal, zero.to_dict()[name]) for name, signal in silent.to_dict().items())
    size = 1e-3 if net.dtype == np.float32 else 1e-6
    once, twice = (apical(simulated(net, replace(NOISES[kind], sigma=k * size))) - apical(silent) for k in (1, 2))
    assert 0 < np.abs(once).max() < 100 * size
    np.testing.assert_allclose(twice, 2 * once, rtol=0, atol=0.01 * np.abs(once).max())


@pytest.mark.parametrize(("dtype", "batch"), [("float64", 40), ("float32", 40), ("float32", 70)])
@pytest.mark.parametrize("kind", NOISES)
def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads(kind: str, dtype: str, batch: int) -> None:
    net = network(dtype=dtype)
    one = simulated(net, NOISES[kind], batch, seed=5, threads=1, steps=4)
    for seed, threads in ((5, 2), (5, None), (np.random.SeedSequence(5), 1)):
        assert same_bits(one, simulated(net, NOISES[kind], batch, seed=seed, threads=threads, steps=4))


def test_blocks_grow_only_where_two_threads_find_work() -> None:
    sizes = {(batch, dtype): block_size(batch, np.dtype(dtype)) for batch in (1, 63, 64, 200) for dtype in ("f4", "f8")}
    assert {key for key, size in sizes.items() if size == 32} == {(64, "f4"), (200, "f4")}
    assert set(sizes.values()) == {16, 32}


@pytest.mark.parametrize(("dtype", "wholes"), [("float64", (40, 16)), ("float32", (40, 16)), ("float32", (100, 64))])
def test_a_block_has_the_same_noise_alone(dtype: str, wholes: tuple[int, int]) -> None:
    rng, options = np.random.default_rng(0), {"dt": DT, "steps": 5, "record": ("u", "v", "v_apical"), "seed": 5}
    r, x = rng.normal(size=(100, 2)), rng.normal(size=(100, 3))
    loop = loop_of(network(dtype=dtype), WhiteNoise(sigma=SIGMA))
    whole, first = (loop.simulate(r[:n], inputs=x[:n], **options) for n in wholes)
    assert same_bits(whole, first, slice(wholes[1]))


def test_seeds_blocks_and_steps_differ() -> None:
    """No number comes twice in two simulations of three blocks."""
    first, second = (apical(simulated(deaf(), WhiteNoise(sigma=SIGMA), 40, seed=seed))[1:] for seed in (0, 1))
    both = np.stack([first, second])
    assert len(np.unique(both)) == both.size


def test_large_blocks_differ() -> None:
    noise = apical(simulated(deaf(dtype="float32"), WhiteNoise(sigma=SIGMA), 70, steps=1))[1]
    assert len(np.unique(noise, axis=0)) == 70


def test_white_noise_in_an_apical_compartment_is_a_filter() -> None:
    xi = np.random.default_rng(1).normal(size=(12, 3, 9))
    found = apical(simulated(deaf(tau_apical=0.1), WhiteNoise(sigma=SIGMA, recorded=xi)))[1:]
    expected = lfilter([SIGMA * math.sqrt(DT) / 0.1], [1, DT / 0.1 - 1], xi, axis=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_recorded_noise_may_be_longer() -> None:
    xi = np.random.default_rng(1).normal(size=(20, 3, 9))
    short, long = (simulated(network(), WhiteNoise(sigma=SIGMA, recorded=xi[:n])) for n in (12, 20))
    assert same_bits(short, long)


@pytest.mark.parametrize("noise", [None, *NOISES.values()], ids=["none", *NOISES])
@pytest.mark.parametrize("steps", [1, 3, 4, 7, 16, 41])
def test_means_are_taken_over_the_last_quarter(steps: int, noise: Any) -> None:
    response = simulated(network(), noise, steps=steps)
    last = max(1, steps // 4)
    for name in "ue":
        np.testing.assert_allclose(response.mean[name], getattr(response, name)[-last:].mean(axis=0), atol=1e-15)


def test_make_noise() -> None:
    assert make_noise(0.0) is make_noise(0.0, 0.0) is None
    white, filtered = make_noise(0.1), make_noise(0.0, 0.2, tau=0.5)
    assert isinstance(white, WhiteNoise)
    assert white.strengths == (0.1, 0.1)
    assert isinstance(filtered, FilteredNoise)
    assert (filtered.strengths, filtered.correlation_time) == ((0.0, 0.2), 0.5)


XI = np.zeros((12, 3, 9))
NAN = np.where(np.arange(9) == 4, np.nan, XI)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: WhiteNoise(sigma=-0.1), InputError, "WhiteNoise.sigma: expected a number >= 0, got -0.1"),
        (lambda: WhiteNoise(sigma=math.nan), InputError, "WhiteNoise.sigma: .* got nan"),
        (lambda: WhiteNoise(sigma=math.inf), InputError, "WhiteNoise.sigma: .* got inf"),
        (lambda: FilteredNoise(sigma=0.1, sigma_output=-1.0, tau=0.1), InputError, "FilteredNoise.sigma_output: "),
        (lambda: FilteredNoise(sigma=0.1, tau=0.0), InputError, "FilteredNoise.tau: expected a number > 0, got 0.0"),
        (lambda: FilteredNoise(sigma=0.1, tau=-1.0), InputError, "FilteredNoise.tau: .* got -1.0"),
        (lambda: FilteredNoise(sigma=0.1, tau=math.nan), InputError, "FilteredNoise.tau: .* got nan"),
        (lambda: WhiteNoise(sigma=0.1, recorded=XI[0]), InputError, "WhiteNoise.recorded: .*shape .steps, batch, n"),
        (lambda: WhiteNoise(sigma=0.1, recorded=NAN), InputError, "WhiteNoise.recorded: expected finite numbers"),
        (lambda: Sequential(noise=0.1), InputError, "Sequential.noise: expected WhiteNoise, FilteredNoise or None"),
        (lambda: Sequential(noise=WhiteNoise), InputError, "Sequential.noise: expected WhiteNoise"),
    ],
)
def test_bad_values(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (FilteredNoise(sigma=0.1, tau=0.01), "FilteredNoise.tau: expected at least dt = 0.02, got 0.01"),
        (WhiteNoise(sigma=0.1, recorded=XI[:11]), r"expected shape \(12, 3, 9\), got \(11, 3, 9\)"),
        (WhiteNoise(sigma=0.1, recorded=XI[:, :2]), r"expected shape \(12, 3, 9\), got \(12, 2, 9\)"),
        (WhiteNoise(sigma=0.1, recorded=XI[:, :, :7]), r"expected shape \(12, 3, 9\), got \(12, 3, 7\)"),
    ],
)
def test_noise_that_does_not_fit(noise: Any, message: str) -> None:
    with pytest.raises((DimensionError, InputError), match=message):
        simulated(network(), noise)


@pytest.mark.parametrize("seed", [-1, 0.5, "a"])
def test_bad_seeds(seed: Any) -> None:
    with pytest.raises(InputError, match="seed: expected a whole number >= 0 or a SeedSequence"):
        simulated(network(), NOISES["white"], seed=seed)


@pytest.mark.parametrize("name", SMALL_PLANTS)
def test_only_what_can_be_disturbed_takes_noise(name: str) -> None:
    plant, noisy = SMALL_PLANTS[name], Sequential(noise=WhiteNoise(sigma=0.1))
    if plant.noise_layers:
        ClosedLoop(plant, PI(), integrator=noisy)
        return
    with pytest.raises(InputError, match=f"noise: {type(plant).__name__} has no signal that noise could disturb"):
        ClosedLoop(plant, PI(), integrator=noisy)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("tau", [DT, 0.3])
def test_the_weights_of_the_random_numbers_are_those_of_the_signal_transposed(kind: str, tau: float) -> None:
    steps, n, rng = 7, 3, np.random.default_rng(0)
    numbers, weights = rng.normal(size=(steps, 1, n)), rng.normal(size=(steps, n))
    noise = replace(NOISES[kind], recorded=numbers)
    memory = noise.memory((n,), np.dtype(float), slice(0, 1), np.random.SeedSequence(0), 0)
    signal, weighted = np.zeros((n, 1)), np.zeros(n)
    for weight in weights:
        signal *= 1 - DT / tau
        disturb(DT, tau, SimpleNamespace(noise=memory), signal)
        weighted += weight * signal[:, 0]
    transpose_disturb(DT, tau, memory, weights)
    np.testing.assert_allclose(SIGMA * (weights * numbers[:, 0]).sum(axis=0), weighted, rtol=1e-12)
