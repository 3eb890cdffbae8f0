"""Orthonormal periodic wavelet transforms, with the filters of PyWavelets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PeriodicWavelet:
    """W x: ``levels`` times, every spatial axis of the coarse part is filtered and halved, periodically.

    Shapes: (batch, channels, *spatial) -> the same, the coarse part in front along every axis, as in Mallat's layout. One step
    along an axis of even length n: low_i = sum_k h_k x_{2i + k mod n}, high_i = sum_k (-1)^k h_{L-1-k} x_{2i + k mod n}. W is
    orthonormal, so that its adjoint is its inverse.
    scaling: h, the scaling filter of an orthogonal wavelet.
    Mallat, A Wavelet Tour of Signal Processing, 2009, section 7.
    """

    scaling: tuple[float, ...]
    levels: int

    @classmethod
    def named(cls, wavelet: str, shape: tuple[int, ...], levels: int | None = None) -> PeriodicWavelet:
        """For inputs (channels, *spatial), with the filter of that name; raises where the axes cannot be halved that often."""
        scaling = scaling_filter(wavelet)
        spatial = shape[1:]
        wanted = _levels_that_fit(spatial, len(scaling)) if levels is None else levels
        if wanted < 1 or any(n % 2**wanted or n < 2 for n in spatial):
            raise ValueError(
                f"PeriodicWavelet: one input has shape {tuple(shape)} and levels is {levels}, but every spatial axis must be "
                f"divisible by 2**levels, with at least one level. Pad the input, or pass fewer levels."
            )
        return cls(scaling, wanted)

    def __call__(self, x: Tensor) -> Tensor:
        out = x.clone()
        for level in range(self.levels):
            coarse = _coarse(out, level)
            part = coarse
            for axis in range(2, x.ndim):
                part = self._split(part, axis)
            coarse.copy_(part)
        return out

    def adjoint(self, y: Tensor) -> Tensor:
        out = y.clone()
        for level in reversed(range(self.levels)):
            coarse = _coarse(out, level)
            part = coarse
            for axis in reversed(range(2, y.ndim)):
                part = self._join(part, axis)
            coarse.copy_(part)
        return out

    inverse = adjoint

    def _filters(self, like: Tensor) -> Tensor:
        """(2, L): low and high pass."""
        low = torch.tensor(self.scaling, dtype=like.dtype, device=like.device)
        signs = torch.ones_like(low)
        signs[1::2] = -1
        return torch.stack((low, signs * low.flip(0)))

    def _places(self, n: int, like: Tensor) -> Tensor:
        """(n/2, L): where the taps of each coefficient lie."""
        first = 2 * torch.arange(n // 2, device=like.device)
        return (first[:, None] + torch.arange(len(self.scaling), device=like.device)) % n

    def _split(self, x: Tensor, axis: int) -> Tensor:
        moved = x.movedim(axis, -1)
        taps = moved[..., self._places(moved.shape[-1], x)]
        return (taps @ self._filters(x).T).mT.flatten(-2).movedim(-1, axis)

    def _join(self, y: Tensor, axis: int) -> Tensor:
        moved = y.movedim(axis, -1)
        n = moved.shape[-1]
        taps = moved.reshape(*moved.shape[:-1], 2, n // 2).mT @ self._filters(y)
        out = torch.zeros_like(moved).index_add(-1, self._places(n, y).flatten(), taps.flatten(-2))
        return out.movedim(-1, axis)


def scaling_filter(wavelet: str) -> tuple[float, ...]:
    """The scaling filter of an orthogonal wavelet, by its name in PyWavelets."""
    try:
        import pywt
    except ImportError as error:
        raise ImportError(
            "WaveletSparsity: PyWavelets is not installed, and the filters of wavelets come from it. Install it: "
            "pip install PyWavelets"
        ) from error
    try:
        found = pywt.Wavelet(wavelet)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"WaveletSparsity: wavelet is {wavelet!r}, which PyWavelets does not know. Names are 'haar', 'db2', 'sym4', 'coif1'; "
            f"pywt.wavelist(kind='discrete') lists them."
        ) from error
    if not found.orthogonal:
        raise ValueError(
            f"WaveletSparsity: wavelet is {wavelet!r}, which is not orthogonal, so that its adjoint is not its inverse. Use an "
            f"orthogonal one: 'haar', 'db2', 'sym4', 'coif1'."
        )
    return tuple(float(h) for h in found.rec_lo)


def _coarse(x: Tensor, level: int) -> Tensor:
    """The view of x's coarse part before this level."""
    for axis in range(2, x.ndim):
        x = x.narrow(axis, 0, x.shape[axis] >> level)
    return x


def _levels_that_fit(spatial: tuple[int, ...], length: int) -> int:
    """How often all axes can be halved, as long as they are at least as long as the filter; once, where they are even."""
    levels, axes = 0, spatial
    while all(n % 2 == 0 and n >= 2 for n in axes) and (levels == 0 or min(axes) >= length):
        levels, axes = levels + 1, tuple(n // 2 for n in axes)
    return levels
