"""Rules put together: ``a | b`` and ``a & b``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
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
    def floor(self) -> float:
        """The least noise level that the rule reads, as a share of the norm of the data."""
        return 0.0

    def noise(self, problem: RuleProblem) -> Tensor | None:
        """The noise level as the rule reads it, (batch,): that left in the data, not below the floor."""
        level = problem.noise_level
        return None if level is None else torch.maximum(level, self.floor * problem.data_norm)

    @abstractmethod
    def ends(self, problem: RuleProblem) -> Tensor:
        """Pairs of a residual and a weight, (batch, pairs, 2): a method that stops has no more to say to the rule at an iterate
        that is at or below one or the other in every pair.
        """
        ...

    @abstractmethod
    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice: ...

    @abstractmethod
    def pick(self, trace: Trace, noise_level: Tensor | None = None) -> Pick: ...

    def pick_of(self, trace: Trace, problem: RuleProblem) -> Pick:
        """``pick`` with the noise level of the problem."""
        return self.pick(trace, self.noise(problem))

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

    def ends(self, problem: RuleProblem) -> Tensor:
        return torch.cat([rule.ends(problem) for rule in self._asked(problem.noise_level)], dim=1)

    def select(self, index: Tensor, batch: int) -> Rule:
        return FirstMet(self.first.select(index, batch), self.second.select(index, batch))

    def __str__(self) -> str:
        return f"{self.first} | {self.second}"

    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice:
        first, *others = self._asked(problem.noise_level)
        choice = first.choose(problem, solve_at)
        rest = _unmet(choice.verdict, choice.alpha.device)
        if not others or not len(rest):
            return choice
        second = self.second.select(rest, len(problem.start))
        other = second.choose(problem.select(rest), _Some(solve_at, rest))
        verdict = _replaced(choice.verdict, rest, other.verdict)
        return ParameterChoice(choice.alpha.index_copy(0, rest, other.alpha), verdict)

    def pick(self, trace: Trace, noise_level: Tensor | None = None) -> Pick:
        def asked(rule: Rule, index: Tensor | None) -> Pick:
            if index is None:
                return rule.pick(trace, noise_level)
            return rule.pick(trace.select(index), None if noise_level is None else noise_level[index])

        return self._pick(noise_level, asked)

    def pick_of(self, trace: Trace, problem: RuleProblem) -> Pick:
        def asked(rule: Rule, index: Tensor | None) -> Pick:
            return rule.pick_of(trace, problem) if index is None else rule.pick_of(trace.select(index), problem.select(index))

        return self._pick(problem.noise_level, asked)

    def _pick(self, noise_level: Tensor | None, asked: Callable[[Rule, Tensor | None], Pick]) -> Pick:
        """``asked`` says what a rule picks for some samples, None for all."""
        first, *others = self._asked(noise_level)
        pick = asked(first, None)
        rest = _unmet(pick.verdict, pick.index.device)
        if not others or not len(rest):
            return pick
        other = asked(self.second.select(rest, len(pick.index)), rest)
        return Pick(pick.index.index_copy(0, rest, other.index), _replaced(pick.verdict, rest, other.verdict))

    def _asked(self, noise_level: Tensor | None) -> tuple[Rule, ...]:
        """Both, or the one that needs no noise level where there is none."""
        if noise_level is None and self.first.needs_noise_level:
            return (self.second,)
        return (self.first,) if noise_level is None and self.second.needs_noise_level else (self.first, self.second)


def _unmet(verdict: tuple[Status, ...], device: torch.device) -> Tensor:
    """The samples that a rule is not met for."""
    return torch.tensor([i for i, each in enumerate(verdict) if each is not Status.CONVERGED], dtype=torch.long, device=device)


def _replaced(verdict: tuple[Status, ...], index: Tensor, others: tuple[Status, ...]) -> tuple[Status, ...]:
    found = dict(zip(index.tolist(), others, strict=True))
    return tuple(found.get(i, each) for i, each in enumerate(verdict))


@dataclass(frozen=True)
class Heavier(Rule):
    """a & b: the larger of the two weights, sample by sample; met where both are, otherwise with the verdict that objects."""

    first: Rule
    second: Rule

    @property
    def needs_noise_level(self) -> bool:
        return self.first.needs_noise_level or self.second.needs_noise_level

    def ends(self, problem: RuleProblem) -> Tensor:
        return torch.cat([self.first.ends(problem), self.second.ends(problem)], dim=1)

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
        return _earlier(self.first.pick(trace, noise_level), self.second.pick(trace, noise_level))

    def pick_of(self, trace: Trace, problem: RuleProblem) -> Pick:
        return _earlier(self.first.pick_of(trace, problem), self.second.pick_of(trace, problem))


def _earlier(first: Pick, second: Pick) -> Pick:
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
