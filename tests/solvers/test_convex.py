"""The convex inverse problem: equivariant under the scale of the data, and a gap that is never too small."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.regularisers import Regulariser

SCALES = [2.0**k for k in (-30, -12, 8, 30)]  # powers of two: nothing is rounded


def setting(activation: nn.Module) -> tuple[nn.Module, Tensor]:
    """A layer without offset that is homogeneous, and clean data of a square."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 24, bias=False), activation).double().eval()
    x = torch.zeros(2, 1, 6, 6, dtype=torch.float64)
    x[0, :, 2:5, 1:4], x[1, :, 1:3, 1:5] = 1, 0.5
    return model, model(x).detach()


@pytest.mark.parametrize("activation", [nn.Identity(), nn.ReLU()], ids=str)
@pytest.mark.parametrize("constraint", [None, ni.NonNegative()], ids=repr)
def test_scaled_data_have_the_scaled_solution(activation: nn.Module, constraint: ni.NonNegative | None) -> None:
    """invert(s y, s delta) = s invert(y, delta) for positively homogeneous networks, certificate and weight alike.

    The last digits of alpha may differ, and with them those of the metric in which the interior-point method starts.
    """
    model, clean = setting(activation)
    data, level = ni.add_noise(clean, relative=0.05)
    reference = ni.invert(model, data, input_shape=(1, 6, 6), noise_level=level, constraint=constraint, tolerance=1e-4)
    assert reference.converged
    for s in SCALES:
        found = ni.invert(model, s * data, input_shape=(1, 6, 6), noise_level=s * level, constraint=constraint, tolerance=1e-4)
        assert found.status == reference.status
        torch.testing.assert_close(found.x / s, reference.x, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(found.alpha / s, reference.alpha, rtol=1e-12, atol=0.0)
        torch.testing.assert_close(found.certificate.value / s**2, reference.certificate.value, rtol=1e-5, atol=1e-15)


@pytest.mark.parametrize("s", [1.0, 1e8])
@pytest.mark.parametrize("steps", [0, 1, 3, 10])
def test_the_gap_is_never_below_what_is_left_to_gain(s: float, steps: int) -> None:
    model, clean = setting(nn.ReLU())
    data, _ = ni.add_noise(clean, relative=0.05)
    alpha = 0.1

    def objective(result: ni.Reconstruction) -> Tensor:
        return (result.fidelity_value + alpha * s * ni.TotalVariation()(result.x)) / s**2

    best = ni.invert(model, data, input_shape=(1, 6, 6), rule=ni.Fixed(alpha), tolerance=1e-9)
    short = ni.invert(model, s * data, input_shape=(1, 6, 6), rule=ni.Fixed(alpha * s), tolerance=1e-9, max_steps=steps + 1)
    minimum = best.fidelity_value + alpha * ni.TotalVariation()(best.x)
    assert best.converged
    assert (objective(short) - minimum <= short.certificate.value / s**2 + 1e-8).all()


@pytest.mark.parametrize("regulariser", [ni.TotalVariation(), ni.Tikhonov(), ni.Sparsity()], ids=lambda r: r.name)
def test_layers_of_low_rank_are_solved_and_norms_that_overflow_are_named(regulariser: ni.TotalVariation) -> None:
    """One row repeated; weights whose squares are infinite."""
    x = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    layer = nn.Linear(16, 12, bias=False).double()
    model = nn.Sequential(nn.Flatten(), layer, nn.ReLU()).eval()
    layer.weight.data = torch.linspace(-0.2, 1.0, 16, dtype=torch.float64).expand(12, 16).clone()
    data = model(x).detach() + torch.linspace(0.0, 1.0, 12, dtype=torch.float64)
    found = ni.invert(model, data, input_shape=(1, 4, 4), rule=ni.Fixed(0.1), regulariser=regulariser)
    assert found.converged and found.certificate.kind == "duality gap" and float(found.x.abs().max()) > 0.01
    layer.weight.data *= 1e160
    found = ni.invert(model, model(x).detach(), input_shape=(1, 4, 4), rule=ni.Fixed(0.1), regulariser=regulariser)
    assert not found.converged and torch.isfinite(found.x).all()
    with pytest.raises(RuntimeError, match=r"objective is infinite or NaN at the start.*scale of the network's weights"):
        found.require_converged()


WAYS: list[tuple[Regulariser, str]] = [
    (ni.TotalVariation(), "scaling"),
    (ni.HuberTotalVariation(0.1), "a bounded domain"),
    (ni.ElasticNet(), "a term in x itself"),
    (ni.Tikhonov(), "no change"),
]


@pytest.mark.parametrize(("regulariser", "way"), WAYS, ids=lambda each: getattr(each, "name", each))
def test_the_certificate_says_how_the_dual_point_was_made_feasible(regulariser: Regulariser, way: str) -> None:
    model, clean = setting(nn.ReLU())
    found = ni.invert(model, clean, input_shape=(1, 6, 6), rule=ni.Fixed(0.1), regulariser=regulariser)
    assert found.certificate.made_feasible == (way,) * 2
    assert f"dual points made feasible by {way} (2)" in found.summary()
    assert ni.Reconstruction.of_archive(*found.archive()).certificate.made_feasible == (way,) * 2


@pytest.mark.parametrize("factor", [1e160, 1e300])
@pytest.mark.parametrize("regulariser", [ni.TotalVariation(), ni.Tikhonov(), ni.Sparsity()], ids=lambda r: r.name)
def test_a_norm_whose_square_overflows_is_named_with_ordinary_data(regulariser: Regulariser, factor: float) -> None:
    model, clean = setting(nn.ReLU())
    with torch.no_grad():
        model[1].weight.mul_(factor)
    found = ni.invert(model, clean, input_shape=(1, 6, 6), rule=ni.Fixed(0.1), regulariser=regulariser, max_steps=40)
    assert found.status == (ni.Status.OVERFLOW,) * 2 and torch.isfinite(found.x).all()
    with pytest.raises(RuntimeError, match=r"square of its norm is no finite number.*divide the weights of the first layer"):
        found.require_converged()
