"""A weight the user names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from netinverse.checks import per_sample_values
from netinverse.parameter_choice.rule import ParameterChoice, RuleProblem, SolveAt
from netinverse.solvers.status import Status


@dataclass(frozen=True)
class Fixed:
    """alpha as given: one positive number, or one for each sample. Needs no noise level."""

    alpha: float | Tensor
    needs_noise_level: ClassVar[bool] = False

    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice:
        alpha = per_sample_values("Fixed", "alpha", self.alpha, problem.start, positive=True)
        # The way down from a heavy weight is short and lands nearer a good minimiser than a cold start.
        path = problem.start
        everyone = torch.arange(len(alpha), device=alpha.device)
        while bool((path > 4 * alpha).any()):
            active = (path > 4 * alpha).nonzero().flatten()
            solve_at(path[active], active, final=False)
            path = torch.where(path > 4 * alpha, path / 4, path)
        solve_at(alpha, everyone, final=True)
        return ParameterChoice(alpha, (Status.CONVERGED,) * len(alpha))
