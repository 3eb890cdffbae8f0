"""Rules put together: ``a | b`` and ``a & b``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netinverse.checks import require_object
from netinverse.parameter_choice.rule import ParameterChoice, RuleProblem, SolveAt, Solved
from netinverse.parameter_choice.trace import Pick, Trace
from netinverse.solvers.status import Status


class Rule(ABC):
    """A rule that can be put together with others.

    ``a | b``: the weight of a where a is met, of b elsewhere. ``a & b``: the larger of the two weights, the more regularised
    answer; met where both are. For iterations: the step of a where met, else of b; the earlier of the two steps.
    """

    @property
    @abstractmethod
    def needs_noise_level(self) -> bool: ...

    @property
    @abstractmethod
    def reads_to(self) -> float:
        """The residual, as a share of the noise level, below which the iterates of a method that stops say nothing more to it."""
        ...

    @abstractmethod
    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice: ...

    @abstractmethod
    def pick(self, trace: Trace, noise_level: Tensor | None = None) -> Pick: ...

    def select(self, index: Tensor, batch: int) -> Rule:
        """The rule for the samples ``index`` of ``batch``; another one only where a rule holds something for each sample."""
        return self

    def __or__(self, other: Rule) -> FirstMet:
        return FirstMet(self, _a_rule(other))

    def __and__(self, other: Rule) -> Heavier:
        return Heavier(self, _a_rule(other))

    def __str__(self) -> str:
        return type(self).__name__


@dataclass(frozen=True)
class FirstMet(Rule):
    """a | b: where a is met its weight, elsewhere that of b, sample by sample.

    A rule that needs a noise level is passed over where there is none, so that
    ``DiscrepancyPrinciple() | QuasiOptimality()`` serves with and without one.
    """

    first: Rule
    second: Rule

    @property
    def needs_noise_level(self) -> bool:
        return self.first.needs_noise_level and self.second.needs_noise_level

    @property
    def reads_to(self) -> float:
        return min(self.first.reads_to, self.second.reads_to)

    def select(self, index: Tensor, batch: int) -> Rule:
        return FirstMet(self.first.select(index, batch), self.second.select(index, batch))

    def __str__(self) -> str:
        return f"{self.first} | {self.second}"

    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice:
        if problem.noise_level is None and (self.first.needs_noise_level or self.second.needs_noise_level):
            return (self.second if self.first.needs_noise_level else self.first).choose(problem, solve_at)
        choice = self.first.choose(problem, solve_at)
        rest = [i for i, verdict in enumerate(choice.verdict) if verdict is not Status.CONVERGED]
        if not rest:
            return choice
        index = torch.tensor(rest, device=choice.alpha.device)
        other = self.second.choose(problem.select(index), _Some(solve_at, index))
        verdicts = list(choice.verdict)
        for i, verdict in zip(rest, other.verdict, strict=True):
            verdicts[i] = verdict
        return ParameterChoice(choice.alpha.index_copy(0, index, other.alpha), tuple(verdicts))

    def pick(self, trace: Trace, noise_level: Tensor | None = None) -> Pick:
        if noise_level is None and (self.first.needs_noise_level or self.second.needs_noise_level):
            return (self.second if self.first.needs_noise_level else self.first).pick(trace)
        first, second = self.first.pick(trace, noise_level), self.second.pick(trace, noise_level)
        verdict = tuple(a if a is Status.CONVERGED else b for a, b in zip(first.verdict, second.verdict, strict=True))
        return Pick(torch.where(first.met, first.index, second.index), verdict)


@dataclass(frozen=True)
class Heavier(Rule):
    """a & b: the larger of the two weights, sample by sample; met where both are, otherwise with the verdict that objects."""

    first: Rule
    second: Rule

    @property
    def needs_noise_level(self) -> bool:
        return self.first.needs_noise_level or self.second.needs_noise_level

    @property
    def reads_to(self) -> float:
        return min(self.first.reads_to, self.second.reads_to)

    def select(self, index: Tensor, batch: int) -> Rule:
        return Heavier(self.first.select(index, batch), self.second.select(index, batch))

    def __str__(self) -> str:
        return f"{_in_brackets(self.first)} & {_in_brackets(self.second)}"

    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice:
        everyone = torch.arange(len(problem.start), device=problem.start.device)
        first = self.first.choose(problem, solve_at)
        kept = solve_at.solved(everyone).x if len(everyone) else None
        second = self.second.choose(problem, solve_at)
        back = (first.alpha > second.alpha).nonzero().flatten()
        if len(back) and kept is not None:
            solve_at(first.alpha[back], back, final=True, start=kept[back])
        return ParameterChoice(torch.maximum(first.alpha, second.alpha), _both(first.verdict, second.verdict))

    def pick(self, trace: Trace, noise_level: Tensor | None = None) -> Pick:
        first, second = self.first.pick(trace, noise_level), self.second.pick(trace, noise_level)
        return Pick(torch.minimum(first.index, second.index), _both(first.verdict, second.verdict))


def _a_rule(other: Rule) -> Rule:
    require_object("Rule", "the other of | or &", other, ("choose", "pick"), "Both sides are rules: ni.LCurve() | ni.Fixed(0.1).")
    return other


def _both(first: tuple[Status, ...], second: tuple[Status, ...]) -> tuple[Status, ...]:
    return tuple(b if a is Status.CONVERGED else a for a, b in zip(first, second, strict=True))


def _in_brackets(rule: Rule) -> str:
    return f"({rule})" if isinstance(rule, FirstMet) else str(rule)


@dataclass(frozen=True)
class _Some:
    """``solve_at`` for the samples ``index`` of a batch, numbered from zero."""

    solve_at: SolveAt
    index: Tensor = field(repr=False)

    def __call__(self, alpha: Tensor, samples: Tensor, *, final: bool, start: Tensor | None = None) -> Tensor:
        return self.solve_at(alpha, self.index[samples], final=final, start=start)

    def solved(self, samples: Tensor) -> Solved:
        return self.solve_at.solved(self.index[samples])
