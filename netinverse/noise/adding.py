"""Noise of a stated norm."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.checks import per_sample_values, require_finite, require_floating, require_seed
from netinverse.diagnostics.arguments import Network
from netinverse.modes import in_usual_modes
from netinverse.noise.worst_case import worst_direction
from netinverse.tensors import norm, per_sample

KINDS = ("gaussian", "uniform", "poisson", "worst-case")


@in_usual_modes
def add_noise(
    clean: Tensor,
    *,
    relative: float | Tensor | None = None,
    sigma: float | Tensor | None = None,
    kind: str = "gaussian",
    seed: int = 0,
    network: Network | None = None,
    truth: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """y^delta = y + e and delta = ||e||_2 per sample.

    relative: ||e|| = relative ||y|| exactly, in every sample (to rounding). sigma: the standard deviation of each entry of e.
    Give one of the two, a number or (batch,). kind: "gaussian"; "uniform" on an interval about zero; "poisson", counts
    n ~ Poisson(y/g) with the gain g such that the mean variance g mean(y) is sigma^2, for y >= 0 (``relative`` starts from
    sigma = relative ||y||/sqrt(entries), then scales the error); "worst-case", the direction of that norm which moves the inverse
    most at ``truth``, with clean = network(truth): see ``netinverse.noise.worst_case``. It is not random, and needs ``network``
    and ``truth``, (batch, *input_shape); with sigma, ||e|| = sigma sqrt(entries).

    Shapes: clean (batch, ...) -> (batch, ...), (batch,). Each sample has its own generator, seeded by (seed, index): sample i has
    the same noise whatever the other samples are. It is drawn in float64 on the CPU, so that it does not depend on the device.
    """
    clean = _checked(clean, relative, sigma, kind, seed)
    _require_network(kind, network, truth)
    y = clean.detach().double().cpu()
    entries = max(1, y[0].numel()) if len(y) else 1
    if relative is not None:
        size = per_sample_values("add_noise", "relative", relative, y) * norm(y)
        deviation = size / entries**0.5
    else:
        size, deviation = None, per_sample_values("add_noise", "sigma", sigma, y)
    if network is not None and truth is not None:
        error = per_sample(deviation * entries**0.5, y) * worst_direction(network, truth, clean).cpu()
    else:
        error = _drawn(y, deviation, kind, seed)
    if size is not None:
        length = norm(error)
        error = error * per_sample(torch.where(length > 0, size / torch.where(length > 0, length, 1.0), 0.0), error)
    data = (y + error).to(clean)
    return data, norm(data.double().cpu() - y).to(clean)


def _checked(clean: Tensor, relative: object, sigma: object, kind: str, seed: int) -> Tensor:
    """``clean`` as a tensor; raises for what does not fit with it."""
    clean = require_finite("add_noise", "clean", require_floating("add_noise", "clean", clean))
    if not clean.ndim:
        raise ValueError("add_noise: clean is a single number, but has its samples along the first axis. Pass clean[None].")
    require_seed("add_noise", seed)
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
    return clean


def _require_network(kind: str, network: Network | None, truth: Tensor | None) -> None:
    given = [name for name, value in (("network", network), ("truth", truth)) if value is not None]
    if kind == "worst-case" and len(given) < 2:
        missing = " and ".join(name for name in ("network", "truth") if name not in given)
        raise ValueError(
            f"add_noise: kind is 'worst-case', but {missing} {'is' if given else 'are'} missing: what hurts most depends on "
            f"the network's derivative at the input that the clean data come from. Pass network= and truth=, with clean = "
            f"network(truth)."
        )
    if kind != "worst-case" and given:
        raise ValueError(
            f"add_noise: {' and '.join(given)} given, but noise of kind {kind!r} depends on neither. Leave out, or use "
            f"kind='worst-case'."
        )


def _generator(seed: int, index: int) -> torch.Generator:
    # Two multiplications by odd constants keep neighbouring pairs apart: (seed, index) -> one 63-bit number.
    mixed = (seed * 0x9E3779B97F4A7C15 + (index + 1) * 0xBF58476D1CE4E5B9) & 0x7FFFFFFFFFFFFFFF
    return torch.Generator().manual_seed(mixed)


def _drawn(y: Tensor, deviation: Tensor, kind: str, seed: int) -> Tensor:
    """An error for each sample, each by its own generator; (batch, ...)."""
    samples = enumerate(zip(y, deviation, strict=True))
    errors = [_draw(sample, float(sigma), kind, _generator(seed, i)) for i, (sample, sigma) in samples]
    return torch.stack(errors) if errors else torch.zeros_like(y)


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
