"""What the diagnostics take: a network in any of its forms, and the point at which it is examined."""

from __future__ import annotations

from os import PathLike

import torch
from torch import Tensor, nn

from netinverse.checks import require_finite, require_floating, require_shape
from netinverse.networks import LiftedNetwork, lift, load_network

Network = nn.Module | torch.export.ExportedProgram | str | PathLike[str]


def network_at(who: str, network: Network, name: str, x: Tensor) -> tuple[LiftedNetwork, Tensor]:
    """The network as a LiftedNetwork in float64, and x, checked, in float64; the caller's objects stay as they are.

    Diagnostics compute in float64 whatever the dtype of x: they measure what an ill-conditioned map does to small numbers.
    """
    x = require_finite(who, name, require_floating(who, name, x))
    if isinstance(network, LiftedNetwork):
        lifted = network
    elif isinstance(network, str | PathLike):
        lifted = load_network(network)
    elif isinstance(network, torch.export.ExportedProgram):
        lifted = lift(network)
    elif isinstance(network, nn.Module):
        parameter = next(network.parameters(), x)
        lifted = lift(network, torch.zeros((2, *x.shape[1:]), dtype=parameter.dtype, device=parameter.device))
    else:
        raise TypeError(
            f"{who}: network is a {type(network).__name__}, but must be a torch.nn.Module, a LiftedNetwork, a "
            f"torch.export.ExportedProgram or the path of a .pt2 file."
        )
    shape = (x.shape[0], *lifted.input_shape) if x.ndim else tuple(lifted.input_shape)
    require_shape(who, name, x, shape, "(batch, *input_shape), the inputs that the network takes")
    return lifted.astype(torch.float64), x.detach().double()
