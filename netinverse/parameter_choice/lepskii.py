"""Lepskii's balancing principle: the heaviest weight that the lighter ones do not contradict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from netinverse.checks import require_number
from netinverse.parameter_choice.path_rule import PathRule
from netinverse.parameter_choice.trace import Pick, Trace
from netinverse.solvers.status import Status
from netinverse.tensors import inner


@dataclass(frozen=True)
class Lepskii(PathRule):
    """The largest alpha_i with D(x_i, x_j) <= (constant * c delta / sqrt(alpha_j))^2 for every lighter alpha_j of the walk.

    D(x_i, x_j) = <p_i - p_j, x_i - x_j> is the symmetric Bregman distance of the regulariser, p in dR(x), which is
    ||x_i - x_j||^2 for Tikhonov. For a linear F, a squared fidelity and any convex R the noise moves x_alpha by no more than
    D <= (c delta)^2/alpha with c = 1/2 (the trace's ``amplification``): add the optimality conditions with and without noise.
    Two weights at which the noise outweighs the bias thus differ by no more than the bound, and constant = 4 allows for both.

    For Tikhonov this is Lepskii's principle: the error is within a constant of the best balance of bias and noise, without
    knowing the smoothness of the truth. For other regularisers sqrt(D) is no metric and the comparison is not a theorem; for
    networks that are not affine the bound of the noise holds to first order at most. Reads x and subgradient.

    Verdict: CONVERGED; NOISE_EXCEEDS_DATA where delta is at least the norm of the data, with the heaviest weight of the walk.

    Lepskii, Theory Probab. Appl. 35, 1990; Mathe, Inverse Problems 22, 2006; Bauer & Hohage, Inverse Problems 21, 2005.
    """

    constant: float = 4.0
    accurate: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("Lepskii", "constant", self.constant, "It allows for the noise in two solutions. The default is 4.")

    @property
    def needs_noise_level(self) -> bool:
        return True

    def pick(self, trace: Trace, noise_level: Tensor | None = None) -> Pick:
        if noise_level is None:
            raise ValueError("Lepskii: there is no noise_level, which its bound is made of. Pass it, or use QuasiOptimality().")
        x = trace.need("Lepskii", "x")
        p = x if trace.subgradient is None else trace.subgradient
        bound = (self.constant * trace.amplification * noise_level).square() / trace.alpha
        taken = trace.taken
        # From the heaviest on: the first that no lighter one contradicts.
        index = taken.sum(0) - 1
        open_ = torch.ones_like(index, dtype=torch.bool)
        for i in range(len(x)):
            agrees = taken[i] & open_
            for j in range(i + 1, len(x)):
                if not bool(agrees.any()):
                    break
                agrees = agrees & (~taken[j] | (inner(p[i] - p[j], x[i] - x[j]) <= bound[j]))
            index = torch.where(agrees, i, index)
            open_ = open_ & ~agrees
        return Pick(index.clamp(min=0), (Status.CONVERGED,) * len(index))
