"""When a lifted energy is jointly convex: residual networks whose layers add the gradient of a convex function."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netinverse.lifting.energy import LiftedEnergy
from netinverse.networks.node import Node

PROBES = 4


def plus_layers(energy: LiftedEnergy, seed: int = 0) -> int | None:
    """L where z_out = O_0 x + sum_l O_l u_l + c, O_0^T O_0 = I and z_l = O_l^T (O_0 x + sum_{j<l} O_j u_j) + c_l; else None.

    Every layer sees what comes before it through the transpose of its own way to the output: a chain of plus layers
    u + W_l^T sigma(W_l u + b_l), with O_0 = I and O_l = W_l^T, whatever the W_l. The identities are compared at Gaussian probes,
    to rounding: maps for which they do not hold agree there with probability zero.
    """
    network = energy.network
    output = next(node for node in network.nodes if node.name == energy.output)
    if output.kind != "affine" or network.nodes[-1] is not output or any(node.kind != "proximal" for node in energy.blocks):
        return None
    before = {network.input_name: tuple(network.input_shape)}
    generator = torch.Generator().manual_seed(seed)
    affine = {node.name: node for node in network.nodes}
    for node in (None, *energy.blocks):
        name, shape = (network.input_name, tuple(network.input_shape)) if node is None else (node.name, tuple(node.shape))
        probe = torch.randn((PROBES, *shape), generator=generator, dtype=torch.float64)
        probe = probe.to(dtype=network.dtype, device=network.device)
        through = _from(output, _linear(output, {name: probe}), {**before, name: shape})
        expected = {name: probe} if node is None else _from(affine[node.inputs[0]], probe, before)
        if not all(_same(expected[key], through[key], probe) for key in expected):
            return None
        before[name] = shape
    return len(energy.blocks)


def input_modulus(layers: int, weight: float) -> float:
    """The largest m with energy - lambda/2 sum||u_l||^2 - m/2||x||^2 convex for all chains of plus layers; 0: there is none.

    lambda (L + 1 - lambda L) / (L - lambda (L - 1)) for lambda < (L + 1)/L, which is 1 at lambda = 1. ``weight`` is lambda, that
    of every layer; the data term 1/2||z_out - y||^2 has weight 1.
    """
    left = layers + 1 - weight * layers
    return max(weight * left / (layers - weight * (layers - 1)), 0.0) if left > 0 else 0.0


def form_with_states(layers: int, weight: float, rho: float = math.inf) -> Tensor:
    """Q = weight K^T K - I/rho - M - M^T of the lift that keeps the states u_k as unknowns and charges rho/2||M u - V z||^2.

    M u = V z, z_k the activation of layer k: row k of M is u_{k+1} - u_k, the last row is empty, V = W^T; N(u) = K u is the last
    block; every block stands for as many entries as a state has. The energy is jointly convex where Q >= 0, whatever W is.
    ``weight`` is that of the data term, layers having weight 1. Wang et al., arXiv 2510.09796.
    """
    n = layers + 1
    m = torch.diag(-torch.ones(n, dtype=torch.float64)) + torch.diag(torch.ones(n - 1, dtype=torch.float64), 1)
    m[-1] = 0
    q = -m - m.T - torch.eye(n, dtype=torch.float64) / rho
    q[-1, -1] += weight
    return q


def least_rho(layers: int) -> float:
    """The least rho with Q >= 0 at weight 1: 1/(4 sin^2(pi/(2(2L + 3))))."""
    return 1 / (4 * math.sin(math.pi / (2 * (2 * layers + 3))) ** 2)


def least_weight(layers: int) -> float:
    """The least weight of the data term with Q >= 0 as rho grows without end: L/(L + 1), the inverse of the largest lambda."""
    return layers / (layers + 1)


def _linear(node: Node, given: dict[str, Tensor]) -> Tensor:
    """The linear part of an affine node at the inputs ``given``, the others at zero."""
    like = next(iter(given.values()))
    zeros = (like.new_zeros((len(like), *shape)) for shape in node.input_shapes)
    return node.linear(*(given.get(name, zero) for name, zero in zip(node.inputs, zeros, strict=True)))


def _from(node: Node, y: Tensor, wanted: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The adjoint of the linear part of ``node`` at y, in each of ``wanted``: zero in what the node does not take."""
    found = dict(zip(node.inputs, node.adjoint(y), strict=True))
    return {name: found.get(name, y.new_zeros((len(y), *shape))) for name, shape in wanted.items()}


def _same(a: Tensor, b: Tensor, scale: Tensor) -> bool:
    rounding = 1e3 * torch.finfo(a.dtype).eps
    return bool((a - b).abs().max() <= rounding * torch.stack([a.abs().max(), b.abs().max(), scale.abs().max()]).max())
