"""A penalty on the singular values of layers: what keeps a network from crushing or stretching some directions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netinverse.protocols import Step
from netinverse.prox.nuclear_norm import as_matrices


@dataclass(frozen=True)
class ConditioningPenalty:
    """weight/2 * sum over singular values s of dist(s, [smallest, largest])^2, for matrices (batch, m, n) and filters.

    The singular values of a filter (m, channels, ...) are those of the matrix of its rows: for a convolution without overlap its
    own. Where at most N windows meet in an entry, sqrt(N) times them bound its norm; from below they say something only where m
    is at least the number of columns (``netinverse.layers.spectrally_bounded``). The penalty is smooth, but not convex where
    ``smallest`` is positive. Its proximal map is exact nevertheless: it moves each singular value, as s >= 0 makes the function
    of one of them convex (Lewis, Math. Oper. Res. 21, 1996). ``LiftedTraining(regulariser=ConditioningPenalty())`` takes that
    map after every step; by back-propagation, add ``penalty.of(module)`` to the loss.

    Raises ValueError unless 0 <= smallest <= largest and weight is positive.
    """

    weight: float = 1.0
    smallest: float = 0.5
    largest: float = 2.0

    def __post_init__(self) -> None:
        if not (0 <= self.smallest <= self.largest < torch.inf and 0 < self.weight < torch.inf):
            raise ValueError(
                f"ConditioningPenalty: weight is {self.weight}, smallest {self.smallest} and largest {self.largest}, but the "
                f"singular values are drawn to an interval, 0 <= smallest <= largest, with a positive weight. The defaults are "
                f"1, 0.5 and 2."
            )

    def __call__(self, x: Tensor) -> Tensor:
        s: Tensor = torch.linalg.svdvals(as_matrices(x))
        return 0.5 * self.weight * (s - s.clamp(self.smallest, self.largest)).square().sum(1)

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        """argmin_v step * penalty(v) + 1/2||v - x||^2: outside the interval (s + step weight end)/(1 + step weight)."""
        u, s, vh = torch.linalg.svd(as_matrices(x), full_matrices=False)
        share = self.weight * torch.as_tensor(step, dtype=s.dtype, device=s.device).reshape(-1, 1)
        moved = (s + share * s.clamp(self.smallest, self.largest)) / (1 + share)
        found: Tensor = u * moved[:, None] @ vh
        return found.reshape(x.shape)

    def of(self, module: nn.Module) -> Tensor:
        """The sum over the matrices and filters of a module, to be differentiated; a number without axes."""
        parts = [self(p[None])[0] for p in module.parameters() if p.ndim > 1]
        if not parts:
            raise ValueError("ConditioningPenalty.of: the module has no matrix and no filter, so there is nothing to condition.")
        return torch.stack(parts).sum()
