"""The bound of a bank of filters against dense singular values and a fine grid of frequencies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from netinverse.operators.filters import squared_norm_bound


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("channels", "size"), [(1, 1), (1, 3), (1, 5), (2, 2), (3, 3)])
def test_it_is_never_below_the_norm_and_at_most_four_per_cent_above_the_supremum(channels: int, size: int, padding: int) -> None:
    filters = drawn(5, channels, size, size)
    bound = float(squared_norm_bound(filters))
    for side in (size, 9):
        units = torch.eye(channels * side**2, dtype=torch.float64).reshape(-1, channels, side, side)
        matrix = conv2d(units, filters, padding=padding).flatten(1)
        assert float(torch.linalg.matrix_norm(matrix, ord=2)) ** 2 <= bound * (1 + 1e-12)
    responses = np.fft.fft2(filters.numpy(), s=(120, 120)).reshape(5, channels, -1).transpose(2, 0, 1)
    supremum = np.linalg.norm(responses, ord=2, axis=(1, 2)).max() ** 2
    assert supremum <= bound * (1 + 1e-12) and bound <= 1.04 * supremum


def test_it_can_be_differentiated_and_follows_the_scale() -> None:
    filters = drawn(3, 2, 3, 3).requires_grad_(True)
    torch.testing.assert_close(squared_norm_bound(3 * filters), 9 * squared_norm_bound(filters))
    (gradient,) = torch.autograd.grad(squared_norm_bound(filters), filters)
    step = 1e-6 * drawn(3, 2, 3, 3)
    difference = squared_norm_bound(filters + step) - squared_norm_bound(filters - step)
    torch.testing.assert_close(difference, 2 * (gradient * step).sum(), rtol=1e-6, atol=0.0)
