"""Layers that keep inputs apart: the constants on random pairs and where they are attained, Jacobians, inverses."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import netinverse as ni
from netinverse.layers import ContractiveBlock, PairedReLU, PlusLayer, injective, parseval, spectrally_bounded
from netinverse.layers.filters import overlap
from tests.layers.test_spectral_layers import F64, scattered, windows


def stretch(layer: nn.Module, *shape: int, scale: float = 1.0, pairs: int = 400) -> Tensor:
    """||F(x) - F(x')|| / ||x - x'|| for random pairs, of which half are close to each other and half opposite."""
    generator = torch.Generator().manual_seed(0)
    x, y = (scale * torch.randn(pairs, *shape, generator=generator, dtype=F64) for _ in range(2))
    y = torch.where(torch.arange(pairs).reshape(-1, *[1] * len(shape)) % 2 == 0, x + 1e-3 * y, -x + 1e-1 * y)
    with torch.no_grad():
        return (layer(x) - layer(y)).flatten(1).norm(dim=1) / (x - y).flatten(1).norm(dim=1)


@settings(max_examples=40, deadline=None)
@given(columns=st.integers(1, 6), more=st.integers(0, 4), smallest=st.floats(0.1, 2), seed=st.integers(0, 99))
def test_an_injective_layer_keeps_its_constants(columns: int, more: int, smallest: float, seed: int) -> None:
    layer = scattered(injective(nn.Linear(columns, columns + more), smallest, 3.0), seed)
    found = stretch(layer, columns, scale=3.0)
    assert found.min() >= smallest / math.sqrt(2) * (1 - 1e-9) and found.max() <= 3 * (1 + 1e-9)


def test_the_constants_of_paired_filters_are_attained() -> None:
    layer = injective(nn.Linear(4, 4, bias=False, dtype=F64))
    parseval_layer = nn.Sequential(parseval(nn.Linear(4, 4, bias=False, dtype=F64)), PairedReLU())
    x = torch.randn(5, 4, dtype=F64)
    apart = [(f(x) - f(y)).norm(dim=1) / (x - y).norm(dim=1) for f in (parseval_layer,) for y in (-x, 2 * x)]
    torch.testing.assert_close(apart[0], torch.full((5,), math.sqrt(0.5), dtype=F64))
    torch.testing.assert_close(apart[1], torch.ones(5, dtype=F64))
    z = layer[0](x)
    torch.testing.assert_close(layer(x)[:, :4] - layer(x)[:, 4:], z)


def test_the_jacobian_of_paired_filters_has_the_singular_values_of_the_weight() -> None:
    layer = scattered(nn.Sequential(nn.Linear(5, 3), PairedReLU()))
    for x in torch.randn(5, 5, dtype=F64):
        jacobian = torch.autograd.functional.jacobian(layer, x[None])[0, :, 0]
        torch.testing.assert_close(torch.linalg.svdvals(jacobian)[:3], torch.linalg.svdvals(layer[0].weight.detach()))


@pytest.mark.parametrize(
    "convolution",
    [nn.Conv2d(1, 4, 2, stride=2), nn.Conv2d(1, 10, 3, padding=1), nn.Conv2d(2, 8, 2, groups=2, padding=1)],
    ids=["no overlap", "padded", "groups"],
)
def test_an_injective_convolution_keeps_its_constants(convolution: nn.Conv2d) -> None:
    layer = scattered(injective(convolution))
    shape = (convolution.in_channels, 6, 6)
    least = 0.5 * math.sqrt(float(windows(convolution, *shape).min()) / (2 * overlap(convolution)))
    found = stretch(layer, *shape, scale=3.0)
    assert least > 0 and found.min() >= least * (1 - 1e-9) and found.max() <= 2 * (1 + 1e-9)


BLOCKS = {
    "dense": (lambda c: ContractiveBlock(nn.Linear(4, 9), nn.Linear(9, 4), lipschitz=c), (4,)),
    "three layers": (
        lambda c: ContractiveBlock(nn.Linear(4, 5), nn.Linear(5, 2), nn.Linear(2, 4), lipschitz=c, activation=nn.Tanh()),
        (4,),
    ),
    "convolutions": (
        lambda c: ContractiveBlock(nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(5, 2, 1), lipschitz=c, activation=nn.ELU()),
        (2, 4, 4),
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("lipschitz", [0.3, 0.9])
def test_a_contractive_block_keeps_its_constants_and_is_inverted(name: str, lipschitz: float) -> None:
    make, shape = BLOCKS[name]
    block = scattered(make(lipschitz))
    found = stretch(block, *shape, scale=3.0)
    assert found.min() >= 1 - lipschitz - 1e-12 and found.max() <= 1 + lipschitz + 1e-12
    x = 2 * torch.randn(3, *shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    y = block(x).detach()
    for tolerance in (1e-2, 1e-10):
        error = (block.inverse(y, tolerance) - x).flatten(1).norm(dim=1)
        assert (error <= tolerance * (y - x).flatten(1).norm(dim=1) + 1e-13).all()
    torch.testing.assert_close(block.inverse(y)[1:2], block.inverse(y[1:2]), rtol=0, atol=1e-14)


def test_the_inverse_of_a_contractive_block_is_that_of_a_root_finder() -> None:
    block = scattered(ContractiveBlock(nn.Linear(3, 6), nn.Linear(6, 3), activation=nn.Tanh()))
    y = torch.tensor([[0.5, -2.0, 1.0]], dtype=F64)

    def residual(x: object) -> object:
        with torch.no_grad():
            return (block(torch.as_tensor(x, dtype=F64)[None]) - y)[0].numpy()

    root = scipy.optimize.root(residual, y[0].numpy(), tol=1e-13).x
    torch.testing.assert_close(block.inverse(y, 1e-13)[0], torch.as_tensor(root), rtol=0, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(features=st.integers(1, 6), width=st.integers(1, 8), scale=st.floats(0.1, 5), seed=st.integers(0, 99))
def test_the_jacobian_of_a_plus_layer_lies_between_one_and_one_plus_the_squared_norm(
    features: int, width: int, scale: float, seed: int
) -> None:
    layer = scattered(PlusLayer(features, width, nn.Tanh()), seed, scale)
    x = torch.randn(1, features, generator=torch.Generator().manual_seed(seed), dtype=F64)
    values = torch.linalg.svdvals(torch.autograd.functional.jacobian(layer, x)[0, :, 0])
    assert values.min() >= 1 - 1e-12
    assert values.max() <= 1 + torch.linalg.matrix_norm(layer.weight.detach(), 2) ** 2 + 1e-12


@pytest.mark.parametrize(
    ("make", "bound"),
    [
        (lambda: PlusLayer(4, 6), 1.0),
        (lambda: ContractiveBlock(nn.Linear(4, 6), nn.Linear(6, 4), lipschitz=0.6), 1 / 0.4),
        (lambda: nn.Sequential(nn.LeakyReLU(0.2), spectrally_bounded(nn.Linear(4, 4), 0.5)), 1 / (0.2 * 0.5)),
    ],
    ids=["plus", "contractive", "leaky"],
)
def test_the_noise_amplification_after_a_reduction_of_the_dimension_is_bounded(
    make: Callable[[], nn.Module], bound: float
) -> None:
    network = scattered(nn.Sequential(parseval(nn.Linear(9, 4)), make()), scale=2.0)
    x = torch.randn(20, 9, generator=torch.Generator().manual_seed(0), dtype=F64)
    found = ni.conditioning(network, x)
    assert (found.rank == 4).all() and found.noise_amplification.max() <= bound * (1 + 1e-9)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"injective: the layer has 5 outputs in 1 group.* windows of 10 entries"):
        injective(nn.Linear(10, 5))
    with pytest.raises(ValueError, match="or windows with gaps between them"):
        injective(nn.Conv2d(1, 4, 2, stride=3))
    with pytest.raises(ValueError, match="injective: the layer has 1 outputs"):
        injective(nn.Conv2d(1, 1, 3))
    with pytest.raises(ValueError, match="ContractiveBlock: there are no layers"):
        ContractiveBlock()
    with pytest.raises(ValueError, match=r"ContractiveBlock: lipschitz is 1.0, but .* only where g contracts"):
        ContractiveBlock(nn.Linear(2, 2), lipschitz=1.0)
    with pytest.raises(ValueError, match="lipschitz is 0"):
        ContractiveBlock(nn.Linear(2, 2), lipschitz=0)
    with pytest.raises(ValueError, match="GELU"):
        ContractiveBlock(nn.Linear(2, 2), activation=nn.GELU())
    with pytest.raises(ValueError, match=r"the layers take \(3,\) to \(2,\)"):
        ContractiveBlock(nn.Linear(3, 2))(torch.zeros(1, 3))
    for activation in (nn.GELU(), nn.PReLU(init=-1.0), nn.ELU(alpha=2.0)):
        with pytest.raises(ValueError, match=rf"PlusLayer: the inverse is 1-Lipschitz.*{type(activation).__name__}"):
            PlusLayer(3, activation=activation)
    with pytest.raises(ValueError, match="PlusLayer: width is 0"):
        PlusLayer(3, 0)
