"""What projection leaves of the noise, and what else brings data back to the range of an activation."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.protocols import Potential
from netinverse.prox import Box, NonNegative
from netinverse.tensors import norm, per_sample


def noise_left_after_projection(data: Tensor, projected: Tensor, noise_level: float | Tensor) -> Tensor:
    """sqrt(max(delta^2 - ||y^delta - P y^delta||^2, 0)), an upper bound of ||P y^delta - y||, per sample.

    P is the projection onto a closed convex set that contains the clean data y, and delta >= ||y^delta - y||. Then
    <y^delta - P y^delta, y - P y^delta> <= 0, and expanding ||(y^delta - P y^delta) + (P y^delta - y)||^2 gives
    ||P y^delta - y||^2 <= ||y^delta - y||^2 - ||y^delta - P y^delta||^2. Equality where the set is locally a subspace through y:
    entries that are zero in y and clipped to zero lose exactly their noise.

    Shapes: data, projected (batch, ...), noise_level a number or (batch,) -> (batch,).
    Zarantonello 1971; Bauschke & Combettes, Convex Analysis and Monotone Operator Theory, 2017, theorem 3.16.
    """
    level = torch.as_tensor(noise_level, dtype=data.dtype, device=data.device)
    cut = norm(data - projected)
    return ((level - cut).clamp(min=0) * (level + cut)).sqrt()


def snap_to_saturation(potential: Potential, data: Tensor, noise_level: Tensor, snap: float) -> Tensor:
    """Data with every entry within ``snap * noise_level / sqrt(entries)`` of a saturated end moved onto that end.

    A saturated end is a bound of the domain that a whole half-line of pre-activations is mapped to: 0 of ReLU, both ends of a
    hard tanh. Shapes: data (batch, ...), noise_level (batch,).
    """
    if isinstance(potential, NonNegative):
        ends = [torch.zeros((), dtype=data.dtype, device=data.device)]
    elif isinstance(potential, Box):
        ends = [torch.as_tensor(e, dtype=data.dtype, device=data.device) for e in (potential.lower, potential.upper)]
    else:
        return data
    entries = max(1, data[0].numel()) if data.shape[0] else 1
    reach = per_sample(snap * noise_level / entries**0.5, data)
    for end in ends:
        data = torch.where((data - end).abs() <= reach, end, data)
    return data
