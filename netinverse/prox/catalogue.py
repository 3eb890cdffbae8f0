"""From the name of an activation, in any of torch's spellings, to its potential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netinverse.protocols import Potential
from netinverse.prox.indicators import NonNegative


@dataclass(frozen=True)
class ScaledActivation:
    """sigma(z) = factor * prox_potential(inner_scale * z + inner_shift).

    ``factor`` belongs into the next affine map, ``inner_scale`` and ``inner_shift`` into the one before. All three are trivial
    (1, 1, 0) for an activation that is itself a proximal map.
    """

    potential: Potential
    factor: float = 1.0
    inner_scale: float = 1.0
    inner_shift: float = 0.0


def activation_of_aten(target: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> ScaledActivation | None:
    """The ScaledActivation that an ATen operator computes, or None if it is no scaled proximal map.

    ``target``: an overload (``torch.ops.aten.relu.default``) or its name (``"relu"``, ``"aten.relu.default"``).
    ``args``, ``kwargs``: what follows the input tensor in the call, without it.
    """
    name = str(target).removeprefix("aten.").removeprefix("aten::").split(".")[0]
    return ScaledActivation(NonNegative()) if name in {"relu", "relu_"} else None
