"""Which torch operators are affine in which arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

# Linear in the first argument; every other argument is a constant of the program.
_LINEAR = frozenset(
    """
    view reshape _unsafe_view view_copy flatten unflatten permute transpose t numpy_T swapaxes movedim squeeze unsqueeze expand
    expand_as contiguous clone alias lift_fresh lift_fresh_copy detach slice select narrow split split_with_sizes split_copy chunk
    unbind getitem flip roll repeat tile neg negative mean sum cumsum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d upsample_nearest1d upsample_nearest2d
    upsample_nearest3d upsample_bilinear2d upsample_bicubic2d upsample_linear1d pixel_shuffle pixel_unshuffle reflection_pad1d
    reflection_pad2d replication_pad1d replication_pad2d index_select unfold im2col diagonal tril triu _to_copy to type_as
    """.split()  # noqa: SIM905
)
# Input, weight, bias.
_WEIGHTED = frozenset(
    ["linear", "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
)
_NORMALISED = {"_native_batch_norm_legit_no_training": None, "batch_norm": 5, "native_batch_norm": 5}  # position of ``training``


def operator_name(target: Callable[..., Any]) -> str:
    """``aten.conv2d.default`` -> ``conv2d``."""
    name = str(target)
    if name.startswith("aten."):
        return name.split(".")[1]
    return getattr(target, "__name__", name)


def affine_offsets(target: Callable[..., Any], args: Sequence[Any], variable: Callable[[Any], bool]) -> frozenset[int] | None:
    """The positions of the additive constants, or None where the operator is not affine in its variable arguments.

    ``variable(argument)`` says whether an argument depends on the input. Positions count the entries of the list where the first
    argument is a list (concatenation).
    """
    name = operator_name(target)
    moving = frozenset(i for i, a in enumerate(args) if variable(a))
    if name in _LINEAR:
        return frozenset() if moving == {0} else None
    if name in _WEIGHTED:
        return frozenset({2} if len(args) > 2 else ()) if moving == {0} else None
    if name in _NORMALISED:
        flag = _NORMALISED[name]
        frozen = flag is None or not args[flag]
        return frozenset({2, 3}) if moving == {0} and frozen else None
    if name in {"add", "sub", "rsub"}:
        return frozenset({0, 1} - moving)
    if name in {"mul", "multiply", "matmul", "mm", "bmm", "mv", "dot"}:
        return frozenset() if len(moving) == 1 else None
    if name in {"div", "true_divide"}:
        return frozenset() if moving == {0} and str(target).endswith(".Tensor") else None
    if name == "addmm":
        return (frozenset() if 0 in moving else frozenset({0})) if len(moving & {1, 2}) <= 1 else None
    if name in {"dropout", "feature_dropout", "alpha_dropout"}:
        return frozenset() if moving == {0} and not args[2] else None
    if name in {"constant_pad_nd", "pad"}:
        return _padding(name, args) if moving == {0} else None
    if name in {"cat", "concat", "stack"}:
        return frozenset(i for i, a in enumerate(args[0]) if not variable(a)) if moving == {0} else None
    return None


def _padding(name: str, args: Sequence[Any]) -> frozenset[int]:
    """The padding's value is the offset: the third argument of constant_pad_nd, the fourth of pad."""
    position = 2 if name == "constant_pad_nd" else 3
    return frozenset({position}) if len(args) > position else frozenset()
