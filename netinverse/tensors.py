"""Per-sample algebra on tensors with the batch first, and the one place that touches automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")


def per_sample(values: float | Tensor, like: Tensor) -> Tensor:
    """Reshape ``(batch,)`` values so that they multiply ``like``, ``(batch, ...)``. Numbers become 0-d tensors."""
    values = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    if values.ndim == 1 and values.shape[0] not in (1, like.shape[0]):
        raise ValueError(
            f"per_sample: there are {values.shape[0]} values, such as steps, for {like.shape[0]} sample(s). Pass one number, or "
            f"a tensor of shape ({like.shape[0]},)."
        )
    return values.reshape(values.shape + (1,) * (like.ndim - 1)) if values.ndim == 1 else values


def total(x: Tensor) -> Tensor:
    """Sum over all axes but the first: ``(batch, ...) -> (batch,)``."""
    return x.flatten(1).sum(1) if x.ndim > 1 else x


def inner(x: Tensor, y: Tensor) -> Tensor:
    """<x, y> per sample."""
    return total(x * y)


def norm(x: Tensor) -> Tensor:
    """||x||_2 per sample."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1) if x.ndim > 1 else x.abs()


class Derivative:
    """F'(x) as a linear map, from one recorded evaluation of F.

    The adjoint is reverse-mode differentiation. The forward application differentiates the adjoint, which is linear in its
    argument, so no forward-mode rule is needed and <F'(x) v, q> = <v, F'(x)* q> holds to rounding for every torch function
    that can be differentiated twice.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], x: Tensor) -> None:
        with torch.enable_grad():
            self._x = x.detach().requires_grad_(True)
            self._value = function(self._x)
            self._cotangent = torch.zeros_like(self._value, requires_grad=True)
            # A constant function has no graph: its derivative is the zero map.
            self._constant = not self._value.requires_grad
        self.value = self._value.detach()

    @cached_property
    def _pulled(self) -> Tensor:
        """F'(x)* of the cotangent, recorded; only where it is asked for, since it takes longer than F."""
        with torch.enable_grad():
            (pulled,) = torch.autograd.grad(self._value, self._x, self._cotangent, create_graph=True, materialize_grads=True)
        return pulled

    def __call__(self, x: Tensor) -> Tensor:
        if self._constant or not self._pulled.requires_grad:
            return torch.zeros_like(self.value)
        (out,) = torch.autograd.grad(self._pulled, self._cotangent, x, retain_graph=True, materialize_grads=True)
        return out

    def adjoint(self, y: Tensor) -> Tensor:
        if self._constant:
            return torch.zeros_like(self._x)
        (out,) = torch.autograd.grad(self._value, self._x, y, retain_graph=True, materialize_grads=True)
        return out.detach()


def select(tree: T, index: Tensor) -> T:
    """The samples ``index`` of every tensor in a dataclass or tuple of tensors with the batch first."""
    return _map(lambda t: t[index], tree)


def choose(mask: Tensor, new: T, old: T) -> T:
    """``new`` where the ``(batch,)`` mask holds, ``old`` elsewhere, tensor by tensor."""
    return _map(lambda n, o: torch.where(mask.reshape(mask.shape + (1,) * (n.ndim - 1)), n, o), new, old)


def scatter(old: T, index: Tensor, new: T) -> T:
    """``old`` with the samples ``index`` replaced by those of ``new``; ``old`` is left as it was."""

    def put(o: Tensor, n: Tensor) -> Tensor:
        out = o.clone()
        out[index] = n
        return out

    return _map(put, old, new)


def astype(tree: T, dtype: torch.dtype) -> T:
    """Every floating-point tensor of a dataclass or tuple in another dtype; what has it already is not copied."""
    return _map(lambda t: t.to(dtype) if t.is_floating_point() else t, tree)


def flatten(tree: object) -> list[Tensor]:
    """Every tensor of a dataclass or tuple of tensors, in order."""
    found: list[Tensor] = []
    _map(lambda t: found.append(t) or t, tree)  # type: ignore[func-returns-value]
    return found


def unflatten(like: T, tensors: Sequence[Tensor]) -> T:
    """``like`` with its tensors replaced by these, in order; shapes may differ."""
    rest = iter(tensors)
    built = _map(lambda t: next(rest), like)
    if next(rest, None) is not None:
        raise ValueError("there are more tensors than places for them")
    return built


def _map(function: Callable[..., Tensor], tree: T, *others: T) -> T:
    return cast(T, _walk(function, tree, *others))


def _walk(function: Callable[..., Tensor], tree: Any, *others: Any) -> Any:
    if isinstance(tree, Tensor):
        return function(tree, *others)
    if isinstance(tree, tuple):
        return tuple(_walk(function, *parts) for parts in zip(tree, *others, strict=True))
    if is_dataclass(tree) and not isinstance(tree, type):
        names = [f.name for f in fields(tree)]
        return replace(tree, **{n: _walk(function, getattr(tree, n), *(getattr(o, n) for o in others)) for n in names})
    return tree
