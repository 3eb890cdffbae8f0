"""The contract of a rule: it asks for solutions at weights it names, and settles on one weight for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from netinverse.solvers.status import Status

FLOOR = 8e-4
"""The least residual that is looked for, relative to the norm of the data: what serves exact data at tolerance 1e-6."""


class RuleWarning(UserWarning):
    """A rule chose a weight, and there is reason to doubt it."""


@dataclass(frozen=True)
class RuleProblem:
    """What a rule may know: the noise left in the data, the norm of the data, and a weight to start from, all ``(batch,)``.

    ``given_noise_level`` is the noise before the data were projected; None where nothing was projected. ``convex`` says that a
    solution depends on its weight alone, not on the way there. ``numbers``: of the samples in the caller's batch, for messages;
    None counts from zero.
    """

    noise_level: Tensor | None
    data_norm: Tensor
    start: Tensor
    given_noise_level: Tensor | None = None
    convex: bool = False
    numbers: Tensor | None = None

    @property
    def hopeless(self) -> Tensor:
        """Where the noise is as large as the data, (batch,): equal norms count, whatever their rounding."""
        if self.noise_level is None:
            return torch.zeros_like(self.data_norm, dtype=torch.bool)
        return (self.noise_level >= (1 - 1e-12) * self.data_norm) & (self.noise_level > 0)

    def select(self, index: Tensor) -> RuleProblem:
        """The problem of the samples ``index``."""
        level, given = (None if t is None else t[index] for t in (self.noise_level, self.given_noise_level))
        numbers = index if self.numbers is None else self.numbers[index]
        return RuleProblem(level, self.data_norm[index], self.start[index], given, self.convex, numbers)


@dataclass(frozen=True)
class Solved:
    """The last solutions of some samples: x and p in dR(x), ``(k, *input_shape)``, and R(x), ``(k,)``."""

    x: Tensor
    penalty: Tensor
    subgradient: Tensor


def one_end(residual: Tensor | float, weight: Tensor | float, like: Tensor) -> Tensor:
    """What ``Rule.ends`` of a rule is that reads down to a residual or a weight, each (batch,) or one for all; (batch, 1, 2)."""
    return torch.stack([torch.as_tensor(end).to(like).expand_as(like) for end in (residual, weight)], dim=1)[:, None]


class SolveAt(Protocol):
    """Solve ``samples`` at weights ``alpha`` (both ``(k,)``), warm-started from their last solution: residuals ``(k,)``.

    ``final`` asks for the solver's full accuracy; a rule that is still searching needs less. ``start``, ``(k, *input_shape)``,
    is where to begin instead. ``solved`` gives the last solutions themselves.
    """

    def __call__(self, alpha: Tensor, samples: Tensor, *, final: bool, start: Tensor | None = None) -> Tensor: ...
    def solved(self, samples: Tensor) -> Solved: ...


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
