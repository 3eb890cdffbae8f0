"""Every algorithm ends where energy + R is least: ridge by a linear system, the others by an interior-point method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.training import BlockDescent, ImplicitSGD, LiftedTraining, ProximalSAGA, ProximalSGD
from netinverse.training.algorithm import Algorithm
from netinverse.training.problem import WeightPenalty

F64 = torch.float64
GENERATOR = torch.Generator().manual_seed(0)
A = torch.randn(60, 4, generator=GENERATOR, dtype=F64) * torch.tensor([1.0, 0.7, 1.3, 1.0], dtype=F64)
T = A @ torch.randn(4, 3, generator=GENERATOR, dtype=F64) + 0.3 * torch.randn(60, 3, generator=GENERATOR, dtype=F64)


def ridge(weight: float) -> Tensor:
    return torch.linalg.solve(A.T @ A / 60 + weight * torch.eye(4, dtype=F64), A.T @ T / 60).T


def by_clarabel(penalty: Callable[[Any], Any]) -> Tensor:
    w = cp.Variable((3, 4))
    fit = cp.sum_squares(A.numpy() @ w.T - T.numpy()) / (2 * 60)
    cp.Problem(cp.Minimize(fit + penalty(w))).solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9)
    return torch.as_tensor(w.value)


EXPECTED: list[tuple[WeightPenalty, Callable[[], Tensor]]] = [
    (ni.SquaredNorm(0.5), lambda: ridge(0.5)),
    (ni.L1(0.4), lambda: by_clarabel(lambda w: 0.4 * cp.norm1(w))),
    (ni.GroupL21(2, 0.6), lambda: by_clarabel(lambda w: 0.6 * cp.sum(cp.norm(w, 2, axis=1)))),
    (ni.NuclearNorm(0.6), lambda: by_clarabel(lambda w: 0.6 * cp.normNuc(w))),
]
ALGORITHMS: list[tuple[Algorithm, int]] = [
    (ProximalSGD(0.02, "sgd"), 250),
    (ProximalSGD(3e-2), 400),
    (ProximalSAGA(0.3), 60),
    (ImplicitSGD(10.0), 15),
    (BlockDescent(), 5),
    (BlockDescent("nesterov"), 6),
    (BlockDescent("adam"), 25),
]


@pytest.mark.parametrize(("algorithm", "epochs"), ALGORITHMS, ids=str)
@pytest.mark.parametrize(("regulariser", "least"), EXPECTED, ids=["ridge", "lasso", "groups", "nuclear"])
def test_it_ends_at_the_minimiser(
    regulariser: WeightPenalty, least: Callable[[], Tensor], algorithm: Algorithm, epochs: int
) -> None:
    torch.manual_seed(2)
    network = nn.Linear(4, 3, bias=False).double()
    LiftedTraining(algorithm=algorithm, regulariser=regulariser).fit(network, [(A, T)], epochs)
    torch.testing.assert_close(network.weight.detach(), least(), atol=1e-4, rtol=0)
