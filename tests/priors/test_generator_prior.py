"""The search in a latent space: closed forms where all is linear, the range of the generator where it is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni

F64 = torch.float64


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def linear(rows: int, columns: int, seed: int) -> nn.Linear:
    layer = nn.Linear(columns, rows, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(drawn(rows, columns, seed=seed))
    return layer


def test_linear_generator_and_network_against_ridge_regression() -> None:
    """x = G (B^T B + alpha)^-1 B^T y with B = A G."""
    forward, generator, y = linear(7, 6, 1).eval(), linear(6, 3, 2).eval(), drawn(4, 7, seed=3)
    result = ni.invert(forward, y, regulariser=ni.GeneratorPrior(generator), rule=ni.Fixed(0.3), tolerance=1e-10)
    a, g = forward.weight.detach(), generator.weight.detach()
    b = a @ g
    latent = torch.linalg.solve(b.T @ b + 0.3 * torch.eye(3, dtype=F64), b.T @ y.T).T
    assert result.converged and result.latent is not None and result.subgradient is None
    torch.testing.assert_close(result.latent, latent, rtol=0, atol=1e-5)
    torch.testing.assert_close(result.x, result.latent @ g.T, rtol=0, atol=1e-12)
    torch.testing.assert_close(result.residual, (result.x @ a.T - y).norm(dim=1), rtol=1e-9, atol=0)


def decoder() -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(3, 12), nn.Softplus(), nn.Linear(12, 16), nn.Sigmoid(), nn.Unflatten(1, (1, 4, 4)))
    with torch.no_grad():
        for k, parameter in enumerate(layers.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=k))
    return layers.eval()


def encoder() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), linear(10, 16, 9), nn.ReLU()).eval()


def test_inputs_in_the_range_are_found_and_nothing_outside_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    generator, forward = decoder(), encoder()
    truth = generator(drawn(3, 3, seed=5).float()).detach().double()
    data, level = ni.add_noise(forward(truth).detach(), relative=0.01)
    before = [p.clone() for p in generator.parameters()]
    prior = ni.GeneratorPrior(generator)
    result = ni.invert(forward, data, noise_level=level, regulariser=prior, tolerance=1e-4)
    assert result.latent is not None and result.latent.shape == (3, 3)
    assert ((result.x - truth).flatten(1).norm(dim=1) < 0.1 * truth.flatten(1).norm(dim=1)).all()
    made = generator(result.latent.float()).double()
    torch.testing.assert_close(made, result.x, rtol=0, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(before, generator.parameters(), strict=True))
    alone = ni.invert(forward, data[1:2], noise_level=level[1:2], regulariser=prior, tolerance=1e-4)
    torch.testing.assert_close(alone.x[0], result.x[1], rtol=0, atol=1e-6)
    path = tmp_path_factory.mktemp("results") / "found.npz"
    result.save(path)
    loaded = ni.Reconstruction.load(path)
    assert loaded.latent is not None and torch.equal(loaded.latent, result.latent)
    torch.testing.assert_close(prior(result.latent), 0.5 * result.latent.square().sum(1))


def test_a_latent_constraint_and_a_latent_start() -> None:
    generator, forward = decoder(), encoder()
    data = forward(generator(drawn(2, 3, seed=6).abs().float()).detach().double()).detach()
    prior = ni.GeneratorPrior(generator, constraint=ni.NonNegative())
    result = ni.invert(forward, data, regulariser=prior, rule=ni.Fixed(0.01), start=torch.ones(2, 3), tolerance=1e-4)
    assert result.latent is not None and (result.latent >= 0).all()


def test_refusals() -> None:
    generator, forward, data = decoder(), encoder(), torch.zeros(2, 10, dtype=F64)
    with pytest.raises(TypeError, match=r"generator is a builtin_function_or_method, but must be a torch\.nn\.Module"):
        ni.GeneratorPrior(torch.sigmoid)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="generator is in training mode"):
        ni.GeneratorPrior(nn.Linear(3, 4))
    with pytest.raises(ValueError, match="latent_shape is missing"):
        ni.GeneratorPrior(nn.Sequential(nn.ConvTranspose2d(1, 1, 3)).eval())
    with pytest.raises(ValueError, match=r"latent variable, and nothing projects"):
        ni.invert(forward, data, regulariser=ni.GeneratorPrior(generator), constraint=ni.Box(0, 1), rule=ni.Fixed(1.0))
    with pytest.raises(ValueError, match=r"start has shape \(2, 1, 4, 4\).*latent variable for each sample"):
        ni.invert(forward, data, regulariser=ni.GeneratorPrior(generator), start=torch.zeros(2, 1, 4, 4), rule=ni.Fixed(1.0))
    with pytest.raises(ValueError, match=r"makes inputs of shape \(1, 4, 4\), but the network takes \(2, 2, 4\)"):
        ni.invert(forward, data, input_shape=(2, 2, 4), regulariser=ni.GeneratorPrior(generator), rule=ni.Fixed(1.0))
