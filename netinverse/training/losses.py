"""Losses of the pre-activation z that enters the end of the network: what a lifted energy takes as its fidelity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.modules.loss import _Loss

from netinverse.networks import LiftedNetwork
from netinverse.protocols import Potential
from netinverse.tensors import total

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES = ("auto", "cross-entropy", "squared")


class TrainingLoss(Protocol):
    """z -> loss of one batch of targets, (batch,), with its gradient in z, which is 1-Lipschitz but for functions of torch."""

    def __call__(self, z: Tensor, /) -> Tensor: ...
    def gradient(self, z: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class CrossEntropy:
    """log sum exp z - z_y: the Bregman penalty of soft-max at the unit vector of y. Targets (batch,), z (batch, classes)."""

    targets: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return functional.cross_entropy(z, self.targets, reduction="none")

    def gradient(self, z: Tensor) -> Tensor:
        gradient = torch.softmax(z, 1)
        gradient[torch.arange(len(z), device=z.device), self.targets] -= 1
        return gradient


@dataclass(frozen=True)
class PenaltyLoss:
    """B(y, z), the Bregman penalty of the last activation: at least 1/2||y - sigma(z)||^2; 1/2||y - z||^2 where there is none."""

    potential: Potential
    targets: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return self.potential.penalty(self.targets, z)

    def gradient(self, z: Tensor) -> Tensor:
        return self.potential.prox(z) - self.targets


@dataclass(frozen=True)
class TorchLoss:
    """Any function of the output and the targets that torch can differentiate, loss(output, targets) -> (batch,), or one number
    for the batch, which counts for each of its samples.

    ``activation`` is that at the end of the network: it is the one that is differentiated, as a part of the loss.
    """

    loss: Loss
    activation: Callable[[Tensor], Tensor]
    targets: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        value = self.loss(self.activation(z), self.targets)
        return total(value) if value.ndim else value.expand(len(z))

    def joint(self, z: Tensor) -> bool:
        """Whether the function gives one number for the batch, of which nothing tells whether it is a mean over the samples."""
        return self.loss(self.activation(z), self.targets).ndim == 0

    def gradient(self, z: Tensor) -> Tensor:
        with torch.enable_grad():
            point = z.detach().requires_grad_(True)
            value = self.loss(self.activation(point), self.targets)
            scaled = value.sum() if value.ndim else value * len(z)
            return torch.autograd.grad(scaled, point)[0]


def half_squares(output: Tensor, targets: Tensor) -> Tensor:
    """1/2||output - targets||^2, (batch,)."""
    return 0.5 * total((output - targets).square())


def require_loss(loss: str | Loss) -> None:
    """Raise for what is no loss, and for one of torch that adds up the samples, which would be taken for their mean."""
    if not callable(loss) and loss not in LOSSES:
        raise ValueError(
            f"LiftedTraining: loss is {loss!r}, but must be 'auto', 'cross-entropy', 'squared' or a function of output and "
            "targets."
        )
    if isinstance(loss, _Loss) and loss.reduction == "sum":
        raise ValueError(
            f"LiftedTraining: loss is {loss} with reduction='sum', but one number for a batch is taken for its mean, so every "
            f"gradient would be the batch size too large. Write {type(loss).__name__}(), whose reduction is 'mean', or "
            f"reduction='none'."
        )


def loss_of(choice: str | Loss, network: LiftedNetwork, targets: Tensor) -> TrainingLoss:
    """The loss of one batch.

    "auto": integer targets (batch,) mean cross-entropy on the last affine output, float targets the Bregman penalty of the last
    activation, which is the squared loss 1/2||y - z||^2 where the network ends in an affine map. Targets outside the range of the
    activation are refused: the penalty is infinite there. "squared": 1/2||y - sigma(z)||^2, which differentiates the last
    activation, where there is one, and takes any targets.
    """
    potential = network.output_potential
    if callable(choice):
        return TorchLoss(choice, potential.prox, targets)
    whole = not targets.is_floating_point()
    if choice == "cross-entropy" or (choice == "auto" and whole):
        return _cross_entropy(network, targets)
    _require_floats(network, targets)
    targets = targets.to(network.dtype)
    if choice == "squared" and network.nodes[-1].potential is not None:
        return TorchLoss(half_squares, potential.prox, targets)
    _require_range(network, targets)
    return PenaltyLoss(potential, targets)


def labels_met(output: Tensor, targets: Tensor) -> Tensor:
    """How many samples have their largest output at their label; NaN where the targets are no labels."""
    if targets.is_floating_point() or targets.ndim != 1 or output.ndim != 2:
        return output.new_full((), torch.nan)
    return (output.argmax(1) == targets).sum()


def _cross_entropy(network: LiftedNetwork, targets: Tensor) -> CrossEntropy:
    last = network.nodes[-1]
    if last.kind == "proximal" or len(last.shape) != 1 or targets.ndim != 1 or targets.is_floating_point():
        raise ValueError(
            f"LiftedTraining: cross-entropy takes whole targets (batch,) and a network that ends in an affine map to (batch, "
            f"classes), but the targets have shape {tuple(targets.shape)} and dtype {targets.dtype}, and the network ends in "
            f"{last.name}, {last.kind}, of shape {last.shape}. Leave out the last activation."
        )
    bad = (targets < 0) | (targets >= last.shape[0])
    if bool(bad.any()):
        sample = int(bad.nonzero()[0])
        raise ValueError(
            f"LiftedTraining: the label of sample {sample} of the batch is {int(targets[sample])}, but the network has "
            f"{last.shape[0]} outputs, so labels must lie in 0, ..., {last.shape[0] - 1}."
        )
    return CrossEntropy(targets.long())


def _require_floats(network: LiftedNetwork, targets: Tensor) -> None:
    if not targets.is_floating_point():
        raise ValueError(
            "LiftedTraining: the squared loss takes float targets, but these are whole numbers. Use loss='cross-entropy'."
        )
    shape = network.nodes[-1].shape
    if tuple(targets.shape[1:]) != tuple(shape):
        raise ValueError(
            f"LiftedTraining: targets have shape {tuple(targets.shape)}, but the network returns (batch, "
            f"{', '.join(map(str, shape))}). Reshape the targets."
        )


def _require_range(network: LiftedNetwork, targets: Tensor) -> None:
    """Raise for targets that the last activation does not take as values."""
    far = (network.output_potential.project(targets) - targets).abs()
    missed = far.flatten(1).amax(1) if targets.numel() else targets.new_zeros(len(targets))
    if bool((missed > 0).any()):
        sample = int((missed > 0).nonzero()[0])
        raise ValueError(
            f"LiftedTraining: targets of sample {sample} are outside the range of the last activation "
            f"({network.nodes[-1].name}) by {float(missed[sample]):.3g}, where its Bregman penalty is infinite. Scale the "
            f"targets, take loss='squared', or end with an affine map."
        )
