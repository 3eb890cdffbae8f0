"""The L-curve: the corner of log penalty against log fidelity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from netinverse.parameter_choice.path_rule import HeuristicRule
from netinverse.parameter_choice.trace import Trace


@dataclass(frozen=True)
class LCurve(HeuristicRule):
    """The corner: alpha_i with the largest positive inner maximum of the curvature of (ln 1/2||F(x_i) - y^delta||^2, ln R(x_i)).

    The curvature at a point is that of the circle through it and its neighbours, 4 area / (product of the sides), positive where
    the curve turns round the origin's side; it does not depend on how the curve is run through. For R = 1/2||x||^2 both axes are
    twice those of (ln ||residual||, ln ||x||), with the corner at the same alpha. R(x_i) = 0 or a residual of zero has no point
    on the curve. Reads the penalty. Heuristic: see HeuristicRule; for very smooth truths the corner lies at too small weights.

    Hansen & O'Leary, SIAM J. Sci. Comput. 14, 1993; Menger's curvature: Cultrera & Callegaro, IOP SciNotes 1, 2020.
    """

    accurate: ClassVar[bool] = True

    def functional(self, trace: Trace) -> Tensor:
        points = torch.stack([2 * torch.log(trace.residual), torch.log(trace.need("LCurve", "penalty"))])
        points = torch.where(torch.isfinite(points).all(0) & trace.taken, points, torch.nan)
        before, after = points[:, 1:-1] - points[:, :-2], points[:, 2:] - points[:, 1:-1]
        # The way goes to small residuals, then to large penalties: a right turn, so that the cross product is negative.
        cross = before[0] * after[1] - before[1] * after[0]
        sides = before.norm(dim=0) * after.norm(dim=0) * (before + after).norm(dim=0)
        values = torch.full_like(trace.alpha, torch.inf)
        # What bends towards the origin is no corner, however the curvature varies there.
        values[1:-1] = torch.where(sides > 0, (2 * cross / sides).clamp(max=0), torch.nan)
        return values
