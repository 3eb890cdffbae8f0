"""Measures of the error against a known truth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def psnr(x: Tensor, truth: Tensor, data_range: float = 1.0) -> Tensor:
    """10 log10(data_range^2 / mean((x - truth)^2)) in dB, per sample; inf where x is the truth.

    Shapes: x, truth (batch, ...) -> (batch,). data_range is the width of the interval that the truth's entries come from.
    """
    if x.shape != truth.shape:
        raise ValueError(
            f"psnr: x has shape {tuple(x.shape)} and truth {tuple(truth.shape)}, but samples are "
            f"compared one by one. Pass equal shapes."
        )
    if not data_range > 0:
        raise ValueError(f"psnr: data_range is {data_range}, but must be positive. For images in [0, 1] it is 1.")
    from skimage import metrics

    pairs = zip(x.detach().double().cpu().numpy(), truth.detach().double().cpu().numpy(), strict=True)
    measure: Callable[..., float] = metrics.peak_signal_noise_ratio
    values = [float("inf") if (a == b).all() else float(measure(b, a, data_range=data_range)) for a, b in pairs]
    return torch.tensor(values, dtype=x.dtype, device=x.device)
