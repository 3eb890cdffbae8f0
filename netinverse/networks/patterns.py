"""Activations that torch writes as several operators."""

from __future__ import annotations

from typing import Any

from torch import fx

from netinverse.networks.affine import operator_name
from netinverse.prox import activation_of_aten
from netinverse.prox.activations import ScaledActivation

Composed = dict[fx.Node, tuple[fx.Node, ScaledActivation]]
"""By the last operator of a composed activation: its argument z, and what it computes of z."""


def composed_activations(graph: fx.Graph) -> Composed:
    """Every composed activation of the graph."""
    found: Composed = {}
    for node in graph.nodes:
        for match in (_softsign, _softshrink, _leaky_relu):
            z, name, *settings = match(node) or (None, "")
            activation = activation_of_aten(name, settings) if z is not None else None
            if z is not None and activation is not None:
                found[node] = (z, activation)
    return found


def _softsign(node: fx.Node) -> tuple[Any, ...] | None:
    """z / (1 + |z|)."""
    z, bottom = _arguments(node, "div", 2)
    size, one = _arguments(bottom, "add", 2)
    return (z, "softsign") if isinstance(z, fx.Node) and _arguments(size, "abs", 1) == (z,) and one == 1 else None


def _softshrink(node: fx.Node) -> tuple[Any, ...] | None:
    """where(|z| > l, z - l sign(z), 0 z)."""
    condition, shrunk, zero = _arguments(node, "where", 3)
    size, bound = _arguments(condition, "gt", 2)
    z, step = _arguments(shrunk, "sub", 2)
    sign, height = _arguments(step, "mul", 2)
    fits = _arguments(size, "abs", 1) == _arguments(sign, "sign", 1) == (z,) and bound == height
    return (z, "softshrink", bound) if isinstance(z, fx.Node) and fits and _arguments(zero, "mul", 2) == (z, 0) else None


def _leaky_relu(node: fx.Node) -> tuple[Any, ...] | None:
    """where(z > 0, z, s z), for a number s."""
    condition, z, low = _arguments(node, "where", 3)
    left, slope = _arguments(low, "mul", 2)
    fits = _arguments(condition, "gt", 2) == (z, 0) or _arguments(condition, "ge", 2) == (z, 0)
    return (z, "leaky_relu", slope) if isinstance(z, fx.Node) and fits and left is z and _is_number(slope) else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


def _arguments(value: object, name: str, count: int) -> tuple[Any, ...]:
    """The arguments of a call of this operator, and as many None where ``value`` is no such call."""
    if not isinstance(value, fx.Node) or not callable(value.target) or operator_name(value.target) != name:
        return (None,) * count
    return tuple(value.args) if len(value.args) == count and not value.kwargs else (None,) * count
