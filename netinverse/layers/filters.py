"""The matrix inside a linear layer or a convolution, and what its singular values say of the layer as an operator."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

L = TypeVar("L", bound=nn.Module)


def matrices(weight: Tensor, groups: int) -> Tensor:
    """(rows, ...) -> (groups, rows/groups, columns): a row for each filter, taken as one vector."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def overlap(layer: nn.Module) -> int:
    """The largest number N of windows that meet in one entry of the input; 1 for a linear layer.

    A convolution is A = K P with K the matrix of its filters at every place and P x the windows of x. ||P x||^2 is the sum over
    the entries of x of their squares times the windows that they lie in, and so ||A|| <= sqrt(N) ||K||, for inputs of every
    size. A transposed convolution is the adjoint of such an A. N = prod ceil(k gcd(s, d)/s) for kernel k, stride s, dilation d.
    """
    if not isinstance(layer, _ConvNd):
        return 1
    axes = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    return math.prod(-(-k // (s // math.gcd(s, d))) for k, s, d in axes)


def require_layer(who: str, layer: L) -> L:
    """``layer`` if it is one whose weight can be bounded, or an error."""
    if isinstance(layer, type) or not isinstance(layer, nn.Linear | _ConvNd):
        name = layer.__name__ if isinstance(layer, type) else type(layer).__name__
        raise TypeError(
            f"{who}: layer is {'the class ' if isinstance(layer, type) else 'a '}{name}, but must be an nn.Linear or a "
            f"convolution, whose weight is bounded. Write {who}(nn.Linear(784, 300)), layer by layer."
        )
    if parametrize.is_parametrized(layer, "weight"):
        raise ValueError(
            f"{who}: the weight of the layer is parametrised already ({layer.parametrizations.weight[0]}), and its singular "  # type: ignore[union-attr,index]
            f"values cannot be bounded twice. Begin with a plain layer, or call torch.nn.utils.parametrize."
            f"remove_parametrizations(layer, 'weight') first."
        )
    if is_lazy(layer.weight):
        raise ValueError(
            f"{who}: the layer does not know the size of its input yet. Call it once, or write {who}(nn.Linear(m, n))."
        )
    if isinstance(layer, _ConvNd):
        _require_padding(who, layer)
    return layer


def _require_padding(who: str, layer: _ConvNd) -> None:
    """Raise where the padding repeats entries of the input more often than ``overlap`` counts."""
    wraps = layer.padding_mode == "circular" and all(s == 1 for s in layer.stride) and not isinstance(layer.padding, str)
    spans = zip(layer.padding, layer.kernel_size, layer.dilation, strict=True) if wraps else ()
    if layer.padding_mode != "zeros" and not (wraps and all(2 * p <= d * (k - 1) for p, k, d in spans)):  # type: ignore[operator]
        raise ValueError(
            f"{who}: the convolution pads its input in mode {layer.padding_mode!r}, stride {layer.stride}, padding "
            f"{layer.padding}, which repeats entries of the input, so that the filters do not bound its norm. Use "
            f"padding_mode='zeros', or 'circular' with stride 1 and at most padding='same'."
        )


def is_injective_matrix(layer: nn.Module) -> bool:
    """True where the matrices of the filters have at least as many rows as columns, and windows leave no gaps between them."""
    if isinstance(layer, _ConvTransposeNd):
        return False
    weight: Tensor = layer.weight  # type: ignore[assignment]
    if weight.shape[0] // getattr(layer, "groups", 1) < weight[0].numel():
        return False
    if not isinstance(layer, _ConvNd):
        return True
    return all(s == 1 or (s <= k and d == 1) for k, s, d in zip(layer.kernel_size, layer.stride, layer.dilation, strict=True))
