"""Linear maps of this library as those of SciPy, and through SciPy as those of PyLops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from netinverse.protocols import LinearMap

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


def to_scipy(linear_map: LinearMap, x_like: Tensor) -> LinearOperator:
    """K as a ``scipy.sparse.linalg.LinearOperator`` on flattened arrays, in the dtype of ``x_like``.

    Shapes: x_like (batch, *columns) gives shape, dtype and device; its values are not used. The operator has batch*m rows and
    batch*n columns and is block-diagonal, one block for each sample. ``rmatvec`` is the adjoint. Arrays are NumPy's, on the CPU;
    each product copies them to the device of ``x_like`` and back. ``pylops.aslinearoperator`` takes what is returned.
    """
    from scipy.sparse.linalg import LinearOperator

    with torch.no_grad():
        y_like = linear_map(torch.zeros_like(x_like))

    def through(apply: Any, shape: torch.Size) -> Any:
        def product(vector: Any) -> Any:
            given = torch.as_tensor(np.ascontiguousarray(vector)).to(x_like).reshape(shape)
            return apply(given).detach().cpu().numpy().reshape(-1)

        return product

    return LinearOperator(
        shape=(y_like.numel(), x_like.numel()),
        matvec=through(linear_map, x_like.shape),
        rmatvec=through(linear_map.adjoint, y_like.shape),
        dtype=np.dtype(str(x_like.dtype).removeprefix("torch.")),
    )
