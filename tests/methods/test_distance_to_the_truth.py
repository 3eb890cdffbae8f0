"""The Bregman distance to the truth falls in every step until the data are met: 20 problems, up to 1,000 steps each.

Compared are the steps from and to an iterate whose fidelity is above that of the truth. In the short runs that is every step of
every problem; in the long ones some problems meet their data, and nothing is asked of them from there on.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.methods.bregman_iteration import BregmanSteps, Reduced
from netinverse.methods.linearised_bregman import _Regularised
from netinverse.methods.mirror import MirrorDescent
from netinverse.solvers.iterate import iterates

F64 = torch.float64
ACTIVATIONS = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "soft": nn.Softshrink(0.1), "linear": nn.Identity()}


class Caught(Exception):
    """Carries what ``invert`` would hand to a method."""


class Catching:
    def run(self, network: Any, problem: Any, start: Tensor, rule: Any, rule_problem: Any, **_: Any) -> Any:
        raise Caught(problem, start)


def handed(activation: str, regulariser: Any, decay: float) -> tuple[Any, Tensor, Tensor]:
    """Five problems with one layer whose singular values fall from 1 to ``decay``, the start, and their truths, (5, 12)."""
    generator = torch.Generator().manual_seed(len(activation))
    left, _ = torch.linalg.qr(torch.randn(16, 12, generator=generator, dtype=F64))
    right, _ = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=F64))
    layer = nn.Linear(12, 16, dtype=F64)
    with torch.no_grad():
        layer.weight.copy_(left @ torch.diag(torch.logspace(0, torch.tensor(decay).log10().item(), 12, dtype=F64)) @ right.T)
        layer.bias.copy_(0.1 * torch.randn(16, generator=generator, dtype=F64))
    model = nn.Sequential(layer, ACTIVATIONS[activation]).eval().requires_grad_(False)
    truth = torch.randn(5, 12, generator=generator, dtype=F64)
    truth = truth * (torch.rand(5, 12, generator=generator) < 0.5)
    data, level = ni.add_noise(model(truth), relative=1e-3, seed=0)
    with pytest.raises(Caught) as caught:
        ni.invert(
            model,
            data,
            input_shape=(12,),
            noise_level=level,
            regulariser=regulariser,
            method=Catching(),
            start=torch.zeros(5, 12),
        )
    problem, start = caught.value.args
    return problem, start, truth


def compared_falls(solver: Any, problem: Any, start: Tensor, truth: Tensor, distance: Any, steps: int, slack: float) -> int:
    """How many steps were compared, of all problems together. None of them may raise the distance."""
    at_truth = problem.term(problem.variable(truth))
    before, compared = distance(solver.init(problem, start)), 0
    largest = before.clone()
    for state in itertools.islice(iterates(solver, problem, start), 1, steps + 1):
        above = problem.term(problem.variable(state.x)) > at_truth
        new = distance(state)
        assert (new <= before + slack * largest)[above].all()
        compared += int((above & torch.isfinite(before)).sum())
        before = torch.where(above, new, torch.inf)
    return compared


@pytest.mark.parametrize(("steps", "least"), [(50, 1_000), pytest.param(1_000, 10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("regulariser", [ni.Tikhonov(), ni.Sparsity()], ids=lambda r: r.name)
def test_linearised_bregman_comes_nearer_in_every_step(regulariser: Any, steps: int, least: int) -> None:
    """D_J(truth, x_k), J = R + 1/2||.||^2, whose subgradients are the p_k of the method."""
    solver, compared = MirrorDescent(_Regularised(1.0, 1e-12)), 0
    for activation in ACTIVATIONS:
        problem, start, truth = handed(activation, regulariser, decay=1e-3)

        def distance(state: Any, truth: Tensor = truth) -> Tensor:
            strong = 0.5 * (truth.square().sum(1) - state.x.square().sum(1))
            return regulariser(truth) - regulariser(state.x) + strong - (state.p * (truth - state.x)).sum(1)

        compared += compared_falls(solver, problem, start, truth, distance, steps, slack=1e-13)
    assert compared >= least


@pytest.mark.parametrize(("steps", "least"), [(5, 100), pytest.param(1_000, 5_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("regulariser", [ni.Tikhonov(), ni.Sparsity()], ids=lambda r: r.name)
def test_bregman_iteration_comes_nearer_in_every_step(regulariser: Any, steps: int, least: int) -> None:
    """D_R^{p_k}(truth, x_k), with a weight so heavy that the data are not met for long."""
    solver, compared = BregmanSteps(Reduced(1e-9)), 0
    for activation in ACTIVATIONS:
        problem, start, truth = handed(activation, regulariser, decay=1e-2)
        problem = problem.at(100 * problem.alpha)

        def distance(state: Any, truth: Tensor = truth) -> Tensor:
            return ni.bregman_distance(regulariser, truth, state.x, state.subgradient)

        compared += compared_falls(solver, problem, start, truth, distance, steps, slack=1e-7)
    assert compared >= least
