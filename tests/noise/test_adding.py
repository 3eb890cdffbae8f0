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


def test_gaussian_and_uniform_noise_have_their_distributions() -> None:
    """One in 370 draws of a Gaussian is beyond three deviations; none of a uniform one beyond sqrt(3), which it comes near."""
    clean = torch.rand(2, 50_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gaussian, uniform = (
        (add_noise(clean, sigma=0.3, kind=kind, seed=2)[0] - clean).abs() / 0.3 for kind in ("gaussian", "uniform")
    )
    assert (gaussian > 3).double().mean(1).tolist() == pytest.approx([0.0027, 0.0027], rel=0.2)
    assert ((uniform.amax(1) <= 3**0.5 + 1e-12) & (uniform.amax(1) > 3**0.5 - 1e-3)).all()
    for share in (0.25, 0.5, 0.75):
        assert (uniform < share * 3**0.5).double().mean(1).tolist() == pytest.approx([share, share], abs=0.01)


def test_poisson_noise_comes_from_whole_counts_with_a_variance_proportional_to_the_data() -> None:
    """n ~ Poisson(y/g), g = sigma^2/mean(y), so that the variance of g n is g y; where y is zero there is no error."""
    levels = torch.tensor([0.0, 0.5, 2.0, 7.5], dtype=torch.float64)
    clean = levels.repeat_interleave(40_000).expand(2, -1)
    sigma = torch.tensor([0.5, 2.0], dtype=torch.float64)
    data = add_noise(clean, sigma=sigma, kind="poisson", seed=1)[0]
    gain = (sigma.square() / clean.mean(1))[:, None]
    counts = data / gain
    assert (counts - counts.round()).abs().max() < 1e-9 and counts.min() >= 0
    errors = (data - clean).reshape(2, 4, -1)
    torch.testing.assert_close(errors.square().mean(2), gain * levels, rtol=0.05, atol=0)


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
