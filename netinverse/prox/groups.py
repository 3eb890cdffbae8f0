"""The sum of the norms of groups of entries."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netinverse.checks import require_floating, require_positive, require_whole
from netinverse.protocols import Step
from netinverse.prox.scalar import beyond, no_ends
from netinverse.tensors import per_sample, total


def group_squares(x: Tensor, axis: int) -> Tensor:
    """||x_group||^2 of the fibres along an axis, which is kept with length 1."""
    if not -x.ndim < axis < x.ndim:
        raise ValueError(
            f"groups: x has shape {tuple(x.shape)}, but groups run along axis {axis}, which it does not have. Pass axis=1 for "
            f"the components of a field, or a tensor with the samples first and more axes."
        )
    # A reduction over a short strided axis is ten times slower than adding its few slices.
    first, *rest = x.unbind(axis)
    squares = first.square()
    for part in rest:
        squares.addcmul_(part, part)
    return squares.unsqueeze(axis)


@dataclass(frozen=True)
class GroupL21:
    """weight * sum over groups of ||x_group||_2; a group is the fibre of x along ``axis`` (default 1, the components of a field).

    Shapes: (batch, ...) with ``axis`` not 0. Proximal map: x_group max(0, 1 - step weight/||x_group||).
    Conjugate: 0 where every ||p_group|| <= weight, inf outside.
    """

    axis: int = 1
    weight: float = 1.0

    def __post_init__(self) -> None:
        require_positive("GroupL21", "weight", self.weight, "its dual ball has this radius; for no penalty there is Zero()")
        require_whole("GroupL21", "axis", self.axis, -(2**31), "The default is 1, the components of a field.")
        if self.axis == 0:
            raise ValueError("GroupL21: axis is 0, but axis 0 counts the samples, which are independent. Pass an axis >= 1.")

    def _norms(self, x: Tensor) -> Tensor:
        return group_squares(x, self.axis).sqrt_()

    def longest(self, x: Tensor) -> Tensor:
        """max over groups of ||x_group||_2, (batch,)."""
        return group_squares(x, self.axis).flatten(1).amax(1).sqrt() if x.numel() else x.new_zeros(len(x))

    def __call__(self, x: Tensor) -> Tensor:
        return self.weight * total(self._norms(require_floating("GroupL21", "x", x)))

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        x = require_floating("GroupL21.prox", "x", x)
        threshold = self.weight * per_sample(step, x)
        norms = self._norms(x)
        return x * (torch.relu(norms - threshold) / torch.where(norms > 0, norms, torch.ones_like(norms)))

    def conjugate_prox(self, p: Tensor, step: Step = 1.0) -> Tensor:
        """The projection onto the ball ||p_group|| <= weight, whatever the step."""
        return p * group_squares(p, self.axis).mul_(self.weight**-2).clamp_(min=1).rsqrt_()

    def onto_ball(self, p: Tensor, scale: Step) -> Tensor:
        """The projection onto ||p_group|| <= scale * weight, the domain of the conjugate of scale times this function."""
        radius = self.weight * per_sample(scale, p)
        longest = torch.maximum(group_squares(p, self.axis), radius.square().clamp(min=torch.finfo(p.dtype).tiny))
        return p * (radius / longest.sqrt_())

    def nearest_subgradient(self, x: Tensor, p: Tensor) -> Tensor:
        norms = self._norms(x)
        return torch.where(norms > 0, x * (self.weight / norms), self.conjugate_prox(p))

    def conjugate(self, p: Tensor) -> Tensor:
        longest = self.longest(p)
        return torch.zeros_like(longest).masked_fill(beyond(longest, self.weight), inf)

    def smooth_conjugate(self, z: Tensor) -> Tensor:
        return 0.5 * total(torch.relu(self._norms(z) - self.weight).square())

    def flat_ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return no_ends(x)

    def project(self, x: Tensor) -> Tensor:
        return x.clone()

    def penalty(self, u: Tensor, z: Tensor) -> Tensor:
        """B(u, z) = 1/2||u - s||^2 + sum(weight||u|| - <u, z - s>), s the shrunk z; the sum as weight/2 ||u|| ||e_u - e_z||^2."""
        wide_u, wide_z = u.double(), z.double()
        s = self.prox(wide_z)
        norm_u, norm_z = self._norms(wide_u), self._norms(wide_z)
        one = torch.ones_like(norm_u)
        unit_u, unit_z = wide_u / torch.where(norm_u > 0, norm_u, one), wide_z / torch.where(norm_z > 0, norm_z, one)
        radius = torch.clamp(norm_z, max=self.weight)
        angle = 0.5 * (unit_u - unit_z).square().sum(self.axis, keepdim=True)
        gap = norm_u * ((self.weight - radius) + radius * torch.where(norm_z > 0, angle, one))
        return (0.5 * total((wide_u - s).square()) + total(gap)).to(u.dtype)
