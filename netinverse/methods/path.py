"""The warm-started path of solutions that a rule walks along."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netinverse.methods.method import Step, Try
from netinverse.problems import InverseProblem
from netinverse.solvers.gauss_newton import GaussNewton, GaussNewtonState
from netinverse.solvers.iterate import relative_optimality, solve
from netinverse.tensors import scatter, select


@dataclass(frozen=True)
class Accuracy:
    """How well to solve: the solver, the relative tolerance of its optimality, and the most steps."""

    solver: GaussNewton
    tolerance: float
    max_steps: int


@dataclass
class Path:
    """Solves samples at weights, each from its own last solution, and remembers all that was tried.

    The only object of a method that changes; it lives as long as one ``run``. ``codes`` and ``steps`` are those of each sample's last solve.
    """

    problem: InverseProblem
    quick: Accuracy
    final: Accuracy
    state: GaussNewtonState
    on_try: Callable[[Try], None] | None = None
    tried: list[Try] = field(default_factory=list)
    history: list[Step] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        batch = self.state.x.shape[0]
        self.codes = torch.full((batch,), -1, device=self.state.x.device)
        self.steps = torch.zeros(batch, dtype=torch.long, device=self.state.x.device)

    def solve_at(self, alpha: Tensor, samples: Tensor, *, final: bool) -> Tensor:
        """Residuals ``(k,)`` of the solutions at ``alpha`` for ``samples``; the solutions themselves are in ``state``."""
        how = self.final if final else self.quick
        problem = self.problem.select(samples).at(alpha)
        before = select(self.state, samples)
        start = how.solver.init(problem, before.x, before)

        def record(number: int, index: Tensor, state: GaussNewtonState) -> None:
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
            how.solver, problem, start, stop=relative_optimality(how.tolerance), max_steps=how.max_steps, on_step=record
        )
        self.state = scatter(self.state, samples, found.state)
        self.codes = self.codes.index_copy(0, samples, found.codes)
        self.steps = self.steps.index_add(0, samples, found.steps)
        self.tried.append(Try(samples, alpha, found.state.residual, found.state.objective))
        if self.on_try is not None:
            self.on_try(self.tried[-1])
        return found.state.residual
