"""The penalty of singular values: its derivative, its proximal map by brute force, and what training makes of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import netinverse as ni
from netinverse.training import ConditioningPenalty, LiftedTraining

F64 = torch.float64


def test_value_and_derivative() -> None:
    penalty = ConditioningPenalty(2.0, 0.5, 1.5)
    diagonal = torch.diag_embed(torch.tensor([[0.1, 1.0, 2.0]], dtype=F64))
    torch.testing.assert_close(penalty(diagonal), torch.tensor([0.4**2 + 0.5**2], dtype=F64))
    x = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(penalty, x)


@pytest.mark.parametrize("step", [0.2, 3.0])
def test_prox_is_least_among_many_points_and_stationary(step: float) -> None:
    """The function is not convex: neighbours, far points and the singular values on a lattice."""
    penalty, generator = ConditioningPenalty(1.3, 0.8, 1.2), torch.Generator().manual_seed(1)
    v = torch.randn(1, 3, 3, generator=generator, dtype=F64)
    x = penalty.prox(v, step)

    def objective(points: torch.Tensor) -> torch.Tensor:
        return step * penalty(points) + 0.5 * (points - v).square().flatten(1).sum(1)

    least = objective(x)
    for scale in (1e-3, 1e-1, 1.0, 3.0):
        around = x + scale * torch.randn(4000, 3, 3, generator=generator, dtype=F64)
        assert (objective(around) >= least - 1e-12).all()
    u, _, vh = torch.linalg.svd(v[0])
    lattice = torch.cartesian_prod(*[torch.linspace(-3, 3, 41, dtype=F64)] * 3)
    assert (objective(u * lattice[:, None] @ vh) >= least - 1e-12).all()


def test_training_keeps_the_layers_conditioned() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 12, generator=generator)
    y = (x[:, 0] > 0).long()

    def smallest(regulariser: ConditioningPenalty | None) -> float:
        torch.manual_seed(0)
        model = ni.mlp([12, 10, 2])
        algorithm = ni.training.ProximalSGD(1e-2)
        LiftedTraining(algorithm=algorithm, regulariser=regulariser).fit(model, [(x, y)], 60)
        return min(float(torch.linalg.svdvals(p).min()) for p in model.parameters() if p.ndim > 1)

    assert smallest(ConditioningPenalty(100.0, 0.9, 1.1)) > 0.85 > smallest(None)


def test_of_a_module_is_the_sum_over_its_matrices() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Linear(4, 3))
    penalty = ConditioningPenalty()
    total = penalty.of(module)
    parts = [penalty(p[None]).sum() for p in (module[0].weight, module[1].weight)]
    torch.testing.assert_close(total, sum(parts, torch.zeros(())))
    total.backward()
    assert all(layer.weight.grad is not None and layer.weight.grad.isfinite().all() for layer in (module[0], module[1]))
    with pytest.raises(ValueError, match="no matrix and no filter"):
        penalty.of(nn.ReLU())
    with pytest.raises(ValueError, match="smallest 3 and largest 2"):
        ConditioningPenalty(smallest=3)
