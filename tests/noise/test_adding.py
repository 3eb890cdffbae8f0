"""Noise has the norm it states."""

import pytest
import torch

from netinverse.noise import add_noise
from netinverse.tensors import norm


@pytest.mark.parametrize("kind", ["gaussian", "uniform", "poisson"])
def test_relative_noise_is_exact_and_independent_of_neighbours(kind: str) -> None:
    clean = torch.rand(6, 50, dtype=torch.float64)
    data, level = add_noise(clean, relative=0.05, kind=kind, seed=4)
    torch.testing.assert_close(norm(data - clean), 0.05 * norm(clean), rtol=1e-12, atol=0)
    torch.testing.assert_close(level, norm(data - clean), rtol=1e-12, atol=0)
    assert torch.equal(add_noise(clean[:2], relative=0.05, kind=kind, seed=4)[0], data[:2])
    assert not torch.equal(add_noise(clean, relative=0.05, kind=kind, seed=5)[0], data)
    assert add_noise(clean[:0], relative=0.05, kind=kind)[0].shape == (0, 50)


@pytest.mark.parametrize("kind", ["gaussian", "uniform", "poisson"])
def test_sigma_is_the_standard_deviation(kind: str) -> None:
    clean = torch.ones(2, 40_000, dtype=torch.float64)
    error = add_noise(clean, sigma=0.3, kind=kind)[0] - clean
    assert error.std(1).tolist() == pytest.approx([0.3, 0.3], rel=0.03)
    assert error.mean(1).abs().max() < 0.01
    assert error.norm() > 0


def test_messages() -> None:
    clean = torch.ones(2, 3)
    with pytest.raises(ValueError, match="kind is 'salt', which is not one of 'gaussian', 'uniform', 'poisson', 'worst-case'"):
        add_noise(clean, relative=0.1, kind="salt")
    with pytest.raises(ValueError, match="neither of relative and sigma given"):
        add_noise(clean)
    with pytest.raises(ValueError, match="both of relative and sigma given"):
        add_noise(clean, relative=0.1, sigma=1.0)
    with pytest.raises(ValueError, match="negative entries"):
        add_noise(-clean, relative=0.1, kind="poisson")
    with pytest.raises(TypeError, match=r"add_noise: seed is 1\.5, but must be a whole number"):
        add_noise(torch.ones(2, 3), relative=0.1, seed=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"add_noise: clean is a single number.*Pass clean\[None\]"):
        add_noise(torch.tensor(1.0), relative=0.1)
