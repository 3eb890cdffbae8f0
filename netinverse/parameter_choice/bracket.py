"""A bracket around the weight with a given residual, and where to look next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

# A step tells how the residual depends on alpha where alpha changes by this factor or more: over less, the error of a quick
# solution (some thousandths of the residual) is as large as what a flat residual shows.
TELLING = 2.5
# d log residual / d log alpha below which the residual counts as flat: less than 5 % a decade.
FLAT = 0.02
# Flat steps in a row that end a search: where the residual has moved before, and where it has not. Far above and far below the
# weights that matter the residual is flat as well, and the search may have begun there: it looks eight steps away.
ENOUGH, ENOUGH_UNMOVED = 2, 8
# The slope is 1 for the least regularised problems, and smaller the smoother the truth; less than 0.15 would name leaps far
# beyond what a step is held to.
SLOPES = (0.15, 1.0)
# A step moves alpha by a tenth at least, so that the search does not creep, and by a factor of five at most, since the solution
# at the last weight is the start at the next.
LEAST, MOST = 1.1, 5.0
# A bracket this narrow, across which the residual changes by more than this power of alpha, holds no root but a jump: the
# solutions of a nonconvex problem depend on the way. Once may be an error of the solver, and the search begins again around it;
# after so many the jump is there.
SHUT, STEEP = 0.97, 2.0
JUMPS = 2


@dataclass(frozen=True)
class Bracket:
    """What the tries of each sample say of its residual as a function of alpha; all ``(batch,)``.

    ``below`` and ``above`` are the tries nearest ``target`` on either side, (alpha, residual); ``slope`` is that of log residual
    against log alpha, and ``last`` the try it is taken from; ``over`` says on which side of the target the last try was. ``flat``
    counts the telling steps in a row, on one side, that left the residual as it was, ``plateau`` is the weight where that began,
    and ``moved`` says whether any step did better. ``shut`` counts the brackets that held no root.
    """

    target: Tensor
    last: tuple[Tensor, Tensor]
    below: tuple[Tensor, Tensor]
    above: tuple[Tensor, Tensor]
    slope: Tensor
    over: Tensor
    flat: Tensor
    plateau: Tensor
    moved: Tensor
    shut: Tensor

    @classmethod
    def around(cls, target: Tensor, alpha: Tensor) -> Self:
        """Nothing tried yet; ``alpha`` is the weight to be tried first."""
        zero, inf = torch.zeros_like(alpha), torch.full_like(alpha, torch.inf)
        no = torch.zeros_like(alpha, dtype=torch.bool)
        return cls(target, (alpha, inf), (zero, zero), (inf, inf), zero + 0.5, no, zero, alpha, no, zero)

    @property
    def stuck(self) -> Tensor:
        """Where the residual does not move towards the target any more."""
        return self.flat >= torch.where(self.moved, ENOUGH, ENOUGH_UNMOVED)

    @property
    def jumps(self) -> Tensor:
        """Where the residual jumps across the target."""
        return self.shut >= JUMPS

    def record(self, alpha: Tensor, residual: Tensor) -> Self:
        """The bracket with one more try in it."""
        over = residual > self.target
        first = ~torch.isfinite(self.last[1])
        turned = ~first & (over != self.over)
        factor = alpha / self.last[0]
        slope = torch.log(residual / self.last[1]) / torch.log(factor)
        telling = ~first & ~turned & torch.where(over, factor <= 1 / TELLING, factor >= TELLING)
        still = telling & ~(slope >= FLAT)  # a slope of NaN is that between two residuals of zero
        flat = torch.where(still, self.flat + 1, torch.where(telling | turned, 0.0, self.flat))
        usable = torch.isfinite(slope) & (torch.maximum(factor, 1 / factor) > LEAST)
        backwards = torch.where(over, factor > 1, factor < 1)
        below, above, shut = self._narrowed(alpha, residual, over)
        return replace(
            self,
            last=_put(first | turned | telling | backwards, (alpha, residual), self.last),
            below=below,
            above=above,
            slope=torch.where(usable, slope.clamp(*SLOPES), self.slope),
            over=over,
            flat=flat,
            plateau=torch.where(flat == 0, alpha, torch.where(self.flat == 0, self.last[0], self.plateau)),
            moved=self.moved | (telling & ~still) | turned,
            shut=self.shut + shut,
        )

    def _narrowed(
        self, alpha: Tensor, residual: Tensor, over: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor]:
        """``below`` and ``above`` with one more try, both empty again where shut for the first time; and where shut."""
        below, above = _put(~over, (alpha, residual), self.below), _put(over, (alpha, residual), self.above)
        factor = above[0] / below[0]
        shut = (factor < 1 / SHUT) & ~(above[1] / below[1] <= factor**STEEP)
        again = shut & (self.shut + 1 < JUMPS)
        zero, inf = torch.zeros_like(residual), torch.full_like(residual, torch.inf)
        return _put(again, (zero, zero), below), _put(again, (inf, inf), above), shut

    def propose(self, alpha: Tensor, residual: Tensor) -> Tensor:
        """The next weight: inside the bracket by the secant in the logarithms, else further along the last direction."""
        (low, low_residual), (high, high_residual) = self.below, self.above
        share = torch.log(self.target / low_residual) / torch.log(high_residual / low_residual)
        inside = torch.exp(torch.lerp(torch.log(low), torch.log(high), share.nan_to_num(0.5).clamp(0.1, 0.9)))
        # Along the way residual ~ alpha^slope.
        ratio = residual / self.target
        power = ratio.clamp(min=1e-9) ** (-1 / self.slope)
        least = torch.where(
            self.flat > 0, TELLING, LEAST
        )  # where the residual is flat, only steps that tell are worth a solution
        outside = alpha * torch.where(ratio > 1, torch.minimum(power, 1 / least), torch.maximum(power, least)).clamp(
            1 / MOST, MOST
        )
        found = torch.where((low > 0) & torch.isfinite(high), inside, outside)
        return torch.where(self.jumps & (low > 0), torch.minimum(low, alpha) / LEAST, found)  # just below the jump


def _put(where: Tensor, new: tuple[Tensor, Tensor], old: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.where(where, new[0], old[0]), torch.where(where, new[1], old[1])
