"""From operators, met one after another, to the nodes of a lifted network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from netinverse.networks.graph import LiftedNetwork
from netinverse.networks.node import Kind, Node
from netinverse.networks.origin import Origin
from netinverse.networks.program import BATCH, Instruction, Program, Ref, needed_for
from netinverse.protocols import Potential
from netinverse.prox.activations import ScaledActivation

Shape = tuple[int, ...]
aten = torch.ops.aten


@dataclass
class Assembler:
    """Affine operators wait as instructions until an activation, a smooth operator or the output needs their value.

    Names: ``closed`` are the input and the outputs of proximal and smooth nodes, where programs begin; ``variable`` what
    depends on the input; ``bent`` what is no affine function of closed values and waits, because it is no floating tensor
    with the batch first (a mask, an index, a tuple), for the operator that makes one of it.
    """

    network: LiftedNetwork
    variable: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    bent: dict[str, Origin] = field(default_factory=dict)
    instructions: dict[str, Instruction] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        name = self.network.input_name
        self.variable.add(name)
        self.closed.add(name)
        self.shapes[name] = self.network.input_shape

    def is_variable(self, value: Any) -> bool:
        """True where an argument depends on the input."""
        if isinstance(value, Ref):
            return value.name in self.variable
        return isinstance(value, list | tuple) and any(self.is_variable(part) for part in value)

    def constant(self, instruction: Instruction) -> None:
        self.instructions[instruction.name] = instruction

    def constant_value(self, value: Any) -> Any:
        """What a constant argument is, now that the parameters are what they are."""
        if not isinstance(value, Ref):
            return value
        program = Program(self._chain((value.name,), ()), (value.name,))
        like = torch.empty(0, dtype=self.network.dtype, device=self.network.device)
        with torch.no_grad():
            return program.run({**self.network.tensors(), BATCH: 1}, like)[value.name]

    def affine(self, instruction: Instruction, shape: Shape | None) -> str:
        """Note an operator that is affine in its variable arguments; ``shape`` is None where its value is no tensor."""
        if any(name in self.bent for name in instruction.refs):
            return self.smooth(instruction, shape)
        self.instructions[instruction.name] = instruction
        self.variable.add(instruction.name)
        if shape is not None:
            self.shapes[instruction.name] = shape
        return instruction.name

    def apply(
        self, name: str, target: Callable[..., Any], *args: Any, shape: Shape, offsets: frozenset[int] = frozenset()
    ) -> str:
        """name = target(*args), an affine operator of our own making."""
        return self.affine(Instruction(name, target, args, {}, offsets), shape)

    def scaled(self, name: str, source: str, scale: float, shift: float = 0.0) -> str:
        """scale * source + shift; ``source`` itself where nothing is to be done."""
        shape = self.shapes[source]
        if scale != 1.0:
            source = self.apply(name if shift == 0 else f"{name}.scale", aten.mul.Tensor, Ref(source), scale, shape=shape)
        if shift != 0.0:
            source = self.apply(name, aten.add.Tensor, Ref(source), shift, shape=shape, offsets=frozenset({1}))
        return source

    def activation(self, name: str, source: str, activation: ScaledActivation) -> None:
        """name = factor * prox(inner_scale * source + inner_shift)."""
        z = self.scaled(f"{name}.in", source, activation.inner_scale, activation.inner_shift)
        inner = name if activation.factor == 1.0 else f"{name}.prox"
        self._add(inner, "proximal", (self.close(z),), Program((), ()), self.shapes[z], activation.potential)
        if inner != name:
            self.scaled(name, inner, activation.factor)

    def smooth(self, instruction: Instruction, shape: Shape | None) -> str:
        """One node for any other operator; its arguments are values of affine nodes."""
        name = instruction.name
        self._close_all(instruction.refs)
        self.instructions[name] = instruction
        self.variable.add(name)
        origin = next((self.bent[source] for source in instruction.refs if source in self.bent), self.origin)
        if shape is None:
            self.bent[name] = origin
            return name
        given = self.closed | self.nodes.keys()
        chain = self._chain((name,), given - {name})
        program = Program(chain, (name,))
        arguments = tuple(n for n in program.free if n in given)
        inputs = tuple(self.close(n) if n in self.closed else n for n in arguments)
        self._add(name, "smooth", inputs, program, shape, arguments=arguments, origin=origin)
        return name

    def _close_all(self, sources: tuple[str, ...]) -> None:
        """Make the variable ``sources`` values of nodes; those whose batch is not first run in the node that uses them."""
        for source in sources:
            if source in self.variable and source not in self.closed | self.bent.keys():
                if source in self.shapes:
                    self.close(source)
                else:
                    self._close_all(self.instructions[source].refs)

    def close(self, output: str) -> str:
        """Make ``output`` the value of an affine node, and return the node's name."""
        name = f"{output}.identity" if output in self.closed else output
        if name not in self.nodes:
            program = Program(self._chain((output,), self.closed), (output,))
            order = [self.network.input_name, *self.nodes]
            inputs = sorted((n for n in program.free if n in self.closed), key=order.index)
            self._add(name, "affine", tuple(inputs), program, self.shapes[output])
        return name

    def finish(self, output: str) -> LiftedNetwork:
        """The network whose last node has the value ``output``."""
        if output not in self.variable or output not in self.shapes:
            found = "no floating tensor with the batch first" if output in self.variable else "the same for every input"
            raise ValueError(
                f"lift: the output is {found}, so nothing can be reconstructed from it, sample by sample. Lift a model that "
                f"returns a floating tensor (batch, ...) which depends on its input, or choose an inner module by "
                f'output="name".'
            )
        if output not in self.nodes:
            self.close(output)
        self.network.nodes = tuple(self.nodes.values())
        return self.network

    def _chain(self, outputs: tuple[str, ...], given: Any) -> tuple[Instruction, ...]:
        needed = needed_for(outputs, self.instructions, given)
        return tuple(i for n, i in self.instructions.items() if n in needed)

    def _add(
        self,
        name: str,
        kind: Kind,
        inputs: tuple[str, ...],
        program: Program,
        shape: Shape,
        potential: Potential | None = None,
        arguments: tuple[str, ...] | None = None,
        origin: Origin | None = None,
    ) -> None:
        shapes = tuple(self.shapes[i] for i in inputs)
        names, origin = inputs if arguments is None else arguments, origin or self.origin
        self.nodes[name] = Node(name, kind, inputs, shape, shapes, names, program, self.network, origin, potential)
        self.shapes[name] = shape
        self.variable.add(name)
        if kind != "affine":
            self.closed.add(name)


def store(network: LiftedNetwork, name: str, tensor: Tensor) -> Ref:
    """A constant of our own making, kept with the network's buffers."""
    network.register_buffer(name, tensor)
    return Ref(name)
