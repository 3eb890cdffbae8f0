"""Operators that are neither affine nor proximal."""

from __future__ import annotations

import math

from tests.networks.drawn.writer import Operator, Shape, Writer


def smooth_activation(w: Writer, x: str, shape: Shape) -> str:
    names = ["F.gelu", "F.silu", "F.mish", "torch.sin", "torch.square", "F.hardswish"]
    return f"{w.one_of(*names)}({x})"


def normalisation(w: Writer, x: str, shape: Shape) -> str:
    group = [f"{w.held(f'nn.GroupNorm(1, {shape[0]})')}({x})"] if math.prod(shape) > 1 else []
    return w.one_of(f"F.layer_norm({x}, ({shape[-1]},))", *group)


def gate(w: Writer, x: str, shape: Shape) -> str:
    y = w.partner(x)
    return w.one_of(f"{x} * {x}.sigmoid()", f"{x} / (1 + {x} ** 2)", *([f"{x} * {y}"] if y is not None else []))


SMOOTH: tuple[Operator, ...] = (
    smooth_activation,
    normalisation,
    gate,
)
