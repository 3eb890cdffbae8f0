"""One warm-started walk from heavy to light weights, for all samples at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.parameter_choice.rule import RuleProblem, SolveAt
from netinverse.parameter_choice.trace import Trace
from netinverse.tensors import scatter


@dataclass(frozen=True)
class Walk:
    """Weights start * ratio^k, k whole, from where the residual begins to fall to where it no longer tells.

    The heaviest weight is the last one at which the residual is flat: less than ``flat`` higher at a weight 1/ratio^3 times as
    heavy, and more than ``flat`` lower at one ratio^3 times as heavy. A sample ends after ``max_tries`` weights, or where its
    residual is at most ``floor`` times the norm of the data or ``noise_share`` times the noise level: lighter weights fit noise.

    The walk keeps every solution: tries * batch * inputs numbers.
    """

    ratio: float = 0.5
    max_tries: int = 40
    floor: float = 8e-4
    noise_share: float = 0.5
    flat: float = 0.01
    max_leaps: int = 12

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1 or self.max_tries < 3:
            raise ValueError(
                f"Walk: ratio is {self.ratio} and max_tries is {self.max_tries}, but the weights fall by a ratio between 0 and 1 "
                f"and a minimum among them takes at least 3. The defaults are 0.5 and 40."
            )

    def __call__(self, problem: RuleProblem, solve_at: SolveAt) -> Trace:
        alpha = self._top(problem, solve_at)
        everyone = torch.arange(len(alpha), device=alpha.device)
        least = self.floor * problem.data_norm
        if problem.noise_level is not None:
            least = torch.maximum(least, self.noise_share * problem.noise_level)
        rows: list[tuple[Tensor, ...]] = []
        active = everyone
        for _ in range(self.max_tries):
            if not len(active):
                break
            found = solve_at(alpha[active], active, final=True)
            residual = torch.full_like(alpha, torch.nan).index_copy(0, active, found)
            solved = solve_at.solved(active)
            new = (solved.x, solved.penalty, solved.subgradient)
            old = tuple(t.new_zeros((len(alpha), *t.shape[1:])) for t in new) if not rows else rows[-1][2:]
            rows.append((alpha, residual, *scatter(old, active, new)))
            alpha = alpha * self.ratio
            active = active[found > least[active]]
        columns = [torch.stack(column) for column in zip(*rows, strict=True)]
        return Trace(columns[0], columns[1], columns[2], columns[3], columns[4])

    def _top(self, problem: RuleProblem, solve_at: SolveAt) -> Tensor:
        """The heaviest weight of each sample; that of the problem where the residual is flat as far down as the leaps reach."""
        leap, alpha = self.ratio**3, problem.start.clone()
        active = torch.arange(len(alpha), device=alpha.device)
        residual = solve_at(alpha, active, final=False)
        heavier = solve_at(alpha / leap, active, final=False)
        climbing = heavier > residual * (1 + self.flat)
        alpha, residual = torch.where(climbing, alpha / leap, alpha), torch.where(climbing, heavier, residual)
        for _ in range(self.max_leaps):
            up = climbing[active]
            following = alpha[active] * torch.where(up, 1 / leap, leap)
            found, before = solve_at(following, active, final=False), residual[active]
            flat = torch.maximum(found, before) <= (1 + self.flat) * torch.minimum(found, before)
            onward = flat != up
            active = active[onward]
            alpha[active], residual[active] = following[onward], found[onward]
            if not len(active):
                break
        descended = torch.zeros_like(climbing)
        descended[active] = ~climbing[active]
        return torch.where(descended, problem.start, alpha)
