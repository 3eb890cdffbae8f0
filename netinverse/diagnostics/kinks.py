"""Where a network is not differentiable: diagnostics there are those of one of several derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.networks import LiftedNetwork
from netinverse.prox.scalar import Separable
from netinverse.tensors import per_sample

REACH = 1e-9
"""How near a corner counts as on it, in units of the largest pre-activation of the layer, or of 1 if that is larger."""
CHANGE = 1e-3
"""The change of slope that makes a corner; a smooth activation changes its slope by some REACH over that distance."""


def on_a_kink(network: LiftedNetwork, x: Tensor) -> Tensor:
    """True where a unit of an activation before the last one is on a corner of it, (batch,).

    Derivatives of the last pre-activation are then those that torch takes, one of several. The last activation itself does not
    count: the Bregman fidelity does not differentiate it. Activations that do not act entry by entry are smooth.
    """
    found = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    with torch.no_grad():
        values = network.values(x)
    for node in network.nodes[:-1]:
        if isinstance(node.potential, Separable):
            z = values[node.inputs[0]]
            largest = z.abs().flatten(1).amax(1) if z.numel() else z.new_zeros(len(x))
            reach = per_sample(REACH * largest.clamp(min=1.0), z)
            change = (node.potential.slope(z + reach) - node.potential.slope(z - reach)).abs()
            found |= (change > CHANGE).flatten(1).any(1)
    return found
