"""A digest of whatever decides an answer: tensors by their bits, settings by their fields, networks by their weights."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (Tensor, np.ndarray, str, int, float, complex, tuple, list, FunctionType, functools.partial)


def fingerprint(*objects: object) -> str:
    """Equal for equal values, in every process.

    Functions count by their code, their defaults and what they close over; what they look up in their module does not count.
    Other objects count by their attributes, and those without any, such as functions written in C, by their names.
    """
    digest = hashlib.sha256()
    for each in objects:
        _add(digest, each, ())
    return digest.hexdigest()[:32]


def _add(digest: Any, value: object, within: tuple[int, ...]) -> None:
    """``within``: the ids of what ``value`` is a part of. A part that leads back there has been counted."""
    digest.update(f"<{type(value).__module__}.{type(value).__qualname__}>".encode())
    if id(value) in within:
        return
    if isinstance(value, Tensor):
        dense = value.detach().cpu().contiguous()
        digest.update(f"{dense.dtype}{tuple(dense.shape)}".encode())
        digest.update(dense.reshape(-1).view(torch.uint8).numpy().tobytes() if dense.numel() else b"")
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    elif isinstance(value, str | bytes | int | float | complex | bool | torch.dtype | np.generic | None):
        digest.update(repr(value).encode())
    else:
        for part in _parts(value):
            _add(digest, part, (*within, id(value)))


def _parts(value: object) -> Sequence[object]:
    """What a value of many parts consists of, in an order that is the same in every process."""
    if isinstance(value, nn.Module):
        summary = getattr(value, "summary", None)
        return dict(value.state_dict()), summary() if callable(summary) else _settings(value)
    if is_dataclass(value) and not isinstance(value, type):
        return [part for each in fields(value) for part in (each.name, getattr(value, each.name))]
    if isinstance(value, Mapping):
        return [part for name in sorted(value, key=str) for part in (str(name), value[name])]
    if isinstance(value, frozenset | set):
        return sorted(value, key=repr)
    if isinstance(value, Sequence):
        return value
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    if isinstance(value, CodeType):
        return value.co_code, value.co_consts, value.co_names, value.co_varnames
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]
        return value.__code__, value.__defaults__, value.__kwdefaults__, cells
    if isinstance(value, type) or not hasattr(value, "__dict__"):
        return (getattr(value, "__module__", None) or "", getattr(value, "__qualname__", ""))
    return (vars(value),)


def _settings(network: nn.Module) -> Sequence[object]:
    """Of every module its type and the plain values it has under public names, such as in_features."""
    found: list[object] = []
    for name, module in network.named_modules():
        public = {key: each for key, each in vars(module).items() if not key.startswith("_") and isinstance(each, _PLAIN)}
        found += [name, type(module), public]
    return found
