"""The noise that hurts most: the direction of the data in which the inverse moves farthest."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.checks import first_samples, require_shape
from netinverse.diagnostics.arguments import Network, network_at
from netinverse.networks import NetworkOutput
from netinverse.operators.bidiagonal import bidiagonalise
from netinverse.tensors import norm, per_sample


def worst_direction(network: Network, truth: Tensor, clean: Tensor, *, max_steps: int = 1024) -> Tensor:
    """argmax over ||e|| = 1 in the range of J of ||J^+ e||, J = F'(truth), per sample, in float64, shaped like ``clean``.

    It is the left singular vector of J's smallest singular value s that is not zero: to first order noise e moves the input by
    ||e||/s, and no noise of that norm moves it farther. What is orthogonal to the range of J moves nothing. Without a matrix,
    by Golub-Kahan bidiagonalisation, which is exact to rounding after min(inputs, outputs) steps; where that exceeds
    ``max_steps``, the direction is that of the smallest value found. Values below 10 max(inputs, outputs) eps times the largest
    count as zero. Of the two signs, the one whose entries sum to at least zero: what raises the outputs of a ReLU is not cut off.

    Zero where J is. Raises ValueError where clean is not network(truth).
    """
    lifted, x = network_at("add_noise", network, "truth", truth)
    y, derivative = NetworkOutput(lifted).linearise(x)
    require_shape("add_noise", "clean", clean, tuple(y.shape), "the outputs of the network for truth")
    observed = clean.detach().to(y)
    off = norm(y - observed) > 1e-3 * torch.maximum(norm(y), norm(observed))
    if off.any():
        raise ValueError(
            f"add_noise: clean differs from network(truth) by more than 1e-3 of its norm in {first_samples(off)}, but the "
            f"worst case is that of the derivative at truth. Pass clean = network(truth), with the network in evaluation mode."
        )
    if not y.numel():
        return torch.zeros_like(y)
    found = bidiagonalise(derivative, x, y, max_steps)
    least = 10 * max(x[0].numel(), y[0].numel()) * torch.finfo(y.dtype).eps * found.singular_values()[0][:, 0]
    direction = found.weakest_output(least).reshape(y.shape)
    return direction * per_sample(torch.where(direction.flatten(1).sum(1) < 0, -1.0, 1.0), direction)
