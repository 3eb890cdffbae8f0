"""The block of invertible residual networks, with a bound of its Lipschitz constant that holds."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from netinverse.checks import require_number, require_object
from netinverse.layers.spectral import spectrally_bounded
from netinverse.prox import potential_of


class ContractiveBlock(nn.Module):
    """x -> x + g(x), g = A_n sigma ... sigma A_1, Lip(g) <= lipschitz < 1, through all of training.

    (1 - L)||x - x'|| <= ||F(x) - F(x')|| <= (1 + L)||x - x'||, L = ``lipschitz``, so that the inverse has the Lipschitz constant
    1/(1 - L). ``layers``: A_1, ..., A_n, nn.Linear or convolutions, each bounded by L^(1/n) (``spectrally_bounded``): an upper
    bound of the norm, where a power iteration gives a lower one. ``activation``: sigma, a proximal one, therefore 1-Lipschitz.
    Shapes: (batch, ...) -> the same.

    Raises ValueError for L outside (0, 1) and activations that are not proximal, where the shape changes in ``forward``.
    Behrmann, Grathwohl, Chen, Duvenaud & Jacobsen, Invertible residual networks, ICML 2019.
    """

    def __init__(self, *layers: nn.Module, lipschitz: float = 0.9, activation: nn.Module | None = None) -> None:
        super().__init__()
        if not layers:
            raise ValueError(
                "ContractiveBlock: there are no layers, so nothing is added to x. Write ContractiveBlock(nn.Linear(300, 300), "
                "nn.Linear(300, 300))."
            )
        require_number("ContractiveBlock", "lipschitz", lipschitz, "The default is 0.9.")
        if lipschitz >= 1:
            raise ValueError(
                f"ContractiveBlock: lipschitz is {lipschitz}, but x + g(x) is invertible for certain only where g contracts, "
                f"lipschitz < 1. The default is 0.9."
            )
        self.lipschitz = lipschitz
        self.activation = nn.ReLU() if activation is None else activation
        require_object(
            "ContractiveBlock", "activation", self.activation, ("forward",), "Write activation=nn.Tanh(), for example."
        )
        potential_of(self.activation)  # refuses what is not nondecreasing and 1-Lipschitz
        each = lipschitz ** (1 / len(layers))
        self.layers = nn.ModuleList(spectrally_bounded(layer, 0.0, each) for layer in layers)

    def branch(self, x: Tensor) -> Tensor:
        """g(x)."""
        first, *rest = self.layers
        value: Tensor = first(x)
        for layer in rest:
            value = layer(self.activation(value))
        if value.shape != x.shape:
            raise ValueError(
                f"ContractiveBlock: the layers take {tuple(x.shape[1:])} to {tuple(value.shape[1:])}, but what is added to x "
                f"needs its shape. Let the last layer return as many features as the first one takes."
            )
        return value

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)

    @torch.no_grad()
    def inverse(self, y: Tensor, tolerance: float = 1e-6) -> Tensor:
        """x with F(x) = y, by x_{k+1} = y - g(x_k), begun at y, with ||x_k - x|| <= L^k ||y - x||.

        As many steps as make L^k at most ``tolerance``, the same for every sample; then only rounding is left.
        """
        require_number("ContractiveBlock.inverse", "tolerance", tolerance, "The default is 1e-6.")
        x = y
        for _ in range(max(1, math.ceil(math.log(tolerance) / math.log(self.lipschitz)))):
            x = y - self.branch(x)
        return x
