"""The contract of a rule: it asks for solutions at weights it names, and settles on one weight for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from netinverse.solvers.status import Status


@dataclass(frozen=True)
class RuleProblem:
    """What a rule may know: the noise left in the data, the norm of the data, and a weight to start from, all ``(batch,)``."""

    noise_level: Tensor | None
    data_norm: Tensor
    start: Tensor


class SolveAt(Protocol):
    """Solve ``samples`` at weights ``alpha`` (both ``(k,)``), warm-started from their last solution: residuals ``(k,)``.

    ``final`` asks for the solver's full accuracy; a rule that is still searching needs less.
    """

    def __call__(self, alpha: Tensor, samples: Tensor, *, final: bool) -> Tensor: ...


@dataclass(frozen=True)
class ParameterChoice:
    """The weight of each sample, and what the rule says of it: CONVERGED where the rule is met."""

    alpha: Tensor
    verdict: tuple[Status, ...]


class ParameterRule(Protocol):
    """Pure configuration. ``choose`` leaves every sample solved, finally, at the weight it returns."""

    @property
    def needs_noise_level(self) -> bool: ...

    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice: ...
