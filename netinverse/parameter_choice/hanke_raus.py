"""The Hanke-Raus rule: the least estimate of the error by the residual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from netinverse.parameter_choice.path_rule import HeuristicRule
from netinverse.parameter_choice.trace import Trace


@dataclass(frozen=True)
class HankeRaus(HeuristicRule):
    """alpha_i with the lowest inner minimum of ||F(x_i) - y^delta|| / sqrt(alpha_i).

    delta/sqrt(alpha) bounds the noise in x_alpha, and the residual stands for delta. For iterates it is sqrt(k) ||residual||, the
    rule of Hanke and Raus for Landweber's iteration; with a penalty, the form of Jin and Lorenz for convex variational
    regularisation. Tikhonov's x_alpha stops improving at alpha ~ delta^{2/3}, and so does this functional. Reads residuals only.
    Heuristic: see HeuristicRule.

    Hanke & Raus, SIAM J. Sci. Comput. 17, 1996; Jin & Lorenz, SIAM J. Numer. Anal. 48, 2010.
    """

    accurate: ClassVar[bool] = False

    def functional(self, trace: Trace) -> Tensor:
        return torch.where(trace.taken, trace.residual / trace.alpha.sqrt(), torch.inf)
