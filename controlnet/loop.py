"""The closed loop of a plant, a controller, an integrator and an adaptation law."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arguments import check_batch, check_weight
from ._blocks import Job, Problem, run_block, run_blocks
from ._idle import stay
from ._loop import Clock, bind, bind_visit
from ._random import seed_sequence
from ._recording import SIGNALS, chosen_rows, cut_signals, joined, layout
from .base import AbstractController, AbstractIntegrator, AbstractLaw, AbstractPlant, Array, Frozen, System
from .comparator import AbstractComparator, Difference
from .errors import DimensionError, InputError, NoRestError
from .integrators import Sequential
from .linear_loop import states_of
from .response import Response
from .rest import Rests

if TYPE_CHECKING:
    from control import NonlinearIOSystem, StateSpace

    from .control_systems import Transfer
    from .equilibrium import Equilibrium


PARTS = {
    "plant": AbstractPlant,
    "controller": AbstractController,
    "integrator": AbstractIntegrator,
    "law": AbstractLaw,
    "comparator": AbstractComparator,
}


@dataclass(frozen=True, eq=False)
class ClosedLoop:
    """A plant under control: e = compare(r, y), u = controller(e), y = plant(u).

    Parameters
    ----------
    plant : AbstractPlant
        What is controlled.
    controller : AbstractController
        What controls it.
    integrator : AbstractIntegrator
        The scheme in time.
    law : AbstractLaw
        What changes the plant's parameters.
    comparator : AbstractComparator
        What forms the error.
    compiled : bool
        False to simulate with the kernels as plain Python: slow, for debugging.

    Raises
    ------
    DimensionError
        If plant and controller do not fit.
    InputError
        If the parts would make an algebraic loop.
    """

    plant: AbstractPlant
    controller: AbstractController
    integrator: AbstractIntegrator = field(default_factory=Sequential)
    law: AbstractLaw = field(default_factory=Frozen)
    comparator: AbstractComparator = field(default_factory=Difference)
    compiled: bool = True

    def __post_init__(self) -> None:
        for name, kind in PARTS.items():
            if not isinstance(part := getattr(self, name), kind):
                raise InputError(f"ClosedLoop.{name}: expected an instance of {kind.__name__}, got {part!r:.60}")
        plant = self.plant
        if plant.ninputs != plant.noutputs:
            raise DimensionError(
                f"{type(plant).__name__}: expected as many inputs as outputs for control of each output by its "
                f"own error, got {plant.ninputs} inputs and {plant.noutputs} outputs"
            )
        if self.integrator.noise is not None and not plant.noise_layers:
            raise InputError(f"noise: {type(plant).__name__} has no signal that noise could disturb")
        if self.integrator.holds_control:
            return
        if plant.discrete:
            raise InputError(
                f"{type(self.integrator).__name__} ignores what only the own step of {type(plant).__name__} does, "
                "such as delayed transmission: take Sequential"
            )
        if plant.feedthrough and self.controller.feedthrough:
            raise InputError(
                f"algebraic loop: the output of {type(plant).__name__} depends on u at once and "
                f"{type(self.controller).__name__} on the output at once; take Sequential or an integral controller"
            )

    @property
    def nsignals(self) -> int:
        """Number of rows that can be recorded: y, u, e, x and the plant's observables."""
        return sum(map(sum, layout(self.plant).values()))

    def simulate(
        self,
        reference: Any,
        *,
        inputs: Any = None,
        dt: float = 0.02,
        steps: int | None = None,
        duration: float | None = None,
        initial_state: Any = None,
        start: Equilibrium | Response | None = None,
        record: str | Sequence[str] = SIGNALS,
        record_every: int = 1,
        limit: float = 1e12,
        threads: int | None = None,
        weight: Array | None = None,
        seed: int | np.random.SeedSequence = 0,
        extend: float | None = None,
    ) -> Response:
        """Simulate a batch of samples.

        Parameters
        ----------
        reference : array (noutputs,), (batch, noutputs) or (time, batch, noutputs)
            Reference r*; with a time axis one entry for each of the steps + 1 time points, held over a step.
        inputs : array (nexogenous,), (batch, nexogenous) or (time, batch, nexogenous), optional
            Exogenous input; zeros if not given.
        dt : float
            Step size in the plant's unit of time.
        steps : int, optional
            Number of steps; give this or `duration`.
        duration : float, optional
            Simulated time, a multiple of `dt`.
        initial_state : array (nstates,) or (batch, nstates), optional
            State of the plant at the start; if not given, zeros or the network's feed-forward state.
        start : Equilibrium or Response, optional
            What to go on from, states of plant and controller: steady states, or the end of another response; in place
            of `initial_state`, and of zeros for the controller.  Noise and time begin anew.
        record : str or sequence of str
            Signals to keep: y, u, e, x and the plant's observables.
        record_every : int
            Keep the start and every so many steps.
        limit : float
            Largest absolute value of y and u that does not count as divergence.
        threads : int, optional
            Number of threads; all cores if not given. The result does not depend on it.
        weight : array (batch,), optional
            Weight of each sample in the law; ones if not given.
        seed : int or SeedSequence
            Source of the integrator's noise; the same seed gives the same numbers.
        extend : float, optional
            Samples that have settled are carried to the end in closed form as soon as that changes what the law
            gives by no more than this share; every step is simulated if not given.

        Returns
        -------
        Response
            The recorded signals, the last values, and what the law wants to change.

        Raises
        ------
        DivergedError
            If y or u become NaN or exceed `limit`.
        DimensionError, InputError
            If an argument does not fit.
        """
        clock = self._clock(dt, steps, duration, record_every, limit)
        problem = self._problem(reference, inputs, clock.steps, initial_state, start)
        problem = problem._replace(seed=seed_sequence(seed))
        if self.integrator.noise is not None:
            self.integrator.noise.check(self.plant.noise_layers, len(problem.initial), clock.steps, dt)
        if len(problem.inputs) > 1 and not isinstance(self.law, Frozen):
            raise InputError("inputs: a law learns from inputs that are constant in time; leave out the time axis")
        record = (record,) if isinstance(record, str) else record
        rows = chosen_rows(self.plant, record, len(problem.initial), clock.steps // clock.every + 1)
        weight = None if weight is None else check_weight(weight, len(problem.initial))
        run = bind(self.system, self.compiled)
        job = Job(self, run, problem, clock, rows, weight)
        work, results = run_block if extend is None else self._settler(extend, job), []

        def memories() -> Iterator[Any]:
            for result in run_blocks(job, threads, work):
                yield from result.laws
                results.append(result._replace(laws=[]))

        gathered = self.law.gather(memories())
        return Response(
            t=clock.start + float(dt) * np.arange(0, clock.steps + 1, clock.every),
            signals=cut_signals(self.plant, record, [result.taken for result in results]),
            final={name: joined([result.final[name] for result in results]) for name in (*SIGNALS, "z")},
            mean={name: joined([result.mean[name] for result in results]) for name in "ue"},
            change=self.law.collect(self.plant, gathered, len(problem.initial), clock.steps),
            simulated_steps=np.concatenate([result.simulated for result in results]),
            extension_error=np.concatenate([result.error for result in results]),
        )

    def equilibrium(
        self,
        reference: Any,
        *,
        inputs: Any = None,
        rests: Rests | None = None,
        guess: Array | None = None,
        tolerance: float | Array | None = None,
        max_iterations: int = 100,
        threads: int | None = None,
    ) -> Equilibrium:
        """Find the steady state by root finding in the space of controls, without stepping through time.

        Where a plant has no stable rest under a constant control, because it integrates or falls over on its own, state
        and control are found together.

        Parameters
        ----------
        reference : array (noutputs,) or (batch, noutputs)
            Reference r*.
        inputs : array (nexogenous,) or (batch, nexogenous), optional
            Exogenous input; zeros if not given.
        rests : Rests, optional
            What ``plant.rests(inputs)`` gave, to be used many times; in place of `inputs`.
        guess : array (batch, ninputs), optional
            Control from which to start; zeros if not given.
        tolerance : float or array (batch,), optional
            Largest residual that counts as zero; 1e-10, or 1e-5 for float32, if not given.
        max_iterations : int
            Most steps of continuation, before Broyden's method takes over and again if it fails.
        threads : int, optional
            Number of threads; all cores if not given. The result does not depend on it.

        Returns
        -------
        Equilibrium
            Control, output and state of each sample, and whether they were found.
        """
        from ._joint_search import joint_search
        from .equilibrium import solve, unknown

        problem = check_batch(self.plant, reference, inputs if rests is None else rests.inputs)
        rests = self.plant.rests(problem.inputs[0]) if rests is None else rests
        options: dict[str, Any] = {"tolerance": tolerance, "max_iterations": max_iterations, "threads": threads}
        reference = problem.reference[0]
        try:
            found = solve(self, reference, rests, guess=guess, **options)
        except NoRestError:
            found = unknown(self.plant, reference, rests.inputs)
        known = rests.every or self.plant.discrete or found.converged.all()
        return found if known else joint_search(self, found, guess, tolerance)

    def linearize(
        self, steady: Equilibrium, sample: int = 0, transfer: Transfer = "closed-loop", minimal: bool = False
    ) -> StateSpace:
        """Give the loop near the steady state of one sample, in continuous time, for python-control.

        Parameters
        ----------
        steady : Equilibrium
            What `equilibrium` gave.
        sample : int
            The sample.
        transfer : {"closed-loop", "open-loop", "sensitivity", "control"}
            From r to y; from e to the compared output E y with the loop cut at e; from r to e; from r to u.
        minimal : bool
            Leave out states that the control does not reach: n_L for each layer remain, enough for a root locus.

        Returns
        -------
        control.StateSpace
            With named states, inputs and outputs.

        Raises
        ------
        InputError
            If there is no such sample or transfer function, or no steady state was found.
        """
        from .control_systems import linear_system

        return linear_system(self, steady, sample, transfer, minimal)

    def to_control(self, inputs: Any = None) -> NonlinearIOSystem:
        """Give the loop in continuous time as a nonlinear system of python-control, from r to (y, u, e).

        Parameters
        ----------
        inputs : array (nexogenous,), optional
            Exogenous input, held; zeros if not given.

        Returns
        -------
        control.NonlinearIOSystem
            Its states are those of plant and controller; the integrator plays no part.

        Raises
        ------
        InputError
            If the loop has no counterpart in continuous time.
        """
        from .control_systems import nonlinear_system

        return nonlinear_system(self, inputs)

    def check_step(self, dt: float) -> None:
        """Raise unless every time constant can be stepped explicitly at this step size.

        Parameters
        ----------
        dt : float
            Step size.

        Raises
        ------
        InputError
            Naming the part whose time constant is shorter.
        """
        # A controller's own step may be implicit; every integrator steps the plant explicitly.
        parts: list[Any] = [self.plant] if self.integrator.holds_control else [self.plant, self.controller]
        for part in parts:
            if 0 < part.shortest_time < dt:
                raise InputError(
                    f"dt: expected at most {part.shortest_time:g}, the shortest time constant of "
                    f"{type(part).__name__}, for an explicit method, got {dt:g}"
                )

    @property
    def system(self) -> System:
        """The kernels that one compiled loop binds together."""
        plant, controller, integrator, law = self.plant, self.controller, self.integrator, self.law
        return System(
            dynamics=plant.dynamics,
            output=plant.output,
            advance=plant.advance if integrator.holds_control else stay,
            set_input=plant.set_input,
            set_control=plant.set_control,
            observe=plant.observe,
            rate=controller.rate,
            command=controller.command,
            control_step=controller.control_step,
            error=self.comparator.error,
            step=integrator.step,
            settle=integrator.settle,
            disturb=integrator.disturb,
            adapt=law.adapt,
            finish=law.finish,
        )

    def _problem(
        self, reference: Any, inputs: Any, steps: int, initial_state: Any, start: Equilibrium | Response | None
    ) -> Problem:
        """Give reference, inputs and the states to begin with."""
        if start is None:
            return check_batch(self.plant, reference, inputs, steps, initial_state)
        if initial_state is not None:
            raise InputError("initial_state: expected none beside start, which holds one")
        x, z = states_of(self, start)
        problem = check_batch(self.plant, reference, inputs, steps, x)
        return problem._replace(controller=np.broadcast_to(z, (len(problem.initial), z.shape[1])))

    def _settler(self, extend: float, job: Job) -> Any:
        from ._extension import run_settled
        from .slow_motion import require_slow_motion

        require_slow_motion(self)
        if not self.law.extendable:
            raise InputError(f"extend: {type(self.law).__name__} has to see every step")
        if len(job.rows):
            raise InputError("extend: steps that are not simulated cannot be recorded: expected record=()")
        if not (isinstance(extend, numbers.Real) and 0 < extend < 1):
            raise InputError(f"extend: expected a number in (0, 1), got {extend!r}")
        if len(job.problem.reference) > 1 or len(job.problem.inputs) > 1:
            raise InputError("extend: expected reference and inputs that are constant in time")
        return partial(run_settled, extend, bind_visit(self.system, self.compiled))

    def _clock(self, dt: float, steps: int | None, duration: float | None, every: int, limit: float) -> Clock:
        for name, value in (("dt", dt), ("duration", dt if duration is None else duration), ("limit", limit)):
            if not (isinstance(value, numbers.Real) and math.isfinite(value) and value > 0):
                raise InputError(f"{name}: expected a number > 0, got {value!r}")
        if (steps is None) == (duration is None):
            raise InputError("expected either steps or duration, got " + ("neither" if steps is None else "both"))
        if duration is not None:
            steps = round(duration / dt)
            if not math.isclose(steps * dt, duration, rel_tol=1e-6):
                raise InputError(f"duration: expected a multiple of dt = {dt}, got {duration}")
        for name, count in (("steps", steps), ("record_every", every)):
            if not isinstance(count, numbers.Integral) or count < 1:
                raise InputError(f"{name}: expected a whole number >= 1, got {count!r}")
        self.check_step(dt)
        number, averaged = self.plant.dtype.type, max(1, int(steps or 1) // 4)
        grid = (0.0, number(dt), int(steps or 1), int(every), number(limit), self.integrator.delay)
        return Clock(*grid, averaged, number(1 / averaged))
