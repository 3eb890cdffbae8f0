"""How values grow with the size of a picture: the table of docs/theory.md."""

from __future__ import annotations

import pytest
import torch

import netinverse as ni
from netinverse.regularisers import Regulariser

CASES: list[tuple[Regulariser, float]] = [
    (ni.Tikhonov(), 1.0),
    (ni.Sparsity(), 1.0),
    (ni.ElasticNet(), 1.0),
    (ni.GroupSparsity(), 1.0),
    (ni.WaveletSparsity("haar"), 0.5),
]


def repeated(x: torch.Tensor, times: int) -> torch.Tensor:
    for axis in range(2, x.ndim):
        x = x.repeat_interleave(times, axis)
    return x


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("s", [2, 4])
def test_values_grow_with_repeated_pixels_as_the_table_says(d: int, s: int) -> None:
    x = torch.randn(2, 3, *[8] * d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    large = repeated(x, s)
    for regulariser, share in CASES:
        torch.testing.assert_close(regulariser(large), s ** (share * d) * regulariser(x))
    variation = ni.TotalVariation(isotropic=False)
    torch.testing.assert_close(variation(large), float(s ** (d - 1)) * variation(x))
    edges = torch.zeros(1, 1, *[8] * d, dtype=torch.float64)
    edges[:, :, 4:] = 1.0
    for isotropic in (ni.TotalVariation(), ni.HuberTotalVariation(1e-9)):
        torch.testing.assert_close(isotropic(repeated(edges, s)), float(s ** (d - 1)) * isotropic(edges), rtol=1e-6, atol=0)
