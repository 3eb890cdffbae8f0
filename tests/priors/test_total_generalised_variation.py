"""Total generalised variation against Clarabel: its value, its proximal map, and the minimiser that ``invert`` finds."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.operators.generalised_differences import GeneralisedDifferences
from netinverse.tensors import inner

F64 = torch.float64
TIGHT = {"solver": "CLARABEL", "tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def written_out(image: cp.Expression, height: int, width: int, weight: float) -> tuple[cp.Expression, list[cp.Constraint]]:
    """The definition, pixel by pixel, for one channel; the fields exist where their differences do."""
    down, right = cp.Variable((height, width)), cp.Variable((height, width))
    free = [down[-1] == 0, right[:, -1] == 0]
    total: cp.Expression = cp.Constant(0.0)
    for i in range(height):
        for j in range(width):
            first = [image[i + 1, j] - image[i, j] - down[i, j]] if i + 1 < height else []
            first += [image[i, j + 1] - image[i, j] - right[i, j]] if j + 1 < width else []
            total = total + (cp.norm(cp.hstack(first)) if first else 0.0)
            second = [down[i + 1, j] - down[i, j]] if i + 2 < height else []
            second += [right[i, j + 1] - right[i, j]] if j + 2 < width else []
            if i + 1 < height and j + 1 < width:
                mixed = (down[i, j + 1] - down[i, j] + right[i + 1, j] - right[i, j]) / 2
                second += [mixed, mixed]
            total = total + (weight * cp.norm(cp.hstack(second)) if second else 0.0)
    return total, free


@pytest.mark.parametrize("shape", [(2, 9), (1, 5, 4), (2, 3, 4, 5), (1, 1, 4), (1, 2, 2)])
def test_the_differences_have_their_adjoint_their_norm_and_an_affine_kernel(shape: tuple[int, ...]) -> None:
    channels, spatial = shape[0], shape[1:]
    operator = GeneralisedDifferences(1.7)
    joint = drawn(3, channels * len(shape), *spatial)
    image = operator(joint)
    other = drawn(*image.shape, seed=1)
    torch.testing.assert_close(inner(image, other), inner(joint, operator.adjoint(other)), rtol=1e-12, atol=1e-12)
    size = joint[0].numel()
    matrix = operator(torch.eye(size, dtype=F64).reshape(size, *joint.shape[1:])).flatten(1)
    assert operator.norm_bound(shape) >= float(torch.linalg.matrix_norm(matrix, 2))
    assert operator.adjoint(operator.closed(other))[:, channels:].abs().max() < 1e-12
    axes = torch.meshgrid(*[torch.arange(n, dtype=F64) for n in spatial], indexing="ij")
    ramp = sum((k + 0.5) * axis for k, axis in enumerate(axes)) + torch.zeros(1, *shape, dtype=F64)
    assert ni.TotalGeneralisedVariation()(ramp).abs().max() < 1e-9
    if max(spatial) > 2:
        assert ni.TotalGeneralisedVariation()(ramp.square()).min() > 0.1


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_value_and_proximal_map(weight: float) -> None:
    regulariser = ni.TotalGeneralisedVariation(weight)
    z, steps = 0.5 * drawn(3, 1, 6, 5), torch.tensor([0.3, 0.05, 0.0], dtype=F64)
    before, values = z.clone(), regulariser(z)
    found, boxed = regulariser.prox(z, steps, tolerance=1e-6), regulariser.prox(z, steps, ni.Box(-0.2, 0.3), tolerance=1e-6)
    for i in range(3):
        array = z[i, 0].numpy()
        formula, free = written_out(cp.Constant(array), 6, 5, weight)
        exact = cp.Problem(cp.Minimize(formula), free).solve(**TIGHT)
        assert exact * (1 - 1e-8) <= float(values[i]) <= exact * (1 + 2e-4)
        for result, limits in ((found, (-np.inf, np.inf)), (boxed, (-0.2, 0.3))):
            v = cp.Variable((6, 5))
            formula, free = written_out(v, 6, 5, weight)
            inside = [v >= limits[0], v <= limits[1]] if np.isfinite(limits[0]) else []
            cp.Problem(cp.Minimize(float(steps[i]) * formula + 0.5 * cp.sum_squares(v - array)), free + inside).solve(**TIGHT)
            # The objective is 1-strongly convex: half the squared distance is at most the gap.
            distance = float(np.square(result.x[i, 0].numpy() - v.value).sum())
            assert 0.5 * distance <= float(result.gap[i]) + 1e-9
    assert torch.equal(z, before) and regulariser(z[:0]).shape == (0,)
    warm = regulariser.prox(z, steps, tolerance=1e-5, warm=found.dual)
    assert (warm.iterations < found.iterations)[:2].all()


def network(outputs: int) -> nn.Sequential:
    layer = nn.Linear(36, outputs).double()
    with torch.no_grad():
        layer.weight.copy_(drawn(outputs, 36, seed=5) / 6)
        layer.bias.fill_(0.1)
    return nn.Sequential(nn.Flatten(), layer).eval()


@pytest.mark.slow
def test_invert_minimises_over_input_and_field() -> None:
    model = network(20)
    ramp = torch.linspace(0, 1, 6, dtype=F64).expand(1, 1, 6, 6)
    data, _ = ni.add_noise(model(ramp).detach(), relative=0.05)
    regulariser = ni.TotalGeneralisedVariation()
    result = ni.invert(
        model, data, input_shape=(1, 6, 6), regulariser=regulariser, constraint=ni.Box(0, 1), rule=ni.Fixed(0.02), tolerance=1e-4
    )
    v = cp.Variable((6, 6))
    formula, free = written_out(v, 6, 6, 2.0)
    weights, bias = (p.detach().numpy() for p in (model[1].weight, model[1].bias))
    misfit = 0.5 * cp.sum_squares(weights @ cp.vec(v, order="C") + bias - data[0].numpy())
    exact = cp.Problem(cp.Minimize(misfit + 0.02 * formula), [*free, v >= 0, v <= 1]).solve(**TIGHT)
    assert result.converged and result.certificate.kind == "duality gap" and result.latent is not None
    assert result.x.shape == (1, 1, 6, 6) and result.latent.shape == (1, 3, 6, 6)
    assert torch.equal(result.latent[:, :1], result.x) and result.subgradient is not None
    ours = float(result.fidelity_value + 0.02 * regulariser(result.x))
    assert exact * (1 - 1e-7) <= ours <= exact * (1 + 2e-4)
    # p in dR(x): R(x') >= R(x) + <p, x' - x>.
    for seed in range(5):
        other = result.x + 0.3 * drawn(1, 1, 6, 6, seed=seed)
        assert float(regulariser(other)) >= float(regulariser(result.x) + inner(result.subgradient, other - result.x)) * 0.999


def test_a_ramp_is_found_where_total_variation_finds_stairs() -> None:
    model = network(20)
    truth = torch.linspace(0.1, 0.9, 6, dtype=F64).expand(1, 1, 6, 6)
    data, level = ni.add_noise(model(truth).detach(), relative=0.02)
    errors = [
        float((ni.invert(model, data, input_shape=(1, 6, 6), noise_level=level, regulariser=r, tolerance=1e-3).x - truth).norm())
        for r in (ni.TotalVariation(), ni.TotalGeneralisedVariation())
    ]
    assert errors[1] < 0.5 * errors[0]


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"TotalGeneralisedVariation: weight is 0.*makes R vanish"):
        ni.TotalGeneralisedVariation(0)
    with pytest.raises(ValueError, match=r"TotalGeneralisedVariation: one input has shape \(36,\)"):
        ni.TotalGeneralisedVariation()(torch.zeros(2, 36))
    arguments = {"input_shape": (1, 6, 6), "regulariser": ni.TotalGeneralisedVariation(), "rule": ni.Fixed(0.1)}
    with pytest.raises(ValueError, match=r"constraint is a Simplex.*bounded\s+entry by entry"):
        ni.invert(network(8), torch.zeros(1, 8, dtype=F64), constraint=ni.Simplex(), **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"start has shape \(2, 1, 6, 6\), but \(1, 1, 6, 6\) is expected"):
        ni.invert(network(8), torch.zeros(1, 8, dtype=F64), start=torch.zeros(2, 1, 6, 6), **arguments)  # type: ignore[arg-type]
