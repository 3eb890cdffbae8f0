"""Which activations a name means."""

from __future__ import annotations

from collections.abc import Mapping

from netinverse.networks import LiftedNetwork, Node
from netinverse.protocols import ProximalFunction


def by_node(given: Mapping[str, ProximalFunction], network: LiftedNetwork) -> dict[str, ProximalFunction]:
    """Functions by the name of a node or of a module, as functions by the name of a node.

    A module stands for the last activation within it. Raises ValueError for a name that is none, and for the output, whose
    activation is no variable.
    """
    last = network.nodes[-1]
    blocks = [node for node in network.hidden if not (node is last and node.kind == "proximal")]
    found: dict[str, ProximalFunction] = {}
    for name, function in given.items():
        fitting = [node for node in blocks if node.name == name] or [node for node in blocks if _within(node, name)]
        if not fitting:
            known = ", ".join(f"{node.origin.module!r} ({node.name})" for node in blocks) or "none"
            raise ValueError(
                f"LiftedTraining: activation_regulariser names {name!r}, but no hidden activation is or is in a module of this "
                f"name. There are: {known}. What the output should be belongs into the loss."
            )
        found[fitting[-1].name] = function
    return found


def _within(node: Node, module: str) -> bool:
    return node.origin.module == module or node.origin.module.startswith(f"{module}.")
