"""Straight-line programs of torch operators: what a captured network consists of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

BATCH = "batch size"
"""The name under which a program finds the number of samples."""


@dataclass(frozen=True)
class Ref:
    """The value that another instruction, a parameter or an input has."""

    name: str


@dataclass(frozen=True)
class _Named:
    """An operator of torch by its name, such as aten::add.Tensor."""

    name: str

    def operator(self) -> OpOverload:
        namespace, _, rest = self.name.partition("::")
        name, _, overload = rest.partition(".")
        found: OpOverload = getattr(getattr(getattr(torch.ops, namespace), name), overload or "default")
        return found


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

    @cached_property
    def refs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_refs((self.args, dict(self.kwargs)))))

    def __getstate__(self) -> dict[str, Any]:
        """Torch's own operators cannot be pickled, as sending a network to another process does; their names can."""
        target = _Named(self.target._name) if isinstance(self.target, OpOverload) else self.target
        return {**self.__dict__, "target": target}

    def __setstate__(self, state: dict[str, Any]) -> None:
        target = state["target"]
        self.__dict__.update(state, target=target.operator() if isinstance(target, _Named) else target)

    def __call__(self, values: Mapping[str, Any], like: Tensor, *, linear: bool = False) -> Any:
        """The value; with ``linear`` without the offsets."""
        args = [_resolve(a, values, like) for a in self.args]
        if linear and self.offsets:
            if args and isinstance(args[0], list):
                args[0] = [_without(a) if i in self.offsets else a for i, a in enumerate(args[0])]
            else:
                args = [_without(a) if i in self.offsets else a for i, a in enumerate(args)]
        return self.target(*args, **{k: _resolve(v, values, like) for k, v in self.kwargs.items()})


def _refs(value: Any) -> list[str]:
    if isinstance(value, Ref):
        return [value.name]
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        return [name for part in value for name in _refs(part)]
    return []


def _resolve(value: Any, values: Mapping[str, Any], like: Tensor) -> Any:
    """``value`` with names looked up. Floating dtypes and devices are those of ``like``: a network can be moved and converted."""
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, list | tuple):
        return [_resolve(part, values, like) for part in value]
    if isinstance(value, torch.dtype) and value.is_floating_point:
        return like.dtype
    if isinstance(value, torch.device):
        return like.device
    return value


def _without(value: Any) -> Any:
    """Zero of the same kind; None where there is nothing."""
    if isinstance(value, Tensor):
        return torch.zeros_like(value)
    return None if value is None else type(value)(0)


@dataclass(frozen=True)
class Program:
    """Instructions in order, and the names of the values that are wanted of them."""

    instructions: tuple[Instruction, ...]
    outputs: tuple[str, ...]

    @cached_property
    def free(self) -> tuple[str, ...]:
        """The names that must be given: what no instruction computes."""
        made = {i.name for i in self.instructions}
        names = [name for i in self.instructions for name in i.refs] + list(self.outputs)
        return tuple(name for name in dict.fromkeys(names) if name not in made)

    @cached_property
    def _released(self) -> tuple[tuple[str, ...], ...]:
        """After each instruction the values that nothing needs any more."""
        last = {name: k for k, i in enumerate(self.instructions) for name in (i.name, *i.refs)}
        kept = {*self.outputs, *self.free}
        return tuple(
            tuple(name for name in (i.name, *i.refs) if last[name] == k and name not in kept)
            for k, i in enumerate(self.instructions)
        )

    def run(self, values: Mapping[str, Any], like: Tensor, *, linear: bool = False) -> dict[str, Tensor]:
        """The values of ``outputs``; with ``linear`` each affine instruction without its offset."""
        env = {name: values[name] for name in self.free}
        for instruction, released in zip(self.instructions, self._released, strict=True):
            env[instruction.name] = instruction(env, like, linear=linear)
            for name in released:
                env.pop(name, None)
        return {name: env[name] for name in self.outputs}


def needed_for(outputs: Iterable[str], instructions: Mapping[str, Instruction], given: Sequence[str] | set[str]) -> set[str]:
    """The names of the instructions that lead from the values ``given`` to ``outputs``."""
    found: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in given and name in instructions and name not in found:
            found.add(name)
            waiting += instructions[name].refs
    return found
