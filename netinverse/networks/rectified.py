"""Piecewise linear operators that are no activation by themselves, as affine maps around ReLU; exact, and with nothing copied.

max(a, b) = a + relu(b - a), min(a, b) = a - relu(a - b), |a| = 2 relu(a) - a, prelu_s(a) = s a + (1 - s) relu(a) for any slope s.
A max-pooling is the maximum of shifted copies, axis by axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from netinverse.networks.assembler import Assembler, Shape, store
from netinverse.networks.program import Instruction, Ref
from netinverse.prox import NonNegative
from netinverse.prox.activations import ScaledActivation

aten = torch.ops.aten
_RELU = ScaledActivation(NonNegative())


def absolute(build: Assembler, name: str, args: Sequence[Any], shape: Shape) -> bool:
    """|a| = 2 relu(a) - a."""
    source = args[0].name
    build.activation(f"{name}.relu", source, _RELU)
    double = build.scaled(f"{name}.double", f"{name}.relu", 2.0)
    build.apply(name, aten.sub.Tensor, Ref(double), args[0], shape=shape)
    return True


def prelu(build: Assembler, name: str, args: Sequence[Any], shape: Shape) -> bool:
    """s a + (1 - s) relu(a), one slope s per channel or one for all; s stays the model's parameter."""
    source, slope = args
    build.activation(f"{name}.relu", source.name, _RELU)
    channels = [-1] + [1] * (len(shape) - 1)
    build.constant(Instruction(f"{name}.slope", aten.reshape.default, (slope, channels)))
    bent = build.apply(f"{name}.bent", aten.sub.Tensor, source, Ref(f"{name}.relu"), shape=shape)
    left = build.apply(f"{name}.left", aten.mul.Tensor, Ref(bent), Ref(f"{name}.slope"), shape=shape)
    build.apply(name, aten.add.Tensor, Ref(left), Ref(f"{name}.relu"), shape=shape)
    return True


def maximum(build: Assembler, name: str, args: Sequence[Any], shape: Shape) -> bool:
    """a + relu(b - a); relu(b) where a is the constant zero. Operands of different shapes are not taken."""
    return len(args) == 2 and _extreme(build, name, args, shape, sign=1)


def minimum(build: Assembler, name: str, args: Sequence[Any], shape: Shape) -> bool:
    """a - relu(a - b)."""
    return len(args) == 2 and _extreme(build, name, args, shape, sign=-1)


def clamp(build: Assembler, name: str, args: Sequence[Any], shape: Shape) -> bool:
    """min(max(a, lower), upper) with bounds that are tensors."""
    source, lower, upper = [*args, None, None][:3]
    if build.is_variable([lower, upper]) or (lower is None and upper is None):
        return False
    if upper is None:
        return _extreme(build, name, (source, lower), shape, sign=1)
    if lower is not None:
        _extreme(build, f"{name}.lower", (source, lower), shape, sign=1)
        source = Ref(f"{name}.lower")
    return _extreme(build, name, (source, upper), shape, sign=-1)


def _extreme(build: Assembler, name: str, args: Sequence[Any], shape: Shape, sign: int) -> bool:
    """a + sign relu(sign (b - a)), b the variable one where the other is a constant."""
    base, other = sorted(args, key=build.is_variable)
    if build.shapes.get(other.name) != shape or (build.is_variable(base) and build.shapes.get(base.name) != shape):
        return False
    constant = not build.is_variable(base)
    if constant and not torch.as_tensor(build.constant_value(base)).any():
        z = build.scaled(f"{name}.in", other.name, float(sign))
        build.activation(name, z, ScaledActivation(NonNegative(), factor=float(sign)))
        return True
    first, second = (other, base) if sign == 1 else (base, other)
    offset = frozenset({1 if sign == 1 else 0}) if constant else frozenset[int]()
    gap = build.apply(f"{name}.gap", aten.sub.Tensor, first, second, shape=shape, offsets=offset)
    build.activation(f"{name}.relu", gap, _RELU)
    target = aten.add.Tensor if sign == 1 else aten.sub.Tensor
    build.apply(name, target, base, Ref(f"{name}.relu"), shape=shape, offsets=frozenset({0}) if constant else frozenset())
    return True


def max_pool(build: Assembler, name: str, args: Sequence[Any], shape: Shape, *, axes: int) -> bool:
    """Windows of k entries with stride s, padding p (of -inf) and dilation d; the last axis first."""
    source = args[0].name
    kernel = _each(args, 1, axes, [])
    stride, padding, dilation = _each(args, 2, axes, kernel), _each(args, 3, axes, [0]), _each(args, 4, axes, [1])
    for axis in range(-1, -axes - 1, -1):
        size, out = build.shapes[source][axis], shape[axis]
        places = _windows(size, out, kernel[axis], stride[axis], padding[axis], dilation[axis])
        full = build.shapes[source]
        pooled = (*full[: len(full) + axis], out, *full[len(full) + axis + 1 :])
        source = _pool_axis(build, name if axis == -axes else f"{name}.axis{-axis}", source, axis, places, pooled)
    return True


def _each(args: Sequence[Any], position: int, axes: int, default: list[int]) -> list[int]:
    """A setting of a pooling, one number for each axis."""
    value = args[position] if len(args) > position else []
    values = list(value) if isinstance(value, list | tuple) else [value]
    return (values or default) * (axes if len(values or default) == 1 else 1)


def _windows(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> list[list[int]]:
    """For each place j in the window, the entry that each window takes; a padded place repeats another entry of its window."""
    windows = []
    for i in range(out):
        entries = [i * stride - padding + j * dilation for j in range(kernel)]
        inside = next((e for e in entries if 0 <= e < size), None)
        if inside is None:
            raise ValueError(
                f"lift: a max-pooling has a window without any entry (size {size}, kernel {kernel}, padding {padding}, dilation "
                f"{dilation}); its maximum is -inf, which no network is inverted from. Reduce the padding or the dilation."
            )
        windows.append([e if 0 <= e < size else inside for e in entries])
    return [list(place) for place in zip(*windows, strict=True)]


def _pool_axis(build: Assembler, name: str, source: str, axis: int, places: list[list[int]], shape: Shape) -> str:
    """The maximum of the copies of ``source`` that ``places`` take from it."""
    ndim = len(shape) + 1
    if len(places) == 1:
        return _take(build, name, source, ndim + axis, places[0], shape)
    copies = [_take(build, f"{name}.place{j}", source, ndim + axis, place, shape) for j, place in enumerate(places)]
    best = copies[0]
    for k, copy in enumerate(copies[1:], 1):
        larger = name if k == len(copies) - 1 else f"{name}.max{k}"
        _extreme(build, larger, (Ref(best), Ref(copy)), shape, sign=1)
        best = larger
    return best


def _take(build: Assembler, name: str, source: str, axis: int, place: list[int], shape: Shape) -> str:
    """Entries ``place`` along an axis: a slice where they are evenly spaced, which costs nothing."""
    step = place[1] - place[0] if len(place) > 1 else 1
    if step > 0 and place == list(range(place[0], place[0] + step * len(place), step)):
        return build.apply(name, aten.slice.Tensor, Ref(source), axis, place[0], place[-1] + 1, step, shape=shape)
    index = store(build.network, name.replace(".", "_"), torch.tensor(place, device=build.network.device))
    return build.apply(name, aten.index_select.default, Ref(source), axis, index, shape=shape)


RECTIFIED: dict[str, Callable[[Assembler, str, Sequence[Any], Shape], bool]] = {
    "abs": absolute,
    "prelu": prelu,
    "_prelu_kernel": prelu,
    "maximum": maximum,
    "minimum": minimum,
    "max": maximum,
    "min": minimum,
    "clamp": clamp,
    "clamp_min": clamp,
    "max_pool1d": partial(max_pool, axes=1),
    "max_pool2d": partial(max_pool, axes=2),
    "max_pool3d": partial(max_pool, axes=3),
}
"""By operator: build it, or return False where this call of it is no affine map around ReLU."""
