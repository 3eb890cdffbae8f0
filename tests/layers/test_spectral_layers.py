"""Layers with confined singular values: dense decompositions of the weight and of the whole operator, lifting, training."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import netinverse as ni
from netinverse.layers import ContractiveBlock, PairedReLU, PlusLayer, parseval, spectrally_bounded

F64 = torch.float64
SIZES = st.integers(1, 9)


def scattered(layer: nn.Module, seed: int = 0, scale: float = 3.0) -> nn.Module:
    """The layer in float64 with parameters far from where they begin: what holds now holds in all of training."""
    generator = torch.Generator().manual_seed(seed)
    layer = layer.double().eval()
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=generator, dtype=F64))
    return layer


def dense(layer: nn.Module, *shape: int) -> Tensor:
    """The matrix of the linear part, column by column."""
    size = int(torch.tensor(shape).prod())
    with torch.no_grad():
        units = torch.eye(size, dtype=F64).reshape(size, *shape)
        return (layer(units) - layer(torch.zeros_like(units))).flatten(1).T


def windows(layer: nn.Conv2d, *shape: int) -> Tensor:
    """In how many windows each entry lies: a convolution of ones, with as many outputs as there are groups."""
    count = nn.Conv2d(
        layer.in_channels, 1, layer.kernel_size, layer.stride, layer.padding, layer.dilation, padding_mode=layer.padding_mode
    ).double()  # type: ignore[arg-type]
    nn.init.ones_(count.weight)
    return dense(count, *shape).sum(0)


@settings(max_examples=60, deadline=None)
@given(rows=SIZES, columns=SIZES, smallest=st.floats(0, 2), width=st.floats(0.1, 3), scale=st.floats(0.01, 30), seed=SIZES)
def test_singular_values_of_a_linear_layer_stay_in_the_interval(
    rows: int, columns: int, smallest: float, width: float, scale: float, seed: int
) -> None:
    layer = scattered(spectrally_bounded(nn.Linear(columns, rows), smallest, smallest + width), seed, scale)
    values = torch.linalg.svdvals(layer.weight.detach())
    assert values.min() >= smallest - 1e-12 and values.max() <= smallest + width + 1e-12
    values = torch.linalg.svdvals(scattered(parseval(nn.Linear(columns, rows), width), seed, scale).weight.detach())
    torch.testing.assert_close(values, torch.full_like(values, width), rtol=1e-12, atol=0)


CONVOLUTIONS: dict[str, Callable[[], nn.Module]] = {
    "padded": lambda: nn.Conv2d(2, 3, 3, padding=1),
    "strided": lambda: nn.Conv2d(2, 20, 3, stride=2, padding=1),
    "no overlap": lambda: nn.Conv2d(2, 3, 2, stride=2),
    "gaps": lambda: nn.Conv2d(2, 3, 2, stride=3),
    "dilated": lambda: nn.Conv2d(1, 4, 2, dilation=2),
    "dilated and strided": lambda: nn.Conv2d(1, 9, 3, stride=2, dilation=2, padding=2),
    "groups": lambda: nn.Conv2d(4, 8, 2, groups=2, padding=1),
    "circular": lambda: nn.Conv2d(1, 10, 3, padding=1, padding_mode="circular"),
    "transposed": lambda: nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1),
    "transposed in groups": lambda: nn.ConvTranspose2d(4, 2, 3, groups=2),
    "oblong": lambda: nn.Conv2d(1, 8, (1, 4), stride=(1, 2)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_norm_of_a_convolution_as_an_operator_is_bounded(name: str) -> None:
    """For every size of input; from below too where each group has enough filters, by the count of windows."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = scattered(spectrally_bounded(CONVOLUTIONS[name](), 0.5, 2.0))
    for size in (6, 7):
        shape = (layer.in_channels, size, size)
        values = torch.linalg.svdvals(dense(layer, *shape))
        assert values.max() <= 2 + 1e-12
        if isinstance(layer, nn.Conv2d) and layer.out_channels // layer.groups >= layer.weight[0].numel():
            counts = windows(layer, *shape)
            least = 0.5 * (counts.min() / ni.layers.filters.overlap(layer)).sqrt()
            assert values.min() >= least * (1 - 1e-12)
            assert counts.max() <= ni.layers.filters.overlap(layer)


def test_a_convolution_without_overlap_has_the_singular_values_of_its_filters() -> None:
    layer = scattered(spectrally_bounded(nn.Conv2d(2, 8, 2, stride=2), 0.5, 2.0))
    own = torch.linalg.svdvals(layer.weight.detach().flatten(1))
    torch.testing.assert_close(torch.linalg.svdvals(dense(layer, 2, 4, 4)), own.repeat_interleave(4))
    tight = scattered(parseval(nn.Conv2d(1, 9, 3, padding=1, padding_mode="circular")))
    matrix = dense(tight, 1, 5, 5)
    torch.testing.assert_close(matrix.T @ matrix, torch.eye(25, dtype=F64))


@pytest.mark.parametrize(("rows", "columns"), [(3, 7), (7, 3), (4, 4)])
def test_it_begins_at_the_nearest_matrix(rows: int, columns: int) -> None:
    layer = nn.Linear(columns, rows, dtype=F64)
    weight = layer.weight.detach().clone()
    wide = rows < columns
    polar = torch.as_tensor(scipy.linalg.polar((weight.T if wide else weight).numpy())[0])
    parseval(layer, 2.0)
    torch.testing.assert_close(layer.weight.detach(), 2 * (polar.T if wide else polar))
    inside = nn.Linear(columns, rows, dtype=F64)
    middle = layer.weight.detach() * torch.linspace(0.4, 0.8, columns, dtype=F64)
    spectrally_bounded(inside, 0.1, 3.0).weight = middle
    torch.testing.assert_close(inside.weight.detach(), middle)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 1, 1, 2)])
def test_the_parametrisations_are_differentiable(shape: tuple[int, ...]) -> None:
    layer = nn.Linear(shape[1], shape[0]) if len(shape) == 2 else nn.Conv2d(2, 4, (1, 2), groups=2)
    spectrally_bounded(layer.double())
    free = tuple(torch.randn_like(p, requires_grad=True) for p in layer.parametrizations.weight.parameters())
    interval = layer.parametrizations.weight[0]
    assert torch.autograd.gradcheck(interval, free)
    assert torch.autograd.gradcheck(ni.layers.spectral.Parseval(1.5), free[:1])


def model() -> nn.Sequential:
    """Every kind of layer once."""
    layers = nn.Sequential(
        spectrally_bounded(nn.Conv2d(1, 4, 2, stride=2)),
        PairedReLU(),
        nn.Flatten(),
        parseval(nn.Linear(32, 6)),
        PlusLayer(6, 5, nn.Tanh()),
        ContractiveBlock(nn.Linear(6, 7), nn.Linear(7, 6)),
        spectrally_bounded(nn.Linear(6, 3)),
    )
    return scattered(layers, scale=0.7)  # type: ignore[return-value]


def test_lifted_exactly_exported_and_restored() -> None:
    layers = model()
    x = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    lifted = ni.lift(layers, x)
    assert lifted.is_exactly_lifted
    assert {p.data_ptr() for p in lifted.parameters()} == {p.data_ptr() for p in layers.parameters()}
    torch.testing.assert_close(lifted(x), layers(x), rtol=0, atol=1e-14)
    file = io.BytesIO()
    torch.export.save(torch.export.export(layers, (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},)), file)
    file.seek(0)
    torch.testing.assert_close(ni.lift(torch.export.load(file))(x), layers(x), rtol=0, atol=1e-14)
    with torch.random.fork_rng():
        other = model()
        nn.init.normal_(other[3].parametrizations.weight.original)
        assert not torch.allclose(other(x), layers(x))
        other.load_state_dict(layers.state_dict())
    torch.testing.assert_close(other(x), layers(x), rtol=0, atol=0)
    converted = lifted.astype(F64)
    torch.testing.assert_close(converted(x), layers(x), rtol=0, atol=1e-14)
    names = {str(i.target) for node in converted.nodes for i in node.program.instructions}
    assert not any("linalg" in name for name in names) and any("linalg" in str(i.target) for i in lifted.nodes[0].instructions)


@pytest.mark.parametrize(
    ("algorithm", "epochs"), [(ni.training.ProximalSGD(3e-2), 60), (ni.training.BlockDescent(), 20)], ids=["sgd", "descent"]
)
def test_lifted_training_keeps_the_singular_values_and_learns(algorithm: ni.training.Algorithm, epochs: int) -> None:
    """The free matrices are what is trained; the interval holds by construction, and nothing has to be projected."""
    torch.manual_seed(0)
    layers = nn.Sequential(spectrally_bounded(nn.Linear(6, 8)), PairedReLU(), parseval(nn.Linear(16, 3)))
    x = torch.randn(90, 6, generator=torch.Generator().manual_seed(0))
    y = x[:, :3].argmax(1)
    begun = [p.detach().clone() for p in layers.parameters()]
    history = ni.training.LiftedTraining(algorithm=algorithm).fit(layers, [(x, y)], epochs)
    assert history["accuracy"].iloc[-1] > 0.8 and history["loss"].iloc[-1] < 0.8 * history["loss"].iloc[0]
    assert all(not torch.equal(p, q) for p, q in zip(layers.parameters(), begun, strict=True))
    first, last = (torch.linalg.svdvals(layers[i].weight.detach()) for i in (0, 2))
    assert first.min() >= 0.5 - 1e-5 and first.max() <= 2 + 1e-5 and (last - 1).abs().max() < 1e-5


@pytest.mark.parametrize(
    "make",
    [
        lambda: parametrizations.orthogonal(nn.Linear(6, 4), orthogonal_map="cayley"),
        lambda: parametrizations.orthogonal(nn.Linear(6, 4), orthogonal_map="householder"),
        lambda: parametrizations.orthogonal(nn.Linear(6, 6), orthogonal_map="matrix_exp"),
        lambda: parametrizations.spectral_norm(nn.Linear(6, 4)),
    ],
)
def test_the_parametrisations_of_torch_are_lifted_exactly(make: Callable[[], nn.Module]) -> None:
    layer = make().double().eval()
    x = torch.randn(2, 6, dtype=F64)
    lifted = ni.lift(layer, x)
    assert lifted.is_exactly_lifted and [node.kind for node in lifted.nodes] == ["affine"]
    torch.testing.assert_close(lifted.astype(F64)(x), layer(x), rtol=0, atol=1e-14)


def test_refusals() -> None:
    with pytest.raises(TypeError, match=r"parseval: layer is a ReLU, but must be an nn.Linear or a convolution"):
        parseval(nn.ReLU())
    with pytest.raises(TypeError, match="parseval: layer is the class Linear"):
        parseval(nn.Linear)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="parseval: scale is -1"):
        parseval(nn.Linear(2, 2), -1)
    with pytest.raises(ValueError, match=r"spectrally_bounded: smallest is 2.* interval, smallest < largest"):
        spectrally_bounded(nn.Linear(2, 2), 2, 1)
    with pytest.raises(ValueError, match=r"For equal ones write parseval\(layer, scale=1\)"):
        spectrally_bounded(nn.Linear(2, 2), 1, 1)
    with pytest.raises(ValueError, match=r"spectrally_bounded: smallest is -0.5"):
        spectrally_bounded(nn.Linear(2, 2), -0.5, 1)
    with pytest.raises(ValueError, match="spectrally_bounded: largest is inf"):
        spectrally_bounded(nn.Linear(2, 2), 0.5, float("inf"))
    with pytest.raises(ValueError, match="the weight of the layer is parametrised already"):
        parseval(spectrally_bounded(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="does not know the size of its input yet"):
        parseval(nn.LazyLinear(3))
    for mode, stride in (("reflect", 1), ("circular", 2)):
        with pytest.raises(ValueError, match=f"pads its input in mode '{mode}'"):
            parseval(nn.Conv2d(1, 4, 3, stride, padding=1, padding_mode=mode))
