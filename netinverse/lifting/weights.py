"""How heavy a layer has to be: the curvature that the data term has in each activation."""

from __future__ import annotations

import torch

from netinverse.networks.graph import LiftedNetwork
from netinverse.tensors import norm

INPUTS = 8


def downstream(network: LiftedNetwork, seed: int = 0) -> tuple[float, ...]:
    """||J_l^T r||^2/||r||^2, J_l the derivative of z_out in u_l, on average over Gaussian r and Gaussian inputs; by block.

    A layer that weighs much more than this is stiffer than what pulls at its activation, and where a network is scaled, these
    weights are scaled with it. Where an activation does not reach z_out, it is 1.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((INPUTS, *network.input_shape), generator=generator, dtype=torch.float64)
    last = network.nodes[-1]
    output = last.inputs[0] if last.kind == "proximal" else last.name
    hidden = [node.name for node in network.hidden if not (node is last and node.kind == "proximal")]
    with torch.enable_grad():
        values = network.values(x.to(dtype=network.dtype, device=network.device).requires_grad_(True), *hidden, output)
        r = torch.randn(values[output].shape, generator=generator, dtype=torch.float64).to(values[output])
        us = [values[name] for name in hidden]
        pulled = torch.autograd.grad(values[output], us, r, allow_unused=True, materialize_grads=True) if us else ()
    gains = (float((norm(p).square().sum() / norm(r).square().sum()).detach()) for p in pulled)
    return tuple(gain if gain > 0 else 1.0 for gain in gains)
