"""A digest of whatever decides an answer: tensors by their bits, settings by their fields, networks by their weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn


def fingerprint(*objects: object) -> str:
    """Equal for equal values, in every process. An object that is none of the kinds below counts by its type alone."""
    digest = hashlib.sha256()
    for each in objects:
        _add(digest, each)
    return digest.hexdigest()[:32]


def _add(digest: Any, value: object) -> None:
    digest.update(f"<{type(value).__module__}.{type(value).__qualname__}>".encode())
    if isinstance(value, Tensor):
        dense = value.detach().cpu().contiguous()
        digest.update(f"{dense.dtype}{tuple(dense.shape)}".encode())
        digest.update(dense.reshape(-1).view(torch.uint8).numpy().tobytes() if dense.numel() else b"")
    elif isinstance(value, nn.Module):
        _add(digest, dict(value.state_dict()))
        summary = getattr(value, "summary", None)
        digest.update((summary() if callable(summary) else repr(value)).encode())
    elif is_dataclass(value):
        for each in fields(value):
            digest.update(each.name.encode())
            _add(digest, getattr(value, each.name))
    elif isinstance(value, Mapping):
        for name in sorted(value, key=str):
            digest.update(str(name).encode())
            _add(digest, value[name])
    elif isinstance(value, str | bytes | int | float | bool | torch.dtype | None):
        digest.update(repr(value).encode())
    elif isinstance(value, Sequence):
        for part in value:
            _add(digest, part)
