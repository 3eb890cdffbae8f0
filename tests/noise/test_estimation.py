"""Estimated noise levels against simulated noise: the stated uncertainty covers the norm that was added."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import netinverse as ni
from netinverse.noise import NoiseEstimate

F64 = torch.float64
SAMPLES = 400


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coverage(estimate: NoiseEstimate, norms: Tensor) -> float:
    low, high = estimate.interval()
    return ((norms >= low) & (norms <= high)).double().mean().item()


def in_95(share: float, allowance: float = 0.0) -> bool:
    """A coverage that 400 samples of 95 % show with probability 0.9999."""
    low, high = (stats.binom.ppf(p, SAMPLES, 0.95) / SAMPLES for p in (5e-5, 1 - 5e-5))
    return bool(low - allowance <= share <= high + allowance)


def relu() -> ni.LiftedNetwork:
    return ni.lift(nn.Sequential(nn.Linear(3, 5), nn.ReLU()).eval(), torch.zeros(2, 3))


def clip() -> ni.LiftedNetwork:
    return ni.lift(nn.Sequential(nn.Linear(3, 5), nn.Hardtanh(0.0, 1.0)).eval(), torch.zeros(2, 3))


@pytest.mark.parametrize("repeats", [2, 3, 10])
@pytest.mark.parametrize("entries", [10, 300])
def test_repeats_cover_the_norm_of_one_draw(repeats: int, entries: int) -> None:
    """Entries with variances of their own; a further draw lies in the interval 95 % of the time, and the level is unbiased."""
    clean = 10 * torch.randn(SAMPLES, entries, generator=generator(0), dtype=F64)
    scale = 0.1 + torch.rand(entries, generator=generator(1), dtype=F64)
    noise = scale * torch.randn(repeats + 1, SAMPLES, entries, generator=generator(repeats), dtype=F64)
    found = ni.estimate_noise_level(list(clean + noise[:-1]))
    assert found.method == "repeats"
    # Few entries of few repeats: the interval is symmetric, the distribution is not.
    assert in_95(coverage(found, noise[-1].norm(dim=1)), allowance=0.06 if entries == 10 else 0.0)
    assert found.level.square().mean() == pytest.approx(scale.square().sum().item(), rel=0.1 if entries == 10 else 0.01)
    same = ni.estimate_noise_level(clean + noise[:-1], method="repeats")
    assert torch.equal(same.level, found.level) and torch.equal(same.uncertainty, found.uncertainty)


@pytest.mark.parametrize("sigma", [0.02, 0.2])
@pytest.mark.parametrize("shift", [-1.0, 0.0])
def test_the_range_of_relu_covers_the_norm(sigma: float, shift: float) -> None:
    """Normal pre-activations: many units are close to the kink, and the correction accounts for them."""
    clean = (shift + torch.randn(SAMPLES, 1000, generator=generator(0), dtype=F64)).clamp(min=0)
    noise = sigma * torch.randn(SAMPLES, 1000, generator=generator(1), dtype=F64)
    found = ni.estimate_noise_level(clean + noise, network=relu())
    assert found.method == "range"
    assert in_95(coverage(found, noise.norm(dim=1)), allowance=0.02)
    assert found.level.mean() == pytest.approx(sigma * 1000**0.5, rel=0.03)


def test_the_range_of_a_clip_has_two_ends() -> None:
    clean = (0.5 + 2 * torch.randn(SAMPLES, 500, generator=generator(0), dtype=F64)).clamp(0, 1)
    noise = 0.05 * torch.randn(SAMPLES, 500, generator=generator(1), dtype=F64)
    found = ni.estimate_noise_level(clean + noise, network=clip())
    assert in_95(coverage(found, noise.norm(dim=1)), allowance=0.02)
    one_end = ni.estimate_noise_level((clean + noise), network=relu())
    assert (found.uncertainty < one_end.uncertainty).all()


@pytest.mark.parametrize("channels", [None, 3])
def test_wavelets_cover_the_norm_in_smooth_images(channels: int | None) -> None:
    grid = torch.linspace(0, 3, 32, dtype=F64)
    images = torch.sin(grid[:, None] + grid[None] ** 2 / 2)
    shape = (SAMPLES, 32, 32) if channels is None else (SAMPLES, channels, 32, 32)
    noise = 0.1 * torch.randn(shape, generator=generator(0), dtype=F64)
    found = ni.estimate_noise_level(images + noise)
    assert found.method == "wavelet"
    assert in_95(coverage(found, noise.flatten(1).norm(dim=1)), allowance=0.02)
    assert found.level.mean() == pytest.approx(0.1 * noise[0].numel() ** 0.5, rel=0.03)


def test_an_estimated_level_serves_the_discrepancy_principle() -> None:
    model = ni.lift(nn.Sequential(nn.Linear(6, 200), nn.ReLU()).double().eval(), torch.zeros(2, 6, dtype=F64))
    x = torch.rand(2, 6, generator=generator(0), dtype=F64)
    data, level = ni.add_noise(model(x), relative=0.1)
    found = ni.estimate_noise_level(data, network=model)
    low, high = found.interval(4.0)
    assert ((low <= level) & (level <= high)).all()
    assert ni.invert(model, data, noise_level=found.level, tolerance=1e-3).noise_level is not None


def test_samples_are_alone_and_dtypes_are_kept() -> None:
    data = torch.randn(5, 100, generator=generator(0))
    together = ni.estimate_noise_level(data, network=relu())
    alone = ni.estimate_noise_level(data[2:3], network=relu())
    torch.testing.assert_close(alone.level[0], together.level[2])
    assert together.level.dtype == together.uncertainty.dtype == torch.float32
    assert ni.estimate_noise_level([data[:0], data[:0]]).level.shape == (0,)
    assert ni.estimate_noise_level(data[:0], network=relu()).level.shape == (0,)
    assert ni.estimate_noise_level(torch.zeros(0, 8, 8)).level.shape == (0,)
    still = ni.estimate_noise_level([data, data])
    assert not still.level.any() and not still.uncertainty.any()


def test_messages() -> None:
    data = torch.randn(2, 50, generator=generator(0))
    with pytest.raises(ValueError, match=r"there is 1 output, but the spread of repeats takes at least 2"):
        ni.estimate_noise_level([data])
    with pytest.raises(ValueError, match=r"repeats have shapes \(2, 50\), \(2, 49\), but all are outputs"):
        ni.estimate_noise_level([data, data[:, 1:]])
    with pytest.raises(ValueError, match=r"data has shape \(2, 50\), but the wavelet estimate takes images of at least 8x8"):
        ni.estimate_noise_level(data)
    with pytest.raises(ValueError, match=r"method is 'guess', which is not one of 'repeats', 'range', 'wavelet'"):
        ni.estimate_noise_level(data, method="guess")
    with pytest.raises(ValueError, match=r"method is 'range', but network is missing"):
        ni.estimate_noise_level(data, method="range")
    with pytest.raises(ValueError, match=r"at most one entry lies outside.*in sample 1, which says nothing.*projected already"):
        ni.estimate_noise_level(torch.stack([data[0], data[1].abs()]), network=relu())
    with pytest.raises(ValueError, match=r"last activation.*TanhEntropy.*Pass repeated outputs"):
        tanh = ni.lift(nn.Sequential(nn.Linear(3, 50), nn.Tanh()).eval(), torch.zeros(2, 3))
        ni.estimate_noise_level(data, network=tanh)
    with pytest.raises(TypeError, match=r"network is a Linear, but the range is read off a LiftedNetwork.*ni.lift"):
        ni.estimate_noise_level(data, network=nn.Linear(3, 50))
    with pytest.raises(TypeError, match=r"data is a list, but method 'range' takes one torch.Tensor"):
        ni.estimate_noise_level([data], method="range", network=relu())
    with pytest.raises(ValueError, match="data contains 1 NaN"):
        ni.estimate_noise_level([data, data.clone().index_put((torch.tensor(0), torch.tensor(0)), torch.tensor(torch.nan))])


def test_an_estimate_in_place_of_its_level_is_said() -> None:
    estimate = ni.estimate_noise_level([torch.zeros(2, 3), torch.ones(2, 3)])
    with pytest.raises(TypeError, match=r"noise_level is .*Pass its \.level"):
        ni.invert(torch.nn.Linear(5, 3), torch.zeros(2, 3), input_shape=5, noise_level=estimate)
