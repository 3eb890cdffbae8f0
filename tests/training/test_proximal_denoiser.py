"""Lifted training of unrolled denoisers: filters that occur in several nodes, and a step that follows them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import netinverse as ni
from netinverse.lifting import LiftedEnergy, backward_sweep
from netinverse.training import BlockDescent, ImplicitSGD, LiftedTraining, ProximalSGD
from netinverse.training.losses import PenaltyLoss

F64 = torch.float64
each_kind = pytest.mark.parametrize("tied", [True, False], ids=["tied", "decoupled"])


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """Noisy and true: a corner of a square in each, noise 0.1."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(count, 1, 10, 10)
    for picture, (i, j) in zip(truth, torch.randint(1, 9, (count, 2), generator=generator).tolist(), strict=True):
        picture[0, i:, j:] = 1
    return truth + 0.1 * torch.randn(truth.shape, generator=generator), truth


@each_kind
def test_the_gradients_of_all_places_add_up(tied: bool) -> None:
    """Without steps in u they are those of the energy, for filters in every node and for the norm that sets their step."""
    z, truth = (part.to(F64) for part in pictures(3))
    lifted = ni.lift(ni.proximal_denoiser(1, 4, 3, tied=tied, dtype=F64), z)
    energy = LiftedEnergy(lifted, PenaltyLoss(lifted.output_potential, truth), 0.7)
    generator = torch.Generator().manual_seed(1)
    us = [0.9 * u.detach() + 0.1 * torch.rand(u.shape, generator=generator, dtype=F64) for u in energy.activations(z)]
    found = backward_sweep(energy, z, [1e-13] * 3, lambda block, activation: us[block])
    exact = torch.autograd.grad(energy.value(z, us).sum(), list(lifted.parameters()))
    for (name, _), gradient in zip(lifted.named_parameters(), exact, strict=True):
        torch.testing.assert_close(found.gradients[name], gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("tied", "algorithm"),
    [(True, ProximalSGD()), (False, ProximalSGD()), (True, ImplicitSGD(0.1, 1)), (True, BlockDescent("adam", sweeps=2))],
    ids=["tied", "decoupled", "implicit", "blocks"],
)
def test_every_algorithm_lowers_the_loss(tied: bool, algorithm: ni.training.Algorithm) -> None:
    z, truth = pictures(24)
    denoiser = ni.proximal_denoiser(1, 4, 3, tied=tied)
    history = LiftedTraining(algorithm=algorithm).fit(denoiser, [(z[:12], truth[:12]), (z[12:], truth[12:])], 4)
    after = 0.5 * (denoiser(z) - truth).square().sum() / len(z)
    assert float(after.detach()) < history["loss"].iloc[0]
