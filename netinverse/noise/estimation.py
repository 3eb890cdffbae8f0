"""The noise level from the data: from repeats, from what lies outside the range of the network, or from the finest wavelets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netinverse.checks import first_samples, require_finite, require_floating
from netinverse.modes import in_usual_modes
from netinverse.networks import LiftedNetwork
from netinverse.prox import Box, NonNegative
from netinverse.tensors import total

WHO = "estimate_noise_level"
METHODS = ("repeats", "range", "wavelet")


@dataclass(frozen=True)
class NoiseEstimate:
    """The noise level of each sample, ||y^delta - y||_2, and its standard error, both (batch,).

    uncertainty: of ``level`` as an estimate of the norm of the noise in one output; that of the estimator and that by which norms
    of single draws differ. method: "repeats", "range" or "wavelet".
    """

    level: Tensor
    uncertainty: Tensor
    method: str

    def interval(self, deviations: float = 1.96) -> tuple[Tensor, Tensor]:
        """level -/+ deviations * uncertainty, not below zero; 1.96 is 95 % for Gaussian noise."""
        reach = deviations * self.uncertainty
        return (self.level - reach).clamp(min=0), self.level + reach


@in_usual_modes
def estimate_noise_level(
    data: Tensor | Sequence[Tensor], *, network: LiftedNetwork | None = None, method: str | None = None
) -> NoiseEstimate:
    """delta = sqrt(E||e||^2), with its uncertainty, sample by sample.

    method, by default what the arguments call for:

    "repeats" (``data`` is a list of outputs for the same inputs, or with method="repeats" a tensor (repeats, batch, ...)):
    delta^2 is the sum over the entries of the variance between the repeats. No assumption but independence; the uncertainty takes
    the entries as Gaussian, each with a variance of its own. It is the level of one output; the mean of r has 1/sqrt(r) of it.

    "range" (``network`` is given): white Gaussian noise pushes units that are saturated, such as inactive ReLUs, out of the range
    of the last activation half of the time. sigma^2 = mean square of what lies outside, corrected for units that are nearly
    saturated, whose density is read off the data between 3 and 6 sigma inside. The last activation is a ReLU or a clip.

    "wavelet" (otherwise): scikit-image's median of the finest diagonal wavelet coefficients, freed of the bias of the border, for
    data (batch, height, width) or (batch, channels, height, width) that are smooth but for white Gaussian noise. It takes texture
    for noise.

    Raises ValueError where the data do not hold what the method needs.
    """
    several = isinstance(data, Sequence)
    chosen = method or ("repeats" if several else "range" if network is not None else "wavelet")
    if chosen not in METHODS:
        raise ValueError(f"{WHO}: method is {chosen!r}, which is not one of {', '.join(map(repr, METHODS))}. Leave it to choose.")
    if chosen == "repeats":
        return _from_repeats(_stacked(data))
    if several:
        raise TypeError(
            f"{WHO}: data is a {type(data).__name__}, but method {chosen!r} takes one torch.Tensor. Pass a tensor, or a list of "
            f"repeated outputs with method='repeats'."
        )
    data = require_finite(WHO, "data", require_floating(WHO, "data", data))
    if chosen == "range":
        return _from_range(data, network)
    return _from_wavelets(data)


def _stacked(data: Tensor | Sequence[Tensor]) -> Tensor:
    """(repeats, batch, ...), checked."""
    parts = [require_finite(WHO, "data", require_floating(WHO, "data", part)) for part in data]
    if len({tuple(part.shape) for part in parts}) > 1 or (parts and parts[0].ndim < 2):
        raise ValueError(
            f"{WHO}: the repeats have shapes {', '.join(str(tuple(p.shape)) for p in parts[:5])}, but all are outputs "
            f"(batch, ...) for the same inputs. Pass equal shapes, the batch first."
        )
    if len(parts) < 2:
        raise ValueError(
            f"{WHO}: there is {len(parts)} output, but the spread of repeats takes at least 2. Measure again, or pass "
            f"network= for an estimate from what lies outside its range."
        )
    return torch.stack(parts)


def _from_repeats(data: Tensor) -> NoiseEstimate:
    repeats = data.shape[0]
    values = data.double()
    variance = (values - values.mean(0)).square().sum(0) / (repeats - 1)
    squared = total(variance)
    # For Gaussian entries v^2 (r-1)/(r+1) is unbiased for sigma^4, and the variance of v is 2 sigma^4/(r-1).
    fourth = total(variance.square()) * (repeats - 1) / (repeats + 1)
    return _estimate(squared, 2 * fourth / (repeats - 1), 2 * fourth, data, "repeats")


def _from_range(data: Tensor, network: LiftedNetwork | None) -> NoiseEstimate:
    if network is None:
        raise ValueError(
            f"{WHO}: method is 'range', but network is missing, whose range it is. Pass network=ni.lift(model, example)."
        )
    if not isinstance(network, LiftedNetwork):
        raise TypeError(
            f"{WHO}: network is a {type(network).__name__}, but the range is read off a LiftedNetwork. Pass "
            f"network=ni.lift(model, example)."
        )
    potential = network.output_potential
    if isinstance(potential, NonNegative):
        ends: tuple[tuple[Tensor, float], ...] = ((torch.zeros(()), 1.0),)
    elif isinstance(potential, Box):
        ends = tuple((torch.as_tensor(end), sign) for end, sign in ((potential.lower, 1.0), (potential.upper, -1.0)))
    else:
        raise ValueError(
            f"{WHO}: the last activation of the network is the proximal map of {type(potential).__name__}, but "
            f"noise shows outside the range where a half-line is mapped to one end, as by ReLU and clips. Pass repeated outputs."
        )
    # Distances from the ends, positive inside; an infinite end is never met.
    inside = torch.stack([sign * (data.double() - end.to(data).double()) for end, sign in ends])
    outside = inside < 0
    count = outside.flatten(2).sum((0, 2)).double()
    few = count < 2
    if few.any():
        raise ValueError(
            f"{WHO}: at most one entry lies outside the range of the last activation in {first_samples(few)}, which says "
            f"nothing of the noise: no unit is saturated, or the data were projected already. Pass repeated outputs, or data as "
            f"they were measured."
        )
    power = torch.where(outside, inside.square(), 0.0).flatten(2).sum((0, 2))
    sigma = (power / count).sqrt()
    for _ in range(30):
        # Units with clean values spread evenly near the end, rho to a unit of length, add rho sigma / sqrt(2 pi) to the count but
        # only 2 rho sigma^3 / (3 sqrt(2 pi)) to the power: sigma^2 (count - rho sigma / (3 sqrt(2 pi))) = power.
        reach = sigma.reshape(1, -1, *(1,) * (data.ndim - 1))
        near = ((inside > 3 * reach) & (inside <= 6 * reach)).flatten(2).sum((0, 2)) / 3
        sigma = (power / torch.maximum(count - near / (3 * (2 * pi) ** 0.5), count / 2)).sqrt()
    entries = data.shape[1:].numel()
    squared = entries * sigma.square()
    return _estimate(squared, 2 * squared.square() / count, 2 * squared.square() / entries, data, "range")


def _from_wavelets(data: Tensor) -> NoiseEstimate:
    if data.ndim not in (3, 4) or min(data.shape[-2:]) < 8:
        raise ValueError(
            f"{WHO}: data has shape {tuple(data.shape)}, but the wavelet estimate takes images of at least 8x8, (batch, height, "
            f"width) or (batch, channels, height, width). Pass a list of repeated outputs, or network= for "
            f"what is outside its range."
        )
    channels = data.shape[1] if data.ndim == 4 else 1
    images = data.detach().double().cpu().reshape(len(data), channels, *data.shape[-2:]).numpy()
    sigma = torch.tensor([[_finest(channel) for channel in image] for image in images], dtype=torch.float64, device=data.device)
    sigma = sigma.reshape(len(data), channels).mean(1) / _finest_of_white_noise(*images.shape[-2:])
    entries = data.shape[1:].numel()
    squared = entries * sigma.square()
    # The median of n absolute values gives sigma with variance 1.361 sigma^2 / n, and so sigma^2 with four times sigma^2 of it.
    return _estimate(squared, 4 * 1.361 * squared.square() / (entries / 4), 2 * squared.square() / entries, data, "wavelet")


def _finest(image: NDArray[np.float64]) -> float:
    """sigma of an image, by the median of its finest diagonal wavelet coefficients."""
    from skimage.restoration import estimate_sigma

    estimate: Callable[..., float] = estimate_sigma
    return float(estimate(image))


@cache
def _finest_of_white_noise(height: int, width: int) -> float:
    """What is found for sigma = 1: 0.91 in 8x8, 0.97 in 32x32, since coefficients of the mirrored border are smaller."""
    fields = max(2, 2**17 // (height * width))
    return float(np.mean([_finest(field) for field in np.random.default_rng(0).standard_normal((fields, height, width))]))


def _estimate(squared: Tensor, error: Tensor, spread: Tensor, data: Tensor, method: str) -> NoiseEstimate:
    """From delta^2, the variance of its estimate, and the variance of ||e||^2 about delta^2."""
    level = squared.sqrt()
    uncertainty = torch.where(level > 0, (error + spread).sqrt() / (2 * torch.where(level > 0, level, 1.0)), 0.0)
    return NoiseEstimate(level.to(data), uncertainty.to(data), method)
