"""Norms and the functions built from them: zero, squared, l1, grouped, Huber."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor
from torch.nn import functional

from netinverse.checks import require_numbers, require_whole
from netinverse.protocols import Step
from netinverse.prox.compensated import accurate_sum, two_product
from netinverse.prox.scalar import Separable, beyond, no_ends
from netinverse.tensors import per_sample, total


def rounding_tolerance(x: Tensor) -> float:
    """64 units in the last place: what a projection may miss its set by."""
    return 64 * torch.finfo(x.dtype).eps


def require_positive(who: str, name: str, value: float, why: str) -> None:
    """Raise unless 0 < value < inf."""
    require_numbers(who, f"It has to be positive, since {why}.", **{name: value})
    if not 0 < value < inf:
        raise ValueError(f"{who}: {name} is {value}, but must be positive and finite, since {why}. Pass a positive number.")


@dataclass(frozen=True)
class Zero(Separable):
    """0. Proximal map: the identity; Phi(z) = 1/2||z||^2; conjugate: 0 at p = 0, inf elsewhere."""

    def entries(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def activation(self, z: Tensor) -> Tensor:
        return z.clone()

    def slope(self, z: Tensor) -> Tensor:
        return torch.ones_like(z)

    def antiderivative(self, z: Tensor) -> Tensor:
        return 0.5 * z.square()

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        return 0.5 * (u - z).square()

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        return x.clone()

    def conjugate_entries(self, p: Tensor) -> Tensor:
        return torch.zeros_like(p).masked_fill(beyond(p.abs(), 0.0), inf)

    def nearest_subgradient(self, x: Tensor, p: Tensor) -> Tensor:
        return torch.zeros_like(p)


@dataclass(frozen=True)
class SquaredNorm(Separable):
    """weight/2 ||x||^2. Proximal map: x/(1 + step weight); conjugate: ||p||^2/(2 weight)."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        require_positive("SquaredNorm", "weight", self.weight, "its conjugate divides by it; for no penalty there is Zero()")

    def entries(self, x: Tensor) -> Tensor:
        return 0.5 * self.weight * x.square()

    def activation(self, z: Tensor) -> Tensor:
        return z / (1 + self.weight)

    def slope(self, z: Tensor) -> Tensor:
        return torch.full_like(z, 1 / (1 + self.weight))

    def antiderivative(self, z: Tensor) -> Tensor:
        return 0.5 * z.square() / (1 + self.weight)

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        product, error = two_product(u, torch.full_like(u, self.weight))
        return 0.5 * accurate_sum(u, -z, product, error).square() / (1 + self.weight)

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        return x / (1 + step * self.weight)

    def conjugate_entries(self, p: Tensor) -> Tensor:
        return 0.5 * p.square() / self.weight

    def nearest_subgradient(self, x: Tensor, p: Tensor) -> Tensor:
        return self.weight * x


@dataclass(frozen=True)
class L1(Separable):
    """weight sum |x_i|. Proximal map: soft shrinkage; Phi(z) = max(|z| - weight, 0)^2/2; conjugate: 0 where |p| <= weight."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        require_positive("L1", "weight", self.weight, "it is the shrinkage; for no penalty there is Zero()")

    @property
    def plateau(self) -> tuple[float, float]:
        """Soft-thresholding maps [-weight, weight] to 0."""
        return 0.0, self.weight

    def entries(self, x: Tensor) -> Tensor:
        return self.weight * x.abs()

    def activation(self, z: Tensor) -> Tensor:
        return functional.softshrink(z, self.weight)

    def slope(self, z: Tensor) -> Tensor:
        return (z.abs() > self.weight).to(z.dtype)

    def antiderivative(self, z: Tensor) -> Tensor:
        return 0.5 * torch.relu(z.abs() - self.weight).square()

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        s = self.activation(z)
        # z - s is the subgradient weight * sign(s), or z itself at s = 0: weight|u| - u (z - s) has two factors of one sign.
        dual = z.clamp(-self.weight, self.weight)
        gap = u.abs() * (self.weight - torch.sign(u) * dual)
        same = u * s > 0
        exact = 0.5 * accurate_sum(u, -z, self.weight * torch.sign(u)).square()
        return torch.where(same, exact, 0.5 * (u - s).square() + gap)

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        return torch.sign(x) * torch.relu(x.abs() - step * self.weight)

    def conjugate_entries(self, p: Tensor) -> Tensor:
        return torch.zeros_like(p).masked_fill(beyond(p.abs(), self.weight), inf)

    def conjugate_prox(self, p: Tensor, step: Step = 1.0) -> Tensor:
        """The projection onto the box |p| <= weight, whatever the step."""
        return p.clamp(-self.weight, self.weight)

    def onto_ball(self, p: Tensor, scale: Step) -> Tensor:
        """The projection onto |p| <= scale * weight, the domain of the conjugate of scale times this function."""
        radius = self.weight * per_sample(scale, p)
        return torch.clamp(p, -radius, radius)

    def nearest_subgradient(self, x: Tensor, p: Tensor) -> Tensor:
        return torch.where(x == 0, p.clamp(-self.weight, self.weight), self.weight * x.sign())


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
        return self.weight * total(self._norms(x))

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
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
        direction = x * (self.weight / torch.where(norms > 0, norms, torch.ones_like(norms)))
        return torch.where(norms > 0, direction, self.conjugate_prox(p))

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


@dataclass(frozen=True)
class Huber(Separable):
    """sum h(x_i), h(x) = weight x^2/(2 width) where |x| <= width, weight (|x| - width/2) beyond.

    Proximal map: x/(1 + step weight/width) near 0, soft shrinkage beyond. Conjugate: width p^2/(2 weight) where |p| <= weight.
    """

    width: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        require_positive("Huber", "width", self.width, "the curvature is weight/width; for width 0 there is L1()")
        require_positive("Huber", "weight", self.weight, "the conjugate divides by it; for no penalty there is Zero()")

    def entries(self, x: Tensor) -> Tensor:
        size = x.abs()
        return self.weight * torch.where(size <= self.width, 0.5 * x.square() / self.width, size - 0.5 * self.width)

    def activation(self, z: Tensor) -> Tensor:
        return self.prox_entries(z, z.new_ones(()))

    def slope(self, z: Tensor) -> Tensor:
        near = z.abs() <= self.width + self.weight
        return torch.where(near, torch.full_like(z, self.width / (self.width + self.weight)), torch.ones_like(z))

    def antiderivative(self, z: Tensor) -> Tensor:
        s = self.activation(z)
        return z * s - 0.5 * s.square() - self.entries(s)

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        # B = 1/2(u - s)^2 + D_h(u, s): the distance of h vanishes where both lie on one linear piece.
        s, q = self.activation(z), z.clamp(-self.width - self.weight, self.width + self.weight)
        curvature = self.weight / self.width
        clipped = u.clamp(-self.width, self.width)
        r = ((clipped - q) + curvature * clipped) / (1 + curvature)
        near = z.abs() <= self.width + self.weight
        inner_s = torch.where(near, clipped - r, torch.sign(z) * self.width)
        exact = torch.where(near, (u - clipped) + r, (u - z) + self.weight * torch.sign(z))
        distance = 0.5 * (clipped - inner_s).square() + (u - clipped).abs() * (self.width - torch.sign(u) * inner_s)
        return 0.5 * torch.where(near & (u == clipped), r, torch.where(near, u - s, exact)).square() + curvature * distance

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        near = x.abs() <= self.width + step * self.weight
        return torch.where(near, x * (self.width / (self.width + step * self.weight)), x - step * self.weight * torch.sign(x))

    def conjugate_entries(self, p: Tensor) -> Tensor:
        value = 0.5 * (self.width / self.weight) * p.square()
        return value.masked_fill(beyond(p.abs(), self.weight), inf)

    def nearest_subgradient(self, x: Tensor, p: Tensor) -> Tensor:
        return self.weight * (x / self.width).clamp(-1, 1)


@dataclass(frozen=True)
class NonNegativeL1(Separable):
    """weight sum x_i where x >= 0, inf outside. Proximal map: max(x - weight, 0); conjugate: 0 where p <= weight."""

    weight: float = 1.0
    lower = 0.0

    def __post_init__(self) -> None:
        require_positive("NonNegativeL1", "weight", self.weight, "it is the threshold; for threshold 0 there is NonNegative()")

    def flat_ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.bounds(x)

    def entries(self, x: Tensor) -> Tensor:
        return self.weight * x

    def activation(self, z: Tensor) -> Tensor:
        return torch.relu(z - self.weight)

    def slope(self, z: Tensor) -> Tensor:
        return (z > self.weight).to(z.dtype)

    def antiderivative(self, z: Tensor) -> Tensor:
        return 0.5 * torch.relu(z - self.weight).square()

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        weight = torch.full_like(z, self.weight)
        return torch.where(z > weight, 0.5 * accurate_sum(u, -z, weight).square(), u * (0.5 * u + (weight - z)))

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        return torch.relu(x - step * self.weight)

    def conjugate_entries(self, p: Tensor) -> Tensor:
        return torch.zeros_like(p).masked_fill(beyond(p, self.weight), inf)
