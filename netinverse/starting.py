"""Where an inversion begins: the input, where none is given, and the weight."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.problems import InverseProblem
from netinverse.protocols import ProximalFunction
from netinverse.prox import Box
from netinverse.tensors import norm

# The texture of the start, in widths of the box.
TEXTURE = 0.1

# How far at least a fit is taken to be off, relative: no rule needs to begin where only rounding is left to regularise.
MISFIT = 1e-6


def default_start(like: Tensor, constraint: ProximalFunction | None, seed: int) -> Tensor:
    """The middle of a box with a little texture, zero where an entry has no two bounds; ``like``: (batch, ...).

    In the middle of the possible inputs more units of a network are alive than at the corner where all entries are zero. The
    texture, normal of a tenth of the width, is there because a constant picture lies on the kinks of all units that answer to
    edges. Every sample begins at the same input, so that its answer does not depend on its neighbours.
    """
    if not isinstance(constraint, Box):
        return torch.zeros_like(like)
    lower, upper = (torch.as_tensor(end).to(like).expand(like.shape[1:]) for end in (constraint.lower, constraint.upper))
    generator = torch.Generator().manual_seed(seed)
    texture = torch.randn(like.shape[1:], generator=generator, dtype=torch.float64).to(like)
    width = upper - lower
    inside = torch.clamp(lower + width * (0.5 + TEXTURE * texture), lower, upper)
    return torch.where(torch.isfinite(width), inside, 0.0).expand_as(like).clone()


def first_weight(problem: InverseProblem, x: Tensor) -> Tensor:
    """A weight at which a rule begins: 0.4 ||grad f(x)|| / (||K|| sqrt(entries)), f the fidelity, R = g(K .).

    At two and a half times this weight, alpha K^T p of a dual point p with entries of 1 can be as long as the gradient of the
    fidelity: from there on the regulariser can hold the start where it is. Much heavier weights flatten the input, and from a
    flat one the way down often ends in a bad minimum. A rule that finds it too light walks up.

    A start that fits the data is not to be flattened either: the gradient is at least as long as for a network whose outputs are
    off by ``MISFIT`` of themselves. 1 where that is 0 too, as for a network that does not react to its input there.
    """
    value, derivative = problem.variable.linearise(x)
    slopes = (derivative.adjoint(problem.term.gradient(at)) for at in (value, (1 + MISFIT) * value))
    scale = problem.regulariser.transform_norm(tuple(x.shape[1:])) * x.shape[1:].numel() ** 0.5
    weight = 0.4 * torch.maximum(*map(norm, slopes)) / scale
    return torch.where((weight > 0) & torch.isfinite(weight), weight, torch.ones_like(weight))
