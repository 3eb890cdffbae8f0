"""The residual layer whose inverse is 1-Lipschitz, whatever its weight."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from netinverse.checks import require_object, require_whole
from netinverse.prox import potential_of


class PlusLayer(nn.Module):
    """u -> u + W^T sigma(W u + b), W (width, features): the identity plus the gradient of a convex function.

    For every proximal activation sigma, <F(u) - F(u'), u - u'> >= ||u - u'||^2: the inverse is 1-Lipschitz, and the Jacobian
    I + W^T D W has no singular value below 1 and none above 1 + ||W||^2. Shapes: (batch, features) -> the same; ``width``
    is ``features`` by default. W begins normal, with a norm between 1 and 2.
    Raises ValueError for activations that are not proximal, such as GELU.
    Wang, Valavanis, Mahmood, Mang, Benning & Repetti, arXiv 2510.09796.
    """

    def __init__(self, features: int, width: int | None = None, activation: nn.Module | None = None) -> None:
        super().__init__()
        rows = features if width is None else width
        for name, value in (("features", features), ("width", rows)):
            require_whole("PlusLayer", name, value, 1, "Such as PlusLayer(300).")
        self.weight = nn.Parameter(torch.empty(rows, features))
        self.bias = nn.Parameter(torch.zeros(rows))
        self.activation = nn.ReLU() if activation is None else activation
        require_object("PlusLayer", "activation", self.activation, ("forward",), "Write activation=nn.Tanh(), for example.")
        try:
            potential_of(self.activation)
        except ValueError as error:
            raise ValueError(
                f"PlusLayer: the inverse is 1-Lipschitz, and exists for certain, only where the activation is nondecreasing and "
                f"1-Lipschitz, but {error}"
            ) from error
        nn.init.normal_(self.weight, std=1 / math.sqrt(max(rows, features)))

    def forward(self, u: Tensor) -> Tensor:
        z = nn.functional.linear(u, self.weight, self.bias)
        return u + nn.functional.linear(self.activation(z), self.weight.T)

    def extra_repr(self) -> str:
        return f"features={self.weight.shape[1]}, width={self.weight.shape[0]}"
