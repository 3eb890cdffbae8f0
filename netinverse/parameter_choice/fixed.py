"""A weight the user names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netinverse.checks import per_sample_values, require_number
from netinverse.parameter_choice.composition import Rule
from netinverse.parameter_choice.rule import ParameterChoice, RuleProblem, SolveAt, one_end
from netinverse.parameter_choice.trace import Pick, Trace, first_step
from netinverse.solvers.status import Status

WHY = "It weighs the regulariser; for none at all take a very small one."

LEAP = 10.0
"""How many times lighter each weight is than the one before, on the way down from a heavy one; the last is up to 100 times."""


@dataclass(frozen=True)
class Fixed(Rule):
    """alpha as given: one positive number, or one for each sample. Needs no noise level."""

    alpha: float | Tensor

    def __post_init__(self) -> None:
        given: Any = self.alpha
        if isinstance(given, list | tuple | np.ndarray) and (row := np.asarray(given)).dtype.kind in "fiu":
            object.__setattr__(self, "alpha", torch.as_tensor(row))
        if not isinstance(self.alpha, Tensor):
            require_number("Fixed", "alpha", self.alpha, WHY)
        elif (
            self.alpha.dtype is torch.bool
            or self.alpha.is_complex()
            or not bool(((self.alpha > 0) & self.alpha.isfinite()).all())
        ):
            raise ValueError(f"Fixed: alpha is {self.alpha.tolist()}, but every weight must be positive and finite. {WHY}")
        elif self.alpha.ndim > 1:
            raise ValueError(f"Fixed: alpha has shape {tuple(self.alpha.shape)}, but must be one number, or one for each sample.")

    @property
    def needs_noise_level(self) -> bool:
        return False

    def ends(self, problem: RuleProblem) -> Tensor:
        alpha = per_sample_values("Fixed", "alpha", self.alpha, problem.start, positive=True)
        return one_end(0.0, alpha, problem.start)

    def select(self, index: Tensor, batch: int) -> Fixed:
        if not isinstance(self.alpha, Tensor):
            return self
        return Fixed(per_sample_values("Fixed", "alpha", self.alpha, index.new_zeros(batch, dtype=torch.float64))[index])

    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice:
        alpha = per_sample_values("Fixed", "alpha", self.alpha, problem.start, positive=True)
        # The way down from a heavy weight is short and lands nearer a good minimiser than a cold start.
        path = problem.start
        everyone = torch.arange(len(alpha), device=alpha.device)
        while not problem.convex and bool((path > LEAP * alpha).any()):
            active = (path > LEAP * alpha).nonzero().flatten()
            solve_at(path[active], active, final=False)
            path = torch.where(path > LEAP * alpha, path / LEAP, path)
        solve_at(alpha, everyone, final=True)
        return ParameterChoice(alpha, (Status.CONVERGED,) * len(alpha))

    def pick(self, trace: Trace, noise_level: Tensor | None = None) -> Pick:
        """The first step with a weight of at most alpha; STEP_LIMIT where the trace ends before."""
        alpha = per_sample_values("Fixed", "alpha", self.alpha, trace.alpha.T, positive=True)
        return first_step(trace, trace.alpha <= alpha)
