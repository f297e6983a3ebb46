"""A deep network of neurons with somatic, basal and apical compartments, as a plant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from .._forward import feed_forward
from .._parallel import one_blas_thread
from ..activations import activation_code, rate, slope
from ..base import AbstractPlant, Array, Linear, Parameters
from ..errors import DimensionError, InputError
from ..layered import LayeredParams, table
from ..rest import Rest
from . import _network_kernels as kernels
from ._network_checks import check_arrays, check_choices, private
from ._network_inner import Inner, inner_of
from ._network_linear import linear_network, linear_network_step, minimal_network, state_names
from ._network_rest import NetworkRests
from ._network_tangents import gain
from .initialization import initial_feedback, initializer


@dataclass(frozen=True, eq=False)
class DeepNetwork(AbstractPlant):
    """Feed-forward network that a control u steers through feedback weights (Meulemans et al. 2021).

    tau_v dv_i/dt = -v_i + W_i r_{i-1} + b_i + v_fb_i,  tau_a dv_fb_i/dt = -v_fb_i + Q_i u,  r_i = phi_i(v_i),  y = r_L,
    with basal voltage v_ff_i = W_i r_{i-1} + b_i.  The exogenous input is r_0.  Build one with `initialize`.

    Parameters
    ----------
    weights : tuple of array (n_i, n_{i-1})
        Forward weights W by layer.
    biases : tuple of array (n_i,)
        Biases b by layer.
    feedback : tuple of array (n_i, n_L) or None
        Feedback weights Q by layer; None feeds back through J^T at the present state.
    activations : tuple of str
        Activation function by layer; the output layer is linear.
    tau_v : float
        Time constant of the soma > 0, in the unit of time of the controller.
    tau_apical : float or None
        Time constant of the apical compartment; None for v_fb = Q u at once.
    tau_control : float or None
        Time constant of a low-pass filter between controller and neurons, None for no filter.
        Under `Sequential` it starts at the first control, else at zero.
    soma : {"dynamic", "instantaneous"}
        Whether v follows its equation above or stands at its rest, v = v_ff + v_fb.
    transmission : {"instantaneous", "delayed"}
        Whether a layer sees the rates of the layer below at once or one step later (`Sequential` only).

    Raises
    ------
    DimensionError
        If the shapes do not fit together.
    InputError
        If a value is not finite or not among the choices.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    feedback: tuple[Array, ...] | None
    activations: tuple[str, ...]
    tau_v: float = 0.2
    tau_apical: float | None = None
    tau_control: float | None = None
    soma: Literal["dynamic", "instantaneous"] = "dynamic"
    transmission: Literal["instantaneous", "delayed"] = "instantaneous"

    set_input = staticmethod(kernels.set_input)
    set_control = staticmethod(kernels.set_control)
    dynamics = staticmethod(kernels.dynamics)
    output = staticmethod(kernels.output)
    advance = staticmethod(kernels.advance)
    observe = staticmethod(kernels.observe)

    def __post_init__(self) -> None:
        dtype = np.asarray(self.weights[0]).dtype if len(self.weights) else np.dtype(np.float64)
        for name in ("weights", "biases", "feedback"):
            if (arrays := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(private(array, dtype) for array in arrays))
        check_arrays(self)
        check_choices(self)

    @classmethod
    def initialize(
        cls,
        sizes: Sequence[int],
        *,
        activation: str | Sequence[str] = "tanh",
        feedback: str = "weight-product",
        initialization: str = "xavier-normal",
        feedback_noise: float = 0.0,
        seed: int | np.random.SeedSequence = 0,
        dtype: Any = np.float64,
        **dynamics: Any,
    ) -> DeepNetwork:
        """Draw a network.

        Parameters
        ----------
        sizes : sequence of int
            Widths from the input to the output, at least two.
        activation : str or sequence of str
            Function of the hidden layers, or one name a hidden layer: tanh, relu, softplus, sigmoid, linear.
        feedback : {"weight-product", "random", "jacobian-transpose"}
            Q_i = W_{i+1}^T ... W_L^T, a draw like that of the weights, or J^T at the present state.
        initialization : {"xavier-normal", "xavier-uniform", "orthogonal"}
            How the weights are drawn; biases are zero.
        feedback_noise : float
            Standard deviation of noise added to the hidden feedback weights.
        seed : int or SeedSequence
            The same seed gives the same network.
        dtype : dtype
            float64 or float32.
        **dynamics : float or str
            Fields of the class: `tau_v`, `tau_apical`, `tau_control`, `soma`, `transmission`.

        Returns
        -------
        DeepNetwork
            The network.
        """
        sizes = tuple(int(n) for n in sizes)
        if len(sizes) < 2 or min(sizes) < 1:
            raise DimensionError(f"sizes: expected at least two widths >= 1, got {sizes}")
        rng, draw = np.random.default_rng(seed), initializer(initialization)
        with one_blas_thread():
            weights = tuple(draw((n, m), rng) for m, n in zip(sizes[:-1], sizes[1:], strict=True))
            feedback_weights = initial_feedback(feedback, weights, initialization, feedback_noise, rng)
        hidden = (activation,) * (len(sizes) - 2) if isinstance(activation, str) else tuple(activation)
        return cls(
            weights=tuple(weight.astype(dtype) for weight in weights),
            biases=tuple(np.zeros(n, dtype) for n in sizes[1:]),
            feedback=feedback_weights,
            activations=(*hidden, "linear"),
            **dynamics,
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths from the input to the output."""
        return (self.weights[0].shape[1], *(len(weight) for weight in self.weights))

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Type of all numbers: float64 or float32."""
        return self.weights[0].dtype

    @property
    def nexogenous(self) -> int:  # type: ignore[override]
        """Width of the input."""
        return self.sizes[0]

    @property
    def ninputs(self) -> int:  # type: ignore[override]
        """Number of controls: one for each output."""
        return self.sizes[-1]

    @property
    def noutputs(self) -> int:  # type: ignore[override]
        """Width of the output."""
        return self.sizes[-1]

    @property
    def nneurons(self) -> int:
        """Number of neurons of all layers."""
        return sum(self.sizes[1:])

    @property
    def nstates(self) -> int:  # type: ignore[override]
        """Number of states: those of soma, apical compartment and control filter, as far as dynamic."""
        dynamic = (self.soma == "dynamic") + (self.tau_apical is not None)
        return dynamic * self.nneurons + (self.tau_control is not None) * self.ninputs

    @property
    def feedthrough(self) -> bool:  # type: ignore[override]
        """Whether y depends on u without delay."""
        return self.soma == "instantaneous" and self.tau_apical is None and self.tau_control is None

    @property
    def noise_layers(self) -> tuple[int, ...]:  # type: ignore[override]
        """Widths of the layers: noise enters their apical compartments."""
        return self.sizes[1:]

    @property
    def shortest_time(self) -> float:  # type: ignore[override]
        """Shortest time constant of soma, apical compartment and control filter."""
        times = (self.tau_v if self.soma == "dynamic" else None, self.tau_apical, self.tau_control)
        return min((time for time in times if time is not None), default=0.0)

    @property
    def discrete(self) -> bool:  # type: ignore[override]
        """Whether transmission takes a step, which only the network's own scheme knows."""
        return self.transmission == "delayed"

    @property
    def observables(self) -> Mapping[str, tuple[int, ...]]:
        """Somatic, basal and apical voltages and rates, by layer."""
        return dict.fromkeys(("v", "v_basal", "v_apical", "r"), self.sizes[1:])

    @property
    def parameters(self) -> Parameters:
        """Weights ``W0, W1, ...``, biases ``b0, ...`` and feedback weights ``Q0, ...`` by layer."""
        named = {"W": self.weights, "b": self.biases, "Q": self.feedback or ()}
        return {f"{letter}{i}": array for letter, arrays in named.items() for i, array in enumerate(arrays)}

    def with_parameters(self, parameters: Parameters) -> DeepNetwork:
        if unknown := parameters.keys() - self.parameters.keys():
            raise InputError(f"DeepNetwork: no parameter is named {', '.join(sorted(unknown))}")
        merged = self.parameters | {name: np.asarray(array, self.dtype) for name, array in parameters.items()}
        W, b, Q = (tuple(array for name, array in merged.items() if name[0] == letter) for letter in "WbQ")
        return replace(self, weights=W, biases=b, feedback=Q or None)

    @cached_property
    def _flat(self) -> tuple[Array, Array]:
        """All parameters in one array, and the table of the layers."""
        groups = [group for group in (self.weights, self.biases, self.feedback) if group is not None]
        theta = np.concatenate([array.ravel() for layer in zip(*groups, strict=True) for array in layer])
        return theta, table(self.sizes, [activation_code(name) for name in self.activations], self.feedback)

    @cached_property
    def inner(self) -> Inner | None:
        """The network up to its last hidden layer, if a wider output layer adds little to it."""
        return inner_of(self)

    @cached_property
    def in_single_precision(self) -> Array:
        """All parameters in one array of float32."""
        return np.asarray(self._flat[0], np.float32)

    def params(self, batch: int) -> LayeredParams:
        number, (theta, layers) = self.dtype.type, self._flat
        return LayeredParams(
            theta=theta,
            layers=layers,
            tau_v=number(self.tau_v if self.soma == "dynamic" else 0),
            tau_a=number(self.tau_apical or 0),
            tau_f=number(self.tau_control or 0),
            delayed=number(self.transmission == "delayed"),
            by_jacobian=number(self.feedback is None),
            signals=np.zeros((4 * self.nneurons, batch), self.dtype),
        )

    def initial_state(self, inputs: Array) -> Array:
        state = np.zeros((len(inputs), self.nstates), self.dtype)
        if self.soma == "dynamic":
            state[:, : self.nneurons] = np.concatenate(self.voltages(inputs), axis=1)
        return state

    def at_rest(self, u: Array, inputs: Array) -> Rest:
        return self.rests(inputs).at(u, np.arange(len(u)))

    def linearize(self, x: Array, u: Array, inputs: Array) -> Linear:
        return super().linearize(x, u, inputs) if self.feedback is None else linear_network(self, x, u, inputs)

    def linearize_minimal(self, x: Array, u: Array, inputs: Array) -> Linear:
        return self.linearize(x, u, inputs) if self.feedback is None else minimal_network(self, x, u, inputs)

    def linearize_step(self, dt: float, x: Array, u: Array, inputs: Array) -> Linear:
        if self.feedback is None:
            return super().linearize_step(dt, x, u, inputs)
        return linear_network_step(self, dt, x, u, inputs)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the states, as v1[0] for the first neuron of the first layer; layers are counted from one."""
        return state_names(self)

    def gain(self, rates: Sequence[Array]) -> Array:
        """Give JQ: how the output at rest depends on the control.

        Parameters
        ----------
        rates : sequence of array (batch, n_i)
            Rates by layer.

        Returns
        -------
        array (batch, n_L, n_L)
            JQ, without forming J.
        """
        self.stacked_feedback()
        return gain(self, np.concatenate([layer.T for layer in rates]))

    def rests(self, inputs: Array, basal: Array | None = None) -> NetworkRests:
        return NetworkRests(self, inputs, basal)

    def voltages(self, inputs: Array, shift: Sequence[Array] | None = None) -> list[Array]:
        """Give the somatic voltages at rest under constant apical voltages.

        Parameters
        ----------
        inputs : array (batch, n_0)
            Input patterns.
        shift : sequence of array (batch, n_i), optional
            Apical voltages by layer; none for the feed-forward pass.

        Returns
        -------
        list of array (batch, n_i)
            v_i = W_i phi(v_{i-1}) + b_i + shift_i.
        """
        return feed_forward(self, inputs, shift)[0]

    def rates(self, voltages: Sequence[Array]) -> list[Array]:
        """Give the rates r_i = phi_i(v_i).

        Parameters
        ----------
        voltages : sequence of array (batch, n_i)
            Somatic voltages by layer.

        Returns
        -------
        list of array (batch, n_i)
            Rates by layer.
        """
        return [rate(name, v) for name, v in zip(self.activations, voltages, strict=True)]

    def predict(self, inputs: Array) -> Array:
        """Give the feed-forward output, without control.

        Parameters
        ----------
        inputs : array (batch, n_0)
            Input patterns.

        Returns
        -------
        array (batch, n_L)
            The output r_L.
        """
        return self.voltages(inputs)[-1]

    def jacobian(self, voltages: Sequence[Array]) -> Array:
        """Give the Jacobian of the output with respect to the voltages of all layers, per sample.

        J_L = I, J_i = J_{i+1} W_{i+1} diag(phi_i'(v_i)) (Meulemans et al. 2021).

        Parameters
        ----------
        voltages : sequence of array (batch, n_i)
            Somatic voltages by layer.

        Returns
        -------
        array (batch, n_L, n_1 + ... + n_L)
            J, the layers side by side.
        """
        eye = np.eye(self.noutputs, dtype=self.dtype)
        blocks = [np.broadcast_to(eye, (len(voltages[0]), *eye.shape))]
        for i in range(len(self.weights) - 2, -1, -1):
            blocks.append((blocks[-1] @ self.weights[i + 1]) * slope(self.activations[i], voltages[i])[:, np.newaxis])
        return np.concatenate(blocks[::-1], axis=2)

    def by_layer(self, values: Array, axis: int = -1) -> list[Array]:
        """Cut an array with an entry for each neuron into layers.

        Parameters
        ----------
        values : array (..., n_1 + ... + n_L, ...)
            Something of each neuron, the layers one behind the other.
        axis : int
            Along which they lie.

        Returns
        -------
        list of array (..., n_i, ...)
            The layers, views.
        """
        return np.split(values, np.cumsum(self.sizes[1:-1]), axis)

    def stacked_feedback(self) -> Array:
        """Give the feedback weights of all layers, one below the other.

        Returns
        -------
        array (n_1 + ... + n_L, n_L)
            Q.

        Raises
        ------
        InputError
            If the network feeds back through its Jacobian and has no such weights.
        """
        if self.feedback is None:
            raise InputError("DeepNetwork: feedback through the Jacobian has no feedback weights Q")
        return np.concatenate(self.feedback)
