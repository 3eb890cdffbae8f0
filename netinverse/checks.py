"""Checks at the border. Messages read: who: what was found (value, shape, sample); why it matters; what to do."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def first_samples(mask: Tensor, most: int = 5, numbers: Tensor | None = None) -> str:
    """The indices where a ``(batch,)`` mask holds, as text: ``sample 3`` or ``samples 0, 1, 7``; their ``numbers`` instead."""
    found = (torch.nonzero(mask.flatten()).flatten() if numbers is None else numbers[mask.flatten()]).tolist()
    shown = ", ".join(str(i) for i in found[:most]) + (", ..." if len(found) > most else "")
    return f"sample{'s' if len(found) > 1 else ''} {shown}"


def require_floating(who: str, name: str, x: object) -> Tensor:
    """``x`` as a real floating-point tensor, or a TypeError that says what to do.

    A NumPy array stands for the tensor on the CPU with its numbers and its dtype, whatever its strides and byte order. A tensor
    made in inference mode, which no derivative could be taken with, is copied.
    """
    if isinstance(x, np.ndarray):
        x = _of_array(who, name, x)
    if not isinstance(x, Tensor):
        raise TypeError(f"{who}: {name} is a {type(x).__name__}, but must be a torch.Tensor. {_conversion(name, x)}.")
    if x.is_nested or x.is_meta or x.layout != torch.strided:
        kind, remedy = (
            ("nested", f"Put samples of one shape together with torch.stack({name}.unbind())")
            if x.is_nested
            else ("on the meta device", "Pass the values themselves")
            if x.is_meta
            else (f"of layout {x.layout}", f"Use {name}.to_dense()")
        )
        raise TypeError(f"{who}: {name} is a tensor {kind}, but must hold a number in every place of its shape. {remedy}.")
    if not x.is_floating_point():
        raise TypeError(
            f"{who}: {name} has dtype {x.dtype}, but must be a real floating-point tensor, since proximal maps act on real "
            f"numbers. Use {name}.float() or {name}.double()."
        )
    return x.clone() if x.is_inference() and not torch.is_inference_mode_enabled() else x


def _conversion(name: str, x: object) -> str:
    if hasattr(x, "to_numpy"):
        return f"Pass {name}.to_numpy()"
    if isinstance(x, list | tuple) and x and all(isinstance(each, Tensor) for each in x):
        return f"Put the samples together with torch.stack({name})"
    return f"Convert it with torch.as_tensor({name})"


def _of_array(who: str, name: str, array: np.ndarray[Any, Any]) -> Tensor:
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{who}: {name} is a masked array, but a tensor has no mask, so that masked entries would count as data. Leave them "
            f"out, here and in what the network returns: a module that returns network(x)[:, kept]."
        )
    try:
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
    except TypeError as error:
        raise TypeError(
            f"{who}: {name} is an array of dtype {array.dtype}, which torch does not have. Use {name}.astype(numpy.float64)."
        ) from error


def require_finite(who: str, name: str, x: Tensor) -> Tensor:
    """Raise if any entry is NaN or infinite, naming the samples."""
    bad = ~torch.isfinite(x)
    if bad.any():
        samples = first_samples(bad.flatten(1).any(1) if x.ndim > 1 else bad)
        raise ValueError(
            f"{who}: {name} contains {int(bad.sum())} NaN or infinite value(s), in {samples}; every later quantity would be NaN. "
            f"Remove these samples or repair the values."
        )
    return x


def require_shape(who: str, name: str, x: Tensor, shape: tuple[int, ...], meaning: str) -> Tensor:
    """Raise if ``x.shape`` is not ``shape``; ``meaning`` says what the shape stands for."""
    if tuple(x.shape) != tuple(shape):
        raise ValueError(f"{who}: {name} has shape {tuple(x.shape)}, but {tuple(shape)} is expected: {meaning}.")
    return x


def require_number(who: str, name: str, value: object, remedy: str) -> float:
    """``value`` as a positive finite number, or an error that ends with ``remedy``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{who}: {name} is {value!r}, but must be a positive number. {remedy}")
    if not 0 < float(value) < float("inf"):
        raise ValueError(f"{who}: {name} is {value}, but must be positive and finite. {remedy}")
    return float(value)


def require_numbers(who: str, remedy: str, **values: object) -> None:
    """Raise TypeError unless all values are real numbers, whose size is then to be checked; the message ends with ``remedy``."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{who}: {name} is {value!r}, but must be a number. {remedy}")


def require_positive(who: str, name: str, value: float, why: str) -> None:
    """Raise unless 0 < value < inf."""
    require_numbers(who, f"It has to be positive, since {why}.", **{name: value})
    if not 0 < value < inf:
        raise ValueError(f"{who}: {name} is {value}, but must be positive and finite, since {why}. Pass a positive number.")


def require_flag(who: str, name: str, value: object, meaning: str) -> None:
    """Raise unless ``value`` is True or False: a text such as "no" would count as true. ``meaning``: what the two stand for."""
    if not isinstance(value, bool):
        raise TypeError(f"{who}: {name} is {value!r}, but must be True or False: {meaning}.")


def require_path(who: str, name: str, value: object) -> Path:
    """``value`` as a path, or a TypeError."""
    if not isinstance(value, str | PathLike):
        raise TypeError(
            f"{who}: {name} is a {type(value).__name__}, but must be the path of a file. Pass a str or a pathlib.Path."
        )
    return Path(value)


def require_whole(who: str, name: str, value: object, least: int, remedy: str) -> int:
    """``value`` as a whole number of at least ``least``, or an error that ends with ``remedy``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{who}: {name} is {value!r}, but must be a whole number. {remedy}")
    if value < least:
        raise ValueError(f"{who}: {name} is {value}, but must be at least {least}. {remedy}")
    return int(value)


def require_seed(who: str, seed: object) -> int:
    """``seed`` as a whole number that the generators of torch take."""
    whole = require_whole(who, "seed", seed, 0, "The default is 0.")
    if whole >= 2**63:
        raise ValueError(f"{who}: seed is {whole}, but must be below 2**63. The default is 0.")
    return whole


def require_object(who: str, name: str, value: object, methods: Sequence[str], remedy: str) -> None:
    """Raise unless ``value`` is an object, not a class, with these methods; ``remedy`` says what to write."""
    if isinstance(value, type):
        raise TypeError(
            f"{who}: {name} is the class {value.__name__}, but must be an object of it: a class has no settings. "
            f"Write {name}={value.__name__}(...) with its arguments, if any."
        )
    missing = [method for method in methods if not callable(getattr(value, method, None))]
    if missing:
        raise TypeError(
            f"{who}: {name} is {value!r}, a {type(value).__name__}, which has no method {', '.join(missing)}; it is what {name} "
            f"is asked for. {remedy}"
        )


def per_sample_values(who: str, name: str, values: Any, like: Tensor, *, positive: bool = False) -> Tensor:
    """``values``, a number or one for each sample, as a ``(batch,)`` tensor, nonnegative (or positive) and finite."""
    batch = like.shape[0]
    try:
        given = values if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))  # a number keeps all its digits
    except (TypeError, ValueError, RuntimeError):
        given = torch.zeros((), dtype=torch.bool)
    if given.is_complex() or given.dtype == torch.bool:
        shown = f"a tensor of dtype {given.dtype}" if isinstance(values, Tensor) else repr(values)
        hint = " Pass its .level." if hasattr(values, "level") else ""
        raise TypeError(
            f"{who}: {name} is {shown}, but must be a real number, or a tensor of {batch} real numbers, one for each sample."
            f"{hint}"
        )
    found = given.to(dtype=like.dtype, device=like.device)
    if found.ndim > 1 or (found.ndim == 1 and found.shape[0] != batch):
        raise ValueError(
            f"{who}: {name} has shape {tuple(found.shape)}, but data holds {batch} sample(s). Pass one "
            f"number, or a tensor of shape ({batch},)."
        )
    found = found.detach().expand(batch).clone()
    require_finite(who, name, found)
    bad = (found <= 0) if positive else (found < 0)
    if bad.any():
        worst = found[bad][0].item()
        raise ValueError(
            f"{who}: {name} is {worst:g} in {first_samples(bad)}, but must be {'positive' if positive else 'zero or positive'}. "
            f"Pass one such number, or one for each sample."
        )
    return found
