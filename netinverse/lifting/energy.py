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
from netinverse.tensors import per_sample


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
    quadratic at smooth ones. The energy is convex in x and in each proximal block. x (batch, *input_shape), us[l] (batch,
    *blocks[l].shape). lambda_l = ``stiffness`` * ``weights``[l]: the weights are the network's, the stiffness, one number or
    (batch,), is a sample's.

    Raises ValueError for weights that are not positive.
    """

    network: LiftedNetwork
    fidelity: SmoothTerm
    weights: float | Sequence[float] = 1.0
    penalty: Callable[[Node], Penalty] = penalty_of
    stiffness: float | Tensor = 1.0
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
        given = self._given(x, us)
        return given | self._run(tuple(node.name for node in self.network.nodes if node.kind == "affine"), given)

    def activations(self, x: Tensor) -> tuple[Tensor, ...]:
        """The blocks of the forward pass, where every penalty is zero."""
        return self.network.activations(x)[: len(self.blocks)]

    def value(self, x: Tensor, us: Sequence[Tensor]) -> Tensor:
        """E(x, u), (batch,); inf where a block is outside the domain of its potential."""
        values = self.affine_values(x, us)
        energy = self.fidelity(values[self.output])
        for k, (node, penalty, u) in enumerate(zip(self.blocks, self._penalties, us, strict=True)):
            energy = energy + self.weight(k) * penalty(u, *self._arguments(node, values))
        return energy

    def gradient(self, block: int, x: Tensor, us: Sequence[Tensor]) -> Tensor:
        """The gradient in one block of the part of E that ``prox`` leaves; for ``INPUT`` the gradient in x.

        sum over the children c of lambda_c A_c,l^T (sigma_c(z_c) - u_c), minus lambda_l z_l. The children are run once forward
        and once backward, in one program: in a residual network they share most of their work.
        """
        name, own = self._name(block), () if block == INPUT else self.blocks[block].inputs
        children = self._children[name]
        given = self._given(x, us)
        with torch.enable_grad():
            given[name] = leaf = given[name].detach().requires_grad_(True)
            wanted = dict.fromkeys(own)
            for affine, index, _ in children:
                wanted |= dict.fromkeys((affine.name,) if index is None else self.blocks[index].inputs)
            recorded = self._run(tuple(wanted), given)
        with torch.no_grad():
            values = {other: value.detach() for other, value in recorded.items()}
            pushed: dict[str, Tensor] = {}
            for affine, index, place in children:
                if index is None:
                    part = self.fidelity.gradient(values[affine.name])
                else:
                    zs = self._arguments(self.blocks[index], values)
                    part = self.pre_activation_gradient(index, us[index], zs)[place]
                pushed[affine.name] = pushed[affine.name] + part if affine.name in pushed else part
            gradient = _pulled(recorded, pushed, (leaf,))[0]
            if name == self.output:  # the network ends in this smooth block
                gradient = gradient + self.fidelity.gradient(given[name].detach())
            if block != INPUT:
                gradient = gradient + self.block_gradient(block, self._arguments(self.blocks[block], values))
        return gradient

    def gradients(self, x: Tensor, us: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``gradient`` in the input and in every block at one point, at the cost of one back-propagation."""
        with torch.enable_grad():
            leaves = tuple(part.detach().requires_grad_(True) for part in (x, *us))
            recorded = self.affine_values(leaves[0], leaves[1:])
        with torch.no_grad():
            values = {name: value.detach() for name, value in recorded.items()}
            pushed, own = {self.output: self.fidelity.gradient(values[self.output])}, []
            for block, node in enumerate(self.blocks):
                zs = self._arguments(node, values)
                own.append(self.block_gradient(block, zs))
                for name, part in zip(node.inputs, self.pre_activation_gradient(block, us[block], zs), strict=True):
                    pushed[name] = pushed[name] + part if name in pushed else part
            found = _pulled(recorded, pushed, leaves)
            return found[0], tuple(a + b for a, b in zip(found[1:], own, strict=True))

    def block_gradient(self, block: int, zs: Sequence[Tensor]) -> Tensor:
        """What the penalty of the block itself adds to ``gradient``: -lambda_l z_l for the Bregman one."""
        gradient = self._penalties[block].u_gradient(*zs)
        return per_sample(self.weight(block), gradient) * gradient

    def pre_activation_gradient(self, block: int, u: Tensor, zs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The gradient of lambda_l C_l(u_l, z_l) in z_l: lambda_l (sigma_l(z_l) - u_l) for the Bregman penalty."""
        weight = self.weight(block)
        return tuple(per_sample(weight, part) * part for part in self._penalties[block].z_gradient(u, *zs))

    def prox(self, block: int, v: Tensor, step: Step) -> Tensor:
        """argmin_u step lambda_l (1/2||u||^2 + Psi_l(u)) + 1/2||u - v||^2."""
        return self._penalties[block].prox(v, step * self.weight(block))

    def step_size(self, block: int) -> Step:
        """1 / sum_c lambda_c ||A_c,l||^2 with upper bounds of the norms: safe where the children are proximal.

        A block without children that depend on it gets the step 1.
        """
        fidelity, layers = self.curvatures[block + 1]
        curvature = fidelity + self.stiffness * layers
        return 1.0 / curvature if fidelity + layers > 0 else 1.0

    @cached_property
    def curvatures(self) -> tuple[tuple[float, float], ...]:
        """Of the input first, then of each block: ||A_out||^2 of the fidelity, and sum_c weight_c ||A_c||^2 of the layers."""
        found = []
        for block in range(INPUT, len(self.blocks)):
            name = self._name(block)
            fidelity, layers = 1.0 if name == self.output else 0.0, 0.0
            for affine, index, _ in self._children[name]:
                square = affine.map_from(name).norm_bound() ** 2
                if index is None:
                    fidelity += square
                else:
                    layers += self._weights[index] * square
            found.append((fidelity, layers))
        return tuple(found)

    def weight(self, block: int) -> float | Tensor:
        """lambda_l, one number or (batch,)."""
        return self.stiffness * self._weights[block]

    def _name(self, block: int) -> str:
        return self.network.input_name if block == INPUT else self.blocks[block].name

    @staticmethod
    def _arguments(node: Node, values: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """z_l: one for a proximal node, one for each argument of a smooth one."""
        return tuple(values[name] for name in node.inputs)

    def _given(self, x: Tensor, us: Sequence[Tensor]) -> dict[str, Tensor]:
        return {self.network.input_name: x, **{node.name: u for node, u in zip(self.blocks, us, strict=True)}}

    def _run(self, names: tuple[str, ...], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The affine nodes ``names`` at the input and the activations ``given``."""
        like = given[self.network.input_name]
        program = self.network.program(*names, given=frozenset(given))
        return program.run({**self.network.given(like), **given}, like)

    @cached_property
    def _children(self) -> dict[str, list[tuple[Node, int | None, int]]]:
        """By the name of the input or a block: the affine nodes that take it, each with the block that takes their value and its
        place among the arguments. None instead of a block stands for the fidelity.
        """
        found: dict[str, list[tuple[Node, int | None, int]]] = {self._name(k): [] for k in range(INPUT, len(self.blocks))}
        takers: dict[str, list[tuple[int, int]]] = {}
        for k, node in enumerate(self.blocks):
            for place, z in enumerate(node.inputs):
                takers.setdefault(z, []).append((k, place))
        for affine in self.network.nodes:
            if affine.kind == "affine":
                for name in dict.fromkeys(affine.inputs):
                    found[name] += [(affine, k, place) for k, place in takers.get(affine.name, [])]
                    found[name] += [(affine, None, 0)] if affine.name == self.output else []
        return found


def _pulled(recorded: Mapping[str, Tensor], pushed: Mapping[str, Tensor], leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The gradients in ``leaves`` of sum <pushed, recorded>, zero where nothing depends on them."""
    reached = [name for name in pushed if recorded[name].requires_grad]
    if not reached:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    values, parts = [recorded[name] for name in reached], [pushed[name] for name in reached]
    return torch.autograd.grad(values, leaves, parts, allow_unused=True, materialize_grads=True)
