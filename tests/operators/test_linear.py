"""Laws of linear maps; the oracle of the norm is the dense singular value decomposition."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from netinverse.operators.linear import Composition, Identity, norm_bound
from netinverse.protocols import LinearMap
from netinverse.tensors import Derivative, inner

torch.set_num_threads(1)


@dataclass(frozen=True)
class Matrices:
    """One matrix per sample, (batch, m, n)."""

    matrix: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return torch.einsum("bmn,bn->bm", self.matrix, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.einsum("bmn,bm->bn", self.matrix, y)


def random_like(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dense(linear_map: LinearMap, x_like: Tensor) -> Tensor:
    size = math.prod(x_like.shape[1:])
    units = torch.eye(size, dtype=x_like.dtype).reshape(size, *x_like.shape[1:])
    return torch.stack([linear_map(u.expand_as(x_like)).flatten(1) for u in units], 2)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 4),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from(["flat", "decaying", "low rank", "orthogonal", "zero"]),
    st.integers(0, 10_000),
)
def test_bound_is_never_below_the_norm(m: int, n: int, batch: int, dtype: torch.dtype, kind: str, seed: int) -> None:
    matrix = random_like(batch, m, n, seed=seed)
    if kind == "decaying":
        matrix = matrix * torch.logspace(0, -8, n, dtype=torch.float64)
    elif kind == "low rank":
        matrix = matrix[:, :, :1] @ random_like(batch, 1, n, seed=seed + 1)
    elif kind == "orthogonal":
        matrix = torch.linalg.qr(matrix).Q
    elif kind == "zero":
        matrix = torch.zeros_like(matrix)
    matrix = matrix.to(dtype)
    bound = norm_bound(Matrices(matrix), torch.zeros(batch, matrix.shape[2], dtype=dtype))
    truth = torch.linalg.matrix_norm(matrix.double(), ord=2)
    assert bound.shape == (batch,)
    assert bound.dtype == dtype
    assert (bound.double() >= truth * (1 - 1e-15)).all()
    # Where few distinct singular values end the recurrence, float32 cannot tell a small remainder from rounding.
    tight = kind == "flat" or dtype == torch.float64
    assert (bound.double() <= (1.12 if tight else 4.0) * truth).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_bound_of_convolutions(stride: int, channels: int) -> None:
    x = torch.zeros(2, channels, 12, 12, dtype=torch.float64)
    for seed in range(10):
        kernel = random_like(4, channels, 3, 3, seed=seed)

        def convolve(x: Tensor, kernel: Tensor = kernel) -> Tensor:
            return functional.conv2d(x, kernel, stride=stride, padding=1)

        linear_map = Derivative(convolve, x)
        truth = torch.linalg.matrix_norm(dense(linear_map, x), ord=2)
        bound = norm_bound(linear_map, x)
        assert (bound >= truth).all()
        assert (bound <= 1.08 * truth).all()


def test_bound_holds_for_every_one_of_many_starts() -> None:
    """Clustered singular values are the hard case: no gap, and few steps."""
    spectrum = torch.linspace(0.0, 1.0, 300, dtype=torch.float64)
    linear_map = Matrices(torch.diag(spectrum)[None])
    bounds = torch.stack([norm_bound(linear_map, torch.zeros(1, 300, dtype=torch.float64), seed, steps=6) for seed in range(200)])
    assert (bounds >= 1.0).all()
    # A larger failure probability is a smaller bound, so the argument is used, and some start must come close.
    loose = norm_bound(linear_map, torch.zeros(1, 300, dtype=torch.float64), steps=6, failure=0.5)
    assert (loose < bounds[0]).all()


def test_one_leading_direction_among_many() -> None:
    """A single large singular value, nearly orthogonal to the start, is not missed."""
    spectrum = torch.ones(2000, dtype=torch.float64)
    spectrum[777] = 1.05
    bound = norm_bound(Matrices(torch.diag(spectrum)[None]), torch.zeros(1, 2000, dtype=torch.float64))
    assert (bound >= 1.05).all()


def test_samples_do_not_influence_each_other() -> None:
    matrix = random_like(5, 60, 50) * torch.tensor([1.0, 1e6, 1e-6, 0.0, 3.0], dtype=torch.float64).reshape(-1, 1, 1)
    together = norm_bound(Matrices(matrix), torch.zeros(5, 50, dtype=torch.float64))
    for i in range(5):
        alone = norm_bound(Matrices(matrix[i : i + 1]), torch.zeros(1, 50, dtype=torch.float64))
        assert torch.allclose(together[i : i + 1], alone, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("size", [5, 50])
def test_non_finite_map_has_infinite_bound_in_its_own_sample_only(size: int) -> None:
    matrix = random_like(2, 40, size)
    matrix[1, 3, 3] = math.nan
    bound = norm_bound(Matrices(matrix), torch.zeros(2, size, dtype=torch.float64))
    assert bound[1] == math.inf
    assert torch.isfinite(bound[0])


def test_empty_batch() -> None:
    assert norm_bound(Identity(), torch.zeros(0, 50)).shape == (0,)


@pytest.mark.parametrize("arguments", [{"failure": 0.0}, {"failure": 1.0}, {"steps": 1}])
def test_wrong_configuration_is_named(arguments: dict[str, float]) -> None:
    call: Callable[..., Tensor] = norm_bound
    with pytest.raises(ValueError, match=r"norm_bound: failure is .* The defaults are failure=1e-6, steps=24"):
        call(Identity(), torch.zeros(1, 50), **arguments)


def test_composition_and_identity_pass_the_dot_test() -> None:
    linear_map = Composition(
        Matrices(random_like(3, 7, 5, seed=1)), Composition(Matrices(random_like(3, 5, 4, seed=2)), Identity())
    )
    x, y = random_like(3, 4, seed=3), random_like(3, 7, seed=4)
    assert torch.allclose(inner(linear_map(x), y), inner(x, linear_map.adjoint(y)), rtol=1e-12)
    product = linear_map.outer.matrix @ linear_map.inner.outer.matrix  # type: ignore[attr-defined]
    assert torch.allclose(dense(linear_map, x), product, rtol=1e-12, atol=1e-12)
