"""Where an inversion begins that was given no start."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.protocols import ProximalFunction
from netinverse.prox import Box

# The texture of the start, in widths of the box.
TEXTURE = 0.1


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
