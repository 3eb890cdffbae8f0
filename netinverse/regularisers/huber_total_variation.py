"""Total variation with small differences squared: edges, and no staircases between them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netinverse.checks import require_positive
from netinverse.operators.differences import Gradient
from netinverse.protocols import LinearMap, ProximalFunction, Step
from netinverse.prox.group_huber import GroupHuber
from netinverse.prox.total_variation import ProxResult
from netinverse.regularisers.regulariser import by_duality, require_image, value_of


@dataclass(frozen=True)
class HuberTotalVariation:
    """R(x) = sum over pixels of h(||(K x)_pixel||_2), h(t) = t^2/(2 width) up to ``width`` and t - width/2 beyond.

    K as in TotalVariation, which is the limit as the width goes to 0; R is at most width/2 per pixel below it. ``width`` is in
    units of the input's differences: below it a slope is smooth, above it an edge.
    Inputs: (channels, length), (channels, height, width) or (channels, depth, height, width).
    Huber, Ann. Math. Stat. 35, 1964; Werlberger, Trobin, Pock et al., BMVC 2009.
    """

    width: float = 0.01
    name = "Huber total variation"

    def __post_init__(self) -> None:
        require_positive("HuberTotalVariation", "width", self.width, "R divides by it; for width 0 there is TotalVariation()")

    @property
    def function(self) -> ProximalFunction:
        return GroupHuber(axis=1, width=self.width)

    def __call__(self, x: Tensor) -> Tensor:
        return value_of(self, x)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        require_image("HuberTotalVariation", shape, "differences")

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
        return by_duality(self, x, step, constraint, tolerance, warm)
