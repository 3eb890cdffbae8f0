"""Proximal maps in the metric of a step: what keeps the minimiser of energy + R where a step is scaled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netinverse.prox.scalar import Separable

if TYPE_CHECKING:
    from netinverse.training.problem import WeightPenalty

BETAS, FLOOR = (0.9, 0.999), 1e-8
"""Of Adam, as torch has them."""


def proximal_point(regulariser: WeightPenalty | None, point: Tensor, step: float | Tensor) -> Tensor:
    """argmin_v R(v) + sum_i (v_i - point_i)^2/(2 step_i), for matrices and filters; other parameters stay where they are.

    step: one number, for any R, or one for each entry, for an R that is separable.
    """
    if regulariser is None or point.ndim < 2:
        return point
    if isinstance(step, Tensor) and step.ndim:
        assert isinstance(regulariser, Separable)
        return regulariser.prox_entries(point[None], step[None])[0]
    return regulariser.prox(point[None], step.reshape(1) if isinstance(step, Tensor) else step)[0]


def adam(
    mean: Tensor, square: Tensor, count: Tensor | int, rate: float, regulariser: WeightPenalty | None
) -> tuple[Tensor, Tensor]:
    """m and s = rate/(sqrt(v) + eps), m and v the means of the gradient and its square without bias: a step is theta - s m.

    v is of each entry where R can be taken entry by entry, and otherwise its mean over the entries of the tensor: a metric of one
    number, in which the proximal map of any R is known. Yun, Lozano & Yang, NeurIPS 2021.
    """
    first, second = (1 - torch.as_tensor(beta, dtype=mean.dtype, device=mean.device) ** count for beta in BETAS)
    entrywise = regulariser is None or mean.ndim < 2 or isinstance(regulariser, Separable)
    variance = square / second if entrywise else square.mean() / second
    return mean / first, rate / (variance.sqrt() + FLOOR)
