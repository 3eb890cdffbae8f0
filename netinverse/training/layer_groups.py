"""Which layers each of several processes owns: consecutive groups of nodes, so that the costliest is as cheap as it can be."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from itertools import pairwise
from math import prod

import torch

from netinverse.networks import LiftedNetwork
from netinverse.networks.node import Node

ACTIVATION = 16.0
"""What an entry of an activation costs, in operations: its proximal maps, its residual, and the memory that they read."""


def layer_groups(network: LiftedNetwork, trained: Collection[str], count: int) -> tuple[tuple[Node, ...], ...]:
    """``count`` groups of consecutive nodes with the least possible cost of the costliest; the same on every machine.

    Nothing but activations crosses from one group to a later one, no parameter of ``trained`` is in two groups, and each group
    has one. The cost is counted, not measured: the operations of torch in one sweep of one sample.
    Raises ValueError where the network has fewer such groups.
    """
    nodes = network.nodes
    ends = [0, *_cuts(nodes, trained), len(nodes)]
    sums = [0.0]
    for node in nodes:
        sums.append(sums[-1] + sweep_cost(node, trained))

    def fits(start: int, end: int) -> bool:
        return any(_own(node, trained) for node in nodes[ends[start] : ends[end]])

    @cache
    def best(groups: int, end: int) -> tuple[float, tuple[int, ...]]:
        """Of the nodes before ``ends[end]`` in so many groups: the cost of the costliest, and where they end."""
        if groups == 0:
            return (0.0, ()) if end == 0 else (float("inf"), ())
        found = [
            (max(before, sums[ends[end]] - sums[ends[start]]), (*places, ends[end]))
            for start in range(end)
            for before, places in [best(groups - 1, start)]
            if before < float("inf") and fits(start, end)
        ]
        return min(found, default=(float("inf"), ()))

    cost, places = best(count, len(ends) - 1)
    if cost == float("inf"):
        most = max((k for k in range(1, count) if best(k, len(ends) - 1)[0] < float("inf")), default=0)
        raise ValueError(_refusal(network, trained, count, most))
    return tuple(nodes[a:b] for a, b in pairwise((0, *places)))


def sweep_cost(node: Node, trained: Collection[str]) -> float:
    """Operations of one sweep of one sample: the product forward, those with its adjoint and for its parameters."""
    from torch.utils.flop_counter import FlopCounterMode

    network, size = node.network, ACTIVATION * prod(node.shape)
    if node.kind != "affine":
        return size
    inputs = [
        torch.zeros((1, *shape), dtype=network.dtype, device=network.device, requires_grad=name != network.input_name)
        for name, shape in zip(node.inputs, node.input_shapes, strict=True)
    ]
    tensors = network.tensors()
    wanted = [each for each in inputs if each.requires_grad] + [tensors[name] for name in _own(node, trained)]
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        value = node(*inputs)
        if wanted and value.requires_grad:
            torch.autograd.grad(value, wanted, torch.ones_like(value), allow_unused=True)
    return size + float(counter.get_total_flops())


def _own(node: Node, trained: Collection[str]) -> list[str]:
    return [name for name in node.program.free if name in trained]


def _cuts(nodes: Sequence[Node], trained: Collection[str]) -> list[int]:
    """k where a group may end before ``nodes[k]``."""
    place = {node.name: k for k, node in enumerate(nodes)}
    closed: set[int] = set()
    for node in nodes:
        for name in node.inputs:
            if node.kind != "affine":  # it takes affine values, which stay at home
                closed.update(range(place[name] + 1, place[node.name] + 1))
    for users in _users(nodes, trained).values():
        closed.update(range(users[0] + 1, users[-1] + 1))
    return [k for k in range(1, len(nodes)) if k not in closed]


def _users(nodes: Sequence[Node], trained: Collection[str]) -> dict[str, list[int]]:
    """The places of the nodes that have each parameter."""
    found: dict[str, list[int]] = {}
    for k, node in enumerate(nodes):
        for name in _own(node, trained):
            found.setdefault(name, []).append(k)
    return found


def _refusal(network: LiftedNetwork, trained: Collection[str], count: int, most: int) -> str:
    shared = [
        f"{name} is in {' and '.join(network.nodes[k].name for k in places)}"
        for name, places in _users(network.nodes, trained).items()
        if len(places) > 1
    ]
    why = f" ({'; '.join(shared)})" if shared else ""
    return (
        f"LayerParallel: there are {count} processes, but the network has no more than {most} group(s) of layers with "
        f"parameters of their own: between two groups only activations may cross, and no parameter may be in both{why}. Take "
        f"{max(most, 1)} process(es), or DataParallel()."
    )
