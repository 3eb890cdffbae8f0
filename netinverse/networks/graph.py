"""A lifted network: affine nodes and activations in a directed acyclic graph."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from netinverse.networks.program import BATCH, Instruction, run
from netinverse.operators.linear import norm_bound
from netinverse.protocols import Potential
from netinverse.prox import Zero

Kind = Literal["affine", "proximal", "smooth"]


@dataclass(frozen=True, eq=False)
class Node:
    """output = program(inputs): affine, sigma = prox_Psi of its one input, or any other torch function ("smooth").

    ``shape`` and ``input_shapes`` are without the batch. ``inputs`` names earlier nodes, or ``network.input_name``. The tensors
    of the program are looked up in ``network``, so that it can be moved, converted and trained.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    program: tuple[Instruction, ...]
    output: str
    network: LiftedNetwork
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
        values = {**self.network.tensors(), **dict(zip(self.inputs, inputs, strict=True)), BATCH: inputs[0].shape[0]}
        return run(self.program, values, self.output, inputs[0], linear=linear)


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


class LiftedNetwork(nn.Module):
    """u_l = sigma_l(A_l(x, u_1, ..., u_{l-1})), y = A_out(x, u) or its activation; made by ``netinverse.lift``.

    Calling it equals calling the model it was lifted from, with which it shares its parameters. ``nodes`` are in topological
    order; every proximal node takes exactly one affine node. Input (batch, *input_shape); activations (batch, *node.shape).
    """

    nodes: tuple[Node, ...]

    def __init__(self, input_name: str, input_shape: tuple[int, ...], tensors: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        self.input_name = input_name
        self.input_shape = input_shape
        self.nodes = ()
        self._own_dtype = dtype
        for name, tensor in tensors.items():
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and constants by the names that the programs use."""
        return {name: t for group in (self._parameters, self._buffers) for name, t in group.items() if t is not None}

    @property
    def dtype(self) -> torch.dtype:
        floating = (t.dtype for t in self.tensors().values() if t.is_floating_point())
        return next(floating, self._own_dtype)

    @property
    def device(self) -> torch.device:
        return next((t.device for t in self.tensors().values()), torch.device("cpu"))

    @property
    def is_exactly_lifted(self) -> bool:
        """True where every nonlinear node is a proximal map."""
        return all(node.kind != "smooth" for node in self.nodes)

    @property
    def hidden(self) -> tuple[Node, ...]:
        """The proximal and smooth nodes, in order: those that carry an activation u_l."""
        return tuple(node for node in self.nodes if node.kind != "affine")

    @property
    def output_potential(self) -> Potential:
        """The potential of the last activation; Zero() where the network ends in an affine or smooth node."""
        potential = self.nodes[-1].potential
        return Zero() if potential is None else potential

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """The value of every node and of the input, by name."""
        values = {self.input_name: x}
        for node in self.nodes:
            values[node.name] = node(*(values[name] for name in node.inputs))
        return values

    def forward(self, x: Tensor) -> Tensor:
        return self.values(x)[self.nodes[-1].name]

    def activations(self, x: Tensor) -> tuple[Tensor, ...]:
        """(u_1, ..., u_L), the outputs of the proximal and smooth nodes."""
        values = self.values(x)
        return tuple(values[node.name] for node in self.hidden)

    def pre_activation(self, x: Tensor) -> Tensor:
        """z with network(x) = prox_Psi(z), Psi the ``output_potential``: what enters the last activation, else the output."""
        last = self.nodes[-1]
        return self.values(x)[last.inputs[0] if last.kind == "proximal" else last.name]

    def astype(self, dtype: torch.dtype) -> LiftedNetwork:
        """A copy in ``dtype`` that shares nothing with this network and needs no gradients."""
        memo: dict[int, object] = {}
        for tensor in self.tensors().values():
            copied = tensor.detach().clone()
            memo[id(tensor)] = nn.Parameter(copied, requires_grad=False) if isinstance(tensor, nn.Parameter) else copied
        converted = copy.deepcopy(self, memo)
        converted._own_dtype = dtype
        return converted.to(dtype).requires_grad_(False)

    def summary(self) -> str:
        """A text table of the nodes."""
        rows = [("node", "kind", "activation", "shape", "inputs")]
        rows += [(self.input_name, "input", "", str(self.input_shape), "")]
        for node in self.nodes:
            what = type(node.potential).__name__ if node.potential is not None else ""
            rows.append((node.name, node.kind, what, str(node.shape), ", ".join(node.inputs)))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.insert(1, "-" * (sum(widths) + 8))
        count = sum(math.prod(p.shape) for p in self.parameters())
        exact = "exactly lifted" if self.is_exactly_lifted else "not exactly lifted: smooth nodes are penalised quadratically"
        return "\n".join([*lines, f"{len(self.hidden)} activations, {count} parameters, {self.dtype}; {exact}"])
