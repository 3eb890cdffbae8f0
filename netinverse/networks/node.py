"""The nodes of a lifted network: affine maps, activations, and whatever else torch can differentiate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from netinverse.networks.origin import Origin
from netinverse.networks.program import Instruction, Program, Ref
from netinverse.operators.linear import norm_bound
from netinverse.protocols import Potential

if TYPE_CHECKING:
    from netinverse.networks.graph import LiftedNetwork

Kind = Literal["affine", "proximal", "smooth"]


@dataclass(frozen=True, eq=False)
class Node:
    """output = program(inputs): affine, sigma = prox_Psi of its one input, or any other torch function ("smooth").

    ``shape`` and ``input_shapes`` are without the batch. ``inputs`` names earlier nodes, or ``network.input_name``;
    ``arguments`` are the names that their values have in the program. An affine node takes the input and activations, every
    other node takes affine nodes. The tensors of the program are looked up in ``network``, so that it can be moved, converted
    and trained.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    arguments: tuple[str, ...]
    program: Program
    network: LiftedNetwork
    origin: Origin
    potential: Potential | None = None

    def forward(self, *inputs: Tensor) -> Tensor:
        """The value of the node, (batch, *shape)."""
        return self.potential.prox(inputs[0]) if self.potential is not None else self._run(inputs, linear=False)

    __call__ = forward

    def linear(self, *inputs: Tensor) -> Tensor:
        """The linear part of an affine node: A(x) - A(0), computed without the offset."""
        return self._run(inputs, linear=True)

    def adjoint(self, y: Tensor) -> tuple[Tensor, ...]:
        """The adjoint of the linear part, one tensor for each input."""
        with torch.enable_grad():
            zeros = tuple(y.new_zeros((y.shape[0], *shape)).requires_grad_(True) for shape in self.input_shapes)
            value = self.linear(*zeros)
            if not value.requires_grad:
                return tuple(z.detach() for z in zeros)
            return tuple(g.detach() for g in torch.autograd.grad(value, zeros, y, materialize_grads=True))

    def map_from(self, name: str) -> NodeMap:
        """The linear part of an affine node in one of its inputs, the others at zero."""
        return NodeMap(self, self.inputs.index(name))

    def _run(self, inputs: Sequence[Tensor], *, linear: bool) -> Tensor:
        given = self.network.given(inputs[0]) | dict(zip(self.arguments, inputs, strict=True))
        return self.program.run(given, inputs[0], linear=linear)[self.program.outputs[0]]

    @cached_property
    def constants(self) -> Program:
        """The part of the program that takes no input: what the parameters alone decide, such as a normalised filter."""
        moving = {i.name for i in self.remainder.instructions}
        fixed = tuple(i for i in self.program.instructions if i.name not in moving)
        made = {i.name for i in fixed}
        return Program(fixed, tuple(name for name in self.remainder.free if name in made))

    @cached_property
    def remainder(self) -> Program:
        """The program without its ``constants``, which it is given."""
        moving = set(self.arguments)
        for instruction in self.program.instructions:
            if moving.intersection(instruction.refs):
                moving.add(instruction.name)
        return Program(tuple(i for i in self.program.instructions if i.name in moving), self.program.outputs)

    @cached_property
    def instructions(self) -> tuple[Instruction, ...]:
        """What has to run for the node, given its inputs; the last one has the node's name."""
        if self.potential is not None:
            return (Instruction(self.name, self.potential.prox, (Ref(self.inputs[0]),)),)
        output = self.program.outputs[0]
        alias = () if output == self.name else (Instruction(self.name, _same, (Ref(output),)),)
        return self.program.instructions + alias


def _same(value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True, eq=False)
class NodeMap:
    """K = the linear part of an affine node in one input."""

    node: Node
    position: int

    def __call__(self, x: Tensor) -> Tensor:
        shapes = self.node.input_shapes
        inputs = tuple(x if i == self.position else x.new_zeros((x.shape[0], *shape)) for i, shape in enumerate(shapes))
        return self.node.linear(*inputs)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.node.adjoint(y)[self.position]

    def norm_bound(self, seed: int = 0) -> float:
        """A safe upper bound of ||K||; see ``netinverse.operators.linear.norm_bound``."""
        network = self.node.network
        x_like = torch.zeros((1, *self.node.input_shapes[self.position]), dtype=network.dtype, device=network.device)
        return float(norm_bound(self, x_like, seed))
