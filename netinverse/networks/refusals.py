"""Operators that no lifted network can hold: random, stateful, or no function of the input alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from netinverse.networks.affine import operator_name
from netinverse.networks.export import training_mode
from netinverse.networks.origin import origin_of

# The position of the argument that says "training" or "dropout rate"; without one the operator always trains.
_TRAINS = {
    "dropout": 2,
    "native_dropout": 2,
    "feature_dropout": 2,
    "alpha_dropout": 2,
    "rrelu": 3,
    "scaled_dot_product_attention": 4,
    "_native_batch_norm_legit": None,
    "_native_batch_norm_legit_functional": None,
}


def refuse(node: fx.Node, dtype: torch.dtype) -> None:
    """Raise ValueError for control flow, training mode, randomness, and rounding below ``dtype``, with module and line."""
    target, place = node.target, str(origin_of(node))
    if node.op != "call_function" or not callable(target) or isinstance(target, torch._ops.HigherOrderOperator):
        raise ValueError(
            f"lift: the model has control flow that depends on data, {place}; it is no fixed graph of operators. Write it with "
            f"torch.where."
        )
    name = operator_name(target)
    if name in _TRAINS:
        position = _TRAINS[name]
        if position is None or (len(node.args) > position and node.args[position]):
            raise ValueError(training_mode(place))
    elif torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
        raise ValueError(
            f"lift: the model is random: {place}; the same input has another output at every call, so there is no map to be "
            f"inverted. Draw the numbers once and keep them as a buffer."
        )
    value: Any = node.meta.get("val")
    casts = name in {"to", "_to_copy"} and isinstance(value, torch.Tensor) and value.is_floating_point()
    if casts and torch.finfo(value.dtype).bits < torch.finfo(dtype).bits:
        raise ValueError(
            f"lift: the model rounds to {value.dtype}, {place}, but computes in {dtype}; rounding is no affine map. Remove the "
            f"cast, or convert the whole model."
        )
