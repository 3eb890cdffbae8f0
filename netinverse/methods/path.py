"""The warm-started path of solutions that a rule walks along."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from netinverse.checkpoints import Checkpoint
from netinverse.checks import first_samples
from netinverse.methods.memory import Memory, packed, packed_loop, packed_steps, unpacked, unpacked_loop, unpacked_steps
from netinverse.methods.method import Step, Try
from netinverse.parameter_choice.rule import Solved
from netinverse.protocols import SolverState
from netinverse.prox.scalar import rounding_tolerance
from netinverse.solvers.iterate import CONVERGED, RUNNING, STALLED, Loop, Solution, relative_optimality, solve
from netinverse.tensors import astype, scatter, select

UNSOLVED = -2
"""The code of a sample that has not been solved at any weight yet; those that have end with one of ``solve``."""


class WeightedProblem(Protocol):
    """A problem for each sample at its own weight."""

    def select(self, index: Tensor) -> Self: ...
    def at(self, alpha: Tensor) -> Self: ...
    def objective_at_zero(self, like: Tensor) -> Tensor: ...


class PathState(SolverState, Protocol):
    """A solver's state that knows what a rule asks for."""

    @property
    def residual(self) -> Tensor:
        """||F(x) - data||_2, ``(batch,)``."""
        ...


S = TypeVar("S", bound=PathState)


class WarmSolver(Protocol[S]):
    """A solver that can start from its own state at another weight."""

    def init(self, problem: Any, x: Tensor, warm: S | None = None) -> S: ...
    def step(self, problem: Any, state: S) -> S: ...


@dataclass(frozen=True)
class Accuracy(Generic[S]):
    """How well to solve: the solver, the relative tolerance of its optimality, and the most steps."""

    solver: WarmSolver[S]
    tolerance: float
    max_steps: int


@dataclass
class Path(Generic[S]):
    """Solves samples at weights, each from its own last solution, and remembers all that was tried: the ``SolveAt`` of a rule.

    The only object of a method that changes; it lives as long as one ``run``. ``alpha`` and ``codes`` are
    those of each sample's last solve, ``steps`` those of all its solves; before the first one, ``alpha`` is any weight.
    ``read(state, alpha)`` gives x, R(x) and p in dR(x). With a ``checkpoint`` it goes on where an interrupted one was.
    The work has the dtype of ``alpha``; what a rule sees of it is float64.
    """

    problem: WeightedProblem
    quick: Accuracy[S]
    final: Accuracy[S]
    start: Tensor
    alpha: Tensor
    read: Callable[[S, Tensor], Solved]
    on_try: Callable[[Try], None] | None = None
    checkpoint: Checkpoint | None = None
    tried: list[Try] = field(default_factory=list)
    history: list[Step] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.codes = torch.full_like(self.alpha, UNSOLVED, dtype=torch.long)
        self.steps = torch.zeros_like(self.codes)
        self._state: S | None = None
        self._interrupted: Loop[S] | None = None
        self._memory = Memory(self.checkpoint, self.start.device)
        if (found := self._memory.found) is not None:
            self._state = unpacked(found, "state", self.state)
            self.alpha, self.codes, self.steps = (found[name] for name in ("alpha", "codes", "steps"))
            self.history = unpacked_steps(found)
            self._interrupted = unpacked_loop(found, self._state)

    @property
    def state(self) -> S:
        """The last solutions."""
        if self._state is None:
            self._state = self.quick.solver.init(self.problem.at(self.alpha), self.start)
        return self._state

    def __call__(self, alpha: Tensor, samples: Tensor, *, final: bool, start: Tensor | None = None) -> Tensor:
        """Residuals ``(k,)`` of the solutions at ``alpha`` for ``samples``; the solutions themselves are in ``state``.

        Begun at the last solutions with their duals, or afresh at ``start``.
        """
        how = self.final if final else self.quick
        residual, objective = self._memory.answer(lambda: self._solve(alpha.to(self.alpha.dtype), samples, how, start))
        self.tried.append(Try(samples, alpha, residual, objective))
        if self.on_try is not None:
            self.on_try(self.tried[-1])
        return residual

    def solved(self, samples: Tensor) -> Solved:
        """The last solutions of ``samples``."""

        def read() -> tuple[Tensor, ...]:
            found = astype(self.read(select(self.state, samples), self.alpha[samples]), torch.float64)
            return found.x, found.penalty, found.subgradient

        return Solved(*self._memory.answer(read))

    def go_on(self, problem: WeightedProblem, final: Accuracy[S], alpha: Tensor) -> None:
        """All samples once more, for ``problem`` in the dtype of ``alpha``, from the solutions with their duals as they are."""
        self.problem, self.final = problem, final
        self._state, self.alpha = astype(self.state, alpha.dtype), self.alpha.to(alpha.dtype)
        self(alpha, torch.arange(len(alpha), device=alpha.device), final=True)

    def require_solved(self, rule: object, numbers: Tensor | None) -> None:
        """Raise a ValueError where a rule has left samples, called by their ``numbers``, without any solution."""
        left = self.codes == UNSOLVED
        if bool(left.any()):
            raise ValueError(
                f"{type(rule).__name__}: choose() has solved nothing for {first_samples(left, numbers=numbers)}, so there is no "
                f"reconstruction to return. Call solve_at(alpha, samples, final=True) for every sample before it returns."
            )

    def _solve(self, alpha: Tensor, samples: Tensor, how: Accuracy[S], start: Tensor | None) -> tuple[Tensor, Tensor]:
        problem = self.problem.select(samples).at(alpha)

        def record(number: int, index: Tensor, state: S) -> None:
            seconds = time.perf_counter() - self.started
            values = astype((alpha[index], state.objective, state.optimality, state.residual), torch.float64)
            self.history.append(Step(samples[index], values[0], number, *values[1:], seconds))

        found = solve(
            how.solver,
            problem,
            self._begun(problem, alpha, samples, how, start),
            stop=relative_optimality(how.tolerance),
            max_steps=how.max_steps,
            on_step=record,
            on_loop=lambda loop: self._memory.keep(lambda: {**self._packed(), **packed_loop(loop)}),
        )
        self._state = scatter(self.state, samples, found.state)
        self.codes = self.codes.index_copy(0, samples, _judged(found, problem))
        self.steps = self.steps.index_add(0, samples, found.steps)
        return found.state.residual.double(), found.state.objective.double()

    def _begun(
        self, problem: WeightedProblem, alpha: Tensor, samples: Tensor, how: Accuracy[S], start: Tensor | None
    ) -> S | Loop[S]:
        if self._interrupted is not None:
            loop, self._interrupted = self._interrupted, None
            return loop
        first, self.alpha = self._state is None, self.alpha.index_copy(0, samples, alpha)
        before = select(self.state, samples)  # begun at these very weights, if they are the first
        if start is not None:
            return how.solver.init(problem, start)
        if first:
            return before
        warm = how.solver.init(problem, before.x, before)
        # What others made of the weights before is nothing to a sample that joins them.
        joining = (self.codes[samples] == UNSOLVED).nonzero().flatten()
        if not len(joining):
            return warm
        cold = self.start[samples[joining]].to(alpha.dtype)
        return scatter(warm, joining, how.solver.init(problem.select(joining), cold))

    def _packed(self) -> dict[str, Tensor]:
        own = {"alpha": self.alpha, "codes": self.codes, "steps": self.steps}
        return {**own, **packed("state", self.state), **packed_steps(self.history)}


def _judged(found: Solution[S], problem: WeightedProblem) -> Tensor:
    """The codes; converged is also what leaves no more to gain than rounding of objectives.

    Exact data of an input without penalty have a least objective of zero, of which nothing is a share.
    """
    short = (found.codes == STALLED) | (found.codes == RUNNING)
    if not bool(short.any()):
        return found.codes
    size = problem.objective_at_zero(found.state.x)
    return torch.where(short & (found.state.optimality <= rounding_tolerance(size) * size), CONVERGED, found.codes)
