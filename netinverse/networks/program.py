"""Straight-line programs of torch operators: what a captured network consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

BATCH = "batch size"
"""The name under which a program finds the number of samples."""


@dataclass(frozen=True)
class Ref:
    """The value that another instruction, a parameter or an input has."""

    name: str


@dataclass(frozen=True)
class Instruction:
    """name = target(*args, **kwargs), with ``Ref`` for what is computed elsewhere.

    ``offsets``: positions of the arguments (or of the entries of a first list argument) that enter additively and not through a
    variable; the linear part is what is left when they are zero.
    """

    name: str
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    offsets: frozenset[int] = frozenset()

    @property
    def refs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_refs((self.args, dict(self.kwargs)))))


def _refs(value: Any) -> list[str]:
    if isinstance(value, Ref):
        return [value.name]
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        return [name for part in value for name in _refs(part)]
    return []


def _resolve(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, list | tuple):
        return [_resolve(part, values) for part in value]
    return value


def _without(value: Any) -> Any:
    """Zero of the same kind; None where there is nothing."""
    if isinstance(value, Tensor):
        return torch.zeros_like(value)
    return None if value is None else type(value)(0)


def _arguments(instruction: Instruction, values: Mapping[str, Any], linear: bool) -> list[Any]:
    args = [_resolve(a, values) for a in instruction.args]
    if linear and instruction.offsets:
        if args and isinstance(args[0], list):
            args[0] = [_without(a) if i in instruction.offsets else a for i, a in enumerate(args[0])]
        else:
            args = [_without(a) if i in instruction.offsets else a for i, a in enumerate(args)]
    return args


def run(program: Sequence[Instruction], values: Mapping[str, Any], output: str, like: Tensor, *, linear: bool = False) -> Tensor:
    """The value of ``output`` after the instructions; with ``linear`` without every offset.

    ``like`` gives device and dtype to the instructions that create tensors, so that a network can be moved and converted.
    """
    env = dict(values)
    for instruction in program:
        kwargs = {k: _resolve(v, env) for k, v in instruction.kwargs.items()}
        if kwargs.get("device") is not None:
            kwargs["device"] = like.device
        if isinstance(kwargs.get("dtype"), torch.dtype) and kwargs["dtype"].is_floating_point:
            kwargs["dtype"] = like.dtype
        env[instruction.name] = instruction.target(*_arguments(instruction, env, linear), **kwargs)
    result: Tensor = env[output]
    return result
