"""What a network computes from its parameters alone, computed once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netinverse.networks.program import Instruction, Program, needed_for

if TYPE_CHECKING:
    from netinverse.networks.graph import LiftedNetwork


def fold_constants(network: LiftedNetwork) -> None:
    """Make buffers of the values that follow from the parameters alone: the weights of parametrised layers, transposes.

    In place, for a network that is not trained any more: its parameters have no influence on what was folded. Values that
    depend on the batch size stay instructions.
    """
    known = set(network.tensors())
    found: dict[str, Instruction] = {}
    for instruction in (i for node in network.nodes for i in node.program.instructions):
        if instruction.name not in known and all(name in known for name in instruction.refs):
            known.add(instruction.name)
            found[instruction.name] = instruction
    if not found:
        return
    like = torch.empty(0, dtype=network.dtype, device=network.device)
    with torch.no_grad():
        values = Program(tuple(found.values()), tuple(found)).run(network.tensors(), like)
    # A name with a dot is of the assembler's making, for what costs nothing, and no buffer may have it.
    folded = {name: value for name, value in values.items() if isinstance(value, Tensor) and "." not in name}
    nodes = []
    for node in network.nodes:
        instructions = {i.name: i for i in node.program.instructions}
        needed = needed_for(node.program.outputs, instructions, set(folded))
        program = Program(tuple(i for name, i in instructions.items() if name in needed), node.program.outputs)
        nodes.append(replace(node, program=program))
    network.nodes = tuple(nodes)
    network._programs.clear()
    used = {name for node in nodes for name in node.program.free}
    for name, value in folded.items():
        if name in used:
            network.register_buffer(name, value)
