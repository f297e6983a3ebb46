"""What a simulation gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .base import Array, Parameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Response:
    """Response of a closed loop; the recorded signals are attributes.

    ``y``, ``u``, ``e``, ``x`` are arrays (time, batch, n); a network's ``v``, ``v_basal``, ``v_apical``, ``r`` are
    tuples of such arrays, one a layer.

    Parameters
    ----------
    t : array (time,)
        Times of the recorded points, in the plant's unit.
    signals : mapping
        The recorded signals by name.
    final : mapping
        y, u, e, x and the controller's state z at the last step, arrays (batch, n), always there.
    mean : mapping
        Means of u and e over the last quarter of the steps, arrays (batch, n): the steady state of a noisy loop.
    simulated_steps : array (batch,)
        Steps that were made of each sample; fewer than asked for where settled samples were extended.
    extension_error : array (batch,)
        Bound of the relative error that this makes in `change`.
    change : dict of arrays
        The change of the plant's parameters that the law accumulated in the loop; empty for `Frozen` and for laws that
        work without or after a simulation, whose `propose` gives it.
    """

    t: Array
    signals: Mapping[str, Any]
    final: Mapping[str, Array]
    mean: Mapping[str, Array]
    simulated_steps: Array
    extension_error: Array
    change: Parameters = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        signals = self.__dict__.get("signals", {})
        if name in signals:
            return signals[name]
        if name.startswith("_"):
            raise AttributeError(name)
        recorded = ", ".join(signals) or "nothing"
        raise AttributeError(f"{name!r} was not recorded (only {recorded}): ask for it, record=({name!r}, ...)")

    def to_dict(self) -> dict[str, Any]:
        """Give the times and all recorded signals.

        Returns
        -------
        dict
            ``t`` and the signals by name; signals by layer become ``name0``, ``name1``, ...
        """
        flat: dict[str, Any] = {"t": self.t}
        for name, signal in self.signals.items():
            if isinstance(signal, tuple):
                flat |= {f"{name}{i}": layer for i, layer in enumerate(signal)}
            else:
                flat[name] = signal
        return flat

    def plot(self, sample: int = 0) -> Figure:
        """Draw the recorded signals of one sample over time, one panel a signal.

        Parameters
        ----------
        sample : int
            Index in the batch.

        Returns
        -------
        Figure
            A Matplotlib figure that belongs to no window.
        """
        from matplotlib.figure import Figure

        panels = {name: signal for name, signal in self.to_dict().items() if name != "t" and signal.shape[2]}
        figure = Figure(figsize=(7, 1.2 + 1.6 * len(panels)), layout="constrained")
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axis, (name, signal) in zip(axes, panels.items(), strict=True):
            axis.plot(self.t, signal[:, sample], linewidth=1.2)
            axis.set_ylabel(name)
            axis.grid(alpha=0.3)
            axis.margins(x=0)
        if len(panels):
            axes[-1].set_xlabel("time")
        return figure
