"""The warm-started path of solutions that a rule walks along."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from netinverse.methods.method import Step, Try
from netinverse.parameter_choice.rule import Solved
from netinverse.protocols import SolverState
from netinverse.solvers.iterate import relative_optimality, solve
from netinverse.tensors import scatter, select


class WeightedProblem(Protocol):
    """A problem for each sample at its own weight."""

    def select(self, index: Tensor) -> Self: ...
    def at(self, alpha: Tensor) -> Self: ...


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
    ``read(state, alpha)`` gives x, R(x) and p in dR(x).
    """

    problem: WeightedProblem
    quick: Accuracy[S]
    final: Accuracy[S]
    start: Tensor
    alpha: Tensor
    read: Callable[[S, Tensor], Solved]
    on_try: Callable[[Try], None] | None = None
    tried: list[Try] = field(default_factory=list)
    history: list[Step] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.codes = torch.full_like(self.alpha, -1, dtype=torch.long)
        self.steps = torch.zeros_like(self.codes)
        self._state: S | None = None

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
        problem = self.problem.select(samples).at(alpha)
        first, self.alpha = self._state is None, self.alpha.index_copy(0, samples, alpha)
        before = select(self.state, samples)  # begun at these very weights, if they are the first
        if start is not None:
            begun = how.solver.init(problem, start)
        else:
            begun = before if first else how.solver.init(problem, before.x, before)

        def record(number: int, index: Tensor, state: S) -> None:
            self.history.append(
                Step(
                    samples=samples[index],
                    alpha=alpha[index],
                    number=number,
                    objective=state.objective,
                    optimality=state.optimality,
                    residual=state.residual,
                    seconds=time.perf_counter() - self.started,
                )
            )

        found = solve(
            how.solver, problem, begun, stop=relative_optimality(how.tolerance), max_steps=how.max_steps, on_step=record
        )
        self._state = scatter(self.state, samples, found.state)
        self.codes = self.codes.index_copy(0, samples, found.codes)
        self.steps = self.steps.index_add(0, samples, found.steps)
        self.tried.append(Try(samples, alpha, found.state.residual, found.state.objective))
        if self.on_try is not None:
            self.on_try(self.tried[-1])
        return found.state.residual

    def solved(self, samples: Tensor) -> Solved:
        """The last solutions of ``samples``."""
        return self.read(select(self.state, samples), self.alpha[samples])
