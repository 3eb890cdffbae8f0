"""A lifted network: affine nodes and activations in a directed acyclic graph."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from netinverse.checks import require_floating
from netinverse.networks.folding import fold_constants
from netinverse.networks.node import Node
from netinverse.networks.program import BATCH, Instruction, Program, needed_for
from netinverse.networks.summary import summary
from netinverse.protocols import Potential
from netinverse.prox import Zero


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
        self._programs: dict[tuple[tuple[str, ...], frozenset[str]], Program] = {}
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

    def given(self, x: Tensor) -> dict[str, Any]:
        """What the programs take besides their inputs."""
        return {**self.tensors(), BATCH: x.shape[0]}

    def instructions(self) -> dict[str, Instruction]:
        """What all nodes consist of, by name, in an order in which it can run."""
        found: dict[str, Instruction] = {}
        for node in self.nodes:
            for instruction in node.instructions:
                found.setdefault(instruction.name, instruction)
        return found

    def rewritten(self, changed: Mapping[str, Instruction], more: Mapping[str, Tensor]) -> LiftedNetwork:
        """A network with the same tensors, and ``more``, that runs the instructions ``changed`` in place of its own."""
        found = LiftedNetwork(self.input_name, self.input_shape, {**self.tensors(), **more}, self.dtype)
        for node in self.nodes:
            program = Program(tuple(changed.get(i.name, i) for i in node.program.instructions), node.program.outputs)
            found.nodes += (replace(node, network=found, program=program),)
        return found

    def program(self, *outputs: str, given: frozenset[str] = frozenset()) -> Program:
        """One program for all nodes up to ``outputs``, from the input and the activations ``given``.

        Nodes that share an affine operator compute it once.
        """
        if (outputs, given) in self._programs:
            return self._programs[outputs, given]
        found = self.instructions()
        needed = needed_for(outputs, found, {self.input_name, *given})
        self._programs[outputs, given] = Program(tuple(i for name, i in found.items() if name in needed), outputs)
        return self._programs[outputs, given]

    def values(self, x: Tensor, *names: str) -> dict[str, Tensor]:
        """The values of these nodes, or of all nodes and the input, by name."""
        program = self.program(*(names or (self.input_name, *(node.name for node in self.nodes))))
        try:
            return program.run({**self.given(x), self.input_name: x}, x)
        except (RuntimeError, AttributeError) as error:
            self._require_input(x, error)
            raise

    def _require_input(self, x: object, error: Exception) -> None:
        """Raise for what the network does not take, which is where its operators give up."""
        given = require_floating("LiftedNetwork", "x", x)
        if tuple(given.shape[1:]) != tuple(self.input_shape) or not given.ndim or given.dtype != self.dtype:
            raise ValueError(
                f"LiftedNetwork: x has shape {tuple(given.shape)} and dtype {given.dtype}, but the network takes (batch, "
                f"{', '.join(map(str, self.input_shape))}) in {self.dtype}. Pass inputs like those, the batch first; for another "
                f"dtype use network.astype(x.dtype)."
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        name = self.nodes[-1].name
        return self.values(x, name)[name]

    def activations(self, x: Tensor) -> tuple[Tensor, ...]:
        """(u_1, ..., u_L), the outputs of the proximal and smooth nodes."""
        values = self.values(x)
        return tuple(values[node.name] for node in self.hidden)

    def pre_activation(self, x: Tensor) -> Tensor:
        """z with network(x) = prox_Psi(z), Psi the ``output_potential``: what enters the last activation, else the output."""
        last = self.nodes[-1]
        name = last.inputs[0] if last.kind == "proximal" else last.name
        return self.values(x, name)[name]

    def astype(self, dtype: torch.dtype) -> LiftedNetwork:
        """A copy in ``dtype`` that shares nothing with this network and needs no gradients.

        What follows from its parameters alone, such as the weight of a parametrised layer, is computed once, here.
        """
        if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise TypeError(f"LiftedNetwork.astype: dtype is {dtype!r}, but must be a real floating one. Pass torch.float64.")
        memo: dict[int, object] = {}
        for tensor in self.tensors().values():
            copied = tensor.detach().clone()
            memo[id(tensor)] = nn.Parameter(copied, requires_grad=False) if isinstance(tensor, nn.Parameter) else copied
        converted = copy.deepcopy(self, memo)
        converted._own_dtype = dtype
        converted.to(dtype).requires_grad_(False)
        fold_constants(converted)
        return converted

    def summary(self) -> str:
        """A text table of the nodes, and why a node is smooth."""
        return summary(self)
