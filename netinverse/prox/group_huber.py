"""The Huber function of the norms of groups."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netinverse.checks import require_positive, require_whole
from netinverse.protocols import Step
from netinverse.prox.groups import group_squares
from netinverse.prox.scalar import beyond
from netinverse.tensors import per_sample, total


@dataclass(frozen=True)
class GroupHuber:
    """sum over groups of h(||x_group||_2), h(t) = t^2/(2 width) where t <= width, t - width/2 beyond; a group is a fibre of x
    along ``axis``.

    Proximal map: x_group max(1 - step/max(||x_group||, width + step)). Conjugate: width/2 ||p||^2 where every ||p_group|| <= 1.
    """

    axis: int = 1
    width: float = 1.0

    def __post_init__(self) -> None:
        require_positive("GroupHuber", "width", self.width, "the curvature is 1/width; for width 0 there is GroupL21()")
        require_whole("GroupHuber", "axis", self.axis, -(2**31), "The default is 1, the components of a field.")
        if self.axis == 0:
            raise ValueError("GroupHuber: axis is 0, but axis 0 counts the samples, which are independent. Pass an axis >= 1.")

    def _norms(self, x: Tensor) -> Tensor:
        return group_squares(x, self.axis).sqrt_()

    def __call__(self, x: Tensor) -> Tensor:
        size = self._norms(x)
        return total(torch.where(size <= self.width, 0.5 * size.square() / self.width, size - 0.5 * self.width))

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        steps = per_sample(step, x)
        return x * (1 - steps / torch.maximum(self._norms(x), self.width + steps))

    def conjugate_prox(self, p: Tensor, step: Step = 1.0) -> Tensor:
        """Shrink by 1 + step width, then project onto the balls ||p_group|| <= 1."""
        q = p / (1 + per_sample(step, p) * self.width)
        return q * group_squares(q, self.axis).clamp_(min=1).rsqrt_()

    def conjugate(self, p: Tensor) -> Tensor:
        norms = self._norms(p)
        return total((0.5 * self.width * norms.square()).masked_fill(beyond(norms, 1.0), inf))

    def nearest_subgradient(self, x: Tensor, p: Tensor) -> Tensor:
        return x / self._norms(x).clamp(min=self.width)
