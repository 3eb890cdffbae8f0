"""Regularisation by stopping: a solver runs from smooth to rough iterates, and a rule picks one of them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from netinverse.checkpoints import Checkpoint
from netinverse.diagnostics.certificates import Certificate
from netinverse.methods.memory import Memory, packed_loop, packed_steps, unpacked_loop, unpacked_steps
from netinverse.methods.method import MethodResult, Step, Try
from netinverse.networks.graph import LiftedNetwork
from netinverse.parameter_choice.composition import Rule
from netinverse.parameter_choice.rule import ParameterRule, RuleProblem
from netinverse.parameter_choice.trace import Trace, at_index
from netinverse.problems import InverseProblem
from netinverse.protocols import SolverState
from netinverse.solvers.iterate import DIVERGED, INFINITE_START, STALLED, Loop, solve, status_of
from netinverse.solvers.status import Status


class Iterate(SolverState, Protocol):
    """What a rule may read of an iterate, besides what every solver's state has."""

    @property
    def residual(self) -> Tensor:
        """||F(x) - data||_2, (batch,)."""
        ...

    @property
    def alpha(self) -> Tensor:
        """The weight that this much iterating corresponds to, (batch,): inf at the start, then falling."""
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


class IterativeMethod(ABC):
    """A method that regularises by stopping: it names its solver; what follows from that is here.

    Verdicts: those of the rule; NOISE_EXCEEDS_DATA; STALLED and DIVERGED where that ended the iteration before the rule was met.
    Every iterate is kept, max_iterations * batch * inputs numbers, twice: a rule may compare them.
    """

    max_iterations: int

    @abstractmethod
    def solver(self, network: LiftedNetwork, problem: InverseProblem, tolerance: float) -> IterativeSolver[Any]: ...

    def weighted(self, problem: InverseProblem) -> InverseProblem:
        """The problem at the weight to iterate with; as it comes, that at which a variational search begins."""
        return problem

    def certificate(self, problem: InverseProblem, optimality: Tensor) -> Certificate:
        meaning = "an iterate that a rule stopped at, and no minimiser; its evidence is the residual against the noise level"
        return Certificate("none", torch.full_like(optimality, torch.nan), meaning)

    def run(
        self,
        network: LiftedNetwork,
        problem: InverseProblem,
        start: Tensor,
        rule: ParameterRule,
        rule_problem: RuleProblem,
        *,
        tolerance: float,
        max_steps: int | None,
        on_try: Callable[[Try], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> MethodResult:
        """Iterate until the rule reads on no more, and return the iterate that it picks, sample by sample."""
        assert isinstance(rule, Rule)
        problem = self.weighted(problem)
        watching = _Watching(self.solver(network, problem, tolerance), rule.ends(rule_problem))
        begun = watching.init(problem, start)
        journal = _Journal(on_try, checkpoint, start.device)
        found = solve(
            watching,
            problem,
            journal.interrupted(begun) or begun,
            stop=lambda watched: (watched.number > 0) & watched.ended,
            max_steps=self.max_iterations if max_steps is None else max_steps,
            on_step=journal.record,
            on_loop=journal.keep,
        )
        columns = {name: journal.column(name, getattr(begun.state, name)) for name in _READ}
        penalty = torch.stack([problem.regulariser(x) for x in columns["x"]])
        trace = Trace(
            columns["alpha"],
            columns["residual"],
            columns["x"],
            penalty,
            columns["subgradient"],
            amplification=1.0,
            numbers=rule_problem.numbers,
        )
        pick = rule.pick_of(trace, rule_problem)
        chosen = {name: at_index(column, pick.index) for name, column in columns.items()}
        return MethodResult(
            x=chosen["x"],
            alpha=chosen["alpha"],
            objective=chosen["objective"],
            status=_verdicts(pick.verdict, found.codes.tolist(), rule_problem),
            certificate=self.certificate(problem, chosen["optimality"]),
            steps=found.steps,
            subgradient=chosen["subgradient"],
            continuation={},
            tried=tuple(map(_as_try, journal.steps)),
            history=tuple(journal.steps),
        )


def _verdicts(verdicts: tuple[Status, ...], codes: list[int], problem: RuleProblem) -> tuple[Status, ...]:
    ended = (STALLED, DIVERGED, INFINITE_START)
    joint = [
        status_of(code) if verdict is not Status.CONVERGED and code in ended else verdict
        for verdict, code in zip(verdicts, codes, strict=True)
    ]
    hopeless = problem.hopeless.tolist()
    return tuple(Status.NOISE_EXCEEDS_DATA if h else verdict for h, verdict in zip(hopeless, joint, strict=True))


@dataclass(frozen=True)
class _Watched(Generic[S]):
    """A state, the residuals and weights at which the rule reads on no more, ``Rule.ends``, and the number of steps so far."""

    state: S
    ends: Tensor
    number: Tensor

    @property
    def ended(self) -> Tensor:
        low = torch.stack([self.state.residual, self.state.alpha], dim=1)[:, None] <= self.ends
        return low.any(2).all(1)

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
    ends: Tensor

    def init(self, problem: InverseProblem, x: Tensor) -> _Watched[S]:
        return _Watched(self.solver.init(problem, x), self.ends, torch.zeros_like(problem.alpha))

    def step(self, problem: InverseProblem, watched: _Watched[S]) -> _Watched[S]:
        return replace(watched, state=self.solver.step(problem, watched.state), number=watched.number + 1)


_ARRAYS = ("x", "subgradient")
_READ = ("alpha", "residual", "objective", "optimality", "x", "subgradient")


class _Journal:
    """The iterates as they come, of those samples that are still running, and the checkpoint that keeps them."""

    def __init__(self, on_try: Callable[[Try], None] | None, checkpoint: Checkpoint | None, device: torch.device) -> None:
        self._memory = Memory(checkpoint, device)
        found = self._memory.found or {}
        self.steps = unpacked_steps(found)
        lengths = [len(step.samples) for step in self.steps]
        parts = {name: torch.split(found[name], lengths) for name in _ARRAYS} if self.steps else {}
        self._arrays = [dict(zip(parts, each, strict=True)) for each in zip(*parts.values(), strict=True)]
        self._on_try, self._began = on_try, time.perf_counter()

    def interrupted(self, begun: _Watched[S]) -> Loop[_Watched[S]] | None:
        """Where the checkpoint ends; ``begun`` gives the form of a state."""
        return unpacked_loop(self._memory.found or {}, begun)

    def keep(self, loop: Loop[Any]) -> None:
        self._memory.keep(
            lambda: {
                **packed_loop(loop),
                **packed_steps(self.steps),
                **{name: torch.cat([arrays[name] for arrays in self._arrays]) for name in _ARRAYS},
            }
        )

    def record(self, number: int, samples: Tensor, watched: _Watched[Any]) -> None:
        state = watched.state
        seconds = time.perf_counter() - self._began
        self.steps.append(Step(samples, state.alpha, number, state.objective, state.optimality, state.residual, seconds))
        self._arrays.append({"x": state.x, "subgradient": state.subgradient})
        if self._on_try is not None:
            self._on_try(_as_try(self.steps[-1]))

    def column(self, name: str, begun: Tensor) -> Tensor:
        """(steps, batch, ...), NaN where a sample did not go so far; one row, what it begun with, where none took a step."""
        rows = [begun.index_fill(0, step.samples, torch.nan) for step in self.steps[:1]] or [begun]
        rows += [torch.full_like(begun, torch.nan) for _ in self.steps[1:]]
        for row, step, arrays in zip(rows, self.steps, self._arrays, strict=False):
            row.index_copy_(0, step.samples, arrays[name] if name in arrays else getattr(step, name))
        return torch.stack(rows)


def _as_try(step: Step) -> Try:
    return Try(step.samples, step.alpha, step.residual, step.objective)
