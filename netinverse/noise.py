"""Noise of a stated norm, and what projection leaves of it."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.checks import per_sample_values, require_finite, require_floating
from netinverse.tensors import norm, per_sample

KINDS = ("gaussian", "uniform", "poisson")


def add_noise(
    clean: Tensor,
    *,
    relative: float | Tensor | None = None,
    sigma: float | Tensor | None = None,
    kind: str = "gaussian",
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """y^delta = y + e and delta = ||e||_2 per sample.

    relative: ||e|| = relative ||y|| exactly, in every sample (to rounding). sigma: the standard deviation of each entry of e.
    Give one of the two, a number or (batch,). kind: "gaussian"; "uniform" on an interval about zero; "poisson", counts
    n ~ Poisson(y/g) with the gain g such that the mean variance g mean(y) is sigma^2, for y >= 0 (``relative`` starts from
    sigma = relative ||y||/sqrt(entries), then scales the error).

    Shapes: clean (batch, ...) -> (batch, ...), (batch,). Each sample has its own generator, seeded by (seed, index): sample i has
    the same noise whatever the other samples are. It is drawn in float64 on the CPU, so that it does not depend on the device.
    """
    require_finite("add_noise", "clean", require_floating("add_noise", "clean", clean))
    if kind not in KINDS:
        raise ValueError(
            f"add_noise: kind is {kind!r}, which is not one of {', '.join(map(repr, KINDS))}. The default is 'gaussian'."
        )
    if (relative is None) == (sigma is None):
        raise ValueError(
            f"add_noise: {'neither' if relative is None else 'both'} of relative and sigma given, but exactly one sets "
            f"the size of the noise. "
            f"Pass relative=0.01 for 1 % of each sample's norm, or sigma= for a standard deviation per entry."
        )
    if kind == "poisson" and bool((clean < 0).any()):
        raise ValueError(
            f"add_noise: clean has negative entries (least {clean.min().item():g}), but Poisson counts have a "
            f"mean of zero or more. "
            f"Use kind='gaussian', or clean data that are nonnegative."
        )
    y = clean.detach().double().cpu()
    entries = max(1, y[0].numel()) if len(y) else 1
    if relative is not None:
        size = per_sample_values("add_noise", "relative", relative, y) * norm(y)
        deviation = size / entries**0.5
    else:
        assert sigma is not None
        size, deviation = None, per_sample_values("add_noise", "sigma", sigma, y)
    errors = [_draw(sample, float(s), kind, _generator(seed, i)) for i, (sample, s) in enumerate(zip(y, deviation, strict=True))]
    error = torch.stack(errors) if errors else torch.zeros_like(y)
    if size is not None:
        length = norm(error)
        error = error * per_sample(torch.where(length > 0, size / torch.where(length > 0, length, 1.0), 0.0), error)
    data = (y + error).to(clean)
    return data, norm(data.double().cpu() - y).to(clean)


def noise_left_after_projection(data: Tensor, projected: Tensor, noise_level: float | Tensor) -> Tensor:
    """sqrt(max(delta^2 - ||y^delta - P y^delta||^2, 0)), an upper bound of ||P y^delta - y||, per sample.

    P is the projection onto a closed convex set that contains the clean data y, and delta >= ||y^delta - y||. Then
    <y^delta - P y^delta, y - P y^delta> <= 0, and expanding ||(y^delta - P y^delta) + (P y^delta - y)||^2 gives
    ||P y^delta - y||^2 <= ||y^delta - y||^2 - ||y^delta - P y^delta||^2. Equality where the set is locally a subspace through y:
    entries that are zero in y and clipped to zero lose exactly their noise.

    Shapes: data, projected (batch, ...), noise_level a number or (batch,) -> (batch,).
    Zarantonello 1971; Bauschke & Combettes, Convex Analysis and Monotone Operator Theory, 2017, theorem 3.16.
    """
    level = torch.as_tensor(noise_level, dtype=data.dtype, device=data.device)
    cut = norm(data - projected)
    return ((level - cut).clamp(min=0) * (level + cut)).sqrt()


def _generator(seed: int, index: int) -> torch.Generator:
    # Two multiplications by odd constants keep neighbouring pairs apart: (seed, index) -> one 63-bit number.
    mixed = (seed * 0x9E3779B97F4A7C15 + (index + 1) * 0xBF58476D1CE4E5B9) & 0x7FFFFFFFFFFFFFFF
    return torch.Generator().manual_seed(mixed)


def _draw(y: Tensor, sigma: float, kind: str, generator: torch.Generator) -> Tensor:
    """An error of standard deviation sigma, the shape of y."""
    if kind == "gaussian":
        return sigma * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    if kind == "uniform":
        return sigma * 12**0.5 * (torch.rand(y.shape, generator=generator, dtype=torch.float64) - 0.5)
    mean = float(y.mean()) if y.numel() else 0.0
    if mean == 0.0 or sigma == 0.0:
        return torch.zeros_like(y)
    gain = sigma**2 / mean
    return gain * torch.poisson(y / gain, generator=generator) - y
