"""What is minimised over the parameters and the activations, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from netinverse.lifting import BregmanPenalty, LiftedEnergy, QuadraticPenalty, RegularisedPenalty, backward_sweep
from netinverse.lifting.penalties import Penalty
from netinverse.networks import LiftedNetwork
from netinverse.networks.batch_statistics import BatchStatistics
from netinverse.networks.node import Node
from netinverse.protocols import ProximalFunction, Step
from netinverse.tensors import norm
from netinverse.training.auxiliaries import Auxiliaries
from netinverse.training.losses import Loss, labels_met, loss_of

PENALTIES = ("bregman", "quadratic", "fenchel", "contrastive")


class WeightPenalty(Protocol):
    """R of one matrix or filter, (1, m, ...); what training needs of a function: it may be no convex one."""

    def __call__(self, x: Tensor) -> Tensor:
        """(1,)."""
        ...

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        """argmin_v step * R(v) + 1/2||v - x||^2."""
        ...


@dataclass(frozen=True)
class Summed:
    """Of one batch, before its step: the sums over its samples of the losses, of the labels met, and of the gradients.

    ``us``: the activations after their block steps. ``lost``: the numbers of samples whose loss is not finite.
    """

    us: tuple[Tensor, ...]
    loss: Tensor
    hits: Tensor
    lost: tuple[int, ...]
    gradients: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class TrainingProblem:
    """min over theta and u of mean over samples of loss(z_out, y) + sum_l weight (C_l(u_l, z_l) + R_l(u_l)), + R(theta).

    penalty: C. "bregman": B(u, z). "fenchel": the Lagrangian of the Fenchel-lifted network, which is the same B. "quadratic":
    1/2||u - sigma(z)||^2. "contrastive": min_u {loss + R_l + E} - min_u E with B; the second minimum is 0, attained by the
    forward pass, so that its gradient is that of E at the minimiser in u: ``sweeps`` is to be large enough to come near it.
    of_activations: R_l by the name of the node.

    statistics: the layers of batch normalisation that train. ``network`` is then the coupled one, whose gradients, as in
    back-propagation, are also those through the moments of the batch; safe steps need affine nodes and take ``held``.
    """

    network: LiftedNetwork
    loss: str | Loss
    penalty: str
    weight: float
    sweeps: int
    auxiliaries: Auxiliaries
    regulariser: WeightPenalty | None
    of_activations: Mapping[str, ProximalFunction]
    statistics: BatchStatistics

    @cached_property
    def parameters(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    @property
    def learned(self) -> dict[str, Tensor]:
        """All that a batch changes in the network: parameters, and running statistics."""
        return {**self.parameters, **self.statistics.buffers}

    def held(self, x: Tensor) -> TrainingProblem:
        """The problem of this batch with its moments held fixed at those of the forward pass, where there are any."""
        if not self.statistics.uses:
            return self
        return replace(self, network=self.statistics.held(self.statistics.at(x)))

    @cached_property
    def _penalty(self) -> Callable[[Node], Penalty]:
        plain = QuadraticPenalty if self.penalty == "quadratic" else _bregman

        def penalty(node: Node) -> Penalty:
            added = self.of_activations.get(node.name)
            return plain(node) if added is None else RegularisedPenalty(plain(node), added)

        return penalty

    def energy(self, targets: Tensor) -> LiftedEnergy:
        """That of the sum over the batch."""
        return LiftedEnergy(self.network, loss_of(self.loss, self.network, targets), self.weight, self._penalty)

    def summed(self, x: Tensor, targets: Tensor, progress: float) -> Summed:
        """The block steps from where the auxiliaries say, and the gradients, of the sum over the batch.

        u_l+ = prox_{1/2||.||^2 + Psi_l}(u_l + z_l - g/weight), half way from u_l to what the layers above ask for. Safe steps, by
        the norms of the layers, are so short that after a few layers nothing is left of a residual; these pass on half of it. The
        energy of a batch may rise in them.
        """
        energy = self.energy(targets)
        step_sizes = [1.0 / self.weight] * len(energy.blocks)
        begin = self.auxiliaries.at(progress, energy.blocks, targets, self.network.nodes[-1].shape[0])
        found = backward_sweep(energy, x, step_sizes, begin)
        for _ in range(self.sweeps - 1):
            us = found.us
            found = backward_sweep(energy, x, step_sizes, lambda block, activation, us=us: us[block])  # type: ignore[misc]
        loss = found.fidelity.double().sum()
        lost = () if bool(torch.isfinite(loss)) else not_finite(found.fidelity)
        return Summed(found.us, loss, labels_met(found.output, targets), lost, found.gradients)

    def safe_steps(self) -> list[float]:
        """1 / sum over children of weight ||A||^2, by block: with these the energy falls in every block step, where the loss and
        the penalties have 1-Lipschitz gradients in z.
        """
        energy = LiftedEnergy(self.network, _Nothing(), self.weight, self._penalty)
        return [float(energy.step_size(block)) for block in range(len(energy.blocks))]

    @property
    def regularised(self) -> dict[str, nn.Parameter]:
        """The parameters that R is one of: matrices and filters, where there is an R."""
        return {} if self.regulariser is None else {name: p for name, p in self.parameters.items() if p.ndim > 1}


def not_finite(losses: Tensor) -> tuple[int, ...]:
    """The numbers of the samples, of losses (batch,)."""
    return tuple((~torch.isfinite(losses)).nonzero().flatten().tolist())


def _bregman(node: Node) -> BregmanPenalty:
    assert node.potential is not None
    return BregmanPenalty(node.potential)


class _Nothing:
    """No fidelity: for what a lifted energy knows without data."""

    def __call__(self, z: Tensor, /) -> Tensor:
        return torch.zeros_like(norm(z))

    def gradient(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z)
