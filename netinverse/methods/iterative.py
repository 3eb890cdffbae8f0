"""Regularisation by stopping: a solver runs from smooth to rough iterates, and a rule picks one of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from netinverse.diagnostics.certificates import Certificate
from netinverse.methods.method import MethodResult, Step, Try
from netinverse.parameter_choice.composition import Rule
from netinverse.parameter_choice.rule import ParameterRule, RuleProblem
from netinverse.parameter_choice.trace import Trace, at_index
from netinverse.problems import InverseProblem
from netinverse.protocols import SolverState
from netinverse.solvers.iterate import DIVERGED, INFINITE_START, STALLED, solve, status_of
from netinverse.solvers.status import Status

FLOOR = 8e-4
"""The least noise that is looked for, relative to the norm of the data, as in the discrepancy principle; serves exact data."""


class Iterate(SolverState, Protocol):
    """What a rule may read of an iterate, besides what every solver's state has."""

    @property
    def residual(self) -> Tensor:
        """||F(x) - data||_2, (batch,)."""
        ...

    @property
    def alpha(self) -> Tensor:
        """The weight that this much iterating corresponds to, (batch,): it falls from iterate to iterate."""
        ...

    @property
    def subgradient(self) -> Tensor:
        """p in dR(x), (batch, *input_shape)."""
        ...


S = TypeVar("S", bound=Iterate)


class IterativeSolver(Protocol[S]):
    """A solver whose iterates are the answers."""

    def init(self, problem: InverseProblem, x: Tensor) -> S: ...
    def step(self, problem: InverseProblem, state: S) -> S: ...


@dataclass(frozen=True)
class _Watched(Generic[S]):
    """A state, the residual at which no rule reads on, and the number of steps so far."""

    state: S
    level: Tensor
    number: Tensor

    @property
    def x(self) -> Tensor:
        return self.state.x

    @property
    def objective(self) -> Tensor:
        return self.state.objective

    @property
    def optimality(self) -> Tensor:
        return self.state.optimality

    @property
    def stalled(self) -> Tensor:
        return self.state.stalled


@dataclass(frozen=True)
class _Watching(Generic[S]):
    solver: IterativeSolver[S]

    def init(self, problem: InverseProblem, x: Tensor) -> _Watched[S]:
        state = self.solver.init(problem, x)
        return _Watched(state, torch.zeros_like(state.objective), torch.zeros_like(state.objective))

    def step(self, problem: InverseProblem, watched: _Watched[S]) -> _Watched[S]:
        return replace(watched, state=self.solver.step(problem, watched.state), number=watched.number + 1)


@dataclass
class _Rows:
    """One number or array for each iterate and sample; NaN where a sample did not go so far."""

    alpha: list[Tensor]
    residual: list[Tensor]
    objective: list[Tensor]
    optimality: list[Tensor]
    penalty: list[Tensor]
    x: list[Tensor]
    subgradient: list[Tensor]

    def add(self, samples: Tensor, batch: int, **values: Tensor) -> None:
        for field in fields(self):
            value = values[field.name]
            row = value.new_full((batch, *value.shape[1:]), torch.nan).index_copy(0, samples, value)
            getattr(self, field.name).append(row)

    def stacked(self) -> dict[str, Tensor]:
        return {field.name: torch.stack(getattr(self, field.name)) for field in fields(self)}


def run_until_picked(
    solver: IterativeSolver[S],
    problem: InverseProblem,
    start: Tensor,
    rule: ParameterRule,
    rule_problem: RuleProblem,
    *,
    max_iterations: int,
    certificate: Callable[[Tensor], Certificate],
    on_try: Callable[[Try], None] | None,
) -> MethodResult:
    """Iterate until the residual is below what the rule reads, and return the iterate that the rule picks, sample by sample.

    Verdicts: those of the rule; NOISE_EXCEEDS_DATA; STALLED and DIVERGED where that ended the iteration before the rule was met.
    Every iterate is kept: max_iterations * batch * inputs numbers, twice.
    """
    assert isinstance(rule, Rule)
    batch, began = len(start), time.perf_counter()
    rows, tried, history = _Rows([], [], [], [], [], [], []), list[Try](), list[Step]()
    floor = FLOOR * rule_problem.data_norm
    noise = None if rule_problem.noise_level is None else torch.maximum(rule_problem.noise_level, floor)
    level = floor if noise is None else rule.reads_to * noise

    def record(number: int, samples: Tensor, watched: _Watched[S]) -> None:
        state = watched.state
        rows.add(
            samples,
            batch,
            **{name: getattr(state, name) for name in ("alpha", "residual", "objective", "optimality", "x", "subgradient")},
            penalty=problem.regulariser(state.x),
        )
        tried.append(Try(samples, state.alpha, state.residual, state.objective))
        seconds = time.perf_counter() - began
        history.append(Step(samples, state.alpha, number, state.objective, state.optimality, state.residual, seconds))
        if on_try is not None:
            on_try(tried[-1])

    watching = _Watching(solver)
    found = solve(
        watching,
        problem,
        replace(watching.init(problem, start), level=level),
        stop=lambda watched: (watched.number > 0) & (watched.state.residual <= watched.level),
        max_steps=max_iterations,
        on_step=record,
    )
    codes = found.codes.tolist()
    if not rows.x:  # nobody could take a step
        return _unmoved(found.state.state, tuple(map(status_of, codes)), certificate, found.steps)
    table = rows.stacked()
    pick = rule.pick(Trace(table["alpha"], table["residual"], table["x"], table["penalty"], table["subgradient"], 1.0), noise)
    chosen = {name: at_index(values, pick.index) for name, values in table.items()}
    verdicts = [
        status_of(code) if verdict is not Status.CONVERGED and code in (STALLED, DIVERGED, INFINITE_START) else verdict
        for verdict, code in zip(pick.verdict, codes, strict=True)
    ]
    if rule_problem.noise_level is not None:
        hopeless = (rule_problem.noise_level >= (1 - 1e-12) * rule_problem.data_norm) & (rule_problem.noise_level > 0)
        verdicts = [Status.NOISE_EXCEEDS_DATA if h else v for h, v in zip(hopeless.tolist(), verdicts, strict=True)]
    moved = torch.isfinite(chosen["residual"])
    x = torch.where(moved.reshape(-1, *(1,) * (start.ndim - 1)), chosen["x"], found.state.x)
    return MethodResult(
        x=x,
        alpha=chosen["alpha"],
        objective=chosen["objective"],
        status=tuple(verdicts),
        certificate=certificate(chosen["optimality"]),
        steps=found.steps,
        subgradient=chosen["subgradient"],
        continuation={},
        tried=tuple(tried),
        history=tuple(history),
    )


def _unmoved(state: Any, status: tuple[Status, ...], certificate: Callable[[Tensor], Certificate], steps: Tensor) -> MethodResult:
    return MethodResult(
        x=state.x,
        alpha=state.alpha,
        objective=state.objective,
        status=status,
        certificate=certificate(state.optimality),
        steps=steps,
        subgradient=state.subgradient,
        continuation={},
        tried=(),
        history=(),
    )


def no_certificate(optimality: Tensor) -> Certificate:
    meaning = "an iterate that a rule stopped at, and no minimiser; its evidence is the residual against the noise level"
    return Certificate("none", torch.full_like(optimality, torch.nan), meaning)
