"""What all checks share: the error, and points drawn from a seed."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.checks import first_samples

METHODS = "Give its class these methods; netinverse.protocols says what each does."


class LawBroken(AssertionError):
    """A law does not hold; the message says which, where and by how much."""


def require_law(who: str, law: str, departure: Tensor, allowed: Tensor | float, hint: str) -> None:
    """Raise unless departure <= allowed, sample by sample; a NaN breaks every law. departure (batch,)."""
    broken = ~(departure <= allowed)
    if bool(broken.any()):
        sample = int(broken.nonzero()[0])
        limit = float(torch.as_tensor(allowed).expand_as(departure)[sample])
        raise LawBroken(
            f"{who}: {law} does not hold in {first_samples(broken)}: it is missed by {float(departure[sample]):.3g}, where "
            f"{limit:.3g} is allowed. {hint}"
        )


def drawn_like(x: Tensor, seed: int) -> Tensor:
    """Standard normal numbers of the shape, dtype and device of x."""
    numbers = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return numbers.to(x)


def rounding(x: Tensor) -> float:
    """The distance from 1 to the next number of this dtype."""
    return float(torch.finfo(x.dtype).eps)
