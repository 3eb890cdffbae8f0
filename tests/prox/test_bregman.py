"""The Bregman penalty and distances: laws, and errors at the border."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import pytest
import torch
from torch import Tensor

import netinverse.prox as px

torch.set_num_threads(1)
F64 = torch.float64


def _points(seed: int, batch: int = 5) -> Tensor:
    return torch.randn(batch, 2, 3, dtype=F64, generator=torch.Generator().manual_seed(seed))


def test_relu_penalty_by_cases() -> None:
    """(u - z)^2/2 where z > 0, u^2/2 + u|z| where z <= 0; infinite for negative data."""
    u = torch.tensor([[2.0], [2.0], [0.0], [-1.0]], dtype=F64)
    z = torch.tensor([[3.0], [-3.0], [-3.0], [3.0]], dtype=F64)
    assert px.bregman_penalty(px.NonNegative(), u, z).tolist() == [0.5, 8.0, 0.0, float("inf")]


def test_softmax_penalty_is_the_cross_entropy_up_to_a_constant() -> None:
    z = _points(0).flatten(1)
    target = torch.tensor([0, 3, 5, 1, 1])
    u = torch.nn.functional.one_hot(target, 6).double()
    expected = torch.nn.functional.cross_entropy(z, target, reduction="none")
    torch.testing.assert_close(px.bregman_penalty(px.SimplexEntropy(), u, z), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("distance", [1e-1, 1e-4, 1e-7, 1e-9])
def test_softmax_penalty_to_ten_digits_also_where_it_is_tiny(distance: float) -> None:
    z = 3 * _points(1, 1).flatten(1)
    s = torch.softmax(z, 1)
    u = s * (1 + distance * torch.tensor([1.0, -0.3, 0.2, 0.0, -0.5, 0.7], dtype=F64))
    u = u / u.sum()
    with mp.workdps(60):
        total = mp.fsum(mp.exp(t) for t in z[0].tolist())
        q = [mp.exp(t) / total for t in z[0].tolist()]
        exact = mp.fsum(mp.mpf(a) * mp.log(a / b) - a + b for a, b in zip(u[0].tolist(), q, strict=True))
        found = px.bregman_penalty(px.SimplexEntropy(), u, z).item()
        assert abs(found - exact) <= 1e-10 * exact


def test_penalty_differentiated_automatically_is_activation_minus_u() -> None:
    potentials = [px.NonNegative(), px.TanhEntropy(), px.LogisticEntropy(), px.SoftplusPotential(), px.ArctanPotential()]
    potentials += [px.SoftsignPotential(), px.ELUPotential(), px.SquareplusPotential(), px.SimplexEntropy(), px.ISRLUPotential()]
    for f in potentials:
        z, u = _points(2).requires_grad_(True), f.prox(_points(3))
        (gradient,) = torch.autograd.grad(px.bregman_penalty(f, u, z).sum(), z)
        torch.testing.assert_close(gradient, f.prox(z.detach()) - u, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("f", [px.L1(), px.Huber(), px.GroupL21(), px.SquaredNorm(2.0), px.TanhEntropy()], ids=repr)
def test_distances_are_nonnegative_and_add_up(f: Any) -> None:
    v, w, step = _points(4), _points(5), 0.8
    x, y = f.prox(v, step), f.prox(w, step)
    p_x, p_y = (v - x) / step, (w - y) / step
    there, back = px.bregman_distance(f, x, y, p_y), px.bregman_distance(f, y, x, p_x)
    both = px.symmetric_bregman_distance(f, x, y, p_x, p_y)
    assert (there >= -1e-14).all()
    assert (back >= -1e-14).all()
    torch.testing.assert_close(there + back, both, rtol=1e-12, atol=1e-13)


def test_distance_of_the_squared_norm_is_half_the_squared_distance() -> None:
    x, y = _points(6), _points(7)
    expected = 0.5 * (x - y).flatten(1).norm(dim=1).square()
    torch.testing.assert_close(px.bregman_distance(px.SquaredNorm(), x, y, y), expected)


def test_errors_at_the_border() -> None:
    x = _points(8)
    with pytest.raises(
        ValueError, match=r"bregman_penalty: u has shape \(5, 2, 2\), but \(5, 2, 3\) is expected: the shape of z"
    ):
        px.bregman_penalty(px.NonNegative(), x[..., :2], x)
    with pytest.raises(TypeError, match=r"bregman_penalty: u has dtype torch.float32 and z has torch.float64.*Use u = u.to\(z\)"):
        px.bregman_penalty(px.NonNegative(), x.float(), x)
    with pytest.raises(TypeError, match=r"bregman_penalty: z has dtype torch\.int64"):
        px.bregman_penalty(px.NonNegative(), x, x.long())
    with pytest.raises(TypeError, match="bregman_distance: x is a list"):
        px.bregman_distance(px.L1(), [1.0], x, x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bregman_distance: subgradient has shape"):
        px.bregman_distance(px.L1(), x, x, x[:1])
    with pytest.raises(ValueError, match="symmetric_bregman_distance: p_y has shape"):
        px.symmetric_bregman_distance(px.L1(), x, x, x, x[:1])
