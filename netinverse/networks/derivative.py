"""A lifted network as an operator that can be linearised."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netinverse.checks import require_object
from netinverse.modes import in_usual_modes
from netinverse.networks.graph import LiftedNetwork
from netinverse.networks.node import Node
from netinverse.networks.program import Instruction, Program, Ref
from netinverse.operators.interop import to_scipy
from netinverse.protocols import LinearMap
from netinverse.prox.scalar import Separable
from netinverse.tensors import Derivative

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


@dataclass(frozen=True)
class NetworkOutput:
    """x -> F(x), (batch, *input_shape) -> (batch, ...)."""

    network: LiftedNetwork

    def __post_init__(self) -> None:
        _require_lifted("NetworkOutput", self.network)

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x)
        return out

    def linearise(self, x: Tensor) -> tuple[Tensor, LinearMap]:
        return _linearise(self.network, self.network.nodes[-1], x)

    def to_scipy(self, x: Tensor) -> LinearOperator:
        """F'(x) on flattened NumPy arrays, block-diagonal over the samples of x (batch, *input_shape)."""
        return to_scipy(self.linearise(x)[1], x)


@dataclass(frozen=True)
class PreActivation:
    """x -> z with F(x) = prox_Psi(z): the network up to its last activation."""

    network: LiftedNetwork

    def __post_init__(self) -> None:
        _require_lifted("PreActivation", self.network)

    def __call__(self, x: Tensor) -> Tensor:
        return self.network.pre_activation(x)

    def linearise(self, x: Tensor) -> tuple[Tensor, LinearMap]:
        last = self.network.nodes[-1]
        names = {node.name: node for node in self.network.nodes}
        return _linearise(self.network, names[last.inputs[0]] if last.kind == "proximal" else last, x)

    def to_scipy(self, x: Tensor) -> LinearOperator:
        """z'(x) on flattened NumPy arrays, block-diagonal over the samples of x (batch, *input_shape)."""
        return to_scipy(self.linearise(x)[1], x)


def _require_lifted(who: str, network: LiftedNetwork) -> None:
    methods = ("pre_activation", "values", "program")
    require_object(who, "network", network, methods, f"Write {who}(ni.lift(model, example)).")


@in_usual_modes
def _linearise(network: LiftedNetwork, target: Node, x: Tensor) -> tuple[Tensor, LinearMap]:
    """The value of ``target`` and its derivative in x, node by node where every activation acts entry by entry."""
    x = x.clone() if x.is_inference() else x
    upto = network.nodes[: network.nodes.index(target) + 1]
    if all(node.kind == "affine" or isinstance(node.potential, Separable) for node in upto):
        walk = NetworkDerivative(network, upto, x)
        return walk.value, walk
    derivative = Derivative(lambda v: network.values(v, target.name)[target.name], x)
    return derivative.value, derivative


class NetworkDerivative:
    """The derivative of a network of affine maps and entrywise activations: tangents walk the graph from node to node.

    A tangent passes an affine node by its linear part and an activation by its slope, at the cost of one evaluation; the adjoint
    is reverse-mode differentiation of one recorded evaluation. At a kink the slope is the one torch takes.
    """

    def __init__(self, network: LiftedNetwork, nodes: tuple[Node, ...], x: Tensor) -> None:
        self._network, self._target = network, nodes[-1].name
        self._bends = {node.name: node for node in nodes if node.kind != "affine"}
        with torch.enable_grad():
            self._x = x.detach().requires_grad_(True)
            values = network.values(self._x, self._target, *(node.inputs[0] for node in self._bends.values()))
        self._recorded = values[self._target]
        self._values = {name: value.detach() for name, value in values.items()}
        self.value = self._recorded.detach()

    @cached_property
    def _tangents(self) -> Program:
        """The program of the network with each activation replaced by the product with its slope."""
        program = self._network.program(self._target)
        return Program(tuple(map(self._tangent, program.instructions)), program.outputs)

    def _tangent(self, instruction: Instruction) -> Instruction:
        node = self._bends.get(instruction.name)
        if node is None:
            return instruction
        return Instruction(node.name, torch.mul, (Ref(_slope(node.name)), Ref(node.inputs[0])))

    @cached_property
    def _slopes(self) -> dict[str, Tensor]:
        slopes = {}
        for node in self._bends.values():
            with torch.enable_grad():
                z = self._values[node.inputs[0]].requires_grad_(True)
                (slopes[_slope(node.name)],) = torch.autograd.grad(node(z).sum(), z)
        return slopes

    def __call__(self, x: Tensor) -> Tensor:
        given = {**self._network.given(x), **self._slopes, self._network.input_name: x}
        with torch.no_grad():
            return self._tangents.run(given, x, linear=True)[self._target]

    def adjoint(self, y: Tensor) -> Tensor:
        if not self._recorded.requires_grad:
            return torch.zeros_like(self._x)
        (out,) = torch.autograd.grad(self._recorded, self._x, y, retain_graph=True, materialize_grads=True)
        return out


def _slope(name: str) -> str:
    return f"{name}.slope"
