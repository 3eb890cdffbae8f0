"""The structure of a lifted network as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from netinverse.networks.affine import operator_name
from netinverse.prox.activations import NOT_PROXIMAL, canonical

if TYPE_CHECKING:
    from netinverse.networks.graph import LiftedNetwork
    from netinverse.networks.node import Node


def summary(network: LiftedNetwork) -> str:
    """One line a node: name, kind, what it is, shape without the batch, inputs, module. Then why smooth nodes are smooth."""
    rows = [
        ("node", "kind", "operator", "shape", "inputs", "module"),
        (network.input_name, "input", "", _shape(network.input_shape), "", ""),
    ]
    rows += [(n.name, n.kind, operator(n), _shape(n.shape), ", ".join(n.inputs), n.origin.module) for n in network.nodes]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    count = sum(math.prod(p.shape) for p in network.parameters())
    exact = "exactly lifted" if network.is_exactly_lifted else "not exactly lifted: smooth nodes are penalised quadratically"
    lines.append(f"{len(network.hidden)} activations, {count} parameters, {network.dtype}; {exact}")
    return "\n".join(lines + [f"smooth: {node.name}: {why_smooth(node)}" for node in network.nodes if node.kind == "smooth"])


def operator(node: Node) -> str:
    """The potential of an activation, or the operators of an affine or smooth node in the order in which they run."""
    if node.potential is not None:
        return type(node.potential).__name__
    names = [operator_name(i.target) for i in node.program.instructions if not i.name.startswith("sym_")]
    runs = [name for k, name in enumerate(names) if k == 0 or name != names[k - 1]]
    if not names:
        return "identity"
    return ", ".join(runs) if len(runs) <= 4 else f"{runs[0]}, ... {len(names) - 2} ..., {runs[-1]}"


def why_smooth(node: Node) -> str:
    """The operator, its place in the model and in the source, and what keeps it from being affine or proximal."""
    name = canonical(node.origin.operator)
    reason = NOT_PROXIMAL.get(name, "it is not affine in its arguments, and no activation of the catalogue")
    return f"{node.origin}: {reason}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
