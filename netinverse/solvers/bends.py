"""Where an activation bends: sigma(z) = base(z) + weight * clip(z, lower, upper), the base smooth and the clip with corners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netinverse.fidelities import BregmanTerm, DataTerm, SquaredTerm
from netinverse.protocols import Potential
from netinverse.prox import L1, Box, Huber, LeakyReLUPotential, NonNegative, NonNegativeL1, Zero
from netinverse.prox.prelu import PReLUPotential
from netinverse.prox.scalar import Separable


@dataclass(frozen=True)
class Bend:
    """``base`` gives base(z) and base'(z); base' + weight is zero or positive. Weight and bounds broadcast against one sample."""

    base: Callable[[Tensor], tuple[Tensor, Tensor]]
    weight: float | Tensor = 0.0
    lower: float | Tensor = -inf
    upper: float | Tensor = inf


def bend_of(term: DataTerm) -> Bend | None:
    """Of the gradient of a data term, grad G(z) = sigma(z) - data. None where the entries of z are coupled."""
    if isinstance(term, SquaredTerm):
        return _linear(1.0)
    return _of_potential(term.potential) if isinstance(term, BregmanTerm) else None


def _of_potential(potential: Potential) -> Bend | None:
    match potential:
        case Zero():
            return _linear(1.0)
        case NonNegative():
            return _linear(0.0, 0.0, 1.0, 0.0)
        case Box(lower=lower, upper=upper):
            return _linear(0.0, 0.0, 1.0, lower, upper)
        case L1(weight=weight):
            return _linear(1.0, 0.0, -1.0, -weight, weight)
        case NonNegativeL1(weight=weight):
            return _linear(0.0, -weight, 1.0, weight)
        case Huber(width=width, weight=weight):
            return _linear(1.0, 0.0, -weight / (width + weight), -width - weight, width + weight)
        case LeakyReLUPotential(negative_slope=slope):
            return _linear(slope, 0.0, 1 - slope, 0.0)
        case PReLUPotential():
            return _prelu(potential)
        case Separable():
            return Bend(lambda z: (potential.activation(z), potential.slope(z)))
    return None


def _linear(
    slope: float, shift: float = 0.0, weight: float = 0.0, lower: float | Tensor = -inf, upper: float | Tensor = inf
) -> Bend:
    return Bend(lambda z: (slope * z + shift, torch.full_like(z, slope)), weight, lower, upper)


def _prelu(potential: PReLUPotential) -> Bend | None:
    slopes = potential.slopes.detach()
    if slopes.numel() > 1:
        return None  # one slope for each channel: the clip has a weight for each entry
    return _linear(float(slopes), 0.0, 1 - float(slopes), 0.0)
