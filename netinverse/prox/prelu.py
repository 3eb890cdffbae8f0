"""Leaky ReLU with a slope for each channel, which may be a parameter that is trained."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor
from torch.nn import functional

from netinverse.prox.rectifiers import Rectifier, linear_penalty
from netinverse.prox.scalar import beyond


class PReLUPotential(Rectifier):
    """Psi(x) = sum (1/s - 1) min(x, 0)^2/2, slopes 0 < s <= 1: (channels,) along axis 1, or (1,) for all entries.

    The tensor of slopes is kept as it is, so a parameter stays one. No dataclass: its tensor is not one of values per sample.
    """

    def __init__(self, slopes: Tensor) -> None:
        if not bool(((slopes > 0) & (slopes <= 1)).all()):
            raise ValueError(
                f"PReLUPotential: slopes lie in [{float(slopes.min()):g}, {float(slopes.max()):g}], but must lie in (0, 1], "
                f"since a proximal map is nondecreasing and 1-Lipschitz. Other slopes are affine maps around ReLU: s z + "
                f"(1 - s) relu(z)."
            )
        self.slopes = slopes

    def __repr__(self) -> str:
        return f"PReLUPotential({self.slopes.detach().tolist()})"

    def _slopes(self, z: Tensor) -> Tensor:
        """The slope of each entry of z."""
        along = (-1,) + (1,) * (z.ndim - 2)
        return self.slopes.to(z).reshape(along).expand_as(z)

    def activation(self, z: Tensor) -> Tensor:
        return functional.prelu(z, self.slopes.to(z))

    def left(self, z: Tensor) -> Tensor:
        return self._slopes(z) * z

    def left_slope(self, z: Tensor) -> Tensor:
        return self._slopes(z)

    def left_energy(self, x: Tensor) -> Tensor:
        return 0.5 * x.square() / self._slopes(x)

    def left_antiderivative(self, z: Tensor) -> Tensor:
        return 0.5 * self._slopes(z) * z.square()

    def left_penalty(self, u: Tensor, z: Tensor) -> Tensor:
        return linear_penalty(u, z, self._slopes(z))

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        return torch.where(x < 0, x / (1 + step * (1 / self._slopes(x) - 1)), x)

    def conjugate_entries(self, p: Tensor) -> Tensor:
        a = self._slopes(p)
        bend = 0.5 * a / (1 - a).clamp(min=torch.finfo(p.dtype).tiny) * p.square()
        straight = torch.zeros_like(p).masked_fill(beyond(-p, 0.0), inf)
        right = torch.zeros_like(p).masked_fill(beyond(p, 0.0), inf)
        return torch.where(p > 0, right, torch.where(a < 1, bend, straight))
