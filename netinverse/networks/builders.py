"""Ready-made networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from netinverse.checks import require_seed, require_whole
from netinverse.layers import PlusLayer
from netinverse.modes import in_usual_modes
from netinverse.networks.capture import lift
from netinverse.networks.graph import LiftedNetwork

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "hardtanh": nn.Hardtanh,
    "softsign": nn.Softsign,
    "elu": nn.ELU,
    "relu6": nn.ReLU6,
    "identity": nn.Identity,
}


@in_usual_modes
def monotone_residual_network(
    features: int,
    depth: int,
    width: int | None = None,
    activation: str = "relu",
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> LiftedNetwork:
    """u_k = u_{k-1} + W_k^T sigma(W_k u_{k-1} + b_k), k = 1, ..., depth: the identity plus gradients of convex functions.

    Therefore ||N(x) - N(x')|| >= ||x - x'||: N is injective and its inverse is 1-Lipschitz, whatever the weights, before training
    and after. W_k (width, features), width = features by default, normal with variance 1/(depth features), biases normal with
    standard deviation 0.1, drawn from ``seed`` alone. Lifted, therefore in evaluation mode; dtype defaults to torch's default.
    Wang, Valavanis, Mahmood, Mang, Benning & Repetti, arXiv 2510.09796.
    """
    for name, value in (("features", features), ("depth", depth), ("width", features if width is None else width)):
        require_whole("monotone_residual_network", name, value, 1, "Such as monotone_residual_network(features=10, depth=5).")
    dtype, generator = _drawn("monotone_residual_network", activation, seed, dtype)
    rows = features if width is None else width
    layers = []
    for _ in range(depth):
        weight = torch.randn(rows, features, generator=generator, dtype=torch.float64) / math.sqrt(depth * features)
        bias = torch.randn(rows, generator=generator, dtype=torch.float64) * 0.1
        layer = PlusLayer(features, rows, _ACTIVATIONS[activation]())
        layer.weight, layer.bias = nn.Parameter(weight.to(dtype)), nn.Parameter(bias.to(dtype))
        layers.append(layer)
    return lift(nn.Sequential(*layers).eval(), torch.zeros(2, features, dtype=dtype))


@in_usual_modes
def mlp(sizes: Sequence[int], activation: str = "relu", seed: int = 0, dtype: torch.dtype | None = None) -> LiftedNetwork:
    """u_l = sigma(W_l u_{l-1} + b_l), the last layer affine; sizes = (inputs, hidden..., outputs).

    Weights normal with variance 2/inputs of the layer, biases normal with standard deviation 0.1, drawn from ``seed`` alone.
    Lifted, therefore in evaluation mode; dtype defaults to torch's default.
    """
    given: object = sizes
    if not isinstance(given, Sequence) or len(given) < 2 or not all(isinstance(n, int) and n > 0 for n in given):
        raise ValueError(
            f"mlp: sizes is {sizes!r}, but needs at least an input and an output size, all positive: mlp((784, 100, 10))."
        )
    dtype, generator = _drawn("mlp", activation, seed, dtype)
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        layer = nn.Linear(fan_in, fan_out, dtype=dtype, device="meta")  # draws nothing from the global generator
        weight = torch.randn(fan_out, fan_in, generator=generator, dtype=torch.float64) * math.sqrt(2 / fan_in)
        bias = torch.randn(fan_out, generator=generator, dtype=torch.float64) * 0.1
        layer.weight, layer.bias = nn.Parameter(weight.to(dtype)), nn.Parameter(bias.to(dtype))
        layers += [layer] if i == len(sizes) - 2 else [layer, _ACTIVATIONS[activation]()]
    return lift(nn.Sequential(*layers).eval(), torch.zeros(2, sizes[0], dtype=dtype))


def _drawn(who: str, activation: str, seed: int, dtype: torch.dtype | None) -> tuple[torch.dtype, torch.Generator]:
    """The dtype and the generator of a network's weights, where its settings are known."""
    if activation not in _ACTIVATIONS:
        raise ValueError(f"{who}: activation is {activation!r}, but must be one of {', '.join(sorted(_ACTIVATIONS))}.")
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"{who}: dtype is {dtype!r}, but must be a real floating one. Pass torch.float64, or leave it out.")
    return dtype, torch.Generator().manual_seed(require_seed(who, seed))
