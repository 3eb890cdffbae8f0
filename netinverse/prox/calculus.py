"""Rules that make one function from another: weights, shifts, conjugates, envelopes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netinverse.checks import first_samples, require_numbers
from netinverse.protocols import ProximalFunction, Step
from netinverse.prox.subdifferential import subdifferential_of
from netinverse.tensors import inner, norm, per_sample


@dataclass(frozen=True, eq=False)
class Scaled:
    """weight * f, weight >= 0, one number or one per sample. Proximal map: prox_{step weight f}.

    Where the weight is 0 the function is 0 everywhere, also outside dom f, and its proximal map is the identity.
    """

    function: ProximalFunction
    weight: float | Tensor = 1.0

    def __post_init__(self) -> None:
        weight = torch.as_tensor(self.weight)
        bad = ~((weight >= 0) & (weight < inf))
        if bad.any():
            place = f" in {first_samples(bad)}" if weight.ndim else ""
            worst = weight.reshape(-1)[bad.reshape(-1)][0].item()
            raise ValueError(
                f"Scaled: weight is {worst:g}{place}, but must be zero or positive and finite, since a negative multiple of a "
                f"convex function is not convex. Pass a nonnegative weight."
            )

    def _weight(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.weight, dtype=like.dtype, device=like.device)

    def _positive(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """(where the weight is zero, the weight with ones there)."""
        weight = self._weight(like)
        return weight == 0, torch.where(weight == 0, torch.ones_like(weight), weight)

    def __call__(self, x: Tensor) -> Tensor:
        off, weight = self._positive(x)
        return (weight * self.function(x)).masked_fill(off, 0.0)

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        off, weight = self._positive(x)
        steps = weight * torch.as_tensor(step, dtype=x.dtype, device=x.device)
        return torch.where(per_sample(off.to(x.dtype), x) > 0, x, self.function.prox(x, steps))

    def conjugate_prox(self, p: Tensor, step: Step = 1.0) -> Tensor:
        """prox_{step (w f)^*}(p) = w prox_{(step/w) f^*}(p/w); zero where w = 0: the conjugate is then finite at 0 alone.

        For a norm f that is the projection onto its dual ball, blown up by w, which it offers as ``onto_ball``.
        """
        onto_ball: Callable[[Tensor, Step], Tensor] | None = getattr(self.function, "onto_ball", None)
        if onto_ball is not None:
            return onto_ball(p, self._weight(p))
        off, weight = self._positive(p)
        broad = per_sample(torch.where(off, torch.zeros_like(weight), weight), p)
        steps = torch.as_tensor(step, dtype=p.dtype, device=p.device) / weight
        return broad * prox_conjugate(self.function, p / per_sample(weight, p), steps)

    def conjugate(self, p: Tensor) -> Tensor:
        """(weight f)^*(p) = weight f^*(p/weight)."""
        off, weight = self._positive(p)
        constant = torch.zeros_like(norm(p)).masked_fill(norm(p) > 0, inf)
        return torch.where(off, constant, weight * self.function.conjugate(p / per_sample(weight, p)))


@dataclass(frozen=True, eq=False)
class Translated:
    """x -> f(x - shift); ``shift`` broadcasts against x.

    Proximal map: shift + prox_f(x - shift). Conjugate: f^*(p) + <p, shift>.
    """

    function: ProximalFunction
    shift: float | Tensor = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.shift, Tensor):
            require_numbers("Translated", "Pass a number, or a tensor that broadcasts against x.", shift=self.shift)

    def _shift(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.shift, dtype=like.dtype, device=like.device)

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x - self._shift(x))

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        shift = self._shift(x)
        return shift + self.function.prox(x - shift, step)

    def conjugate(self, p: Tensor) -> Tensor:
        return self.function.conjugate(p) + inner(p, self._shift(p))

    def nearest_subgradient(self, x: Tensor, p: Tensor) -> Tensor:
        """The subgradient of f(. - shift) at x nearest to p."""
        return subdifferential_of("Translated", self.function).nearest_subgradient(x - self._shift(x), p)


@dataclass(frozen=True, eq=False)
class Tilted:
    """x -> f(x) - <slope, x> + offset; slope (batch, ...), offset (batch,).

    With a slope p in df(y) and the offset <p, y> - f(y) it is the Bregman distance D_f^p(x, y). Proximal map: prox_{step f}(x +
    step slope). Conjugate: f^*(q + slope) - offset.
    """

    function: ProximalFunction
    slope: Tensor
    offset: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x) - inner(self.slope, x) + self.offset

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        return self.function.prox(x + per_sample(step, x) * self.slope, step)

    def conjugate_prox(self, p: Tensor, step: Step = 1.0) -> Tensor:
        """prox_{step f^*}(p + slope) - slope."""
        return prox_conjugate(self.function, p + self.slope, step) - self.slope

    def conjugate(self, p: Tensor) -> Tensor:
        return self.function.conjugate(p + self.slope) - self.offset


def prox_conjugate(f: ProximalFunction, v: Tensor, step: Step = 1.0) -> Tensor:
    """prox_{step f^*}(v) = v - step prox_{f/step}(v/step), by Moreau's identity. Shapes: (batch, ...) -> (batch, ...).

    A function whose conjugate has a simpler proximal map of its own offers it as ``conjugate_prox(v, step)``.
    """
    own: Callable[[Tensor, Step], Tensor] | None = getattr(f, "conjugate_prox", None)
    if own is not None:
        return own(v, step)
    steps = torch.as_tensor(step, dtype=v.dtype, device=v.device)
    broad = per_sample(steps, v)
    return v - broad * f.prox(v / broad, 1 / steps)


def moreau_envelope(f: ProximalFunction, x: Tensor, step: Step = 1.0) -> Tensor:
    """min_v f(v) + ||v - x||^2/(2 step), (batch,). Its gradient is (x - prox_{step f}(x))/step."""
    nearest = f.prox(x, step)
    return f(nearest) + 0.5 * norm(x - nearest).square() / torch.as_tensor(step, dtype=x.dtype, device=x.device)
