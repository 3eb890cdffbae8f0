"""The subdifferential of a convex function, as a set that can be projected on."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from netinverse.protocols import ProximalFunction
from netinverse.tensors import norm


@runtime_checkable
class Subdifferentiable(Protocol):
    """A convex function f whose subdifferential is known as a set."""

    def nearest_subgradient(self, x: Tensor, p: Tensor) -> Tensor:
        """The point of df(x) nearest to p, for x in the domain. Shapes: x, p (batch, ...) -> (batch, ...).

        A kink counts as one only where x lies on it to the last bit: ``snap_to_zero`` cleans computed points.
        """
        ...


def subdifferential_of(who: str, function: ProximalFunction) -> Subdifferentiable:
    """The function, or a TypeError that says what it lacks."""
    if not isinstance(function, Subdifferentiable):
        raise TypeError(
            f"{who}: {type(function).__name__} has no nearest_subgradient, so its subdifferential is not known as a set. Use a "
            f"regulariser built from a norm, a squared norm or a Huber function, or give the function that method."
        )
    return function


def subgradient_distance(function: Subdifferentiable, x: Tensor, p: Tensor) -> Tensor:
    """The distance of p from df(x), (batch,): zero where p is a subgradient of f at x."""
    return norm(p - function.nearest_subgradient(x, p))


def snap_to_zero(x: Tensor, relative: float = 1e-10) -> Tensor:
    """x with the entries of at most ``relative`` times the largest of their sample at zero: rounding put them beside it."""
    if not x.numel():
        return x
    largest = x.flatten(1).abs().amax(1).reshape((-1,) + (1,) * (x.ndim - 1))
    return x.masked_fill(x.abs() <= relative * largest, 0.0)
