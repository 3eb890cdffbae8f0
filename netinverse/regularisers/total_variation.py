"""Total variation: the l1 norm of the gradient."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netinverse.checks import require_flag
from netinverse.operators.differences import Gradient
from netinverse.protocols import LinearMap, ProximalFunction, Step
from netinverse.prox.chain import chain_prox
from netinverse.prox.groups import GroupL21
from netinverse.prox.norms import L1
from netinverse.prox.pieces import uniform
from netinverse.prox.total_variation import ProxResult
from netinverse.regularisers.regulariser import by_duality, require_image, value_of


@dataclass(frozen=True)
class TotalVariation:
    """R(x) = sum over pixels of ||(K x)_pixel||, K forward differences with Neumann boundary, no grid scaling.

    isotropic: the norm over the spatial axes is the Euclidean one, otherwise the l1 norm. Channels are added up, each on its own.
    Inputs: (channels, length), (channels, height, width) or (channels, depth, height, width).
    Rudin, Osher & Fatemi, Physica D 60, 1992.
    """

    isotropic: bool = True

    def __post_init__(self) -> None:
        require_flag("TotalVariation", "isotropic", self.isotropic, "the Euclidean norm over the axes, or the l1 norm")

    @property
    def name(self) -> str:
        return "total variation" if self.isotropic else "anisotropic total variation"

    @property
    def function(self) -> ProximalFunction:
        return GroupL21(axis=1) if self.isotropic else L1()

    def __call__(self, x: Tensor) -> Tensor:
        return value_of(self, x)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        require_image("TotalVariation", shape, "differences")

    def transform(self, shape: tuple[int, ...]) -> LinearMap:
        self.check_shape(shape)
        return Gradient()

    def transform_norm(self, shape: tuple[int, ...]) -> float:
        self.check_shape(shape)
        return Gradient.norm_bound(tuple(shape))

    def prox(
        self,
        x: Tensor,
        step: Step = 1.0,
        constraint: ProximalFunction | None = None,
        tolerance: float = 1e-8,
        warm: Tensor | None = None,
    ) -> ProxResult:
        """As the contract says; of signals, (channels, length), exact up to rounding, whatever the tolerance.

        There a direct method applies, unless a constraint differs from entry to entry.
        """
        self.check_shape(tuple(x.shape[1:]))
        if x.ndim == 3 and uniform(constraint):
            return chain_prox(x, step, constraint)
        return by_duality(self, x, step, constraint, tolerance, warm)
