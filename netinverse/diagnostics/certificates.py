"""What an answer is worth: how far at most it is from optimal, and in which sense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True)
class Certificate:
    """The evidence of a solution, per sample, in units of the objective.

    kind: "duality gap" (convex, global), "convex gap" (convexity condition met, global), "stationarity" (local), "none".
    value: (batch,). meaning: one sentence that says what the value bounds. made_feasible: of a duality gap, how the dual point of
    each sample was made feasible, by "scaling" or by "a bounded domain" for example; empty where nothing is known of it.
    """

    kind: str
    value: Tensor
    meaning: str
    made_feasible: tuple[str, ...] = ()

    kinds: ClassVar[tuple[str, ...]] = ("duality gap", "convex gap", "stationarity", "none")

    def __post_init__(self) -> None:
        if self.kind not in self.kinds:
            raise ValueError(
                f"Certificate: kind is {self.kind!r}, which is not one of {', '.join(map(repr, self.kinds))}. "
                f"For an answer without evidence use 'none'."
            )

    @property
    def is_global(self) -> bool:
        """True where the value bounds the distance to the global minimum."""
        return self.kind in ("duality gap", "convex gap")
