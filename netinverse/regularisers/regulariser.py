"""The contract of a regulariser R(x) = g(K x), and the ways to its proximal map."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from netinverse.checks import require_floating
from netinverse.protocols import LinearMap, ProximalFunction, Step
from netinverse.prox.subdifferential import subdifferential_of
from netinverse.prox.total_variation import ProxResult, dual_prox
from netinverse.tensors import per_sample


class Regulariser(Protocol):
    """R(x) = g(K x) on inputs (batch, *shape)."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def function(self) -> ProximalFunction:
        """g, on K's range."""
        ...

    def __call__(self, x: Tensor) -> Tensor: ...

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise unless R is defined for inputs of this shape, given without the batch."""
        ...

    def transform(self, shape: tuple[int, ...]) -> LinearMap:
        """K."""
        ...

    def transform_norm(self, shape: tuple[int, ...]) -> float:
        """An upper bound of ||K||, never zero."""
        ...

    def prox(
        self,
        x: Tensor,
        step: Step = 1.0,
        constraint: ProximalFunction | None = None,
        tolerance: float = 1e-8,
        warm: Tensor | None = None,
    ) -> ProxResult:
        """argmin over v in C of step R(v) + 1/2||v - x||^2, with a duality gap of at most tolerance times that minimum."""
        ...


@runtime_checkable
class PerSampleRegulariser(Regulariser, Protocol):
    """A regulariser that is another one for each sample."""

    def select(self, index: Tensor) -> Self:
        """That of the samples ``index``."""
        ...


def value_of(regulariser: Regulariser, x: Tensor) -> Tensor:
    """g(K x), (batch,). Raises TypeError where x holds no real numbers."""
    x = require_floating(type(regulariser).__name__, "x", x)
    return regulariser.function(regulariser.transform(tuple(x.shape[1:]))(x))


def by_duality(
    regulariser: Regulariser, x: Tensor, step: Step, constraint: ProximalFunction | None, tolerance: float, warm: Tensor | None
) -> ProxResult:
    """The proximal map of R over the constraint by the iteration of ``dual_prox``, for any K and g."""
    shape = tuple(x.shape[1:])
    norm = regulariser.transform_norm(shape)
    return dual_prox(regulariser.function, regulariser.transform(shape), norm, x, step, constraint, tolerance, warm)


def in_closed_form(regulariser: Regulariser, x: Tensor, step: Step) -> ProxResult:
    """The proximal map of R = g(K .) for K orthonormal: K^T prox_{step g}(K x)."""
    transform = regulariser.transform(tuple(x.shape[1:]))
    image = transform(x)
    v = regulariser.function.prox(image, step)
    return exact_result(regulariser, transform.adjoint(v), image, v, step)


def require_image(who: str, shape: tuple[int, ...], instead: str) -> None:
    """Raise unless the input has a channel axis and 1, 2 or 3 spatial axes."""
    if not 2 <= len(shape) <= 4:
        raise ValueError(
            f"{who}: one input has shape {tuple(shape)}, but {instead} are taken along 1, 2 or 3 spatial axes "
            f"that follow a channel axis. Reshape the input to (channels, length), (channels, height, width) or "
            f"(channels, depth, height, width), or use Tikhonov() or Sparsity(), which take any shape."
        )


def exact_result(regulariser: Regulariser, x: Tensor, image: Tensor, v: Tensor, step: Step) -> ProxResult:
    """An exact result, v = K x; the dual is the subgradient at v nearest to (image - v)/step, which is one without constraint."""
    steps = per_sample(step, v)
    slope = torch.where(steps > 0, (image - v) / torch.where(steps > 0, steps, 1.0), 0.0)
    dual = subdifferential_of(regulariser.name, regulariser.function).nearest_subgradient(v, slope)
    zeros = x.new_zeros(x.shape[0])
    return ProxResult(x, dual, zeros, torch.zeros_like(zeros, dtype=torch.long))
