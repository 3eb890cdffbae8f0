"""A step of all parameters at fixed activations that never raises the energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.lifting import LiftedEnergy
from netinverse.tensors import norm
from netinverse.training.metric import proximal_point
from netinverse.training.problem import TrainingProblem

LONGER = 1.5
SHORTEST = 1e-12


@dataclass(frozen=True)
class Anchor:
    """1/(2 tau) ||theta - theta_k||^2, what an implicit step adds to the energy."""

    parameters: Mapping[str, Tensor]
    tau: float

    def value(self, parameters: Mapping[str, Tensor]) -> Tensor:
        parts = [(parameters[name] - p).square().sum() for name, p in self.parameters.items()]
        return torch.stack(parts).sum() / (2 * self.tau)


def objective(problem: TrainingProblem, energy: LiftedEnergy, x: Tensor, us: Sequence[Tensor], anchor: Anchor | None) -> Tensor:
    """The mean energy over the batch + R(theta), + the anchor's; a number in float64."""
    with torch.no_grad():
        value = energy.value(x, us).double().mean()
        if problem.regulariser is not None:
            value = value + sum(problem.regulariser(p[None]).double().sum() for p in problem.regularised.values())
        return value if anchor is None else value + anchor.value(problem.parameters)


def energy_gradients(
    energy: LiftedEnergy, x: Tensor, us: Sequence[Tensor], parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Of the mean over the batch, at fixed activations."""
    with torch.enable_grad():
        values = energy.affine_values(x, us)
    pushed: dict[str, Tensor] = {energy.output: energy.fidelity.gradient(values[energy.output].detach())}
    for block, node in enumerate(energy.blocks):
        zs = [values[name].detach() for name in node.inputs]
        for name, part in zip(node.inputs, energy.pre_activation_gradient(block, us[block], zs), strict=True):
            pushed[name] = pushed[name] + part if name in pushed else part
    reached = [name for name in pushed if values[name].requires_grad]
    found = torch.autograd.grad(
        [values[name] for name in reached],
        list(parameters.values()),
        [pushed[name] / len(x) for name in reached],
        allow_unused=True,
        materialize_grads=True,
    )
    return dict(zip(parameters, found, strict=True))


def curvatures(problem: TrainingProblem, energy: LiftedEnergy, x: Tensor, us: Sequence[Tensor]) -> dict[str, float]:
    """weight * (1 + mean squared norm of what enters the affine map), by parameter: Lipschitz constants for fully connected
    layers.

    For convolutions an estimate, which the search for the step length mends.
    """
    size = {problem.network.input_name: float(norm(x).square().mean())}
    size |= {node.name: float(norm(u).square().mean()) for node, u in zip(energy.blocks, us, strict=True)}
    found = dict.fromkeys(problem.parameters, 0.0)
    for node in problem.network.nodes:
        if node.kind == "affine":
            weight = 1.0 if node.name == energy.output else problem.weight
            for name in node.program.free:
                if name in found:
                    found[name] += weight * (1 + sum(size[each] for each in node.inputs))
    return {name: value if value > 0 else 1.0 for name, value in found.items()}


def weight_step(
    problem: TrainingProblem,
    energy: LiftedEnergy,
    x: Tensor,
    us: Sequence[Tensor],
    length: float,
    *,
    anchor: Anchor | None = None,
    directions: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> tuple[float, Tensor]:
    """theta+ = prox_{s/L R}(theta - s g/L), s halved from ``length`` until the objective falls: the s for next time, the
    objective.

    L by parameter from ``curvatures``; ``directions`` in place of g and 1/L, the second perhaps entry by entry. Where no s above
    ``SHORTEST`` helps, nothing moves.
    """
    parameters = problem.parameters
    before = {name: p.detach().clone() for name, p in parameters.items()}
    start = objective(problem, energy, x, us, anchor)
    gradients = energy_gradients(energy, x, us, parameters)
    if anchor is not None:
        gradients = {name: g + (before[name] - anchor.parameters[name]) / anchor.tau for name, g in gradients.items()}
    steep = curvatures(problem, energy, x, us)
    if anchor is not None:
        steep = {name: value + 1 / anchor.tau for name, value in steep.items()}
    while length > SHORTEST:
        with torch.no_grad():
            for name, p in parameters.items():
                direction, step = (gradients[name], 1 / steep[name]) if directions is None else directions[name]
                moved = before[name] - length * (step * direction)
                p.copy_(proximal_point(problem.regulariser, moved, length * step))
        value = objective(problem, energy, x, us, anchor)
        if bool(value < start):
            return LONGER * length, value
        length /= 2
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(before[name])
    return 1.0, start
