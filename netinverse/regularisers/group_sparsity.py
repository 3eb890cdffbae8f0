"""The l1 norm of the Euclidean norms of groups."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netinverse.checks import require_whole
from netinverse.operators.blocks import Blocks
from netinverse.protocols import LinearMap, ProximalFunction, Step
from netinverse.prox.groups import GroupL21
from netinverse.prox.total_variation import ProxResult
from netinverse.regularisers.regulariser import by_duality, in_closed_form, value_of


@dataclass(frozen=True)
class GroupSparsity:
    """R(x) = sum over groups of ||x_group||_2: groups that are zero together.

    A group is what lies along the first axis of an input, the channels of a pixel: (groups' entries, ...). With ``size`` it is a
    run of that many neighbours along the first axis: for a vector of n entries there are n/size groups.
    Yuan & Lin, J. R. Stat. Soc. B 68, 2006.
    """

    size: int | None = None
    name = "group sparsity (l21)"

    def __post_init__(self) -> None:
        if self.size is not None:
            require_whole("GroupSparsity", "size", self.size, 1, "Leave it out for one group along the whole axis.")

    @property
    def function(self) -> ProximalFunction:
        return GroupL21(axis=2)

    def __call__(self, x: Tensor) -> Tensor:
        return value_of(self, x)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        if not shape or (self.size is not None and shape[0] % self.size):
            raise ValueError(
                f"GroupSparsity: one input has shape {tuple(shape)}, whose first axis cannot be cut into groups of {self.size}. "
                f"Pass a size that divides it, or size=None for one group along the whole axis."
            )

    def transform(self, shape: tuple[int, ...]) -> LinearMap:
        self.check_shape(shape)
        return Blocks(shape[0] if self.size is None else self.size)

    def transform_norm(self, shape: tuple[int, ...]) -> float:
        self.check_shape(shape)
        return 1.0

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
