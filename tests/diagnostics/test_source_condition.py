"""Source elements against Clarabel, least squares and automatic differentiation."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.regularisers import Regulariser

N = 24


def perceptron(rows: int, columns: int = N, activation: nn.Module | None = None, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(columns, rows).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64))
        layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator, dtype=torch.float64))
    return nn.Sequential(nn.Flatten(), layer, activation or nn.LeakyReLU(0.2)).eval()


def sparse(support: int, batch: int = 3, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(batch, 1, N, dtype=torch.float64)
    for sample in x:
        sample[0, torch.randperm(N, generator=generator)[:support]] = torch.randn(support, generator=generator).double()
    return x


def blocks(seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(2, 1, 4, 6, dtype=torch.float64)
    x[0, 0, 1:3, 2:5] = 1.0
    x[1, 0, :2, :4] = torch.randn((), generator=generator, dtype=torch.float64)
    return x


def oracle(k: np.ndarray, a: np.ndarray, image: Tensor, isotropic: bool) -> tuple[float, float]:
    """The distance of the range of k^T from dR(x), and the least ||v| where it is zero (inf elsewhere)."""
    v, p = cp.Variable(k.shape[0]), cp.Variable(a.shape[0])
    w = image.flatten().numpy()
    if isotropic:
        field, values = cp.reshape(p, (image.shape[1], -1), order="C"), image[0].flatten(1).numpy()
        size = np.linalg.norm(values, axis=0)
        limits = [
            cp.norm(field[:, size == 0], 2, axis=0) <= 1,
            field[:, size > 0] == (values / np.where(size > 0, size, 1))[:, size > 0],
        ]
    else:
        limits = [p[w != 0] == np.sign(w[w != 0]), cp.abs(p[w == 0]) <= 1]
    tight = {"solver": "CLARABEL", "tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
    distance = cp.Problem(cp.Minimize(cp.norm(k.T @ v - a.T @ p)), limits)
    distance.solve(**tight)
    if distance.value > 1e-4:
        return distance.value, np.inf
    shortest = cp.Problem(cp.Minimize(cp.sum_squares(v)), [*limits, k.T @ v == a.T @ p])
    shortest.solve(**tight)
    return distance.value, np.sqrt(shortest.value)


CASES = [
    ("sparse, enough rows", ni.Sparsity(), sparse(3), 16),
    ("sparse, too few rows", ni.Sparsity(), sparse(12), 10),
    ("anisotropic", ni.TotalVariation(isotropic=False), blocks(), 14),
    ("anisotropic, too few rows", ni.TotalVariation(isotropic=False), blocks(), 2),
    ("isotropic", ni.TotalVariation(), blocks(), 18),
    ("isotropic, too few rows", ni.TotalVariation(), blocks(), 3),
    ("one axis", ni.TotalVariation(), sparse(2).cumsum(-1), 20),
]


@pytest.mark.parametrize(("regulariser", "truth", "rows"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_distance_and_length_against_clarabel(regulariser: Regulariser, truth: Tensor, rows: int) -> None:
    network = perceptron(rows)
    before = truth.clone()
    found = ni.source_element(network, truth, regulariser)
    shape = tuple(truth.shape[1:])
    transform = regulariser.transform(shape)
    units = torch.eye(truth[0].numel(), dtype=torch.float64).reshape(-1, *shape)
    a = transform(units).flatten(1).T.numpy()
    k = network[1].weight.detach().numpy()
    for i in range(len(truth)):
        isotropic = isinstance(regulariser, ni.TotalVariation) and regulariser.isotropic
        distance, length = oracle(k, a, transform(truth[i : i + 1]), isotropic)
        holds = distance < 1e-5
        assert bool(found.holds[i]) == holds
        ours = float((torch.as_tensor(k).T @ found.v[i] - found.subgradient[i].flatten()).norm())
        assert ours == pytest.approx(distance, rel=1e-3, abs=1e-5)
        assert float(found.residual[i]) == pytest.approx(ours / float(found.subgradient[i].norm()), rel=1e-6)
        if holds:
            assert float(found.norm[i]) == pytest.approx(length, rel=1e-3)
            assert "holds" in found.verdict[i]
        else:
            assert "no source element" in found.verdict[i]
    assert torch.equal(truth, before)


def test_the_subgradient_is_one() -> None:
    """R(x) >= R(truth) + <p, x - truth> everywhere."""
    truth, generator = blocks(), torch.Generator().manual_seed(5)
    for regulariser in (ni.TotalVariation(), ni.TotalVariation(isotropic=False), ni.Sparsity(), ni.Tikhonov()):
        p = ni.source_element(perceptron(6), truth, regulariser).subgradient
        for _ in range(50):
            x = truth + torch.randn(truth.shape, generator=generator, dtype=torch.float64)
            assert (ni.bregman_distance(regulariser, x, truth, p) >= -1e-9).all()


def test_tikhonov_is_least_squares() -> None:
    network, truth = perceptron(10), sparse(N)
    found = ni.source_element(network, truth, ni.Tikhonov())
    k = network[1].weight.detach().numpy()
    for v, x, residual in zip(found.v.numpy(), truth.flatten(1).numpy(), found.residual.tolist(), strict=True):
        expected, *_ = np.linalg.lstsq(k.T, x, rcond=None)
        assert np.abs(v - expected).max() < 1e-5
        assert residual == pytest.approx(np.linalg.norm(k.T @ expected - x) / np.linalg.norm(x), rel=1e-6)
    inside = torch.as_tensor(k).T @ torch.randn(10, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert ni.source_element(network, inside.reshape(1, 1, N), ni.Tikhonov()).holds.all()


def test_inactive_rows_carry_nothing() -> None:
    network, truth = perceptron(40, activation=nn.ReLU()), sparse(2)
    found = ni.source_element(network, truth, ni.Sparsity())
    active = network[:2](truth) > 0
    assert torch.equal(found.rows, active) and (found.v[~active] == 0).all() and 0 < int(active.sum()) < active.numel()
    assert found.holds.all()
    assert f"{int(active[0].sum())} of 40 rows" in found.verdict[0]


def test_any_depth_takes_the_derivative_at_the_truth() -> None:
    network = ni.mlp((12, 20, 16), activation="tanh", dtype=torch.float64)
    truth = torch.randn(2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = ni.source_element(network, truth, ni.Tikhonov())
    for i in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda x: network(x[None])[0], truth[i])
        assert float((jacobian.T @ found.v[i] - truth[i]).norm()) < 2e-6 * float(truth[i].norm())
    assert found.holds.all()


def test_samples_are_independent() -> None:
    truth = torch.cat([sparse(3), sparse(14, batch=1, seed=4)])
    found = ni.source_element(perceptron(16), truth, ni.Sparsity())
    for i in range(4):
        alone = ni.source_element(perceptron(16), truth[i : i + 1], ni.Sparsity())
        torch.testing.assert_close(alone.v[0], found.v[i], rtol=1e-9, atol=1e-12)
    assert ni.source_element(perceptron(16), truth[:0], ni.Sparsity()).verdict == ()


def test_a_truth_of_zero_needs_no_source() -> None:
    for regulariser in (ni.Tikhonov(), ni.Sparsity(), ni.TotalVariation()):
        found = ni.source_element(perceptron(6), torch.zeros(1, 1, N), regulariser)
        assert found.holds.all() and float(found.norm) == 0


def test_bad_input() -> None:
    network = perceptron(6)
    with pytest.raises(ValueError, match=r"source_element: tolerance is 0"):
        ni.source_element(network, sparse(2), ni.Sparsity(), tolerance=0)
    with pytest.raises(ValueError, match=r"source_element: truth contains 1 NaN"):
        ni.source_element(network, sparse(2).index_fill(2, torch.tensor([0]), torch.nan)[:1], ni.Sparsity())
    with pytest.raises(ValueError, match=r"source_element: truth has shape \(3, 1, 24\), but \(3, 5\)"):
        ni.source_element(ni.mlp((5, 4), dtype=torch.float64), sparse(2), ni.Sparsity())
    with pytest.raises(ValueError, match=r"TotalVariation: one input has shape"):
        ni.source_element(ni.mlp((5, 4), dtype=torch.float64), torch.ones(1, 5), ni.TotalVariation())
    with pytest.raises(TypeError, match=r"source_element: network is a int"):
        ni.source_element(3, sparse(2), ni.Sparsity())  # type: ignore[arg-type]


@pytest.mark.parametrize("regulariser", [ni.Tikhonov(), ni.HuberTotalVariation(0.1)], ids=lambda r: type(r).__name__)
def test_a_source_element_is_found_behind_an_ill_conditioned_layer(regulariser: Regulariser) -> None:
    """Singular values from 1 to 1e-3, and a subgradient that is K^T v by construction or not in the range at all."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(30, 30, generator=generator, dtype=torch.float64))[0] for _ in range(2))
    layer = nn.Linear(30, 30, bias=False).double().requires_grad_(False)
    layer.weight.copy_(left @ torch.diag(torch.logspace(0, -3, 30, dtype=torch.float64)) @ right)
    v = torch.randn(4, 30, generator=generator, dtype=torch.float64)
    truth = (v @ layer.weight).reshape(4, 1, 30)
    network = nn.Sequential(nn.Flatten(), layer)
    found = ni.source_element(network, truth, regulariser, max_iterations=2000)
    assert found.holds.all(), found.residual
    exact = torch.linalg.solve(layer.weight.T, found.subgradient.flatten(1).T).T
    torch.testing.assert_close(found.norm, exact.norm(dim=1), rtol=1e-2, atol=0)
