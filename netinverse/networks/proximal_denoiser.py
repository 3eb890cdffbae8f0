"""Unrolled dual forward-backward denoisers: networks that are a proximal map, or begin as one."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, hardtanh

from netinverse.checks import require_flag, require_number, require_seed, require_whole
from netinverse.modes import in_usual_modes
from netinverse.operators.filters import squared_norm_bound


class ProximalDenoiser(nn.Module):
    """u_{k+1} = clip(u_k - tau L(L^* u_k - z), -1, 1) from u_0 = 0, x = z - L^* u_K, towards argmin_x ||Lx||_1 + 1/2||x - z||^2.

    L correlates with the ``filters`` (features, channels, k, k) wherever they lie inside the picture: no border is made up.
    z, x (batch, channels, height, width), both sides at least k. tau = 1/||L||^2 by a bound that follows the filters and
    holds for every size. The threshold nu_j of a feature is the length of its filter: nu_j ||L_j x||_1 = ||nu_j L_j x||_1.
    """

    def __init__(self, filters: Tensor, depth: int) -> None:
        super().__init__()
        self.filters, self.depth = nn.Parameter(filters), depth

    def forward(self, z: Tensor) -> Tensor:
        return _unrolled(z, [_forward_filters(self.filters)] * self.depth, [self.filters] * self.depth)


class DecoupledProximalDenoiser(nn.Module):
    """u_{k+1} = clip(u_k - L_k(M_k u_k - z), -1, 1) from u_0 = 0, x = z - M_K u_K: maps of their own in place of tau L and L^*.

    ``forward_filters``: of L_0, ..., L_{K-1}; ``adjoint_filters``: of the adjoints of M_1, ..., M_K; each (features, channels,
    k, k). It begins at the ``tied`` denoiser. Trained, it minimises nothing, and no bound holds its norm.
    """

    def __init__(self, tied: ProximalDenoiser) -> None:
        super().__init__()
        filters, depth = tied.filters.detach(), tied.depth
        forward = _forward_filters(filters)
        self.forward_filters = nn.ParameterList([forward.clone() for _ in range(depth)])
        self.adjoint_filters = nn.ParameterList([filters.clone() for _ in range(depth)])

    def forward(self, z: Tensor) -> Tensor:
        return _unrolled(z, list(self.forward_filters), list(self.adjoint_filters))


def _unrolled(z: Tensor, forward: list[Tensor], adjoint: list[Tensor]) -> Tensor:
    """z - M_K u_K, with the filters of L_0, ..., L_{K-1} and M_1, ..., M_K."""
    channels, size = forward[0].shape[1], forward[0].shape[-1]
    if z.ndim != 4 or z.shape[1] != channels or min(z.shape[2:]) < size:
        raise ValueError(
            f"proximal_denoiser: the picture has shape {tuple(z.shape)}, but the filters take (batch, {channels}, height, width) "
            f"with both sides at least {size}. Build the denoiser for these channels, or give one picture as z[None]."
        )
    u = hardtanh(conv2d(z, forward[0]))
    for after, back in zip(forward[1:], adjoint, strict=False):
        u = hardtanh(u + conv2d(z - conv_transpose2d(u, back), after))
    return z - conv_transpose2d(u, adjoint[-1])


def _forward_filters(filters: Tensor) -> Tensor:
    """Those of tau L, tau = 1/||L||^2; zero where L is."""
    bound = squared_norm_bound(filters)
    return filters / bound.clamp(min=torch.finfo(bound.dtype).tiny)


@in_usual_modes
def proximal_denoiser(
    channels: int,
    features: int,
    depth: int,
    kernel_size: int = 3,
    tied: bool = True,
    threshold: float = 0.08,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> ProximalDenoiser | DecoupledProximalDenoiser:
    """z -> z - L^* u_K after K = ``depth`` dual forward-backward steps: a denoiser of pictures (batch, channels, height, width).

    tied: one L with its own adjoint and a safe step throughout, so that the network is, up to the depth, the proximal map of
    ||L .||_1: what ni.DenoiserPrior asks for. Otherwise each step has two maps of its own, which denoise better and guarantee
    nothing.

    The filters begin orthonormal in groups of channels k^2 - 1, orthogonal to the constants, drawn from ``seed`` alone, and
    scaled to ||L|| = ``threshold``; 0.8 times the standard deviation of the noise is a good one, and training changes it with the
    filters. The result is an ordinary module, for pictures of any size; ``ni.lift`` lifts it exactly, with these parameters, for
    the size of its example. dtype defaults to torch's default.
    Wang, Benning & Repetti, MLSP 2024, arXiv 2408.08742; Le, Repetti & Pustelnik, arXiv 2308.06139.
    """
    example = "Such as proximal_denoiser(channels=1, features=16, depth=10)."
    for name, value in (("channels", channels), ("features", features), ("depth", depth)):
        require_whole("proximal_denoiser", name, value, 1, example)
    require_whole("proximal_denoiser", "kernel_size", kernel_size, 2, "A filter of one pixel sees no edge; the default is 3.")
    require_number("proximal_denoiser", "threshold", threshold, "It is the norm of L to begin with; the default is 0.08.")
    require_flag("proximal_denoiser", "tied", tied, "one map with its own adjoint, or two maps of their own in every step")
    require_seed("proximal_denoiser", seed)
    filters = _orthonormal(channels * kernel_size**2, features, seed).reshape(features, channels, kernel_size, kernel_size)
    filters = filters * (threshold / squared_norm_bound(filters).sqrt())
    network = ProximalDenoiser(filters.to(torch.get_default_dtype() if dtype is None else dtype), depth)
    return (network if tied else DecoupledProximalDenoiser(network)).eval()


def _orthonormal(size: int, count: int, seed: int) -> Tensor:
    """Rows (count, size), orthonormal in groups of size - 1 and with zero mean, float64."""
    generator = torch.Generator().manual_seed(seed)
    groups = []
    for _ in range(math.ceil(count / (size - 1))):
        drawn = torch.randn(size, size - 1, generator=generator, dtype=torch.float64)
        groups.append(torch.linalg.qr(drawn - drawn.mean(0))[0].T)
    return torch.cat(groups)[:count]
