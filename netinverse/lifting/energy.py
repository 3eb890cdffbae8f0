"""The lifted energy of a network: activations become variables, each tied to its pre-activation by a penalty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from netinverse.lifting.penalties import Penalty, penalty_of
from netinverse.networks.graph import LiftedNetwork
from netinverse.networks.node import Node
from netinverse.protocols import Step


class SmoothTerm(Protocol):
    """z -> fidelity(z, data), z what enters the last activation; its gradient is 1-Lipschitz."""

    def __call__(self, z: Tensor, /) -> Tensor: ...
    def gradient(self, z: Tensor) -> Tensor: ...


INPUT = -1
"""The block of the input x; the others are 0, ..., L - 1."""


@dataclass(frozen=True, eq=False)
class LiftedEnergy:
    """E(x, u) = fidelity(z_out) + sum_l lambda_l C_l(u_l, z_l), z_l = A_l(x, u_<l); per sample.

    Blocks are the activations but the last one, whose penalty is the fidelity on its pre-activation z_out; for a network that
    does not end in a proximal activation, z_out is the output. C_l = ``penalty``(node): by default Bregman at proximal nodes,
    quadratic at smooth ones. The
    energy is convex in x and in each proximal block. x (batch, *input_shape), us[l] (batch, *blocks[l].shape).

    Raises ValueError for weights that are not positive.
    """

    network: LiftedNetwork
    fidelity: SmoothTerm
    weights: float | Sequence[float] = 1.0
    penalty: Callable[[Node], Penalty] = penalty_of
    blocks: tuple[Node, ...] = field(init=False)

    def __post_init__(self) -> None:
        last = self.network.nodes[-1]
        blocks = tuple(node for node in self.network.hidden if not (node is last and node.kind == "proximal"))
        object.__setattr__(self, "blocks", blocks)
        if any(weight <= 0 for weight in self._weights) or len(self._weights) != len(blocks):
            raise ValueError(
                f"LiftedEnergy: weights is {self.weights}, but must be one positive number or one for each of the {len(blocks)} "
                f"blocks; a weight of zero would cut the network in two."
            )

    @cached_property
    def _weights(self) -> tuple[float, ...]:
        given = self.weights
        return (float(given),) * len(self.blocks) if isinstance(given, int | float) else tuple(map(float, given))

    @cached_property
    def _penalties(self) -> tuple[Penalty, ...]:
        return tuple(map(self.penalty, self.blocks))

    @property
    def output(self) -> str:
        """The name of z_out."""
        last = self.network.nodes[-1]
        return last.inputs[0] if last.kind == "proximal" else last.name

    def affine_values(self, x: Tensor, us: Sequence[Tensor]) -> dict[str, Tensor]:
        """x, u_l and every z_l = A_l(x, u_<l), by the name of the node."""
        values = {self.network.input_name: x, **{node.name: u for node, u in zip(self.blocks, us, strict=True)}}
        for node in self.network.nodes:
            if node.kind == "affine":
                values[node.name] = node(*(values[name] for name in node.inputs))
        return values

    def activations(self, x: Tensor) -> tuple[Tensor, ...]:
        """The blocks of the forward pass, where every penalty is zero."""
        return self.network.activations(x)[: len(self.blocks)]

    def value(self, x: Tensor, us: Sequence[Tensor]) -> Tensor:
        """E(x, u), (batch,); inf where a block is outside the domain of its potential."""
        values = self.affine_values(x, us)
        energy = self.fidelity(values[self.output])
        for node, weight, penalty, u in zip(self.blocks, self._weights, self._penalties, us, strict=True):
            energy = energy + weight * penalty(u, *self._arguments(node, values))
        return energy

    def gradient(self, block: int, x: Tensor, us: Sequence[Tensor], values: Mapping[str, Tensor] | None = None) -> Tensor:
        """The gradient in one block of the part of E that ``prox`` leaves; for ``INPUT`` the gradient in x.

        sum over the children c of lambda_c A_c,l^T (sigma_c(z_c) - u_c), minus lambda_l z_l. ``values``: the ``affine_values``
        where they are at hand; read are those of the block, its input and its children.
        """
        name = self._name(block)
        values = self.affine_values(x, us) if values is None else values
        gradient = torch.zeros_like(x if block == INPUT else us[block])
        for affine, index, place in self.children(name):
            if index is None:
                pulled = self.fidelity.gradient(values[affine.name])
            else:
                zs = self._arguments(self.blocks[index], values)
                pulled = self._weights[index] * self._penalties[index].z_gradient(us[index], *zs)[place]
            gradient = gradient + affine.map_from(name).adjoint(pulled)
        if name == self.output:  # the network ends in this smooth block
            gradient = gradient + self.fidelity.gradient(values[name])
        if block != INPUT:
            gradient = gradient + self.block_gradient(block, self._arguments(self.blocks[block], values))
        return gradient

    def block_gradient(self, block: int, zs: Sequence[Tensor]) -> Tensor:
        """What the penalty of the block itself adds to ``gradient``: -lambda_l z_l for the Bregman one."""
        return self._weights[block] * self._penalties[block].u_gradient(*zs)

    def pre_activation_gradient(self, block: int, u: Tensor, zs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The gradient of lambda_l C_l(u_l, z_l) in z_l: lambda_l (sigma_l(z_l) - u_l) for the Bregman penalty."""
        return tuple(self._weights[block] * part for part in self._penalties[block].z_gradient(u, *zs))

    def prox(self, block: int, v: Tensor, step: Step) -> Tensor:
        """argmin_u step lambda_l (1/2||u||^2 + Psi_l(u)) + 1/2||u - v||^2."""
        return self._penalties[block].prox(v, step * self._weights[block])

    def step_size(self, block: int) -> float:
        """1 / sum_c lambda_c ||A_c,l||^2 with upper bounds of the norms: safe where the children are proximal.

        A block without children that depend on it gets the step 1.
        """
        return self._step_sizes[block + 1]

    @cached_property
    def _step_sizes(self) -> tuple[float, ...]:
        sizes = []
        for block in range(INPUT, len(self.blocks)):
            name = self._name(block)
            curvature = 1.0 if name == self.output else 0.0
            for affine, index, _ in self.children(name):
                weight = 1.0 if index is None else self._weights[index]
                curvature += weight * affine.map_from(name).norm_bound() ** 2
            sizes.append(1.0 / curvature if curvature > 0 else 1.0)
        return tuple(sizes)

    def _name(self, block: int) -> str:
        return self.network.input_name if block == INPUT else self.blocks[block].name

    @staticmethod
    def _arguments(node: Node, values: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """z_l: one for a proximal node, one for each argument of a smooth one."""
        return tuple(values[name] for name in node.inputs)

    def children(self, name: str) -> list[tuple[Node, int | None, int]]:
        """The affine nodes that take ``name``, each with the block that takes their value and its place among the arguments.

        None instead of a block stands for the fidelity.
        """
        pairs: list[tuple[Node, int | None, int]] = []
        for affine in self.network.nodes:
            if affine.kind == "affine" and name in affine.inputs:
                for i, node in enumerate(self.blocks):
                    pairs += [(affine, i, place) for place, z in enumerate(node.inputs) if z == affine.name]
                pairs += [(affine, None, 0)] if affine.name == self.output else []
        return pairs
