"""The l1 norm of wavelet coefficients."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netinverse.checks import require_whole
from netinverse.operators.wavelets import PeriodicWavelet, scaling_filter
from netinverse.protocols import LinearMap, ProximalFunction, Step
from netinverse.prox.norms import L1
from netinverse.prox.total_variation import ProxResult
from netinverse.regularisers.regulariser import by_duality, in_closed_form, require_image, value_of


@dataclass(frozen=True)
class WaveletSparsity:
    """R(x) = ||W x||_1, W an orthonormal periodic wavelet transform of every channel.

    wavelet: the name of an orthogonal wavelet as PyWavelets spells it: "haar", "db2", "sym4", "coif1". levels: how often the
    coarse part is split again; None: as often as all axes can be halved and stay as long as the filter, once at least. Every
    spatial axis must be divisible by 2**levels. All coefficients count, those of the coarse part too.
    Inputs: (channels, length), (channels, height, width) or (channels, depth, height, width).
    Daubechies, Defrise & De Mol, Comm. Pure Appl. Math. 57, 2004.
    """

    wavelet: str = "db2"
    levels: int | None = None

    def __post_init__(self) -> None:
        scaling_filter(self.wavelet)  # checks the name
        if self.levels is not None:
            require_whole("WaveletSparsity", "levels", self.levels, 1, "Leave it out for as many as fit.")

    @property
    def name(self) -> str:
        return f"wavelet sparsity ({self.wavelet})"

    @property
    def function(self) -> ProximalFunction:
        return L1()

    def __call__(self, x: Tensor) -> Tensor:
        return value_of(self, x)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        self.transform(shape)

    def transform(self, shape: tuple[int, ...]) -> LinearMap:
        require_image("WaveletSparsity", shape, "wavelet transforms")
        return PeriodicWavelet.named(self.wavelet, shape, self.levels)

    def transform_norm(self, shape: tuple[int, ...]) -> float:
        return 1.0 + 1e-12

    def prox(
        self,
        x: Tensor,
        step: Step = 1.0,
        constraint: ProximalFunction | None = None,
        tolerance: float = 1e-8,
        warm: Tensor | None = None,
    ) -> ProxResult:
        if constraint is None:
            return in_closed_form(self, x, step)
        return by_duality(self, x, step, constraint, tolerance, warm)
