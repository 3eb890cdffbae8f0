"""Every regulariser: value, proximal map, dual and minimiser against Clarabel; K against its adjoint; subgradients."""

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.prox import Box, Simplex, subdifferential_of, subgradient_distance
from netinverse.regularisers import Regulariser
from netinverse.tensors import inner

TIGHT = {"solver": "CLARABEL", "tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}
Expression = Callable[[cp.Expression], cp.Expression]


def matrix(regulariser: Regulariser, shape: tuple[int, ...]) -> np.ndarray:
    """K as a matrix: the differences by numpy, the wavelets by PyWavelets' own transform of one level."""
    units = torch.eye(int(np.prod(shape)), dtype=torch.float64).reshape(-1, *shape)
    return regulariser.transform(shape)(units).flatten(1).T.numpy()


def huber_tv(x: cp.Expression, shape: tuple[int, ...], width: float) -> cp.Expression:
    image = cp.reshape(x, shape[1:], order="C")
    down = cp.vstack([image[1:] - image[:-1], np.zeros((1, shape[2]))])
    right = cp.hstack([image[:, 1:] - image[:, :-1], np.zeros((shape[1], 1))])
    size = cp.norm(cp.vstack([cp.vec(down, order="C"), cp.vec(right, order="C")]), 2, axis=0)
    return cp.sum(cp.huber(size, width)) / (2 * width)  # cvxpy's huber is 2 width h


SHAPE = (1, 6, 8)
CASES: dict[str, tuple[Regulariser, tuple[int, ...], Expression]] = {
    "huber": (ni.HuberTotalVariation(0.2), SHAPE, lambda x: huber_tv(x, SHAPE, 0.2)),
    "narrow huber": (ni.HuberTotalVariation(0.01), SHAPE, lambda x: huber_tv(x, SHAPE, 0.01)),
    "elastic net": (ni.ElasticNet(0.7, 0.4), (12,), lambda x: 0.7 * cp.norm1(x) + 0.2 * cp.sum_squares(x)),
    "groups of channels": (
        ni.GroupSparsity(),
        (3, 8),
        lambda x: cp.sum(cp.norm(cp.reshape(x, (3, 8), order="C"), 2, axis=0)),
    ),
    "groups of four": (
        ni.GroupSparsity(size=4),
        (12,),
        lambda x: cp.sum(cp.norm(cp.reshape(x, (3, 4), order="C"), 2, axis=1)),
    ),
    "db2": (ni.WaveletSparsity(), (1, 16), lambda x: cp.norm1(matrix(ni.WaveletSparsity(), (1, 16)) @ x)),
    "haar": (
        ni.WaveletSparsity("haar", levels=2),
        (2, 4, 8),
        lambda x: cp.norm1(matrix(ni.WaveletSparsity("haar", levels=2), (2, 4, 8)) @ x),
    ),
    "sparsity": (ni.Sparsity(), (9,), cp.norm1),
    "tikhonov": (ni.Tikhonov(), (9,), lambda x: 0.5 * cp.sum_squares(x)),
}
every_case = pytest.mark.parametrize(("regulariser", "shape", "formula"), list(CASES.values()), ids=list(CASES))


def drawn(shape: tuple[int, ...], batch: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@every_case
def test_value_and_transform(regulariser: Regulariser, shape: tuple[int, ...], formula: Expression) -> None:
    x = drawn(shape)
    for i in range(3):
        assert float(regulariser(x)[i]) == pytest.approx(float(formula(cp.Constant(x[i].flatten().numpy())).value), rel=1e-10)
    transform = regulariser.transform(shape)
    torch.testing.assert_close(regulariser(x), regulariser.function(transform(x)))
    y = drawn(tuple(transform(x).shape[1:]), seed=1)
    torch.testing.assert_close(inner(transform(x), y), inner(x, transform.adjoint(y)), rtol=1e-12, atol=1e-12)
    assert regulariser.transform_norm(shape) >= np.linalg.norm(matrix(regulariser, shape), 2) * (1 - 1e-12)
    assert regulariser.name and regulariser(x[:0]).shape == (0,)
    values: Any = regulariser
    torch.testing.assert_close(values(x.numpy()), regulariser(x), rtol=0, atol=0)  # an array stands for its tensor


@every_case
@pytest.mark.parametrize("bounded", [False, True])
def test_proximal_map(regulariser: Regulariser, shape: tuple[int, ...], formula: Expression, bounded: bool) -> None:
    z, step = drawn(shape), torch.tensor([0.3, 0.05, 1.0], dtype=torch.float64)
    before = z.clone()
    found = regulariser.prox(z, step, Box(-0.2, 0.6) if bounded else None, tolerance=1e-12)
    values = step * regulariser(found.x) + 0.5 * (found.x - z).flatten(1).square().sum(1)
    for i in range(3):
        v = cp.Variable(z[i].numel())
        limits = [v >= -0.2, v <= 0.6] if bounded else []
        cost = float(step[i]) * formula(v) + 0.5 * cp.sum_squares(v - z[i].flatten().numpy())
        cp.Problem(cp.Minimize(cost), limits).solve(**TIGHT)
        assert float(values[i]) <= cost.value * (1 + 1e-7) + 1e-8
        assert np.abs(found.x[i].flatten().numpy() - v.value).max() < 2e-4
    assert (found.gap <= 1e-10).all() and torch.equal(z, before)
    assert torch.isfinite(regulariser.function.conjugate(found.dual)).all()
    if not bounded:
        recovered = z - step.reshape(-1, *[1] * len(shape)) * regulariser.transform(shape).adjoint(found.dual)
        torch.testing.assert_close(recovered, found.x, rtol=0, atol=1e-5)


@every_case
def test_subgradients(regulariser: Regulariser, shape: tuple[int, ...], formula: Expression) -> None:
    """g(w') >= g(w) + <p, w' - w>; Fenchel-Young with equality; the projection is nearest among those found."""
    w = regulariser.transform(shape)(drawn(shape))
    w = w.masked_fill(w.abs() < 0.5, 0.0)
    function = regulariser.function
    subdifferential = subdifferential_of("test", function)
    q = 3 * drawn(tuple(w.shape[1:]), seed=2)
    p = subdifferential.nearest_subgradient(w, q)
    assert (subgradient_distance(subdifferential, w, p) < 1e-12).all()
    torch.testing.assert_close(function(w) + function.conjugate(p), inner(w, p), rtol=1e-10, atol=1e-12)
    for seed in range(20):
        other = w + drawn(tuple(w.shape[1:]), seed=seed)
        assert (function(other) >= function(w) + inner(p, other - w) - 1e-10).all()
        another = subdifferential.nearest_subgradient(w, 3 * drawn(tuple(w.shape[1:]), seed=seed + 100))
        assert (inner(q - p, another - p) <= 1e-10).all()


@every_case
def test_minimiser_through_invert(regulariser: Regulariser, shape: tuple[int, ...], formula: Expression) -> None:
    size = int(np.prod(shape))
    generator = torch.Generator().manual_seed(3)
    layer = nn.Linear(size, size // 2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64) / size**0.5)
        layer.bias.zero_()
    network = nn.Sequential(nn.Flatten(), layer).eval()
    data = network(drawn(shape, batch=2)).detach()
    result = ni.invert(network, data, input_shape=shape, regulariser=regulariser, rule=ni.Fixed(0.05), tolerance=1e-7)
    assert result.converged and result.certificate.kind == "duality gap"
    for i in range(2):
        x = cp.Variable(size)
        cost = 0.5 * cp.sum_squares(layer.weight.detach().numpy() @ x - data[i].numpy()) + 0.05 * formula(x)
        cp.Problem(cp.Minimize(cost)).solve(**TIGHT)
        ours = result.fidelity_value[i] + 0.05 * regulariser(result.x[i : i + 1])[0]
        assert float(ours) == pytest.approx(cost.value, rel=2e-6)


def test_other_constraints_go_by_duality() -> None:
    z = drawn((6,), batch=2)
    for regulariser, formula in ((ni.ElasticNet(), lambda v: cp.norm1(v) + 0.5 * cp.sum_squares(v)), (ni.Sparsity(), cp.norm1)):
        found = regulariser.prox(z, 0.4, Simplex(), tolerance=1e-12).x
        for i in range(2):
            v = cp.Variable(6)
            cost = 0.4 * formula(v) + 0.5 * cp.sum_squares(v - z[i].numpy())
            cp.Problem(cp.Minimize(cost), [v >= 0, cp.sum(v) == 1]).solve(**TIGHT)
            assert np.abs(found[i].numpy() - v.value).max() < 1e-4


def test_huber_approaches_total_variation_from_below() -> None:
    x = drawn((2, 9, 7))
    tv = ni.TotalVariation()(x)
    for width in (1.0, 0.1, 0.01):
        huber = ni.HuberTotalVariation(width)(x)
        assert (huber <= tv).all() and (tv - huber <= 2 * 63 * width / 2 + 1e-12).all()


def test_a_deep_network_takes_each_of_them() -> None:
    """Gauss-Newton with a regulariser that is no norm, and with ones whose transform is not a difference."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 20), nn.Softplus()).double().eval()
    truth = 0.5 * torch.randn(2, 1, 16, dtype=torch.float64).cumsum(-1)
    data, alpha = model(truth).detach(), 0.01
    for regulariser in (ni.HuberTotalVariation(0.05), ni.WaveletSparsity("haar"), ni.ElasticNet(), ni.GroupSparsity(size=1)):
        result = ni.invert(
            model, data, input_shape=(1, 16), regulariser=regulariser, rule=ni.Fixed(alpha), tolerance=1e-3, max_steps=12
        )
        objective = result.fidelity_value + alpha * regulariser(result.x)
        start = ni.bregman_penalty(ni.potential_of("softplus"), data, model[:4](torch.zeros_like(truth)).detach())
        assert (objective < start).all() and result.certificate.kind == "stationarity"
        assert (result.certificate.value < 0.02 * objective).all() and regulariser.name in result.message


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"HuberTotalVariation: width is 0"):
        ni.HuberTotalVariation(0.0)
    with pytest.raises(ValueError, match=r"ElasticNet: l2 is -1"):
        ni.ElasticNet(l2=-1.0)
    with pytest.raises(ValueError, match=r"GroupSparsity: size is 0"):
        ni.GroupSparsity(0)
    with pytest.raises(ValueError, match=r"GroupSparsity: one input has shape \(7,\)"):
        ni.GroupSparsity(size=3)(torch.zeros(1, 7))
    with pytest.raises(ValueError, match=r"HuberTotalVariation: one input has shape \(7,\)"):
        ni.HuberTotalVariation()(torch.zeros(1, 7))
    with pytest.raises(ValueError, match=r"WaveletSparsity: one input has shape \(7,\).*wavelet transforms"):
        ni.WaveletSparsity()(torch.zeros(1, 7))
