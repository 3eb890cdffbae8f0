"""One warm-started walk from heavy to light weights, for all samples at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.checks import require_numbers, require_whole
from netinverse.parameter_choice.rule import FLOOR, RuleProblem, SolveAt
from netinverse.parameter_choice.trace import Trace
from netinverse.tensors import norm, scatter

SETTLING = 4


@dataclass(frozen=True)
class Walk:
    """Weights start * ratio^k, k whole, from where the residual begins to fall to where it no longer tells.

    The heaviest weight is where the residual begins to fall: there it is within ``flat`` of what it is ``max_leaps`` leaps above
    the start, and no longer a leap below; a leap is a factor ratio^3. A sample ends after ``max_tries`` weights; where its
    residual is at most ``floor`` times the norm of the data or ``noise_share`` times the noise level: lighter weights fit noise;
    or where its solution has stood still, to ``still`` times its norm, for four weights in a row.

    The walk keeps every solution: tries * batch * inputs numbers.
    """

    ratio: float = 0.5
    max_tries: int = 40
    floor: float = FLOOR
    noise_share: float = 0.5
    flat: float = 0.01
    still: float = 1e-3
    max_leaps: int = 12

    def __post_init__(self) -> None:
        shares = {"floor": self.floor, "noise_share": self.noise_share, "flat": self.flat, "still": self.still}
        require_numbers("Walk", "The defaults are 0.5 and 40.", ratio=self.ratio, max_tries=self.max_tries)
        require_numbers("Walk", "Leave it out for the default.", **shares)
        require_whole("Walk", "max_leaps", self.max_leaps, 0, "The default is 12.")
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"Walk: {name} is {share}, but must lie in [0, 1]. Leave it out for the default.")
        if not 0 < self.ratio < 1 or self.max_tries < 3:
            raise ValueError(
                f"Walk: ratio is {self.ratio} and max_tries is {self.max_tries}, but the weights fall by a ratio between 0 and 1 "
                f"and a minimum among them takes at least 3. The defaults are 0.5 and 40."
            )

    def __call__(self, problem: RuleProblem, solve_at: SolveAt, *, accurate: bool) -> Trace:
        """The solutions, with the solver's full accuracy where ``accurate``, otherwise with what a search needs."""
        alpha = self._top(problem, solve_at)
        everyone = torch.arange(len(alpha), device=alpha.device)
        least = self.least_residual(problem)
        rows: list[tuple[Tensor, ...]] = []
        active, stood = everyone, torch.zeros_like(everyone)
        for number in range(self.max_tries):
            if not len(active):
                break
            found = solve_at(alpha[active], active, final=accurate)
            residual = torch.full_like(alpha, torch.nan).index_copy(0, active, found)
            solved = solve_at.solved(active)
            new = (solved.x, solved.penalty, solved.subgradient)
            old = tuple(t.new_zeros((len(alpha), *t.shape[1:])) for t in new) if not rows else rows[-1][2:]
            moved = norm(new[0] - old[0][active]) > self.still * norm(new[0])
            # Above its critical weight a solution stands still too.
            stood[active] = torch.where(moved | (number < SETTLING), 0, stood[active] + 1)
            rows.append((alpha, residual, *scatter(old, active, new)))
            alpha = alpha * self.ratio
            active = active[(found > least[active]) & (stood[active] < SETTLING)]
        columns = [torch.stack(column) for column in zip(*rows, strict=True)]
        return Trace(columns[0], columns[1], columns[2], columns[3], columns[4], numbers=problem.numbers)

    def least_residual(self, problem: RuleProblem) -> Tensor:
        """The residual at which a sample ends, (batch,)."""
        least = self.floor * problem.data_norm
        return least if problem.noise_level is None else torch.maximum(least, self.noise_share * problem.noise_level)

    def _top(self, problem: RuleProblem, solve_at: SolveAt) -> Tensor:
        """The heaviest weight of each sample; the weight of the problem where the leaps end before it is found."""
        leap, everyone = self.ratio**3, torch.arange(len(problem.start), device=problem.start.device)
        limit = solve_at(problem.start / leap**self.max_leaps, everyone, final=False) / (1 + self.flat)
        flat = solve_at(problem.start, everyone, final=False) >= limit
        alpha, top, active = problem.start.clone(), problem.start.clone(), everyone
        for _ in range(self.max_leaps):
            down = flat[active]
            following = alpha[active] * torch.where(down, leap, 1 / leap)
            crossed = (solve_at(following, active, final=False) >= limit[active]) != down
            # Of the two weights around the crossing, the heavier one.
            top[active[crossed]] = torch.where(down, alpha[active], following)[crossed]
            alpha[active] = following
            active = active[~crossed]
            if not len(active):
                break
        return top
