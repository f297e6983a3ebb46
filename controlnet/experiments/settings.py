"""The settings of an experiment: what a TOML file may say, with types, ranges and defaults.

Time is in units of the controller's time constant tau_u.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]
Probability = Annotated[float, Meta(gt=0, le=1)]
Count = Annotated[int, Meta(ge=1, le=10**9)]
Width = Annotated[int, Meta(ge=1, le=100_000)]
Activation = Literal["tanh", "relu", "softplus", "sigmoid", "linear"]
Learning = Literal["none", "two-phase", "single-phase"]


class StrictTable(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all tables: immutable, and strict about names."""


class Data(StrictTable, frozen=True):
    """``[data]``: a name of `controlnet.data.DATASETS` or a file, and how many of its training samples are used.

    Unset `train_samples` are all, unset `sizes`, the widths of the teacher of ``student-teacher``, the published ones.
    """

    name: str = "digits"
    train_samples: Count | None = None
    sizes: Annotated[tuple[Width, ...], Meta(min_length=2, max_length=100)] | None = None


class Network(StrictTable, frozen=True):
    """``[network]``: fields of `DeepNetwork.initialize`; sizes of input and output follow from the data.

    `feedback`, if unset, is random for methods that learn it and for DFA, else the product of the forward weights.
    """

    hidden: Annotated[tuple[Width, ...], Meta(max_length=100)] = (64, 64)
    activation: Activation | tuple[Activation, ...] = "tanh"
    feedback: Literal["weight-product", "random", "jacobian-transpose"] | None = None
    feedback_noise: NonNegative = 0.0
    initialization: Literal["xavier-normal", "xavier-uniform", "orthogonal"] = "xavier-normal"
    dtype: Literal["float64", "float32"] = "float64"
    tau_v: Positive = 0.2
    tau_apical: Positive | None = None
    tau_control: Positive | None = None
    soma: Literal["dynamic", "instantaneous"] = "dynamic"
    transmission: Literal["instantaneous", "delayed"] = "instantaneous"


class Proportional(StrictTable, frozen=True, tag_field="kind", tag="proportional"):
    """``[controller]`` with ``kind = "proportional"``."""

    k_p: NonNegative = 1.0


class Integral(StrictTable, frozen=True, tag_field="kind", tag="integral"):
    """``[controller]`` with ``kind = "integral"``."""

    k_i: Positive = 1.0
    leak: NonNegative = 0.0


class PI(StrictTable, frozen=True, tag_field="kind", tag="pi"):
    """``[controller]`` with ``kind = "pi"``."""

    k_p: NonNegative = 0.0
    k_i: Positive = 1.0
    leak: NonNegative = 0.0
    leak_on: Literal["control", "integral"] = "control"


class PID(StrictTable, frozen=True, tag_field="kind", tag="pid"):
    """``[controller]`` with ``kind = "pid"``."""

    k_p: NonNegative = 1.0
    k_i: Positive = 1.0
    k_d: NonNegative = 0.0
    derivative_filter: Positive = 0.01


class Simulation(StrictTable, frozen=True):
    """``[simulation]``: the scheme in time, and how long a minibatch is simulated.

    With `extend` samples that have settled are carried to the end in closed form, as soon as that changes what a law
    of every step wants by no more than this share.
    """

    integrator: Literal["sequential", "euler", "heun", "rk4"] = "sequential"
    control: Literal["new", "old"] = "new"
    dt: Positive = 0.02
    steps: Count = 500
    extend: Annotated[float, Meta(gt=0, lt=1)] | None = None


class Noise(StrictTable, frozen=True):
    """``[noise]``: noise in the apical compartments; none if sigma is 0, low-pass filtered if it has a tau."""

    sigma: NonNegative = 0.0
    sigma_output: NonNegative | None = None
    tau: Positive | None = None


class Objective(StrictTable, frozen=True):
    """``[objective]``: the loss, and how strongly the reference pulls (unset: strongly for Strong-DFC only)."""

    loss: Literal["cross-entropy", "mse"] = "cross-entropy"
    feedback: Literal["nudged", "strong"] | None = None
    stepsize: Positive = 0.1
    target_value: Probability | None = None


class Law(StrictTable, frozen=True):
    """``[law]``: options of `DFC`; `rule` and `damping` of `MinimumNorm` and `GaussNewton`, `derivative` of `DFA`.

    `steady_state` says where methods that learn from it take it: by root finding, the default but under noise and with
    feedback through the Jacobian, or from the last step of a simulation.  With `warm_start` the search begins where
    that of the epoch before ended.
    """

    rule: Literal["nonlinear-difference", "voltage-difference"] | None = None
    converged_only: bool = False
    steady_state: Literal["root-finding", "last-step"] | None = None
    warm_start: bool = False
    damping: NonNegative = 0.0
    derivative: bool = True


class SGD(StrictTable, frozen=True, tag_field="kind", tag="sgd"):
    """``[optimizer]`` with ``kind = "sgd"``."""

    learning_rate: Positive = 0.1
    weight_decay: NonNegative = 0.0
    clip_norm: Positive | None = None
    momentum: Fraction = 0.0


class Adam(StrictTable, frozen=True, tag_field="kind", tag="adam"):
    """``[optimizer]`` with ``kind = "adam"``."""

    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    clip_norm: Positive | None = None
    beta1: Fraction = 0.99
    beta2: Fraction = 0.99
    epsilon: Positive = 1e-8


class RMSprop(StrictTable, frozen=True, tag_field="kind", tag="rmsprop"):
    """``[optimizer]`` with ``kind = "rmsprop"``."""

    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    clip_norm: Positive | None = None
    smoothing: Fraction = 0.95
    epsilon: Positive = 0.03


class Dynamics(StrictTable, frozen=True):
    """``[feedback.network]``: dynamics of the network while its feedback weights learn; unset as in ``[network]``."""

    tau_v: Positive | None = None
    tau_apical: Positive | None = None
    tau_control: Positive | None = None
    transmission: Literal["instantaneous", "delayed"] | None = None


class FeedbackSimulation(StrictTable, frozen=True):
    """``[feedback.simulation]``: scheme and length of the feedback phase; unset as in ``[simulation]``."""

    integrator: Literal["sequential", "euler", "heun", "rk4"] | None = None
    control: Literal["new", "old"] | None = None
    dt: Positive | None = None
    steps: Count | None = None


class FeedbackNoise(StrictTable, frozen=True):
    """``[feedback.noise]``: noise of the feedback phase, from which the feedback weights learn."""

    sigma: NonNegative = 0.1
    sigma_output: NonNegative | None = None
    tau: Positive | None = None


class Feedback(StrictTable, frozen=True):
    """``[feedback]``: how the feedback weights learn.

    Two-phase learning passes through the data once for Q, then once for W and b; single-phase learning takes both from
    one noisy simulation.  The controller of the feedback phase is that of the experiment if unset.  `linearized` takes
    the loop of that phase linearised at the feed-forward state, under noise of the same distribution.
    `pretraining_comparator` is that of the pre-training alone, e = r* - r_L where all else takes r* - softmax(r_L).
    """

    learning: Learning | None = None
    pretraining_epochs: Annotated[int, Meta(ge=0, le=10**9)] = 0
    pretraining_comparator: Literal["difference"] | None = None
    extra_epochs: Annotated[int, Meta(ge=0, le=10**9)] = 0
    linearized: bool = False
    output_layer: bool = True
    layer_scaling: bool = False
    high_pass: Positive = 0.5
    network: Dynamics = Dynamics()
    controller: PI | Proportional | Integral | PID | None = None
    simulation: FeedbackSimulation = FeedbackSimulation()
    noise: FeedbackNoise = FeedbackNoise()
    optimizer: Adam | SGD | RMSprop = Adam()
    pretraining_optimizer: Adam | SGD | RMSprop | None = None


class Diagnostics(StrictTable, frozen=True):
    """``[diagnostics]``: what is looked at during training, on the first so many training samples.

    With `every` > 0 before the first epoch, after every so many, and after the last.
    """

    every: Annotated[int, Meta(ge=0, le=10**9)] = 0
    samples: Count = 32
    quantities: tuple[Literal["conditions", "stability", "alignment"], ...] = ("conditions", "stability", "alignment")


class Train(StrictTable, frozen=True):
    """``[train]``: the schedule."""

    epochs: Count = 10
    batch_size: Count = 32
    compare_with: tuple[str, ...] = ()


class Settings(StrictTable, frozen=True):
    """A whole experiment."""

    experiment: str
    method: str = "dfc"
    seed: Annotated[int, Meta(ge=0)] = 0
    data: Data = Data()
    network: Network = Network()
    controller: PI | Proportional | Integral | PID = PI()
    simulation: Simulation = Simulation()
    noise: Noise = Noise()
    objective: Objective = Objective()
    law: Law = Law()
    optimizer: Adam | SGD | RMSprop = Adam()
    feedback: Feedback = Feedback()
    train: Train = Train()
    diagnostics: Diagnostics = Diagnostics()
