"""The quasi-optimality criterion: where the solution changes least with the weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from netinverse.parameter_choice.path_rule import HeuristicRule
from netinverse.parameter_choice.trace import Trace, step_norms


@dataclass(frozen=True)
class QuasiOptimality(HeuristicRule):
    """alpha_i with the lowest inner minimum of ||x_{i+1} - x_i|| / ln(alpha_i / alpha_{i+1}).

    The quotient is ||alpha dx_alpha/dalpha|| in the limit of fine weights; on a geometric grid the denominator is a constant. For
    iterates k it is ||x_{k+1} - x_k|| / ln(1 + 1/k). Reads x. Heuristic: see HeuristicRule.

    Tikhonov & Glasko, USSR Comput. Math. Math. Phys. 5, 1965; Bauer & Reiss, Inverse Problems 24, 2008.
    """

    accurate: ClassVar[bool] = True

    def functional(self, trace: Trace) -> Tensor:
        change = step_norms(trace.need("QuasiOptimality", "x")) / torch.log(trace.alpha[:-1] / trace.alpha[1:])
        values = torch.cat([change, torch.full_like(trace.alpha[:1], torch.inf)])
        both = trace.taken & torch.cat([trace.taken[1:], torch.zeros_like(trace.taken[:1])])
        return torch.where(both, values, torch.inf)
