"""The structure of a lifted network as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from netinverse.networks.affine import operator_name
from netinverse.prox.activations import NOT_PROXIMAL, canonical

if TYPE_CHECKING:
    from netinverse.networks.graph import LiftedNetwork
    from netinverse.networks.node import Node


def summary(network: LiftedNetwork) -> str:
    """One line a node: name, kind, what it is, shape without the batch, inputs, module. Then why smooth nodes are smooth."""
    rows = [
        ("node", "kind", "operator", "shape", "inputs", "module"),
        (network.input_name, "input", "", shape_text(network.input_shape), "", ""),
    ]
    rows += [(n.name, n.kind, operator(n), shape_text(n.shape), ", ".join(n.inputs), n.origin.module) for n in network.nodes]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    count = sum(math.prod(p.shape) for p in network.parameters())
    exact = "exactly lifted" if network.is_exactly_lifted else "not exactly lifted: smooth nodes are penalised quadratically"
    lines.append(f"{len(network.hidden)} activations, {count} parameters, {network.dtype}; {exact}")
    return "\n".join(lines + [f"smooth: {node.name}: {why_smooth(node)}" for node in network.nodes if node.kind == "smooth"])


# Operators by the name that their callers know, and those that only unpack what another has computed.
_KNOWN_AS = {"_native_batch_norm_legit_no_training": "batch_norm", "_unsafe_view": "view", "convolution": "conv"}
_UNPACKING = frozenset({"getitem", "alias", "sym_size"})


def description(network: LiftedNetwork) -> dict[str, Any]:
    """What the table says, as numbers, strings and lists: for programs that read the structure."""
    nodes = [
        {
            "name": n.name,
            "kind": n.kind,
            "operator": operator(n),
            "shape": list(n.shape),
            "inputs": list(n.inputs),
            "module": n.origin.module,
            "line": n.origin.line,
        }
        | ({"reason": why_smooth(n)} if n.kind == "smooth" else {})
        for n in network.nodes
    ]
    return {
        "input": {"name": network.input_name, "shape": list(network.input_shape)},
        "output": {"name": network.nodes[-1].name, "shape": list(network.nodes[-1].shape)},
        "dtype": str(network.dtype).removeprefix("torch."),
        "parameters": sum(math.prod(p.shape) for p in network.parameters()),
        "is_exactly_lifted": network.is_exactly_lifted,
        "nodes": nodes,
    }


def operator(node: Node) -> str:
    """The potential of an activation, or the operators of an affine or smooth node in the order in which they run."""
    if node.potential is not None:
        return type(node.potential).__name__
    names = [operator_name(i.target) for i in node.program.instructions if not i.name.startswith("sym_")]
    names = [_KNOWN_AS.get(name, name) for name in names if name not in _UNPACKING]
    runs = [name for k, name in enumerate(names) if k == 0 or name != names[k - 1]]
    if not names:
        return "identity"
    return ", ".join(runs) if len(runs) <= 4 else f"{runs[0]}, ... {len(names) - 2} ..., {runs[-1]}"


def why_smooth(node: Node) -> str:
    """The operator, its place in the model and in the source, and what keeps it from being affine or proximal."""
    name = canonical(node.origin.operator)
    reason = NOT_PROXIMAL.get(name, "it is not affine in its arguments, and no activation of the catalogue")
    return f"{node.origin}: {reason}"


def shape_text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
