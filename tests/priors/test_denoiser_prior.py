"""Regularisation by denoising: the closed form for a linear denoiser, and what is said of one that is not averaged."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni

F64 = torch.float64


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def symmetric(eigenvalues: list[float]) -> Tensor:
    basis, _ = torch.linalg.qr(drawn(len(eigenvalues), len(eigenvalues), seed=7))
    return basis @ torch.diag(torch.tensor(eigenvalues, dtype=F64)) @ basis.T


class Matrix(nn.Module):
    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix.T


FORWARD = nn.Sequential(Matrix(drawn(4, 6, seed=1)), nn.Linear(4, 4).double(), nn.Softplus()).eval()


def test_a_linear_denoiser_against_the_normal_equations() -> None:
    """(A^T A + alpha (I - D)) x = A^T y."""
    a, d, y = drawn(4, 6, seed=1), symmetric([1.0, 0.9, 0.7, 0.5, 0.2, 0.0]), drawn(3, 4, seed=2)
    prior = ni.DenoiserPrior(Matrix(d).eval())
    result = ni.invert(Matrix(a).eval(), y, input_shape=(6,), regulariser=prior, rule=ni.Fixed(0.3), tolerance=1e-10)
    exact = torch.linalg.solve(a.T @ a + 0.3 * (torch.eye(6, dtype=F64) - d), a.T @ y.T).T
    torch.testing.assert_close(result.x, exact, rtol=0, atol=1e-4)
    assert result.converged and result.certificate.kind == "none" and "no minimum" in result.certificate.meaning
    torch.testing.assert_close(prior(result.x), 0.5 * ((result.x - result.x @ d) * result.x).sum(1))
    assert result.subgradient is not None
    torch.testing.assert_close(result.subgradient, result.x - result.x @ d, rtol=0, atol=1e-10)
    assert "averaged as far as measured" in result.message and "theta >= 0.5" in result.message


def test_a_nonlinear_denoiser_solves_its_equation_under_a_constraint_and_a_rule() -> None:
    """The prox of an elastic net as a denoiser, behind a network with an activation: the variational inequality on the box."""
    denoiser = nn.Sequential(nn.Softshrink(0.05), Matrix(0.7 * torch.eye(6, dtype=F64))).eval()
    truth = torch.relu(drawn(2, 6, seed=3))
    data, level = ni.add_noise(FORWARD(truth).detach(), relative=0.05)
    result = ni.invert(
        FORWARD,
        data,
        input_shape=(6,),
        noise_level=level,
        regulariser=ni.DenoiserPrior(denoiser),
        constraint=ni.NonNegative(),
        tolerance=1e-6,
    )
    assert result.converged
    x = result.x.clone().requires_grad_(True)
    z = FORWARD[1](FORWARD[0](x))
    value = ni.bregman_penalty(ni.potential_of("softplus"), result.data, z).sum()
    gradient = torch.autograd.grad(value, x)[0] + result.alpha[:, None] * (result.x - denoiser(result.x))
    projected = torch.where(result.x > 1e-9, gradient, gradient.clamp(max=0))
    far = FORWARD[1](FORWARD[0](start := torch.zeros(2, 6, dtype=F64, requires_grad=True)))
    scale = torch.autograd.grad(ni.bregman_penalty(ni.potential_of("softplus"), result.data, far).sum(), start)[0].abs().max()
    assert projected.abs().max() < 5e-3 * scale


@pytest.mark.parametrize(("eigenvalues", "theta"), [([1.0, 0.5, 0.0], 0.5), ([0.9, 0.4, -0.5], 0.75), ([1.0, 0.8, 0.6], 0.2)])
def test_averagedness_of_a_symmetric_matrix(eigenvalues: list[float], theta: float) -> None:
    """D is theta-averaged exactly if its eigenvalues lie in [1 - 2 theta, 1]."""
    measured = ni.DenoiserPrior(Matrix(symmetric(eigenvalues)).eval()).averagedness(drawn(2, 3))
    torch.testing.assert_close(measured.theta, torch.full((2,), theta, dtype=F64), rtol=0.02, atol=0)
    assert measured.holds.all()
    assert torch.allclose(measured.norm, torch.tensor(max(map(abs, eigenvalues)), dtype=F64), rtol=1e-3)


def test_an_expansive_denoiser_is_said_to_be_one() -> None:
    prior = ni.DenoiserPrior(Matrix(symmetric([1.4, 0.5, 0.1])).eval())
    assert not prior.averagedness(drawn(2, 3)).holds.any()
    network = Matrix(drawn(4, 3, seed=4)).eval()
    result = ni.invert(network, drawn(2, 4), input_shape=(3,), regulariser=prior, rule=ni.Fixed(0.1))
    assert "Around 2 of 2 answer(s) the denoiser is not averaged" in result.message
    assert result.certificate.kind == "none" and "no certificate" in result.summary()


def test_the_noise_level_is_handed_on_and_modules_keep_their_dtype() -> None:
    seen: list[tuple[torch.dtype, float]] = []

    class Shrinking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.share = nn.Parameter(torch.tensor(0.5))

        def forward(self, x: Tensor, sigma: float) -> Tensor:
            seen.append((x.dtype, sigma))
            return self.share * x

    prior = ni.DenoiserPrior(Shrinking().eval(), sigma=0.1)
    x = drawn(2, 3)
    torch.testing.assert_close(prior(x), 0.25 * x.square().sum(1))
    assert seen == [(torch.float32, 0.1)]


def test_refusals() -> None:
    data, network = torch.zeros(2, 4, dtype=F64), Matrix(drawn(4, 3)).eval()
    with pytest.raises(TypeError, match=r"denoiser is .bm3d., a str.*maps a batch of inputs to the denoised batch"):
        ni.DenoiserPrior("bm3d")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="denoiser is in training mode"):
        ni.DenoiserPrior(nn.ReLU())
    with pytest.raises(ValueError, match=r"returns shape \(2, 2\) for inputs of shape \(2, 3\)"):
        ni.invert(network, data, input_shape=(3,), regulariser=ni.DenoiserPrior(lambda x: x[:, :2]), rule=ni.Fixed(1.0))
    prior = ni.DenoiserPrior(nn.Tanh().eval())
    for method in (ni.BregmanIteration(), ni.GaussNewton(), ni.LinearisedBregman()):
        with pytest.raises(ValueError, match=r"only ni\.Variational"):
            ni.invert(network, data, input_shape=(3,), regulariser=prior, rule=ni.Fixed(1.0), method=method)
    with pytest.raises(ValueError, match="lifted formulation needs a convex regulariser"):
        ni.invert(network, data, input_shape=(3,), regulariser=prior, rule=ni.Fixed(1.0), method=ni.Variational("lifted"))
