"""A lifted network as an operator that can be linearised."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from netinverse.networks.graph import LiftedNetwork, Node
from netinverse.protocols import LinearMap
from netinverse.prox.scalar import Separable
from netinverse.tensors import Derivative


@dataclass(frozen=True)
class NetworkOutput:
    """x -> F(x)."""

    network: LiftedNetwork

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x)
        return out

    def linearise(self, x: Tensor) -> tuple[Tensor, LinearMap]:
        return _linearise(self.network, self.network.nodes[-1], x)


@dataclass(frozen=True)
class PreActivation:
    """x -> z with F(x) = prox_Psi(z): the network up to its last activation."""

    network: LiftedNetwork

    def __call__(self, x: Tensor) -> Tensor:
        return self.network.pre_activation(x)

    def linearise(self, x: Tensor) -> tuple[Tensor, LinearMap]:
        last = self.network.nodes[-1]
        names = {node.name: node for node in self.network.nodes}
        return _linearise(self.network, names[last.inputs[0]] if last.kind == "proximal" else last, x)


def _linearise(network: LiftedNetwork, target: Node, x: Tensor) -> tuple[Tensor, LinearMap]:
    """The value of ``target`` and its derivative in x, node by node where every activation acts entry by entry."""
    upto = network.nodes[: network.nodes.index(target) + 1]
    if all(node.kind == "affine" or isinstance(node.potential, Separable) for node in upto):
        walk = NetworkDerivative(network, upto, x)
        return walk.value, walk
    derivative = Derivative(lambda v: network.values(v)[target.name], x)
    return derivative.value, derivative


class NetworkDerivative:
    """The derivative of a network of affine maps and entrywise activations: tangents walk the graph from node to node.

    A tangent passes an affine node by its linear part and an activation by its slope, at the cost of one evaluation; the adjoint
    is reverse-mode differentiation of one recorded evaluation. At a kink the slope is the one torch takes.
    """

    def __init__(self, network: LiftedNetwork, nodes: tuple[Node, ...], x: Tensor) -> None:
        self._nodes, self._input_name = nodes, network.input_name
        with torch.enable_grad():
            self._x = x.detach().requires_grad_(True)
            values = {network.input_name: self._x}
            for node in nodes:
                values[node.name] = node(*(values[name] for name in node.inputs))
        self._recorded = values[nodes[-1].name]
        self._values = {name: value.detach() for name, value in values.items()}
        self.value = self._recorded.detach()

    @cached_property
    def _slopes(self) -> dict[str, Tensor]:
        slopes = {}
        for node in self._nodes:
            if node.kind != "affine":
                with torch.enable_grad():
                    z = self._values[node.inputs[0]].requires_grad_(True)
                    (slopes[node.name],) = torch.autograd.grad(node(z).sum(), z)
        return slopes

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            tangents = {self._input_name: x}
            for node in self._nodes:
                inputs = tuple(tangents[name] for name in node.inputs)
                tangents[node.name] = node.linear(*inputs) if node.kind == "affine" else self._slopes[node.name] * inputs[0]
        return tangents[self._nodes[-1].name]

    def adjoint(self, y: Tensor) -> Tensor:
        if not self._recorded.requires_grad:
            return torch.zeros_like(self._x)
        (out,) = torch.autograd.grad(self._recorded, self._x, y, retain_graph=True, materialize_grads=True)
        return out
