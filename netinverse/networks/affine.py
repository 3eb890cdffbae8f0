"""Which torch operators are affine in which arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Variable = Callable[[Any], bool]
"""Says whether an argument depends on the input of the network."""

Offsets = frozenset[int]

_NONE: Offsets = frozenset()

# Linear in the first argument; every other argument is a constant of the program.
_LINEAR = frozenset(
    """
    view reshape _unsafe_view view_copy flatten unflatten permute transpose t numpy_T swapaxes movedim squeeze unsqueeze expand
    expand_as contiguous clone alias lift_fresh lift_fresh_copy slice select narrow split split_with_sizes split_copy chunk
    unsafe_split unsafe_chunk tensor_split unbind getitem flip roll rot90 repeat tile neg negative positive mean sum cumsum
    avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d
    _adaptive_avg_pool3d upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
    _upsample_nearest_exact2d _upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d
    upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa pixel_shuffle pixel_unshuffle channel_shuffle
    native_channel_shuffle reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
    replication_pad3d index index_select gather unfold im2col col2im diagonal diag_embed tril triu trace grid_sampler
    """.split()  # noqa: SIM905
)
# Input, weight, bias.
_WEIGHTED = frozenset(
    ["linear", "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
)
# Input, weight, bias, mean, variance; the position of the flag that asks for the statistics of the batch, where there is one.
_NORMALISED = {"_native_batch_norm_legit_no_training": None, "batch_norm": 5, "native_batch_norm": 5, "instance_norm": 5}
_PRODUCTS = frozenset("mul multiply matmul mm bmm mv dot vdot tensordot outer kron".split())  # noqa: SIM905
_SUMS = frozenset("addmm addmv addbmm baddbmm addr".split())  # noqa: SIM905
# The first two arguments are both moved to the result.
_SCATTERED = frozenset("slice_scatter select_scatter diagonal_scatter".split())  # noqa: SIM905


def operator_name(target: Callable[..., Any]) -> str:
    """``aten.conv2d.default`` -> ``conv2d``."""
    name = str(target)
    if name.startswith("aten."):
        return name.split(".")[1]
    return getattr(target, "__name__", name)


def affine_offsets(
    target: Callable[..., Any], args: Sequence[Any], variable: Variable, kwargs: Mapping[str, Any] | None = None
) -> Offsets | None:
    """The positions of the additive constants, or None where the operator is not affine in its variable arguments.

    Positions count the entries of the list where the first argument is a list (concatenation).
    """
    name = operator_name(target)
    moving = frozenset(i for i, a in enumerate(args) if variable(a))
    if any(variable(value) for value in (kwargs or {}).values()):
        return None
    if name in {"add", "sub", "rsub", "subtract"}:
        return frozenset({0, 1} - moving)
    if name in _PRODUCTS:
        return _NONE if len(moving) == 1 else None
    if name in _SUMS:
        if not moving <= {0, 1, 2} or {1, 2} <= moving:
            return None
        return frozenset({0} - moving if moving & {1, 2} else {1})  # without its first factor the product is zero
    if name in _SCATTERED:
        return frozenset({0, 1} - moving) if moving <= {0, 1} else None
    if name == "index_put":
        return frozenset({0, 2} - moving) if moving <= {0, 2} else None
    if name == "einsum":
        return _NONE if moving == {1} and sum(map(variable, args[1])) == 1 else None
    return _in_first(target, name, args, variable, kwargs or {}) if moving == {0} else None


def _in_first(
    target: Callable[..., Any], name: str, args: Sequence[Any], variable: Variable, kwargs: Mapping[str, Any]
) -> Offsets | None:
    """Operators whose first argument alone depends on the input."""
    if name in _LINEAR:
        return _NONE
    if name in _WEIGHTED:
        return frozenset({2} if len(args) > 2 else ())
    if name in _NORMALISED:
        flag = _NORMALISED[name]
        return frozenset({2, 3}) if flag is None or not args[flag] else None
    if name in {"to", "_to_copy"}:
        types = [a for a in (*args[1:], *kwargs.values()) if isinstance(a, torch.dtype)]
        return _NONE if all(t.is_floating_point for t in types) else None
    if name in {"div", "divide", "true_divide"}:
        return _NONE if kwargs.get("rounding_mode") is None and len(args) == 2 else None
    if name in {"dropout", "feature_dropout", "alpha_dropout"}:
        return _NONE if not args[2] else None
    if name in {"constant_pad_nd", "pad"}:
        return _padding(name, args)
    if name in {"masked_fill", "fill"}:
        return frozenset({len(args) - 1})
    if name in {"cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "column_stack"}:
        return frozenset(i for i, a in enumerate(args[0]) if not variable(a))
    return None


def _padding(name: str, args: Sequence[Any]) -> Offsets:
    """The padding's value is the offset: the third argument of constant_pad_nd, the fourth of pad."""
    position = 2 if name == "constant_pad_nd" else 3
    return frozenset({position}) if len(args) > position else _NONE
