"""Which processes exchange what in layer-parallel training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from netinverse.networks import LiftedNetwork
from netinverse.networks.node import Node
from netinverse.training.links import Inbox, Outbox

if TYPE_CHECKING:
    from netinverse.training.layer_parallel import LayerParallel


@dataclass(frozen=True)
class Neighbour:
    """Another process. ``taken``: the activations of this process that it takes; ``given``: its own that this process takes."""

    rank: int
    taken: tuple[str, ...]
    given: tuple[str, ...]
    outbox: Outbox
    inbox: Inbox


def neighbours(
    network: LiftedNetwork, processes: LayerParallel, groups: Sequence[Sequence[Node]], tag: int
) -> tuple[list[Neighbour], list[Neighbour]]:
    """The processes before and after this one that have something for it, the nearest first; those next to it always do."""
    like = torch.zeros((), dtype=network.dtype, device=network.device)
    shapes = {node.name: node.shape for node in network.nodes}
    rank = processes.rank

    def crossing(source: int, target: int) -> tuple[str, ...]:
        used = {name for node in groups[target] for name in node.inputs}
        return tuple(node.name for node in groups[source] if node.name in used)

    def neighbour(other: int) -> Neighbour:
        taken, given = crossing(rank, other), crossing(other, rank)
        most = abs(processes.behind(other) - processes.behind(rank)) + 2
        received = tuple(shapes[name] for name in taken + given)  # activations one way, residuals the other
        outbox = Outbox(processes.group, other, tag, most, network.device, processes.lost)
        return Neighbour(other, taken, given, outbox, Inbox(processes.group, other, tag, received, like, processes.lost))

    def linked(other: int) -> bool:
        return abs(other - rank) == 1 or bool(crossing(rank, other) + crossing(other, rank))

    earlier = [neighbour(other) for other in reversed(range(rank)) if linked(other)]
    return earlier, [neighbour(other) for other in range(rank + 1, processes.count) if linked(other)]
