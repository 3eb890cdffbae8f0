"""One sweep backward through a lifted energy: a block step in every activation, and the gradients of all parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netinverse.lifting.energy import LiftedEnergy
from netinverse.networks.graph import LiftedNetwork
from netinverse.networks.node import Node


@dataclass(frozen=True)
class Swept:
    """``us``: the activations after their block steps. ``fidelity``: at the start, (batch,), with ``output`` what it took.

    ``gradients``: of the sum of the energy over the batch, by parameter.
    """

    us: tuple[Tensor, ...]
    fidelity: Tensor
    output: Tensor
    gradients: dict[str, Tensor]


@dataclass(frozen=True)
class Constants:
    """What programs take besides the values of nodes: parameters, and what is made of them alone, such as normalised filters.

    ``values``: by name, what is made being leaves, computed and differentiated once however many nodes take it. ``made``: the
    same as functions of the parameters, where these are trained.
    """

    values: dict[str, Any]
    made: dict[str, Tensor]

    @property
    def learnt(self) -> dict[str, Tensor]:
        return {name: t for name, t in self.values.items() if isinstance(t, Tensor) and t.requires_grad}

    def pulled_back(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The gradients in the parameters alone."""
        kept = {name: g for name, g in gradients.items() if name not in self.made}
        reached = [name for name in self.made if name in gradients]
        if reached:
            own = {name: t for name, t in self.learnt.items() if name not in self.made}
            functions, given = [self.made[name] for name in reached], [gradients[name] for name in reached]
            _add(kept, list(own), torch.autograd.grad(functions, list(own.values()), given, allow_unused=True))
        return kept


@dataclass(frozen=True)
class ForwardHalf:
    """Some consecutive nodes, run once. ``leaves``: their activations and what they were given; ``recorded``: affine values."""

    nodes: tuple[Node, ...]
    leaves: dict[str, Tensor]
    recorded: dict[str, Tensor]
    constants: Constants


@dataclass(frozen=True)
class BackwardHalf:
    """By name: activations after their block steps, gradients of the nodes' parameters, and of what the nodes were given."""

    us: dict[str, Tensor]
    gradients: dict[str, Tensor]
    pulled: dict[str, Tensor]


Beginning = Callable[[int, Tensor], Tensor]


def forward_pass(block: int, activation: Tensor) -> Tensor:
    """u_l = sigma_l(z_l)."""
    return activation


def backward_sweep(energy: LiftedEnergy, x: Tensor, step_sizes: Sequence[float], begin: Beginning = forward_pass) -> Swept:
    """u_l+ = prox_{t_l lambda_l (1/2||.||^2 + Psi_l)}(u_l - t_l grad_l E) for l = L, ..., 1, and dE/dtheta, one product each.

    ``begin(l, sigma_l(z_l))`` is where u_l begins, z_l taken at the beginnings before it; by default the forward pass. Every
    affine node is run once forward and once backward: the products of one back-propagation, in 1.1 to 1.5 times its time. No
    activation is differentiated: what goes backward through A_l is lambda_l (sigma_l(z_l) - u_l+). ``step_sizes``: of the blocks.

    In a chain of layers that is Gauss-Seidel: the gradient in the parameters of A_l is taken after the step in u_l and before
    those in u_<l, at a point that the sweep passes. A layer that takes several activations sends back what it had at their
    beginnings.
    """
    begun = forward_half(energy, energy.network.nodes, {energy.network.input_name: x}, begin)
    found = backward_half(energy, begun, step_sizes, {})
    output = {**begun.leaves, **begun.recorded}[energy.output].detach()
    with torch.no_grad():
        fidelity = energy.fidelity(output)
    return Swept(tuple(found.us[node.name] for node in energy.blocks), fidelity, output, found.gradients)


def forward_half(energy: LiftedEnergy, nodes: Sequence[Node], given: Mapping[str, Tensor], begin: Beginning) -> ForwardHalf:
    """z_l and where u_l begins, for consecutive nodes of the network, which are ``given`` the values before them.

    Given values that require a gradient get one in the second half.
    """
    blocks = {node.name: k for k, node in enumerate(energy.blocks)}
    leaves, like = dict(given), next(iter(given.values()))
    constants = _constants(energy.network, nodes, like)
    recorded: dict[str, Tensor] = {}
    for node in nodes:
        if node.kind == "affine":
            inputs = dict(zip(node.arguments, (leaves[name] for name in node.inputs), strict=True))
            with torch.enable_grad():
                recorded[node.name] = node.remainder.run(constants.values | inputs, like)[node.remainder.outputs[0]]
        elif node.name in blocks:
            with torch.no_grad():
                value = begin(blocks[node.name], node(*(recorded[name] for name in node.inputs)))
            leaves[node.name] = value.detach().requires_grad_(True)
    return ForwardHalf(tuple(nodes), leaves, recorded, constants)


@torch.no_grad()
def backward_half(
    energy: LiftedEnergy, begun: ForwardHalf, step_sizes: Sequence[float], pulled: Mapping[str, Tensor]
) -> BackwardHalf:
    """From the last of the nodes to the first. ``pulled``: sum of A^T r over the later nodes, by activation that they take."""
    blocks = {node.name: k for k, node in enumerate(energy.blocks)}
    leaves, recorded, learnt = begun.leaves, begun.recorded, begun.constants.learnt
    values = {name: z.detach() for name, z in recorded.items()} | {name: u.detach() for name, u in leaves.items()}
    gathered = dict(pulled)  # the gradient in each activation
    pushed: dict[str, Tensor] = {}  # what each affine node has to pull
    if energy.output in values:
        (pushed if energy.output in recorded else gathered)[energy.output] = energy.fidelity.gradient(values[energy.output])
    gradients: dict[str, Tensor] = {}
    us: dict[str, Tensor] = {}
    for node in reversed(begun.nodes):
        if node.name in blocks:
            k, zs, u = blocks[node.name], [values[name] for name in node.inputs], values[node.name]
            gradient = energy.block_gradient(k, zs) + gathered.pop(node.name, torch.zeros_like(u))
            us[node.name] = energy.prox(k, torch.sub(u, gradient, alpha=step_sizes[k]), step_sizes[k])
            for name, part in zip(node.inputs, energy.pre_activation_gradient(k, us[node.name], zs), strict=True):
                pushed[name] = pushed[name] + part if name in pushed else part
        elif node.name in pushed and recorded[node.name].requires_grad:
            _pull(node, recorded[node.name], pushed.pop(node.name), leaves, learnt, gathered, gradients)
    return BackwardHalf(us, begun.constants.pulled_back(gradients), gathered)


def _constants(network: LiftedNetwork, nodes: Sequence[Node], like: Tensor) -> Constants:
    values, made = network.given(like), dict[str, Any]()
    with torch.enable_grad():
        for node in nodes:
            if node.kind == "affine" and not made.keys() >= set(node.constants.outputs):
                made |= node.constants.run(values, like)
    cut = {name: t.detach().requires_grad_(t.requires_grad) if isinstance(t, Tensor) else t for name, t in made.items()}
    return Constants(values | cut, {name: t for name, t in made.items() if isinstance(t, Tensor) and t.requires_grad})


def _pull(
    node: Node,
    value: Tensor,
    residual: Tensor,
    leaves: Mapping[str, Tensor],
    learnt: Mapping[str, Tensor],
    pulled: dict[str, Tensor],
    gradients: dict[str, Tensor],
) -> None:
    """Through one affine node: A^T r to its inputs, and the gradient of <r, A u> to its parameters and constants."""
    inputs = [name for name in dict.fromkeys(node.inputs) if leaves[name].requires_grad]
    own = [name for name in node.remainder.free if name in learnt]
    found = torch.autograd.grad(value, [leaves[n] for n in inputs] + [learnt[n] for n in own], residual, allow_unused=True)
    _add(pulled, inputs, found[: len(inputs)])
    _add(gradients, own, found[len(inputs) :])


def _add(into: dict[str, Tensor], names: Sequence[str], parts: Sequence[Tensor | None]) -> None:
    for name, part in zip(names, parts, strict=True):
        if part is not None:
            into[name] = into[name] + part if name in into else part
