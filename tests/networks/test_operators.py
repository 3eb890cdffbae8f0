"""Every operator that is lifted exactly, in the spellings of its authors: equal to the model, affine with exact adjoints."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from netinverse.networks import lift
from netinverse.tensors import inner

IMAGE, SIGNAL, VOLUME = (4, 6, 6), (4, 9), (2, 4, 4, 4)
Function = Callable[[nn.Module, Tensor], Tensor]


class Call(nn.Module):
    """A model whose forward is a function of its one submodule and the input."""

    def __init__(self, function: Function, part: nn.Module | None = None) -> None:
        super().__init__()
        self.function, self.part = function, part if part is not None else nn.Identity()
        self.register_buffer("weight", torch.linspace(-1, 1, 12).reshape(4, 3))
        self.register_buffer("mask", torch.eye(6) > 0)
        self.register_buffer("places", torch.tensor([2, 0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def part(module: nn.Module) -> tuple[Function, nn.Module]:
    return (lambda m, x: m.part(x)), module


def plain(function: Callable[[Tensor], Tensor]) -> tuple[Function, None]:
    return (lambda _, x: function(x)), None


def norm(kind: Any, channels: int = 4) -> nn.Module:
    """Evaluation-mode normalisation with statistics and weights that are not trivial."""
    module = kind(channels, affine=True, track_running_stats=True)
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    nn.init.normal_(module.running_mean)
    nn.init.uniform_(module.running_var, 0.5, 2.0)
    return module


def assigned(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1] = x[:, 0] * 2
    return y


AFFINE: dict[str, tuple[tuple[int, ...], Any]] = {
    "linear": ((5,), part(nn.Linear(5, 3))),
    "linear over an axis": (SIGNAL, part(nn.Linear(9, 2, bias=False))),
    "conv1d": (SIGNAL, part(nn.Conv1d(4, 6, 3, groups=2))),
    "conv2d": (IMAGE, part(nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2))),
    "conv2d same": (IMAGE, part(nn.Conv2d(4, 6, 3, padding="same"))),
    "conv2d reflect": (IMAGE, part(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"))),
    "conv2d replicate": (IMAGE, part(nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate"))),
    "conv2d circular": (IMAGE, part(nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"))),
    "conv3d": (VOLUME, part(nn.Conv3d(2, 2, 3, groups=2))),
    "conv_transpose1d": (SIGNAL, part(nn.ConvTranspose1d(4, 2, 3, stride=2))),
    "conv_transpose2d": (IMAGE, part(nn.ConvTranspose2d(4, 2, 3, 2, 1, output_padding=1, groups=2))),
    "conv_transpose3d": (VOLUME, part(nn.ConvTranspose3d(2, 3, 2, dilation=2))),
    "batch_norm1d": (SIGNAL, part(norm(nn.BatchNorm1d))),
    "batch_norm2d": (IMAGE, part(norm(nn.BatchNorm2d))),
    "batch_norm3d": (VOLUME, part(norm(nn.BatchNorm3d, 2))),
    "instance_norm with statistics": (IMAGE, part(norm(nn.InstanceNorm2d))),
    "weight_norm": (IMAGE, part(parametrizations.weight_norm(nn.Conv2d(4, 2, 3)))),
    "spectral_norm": (IMAGE, part(parametrizations.spectral_norm(nn.Conv2d(4, 2, 3)))),
    "orthogonal": ((5,), part(parametrizations.orthogonal(nn.Linear(5, 3)))),
    "weight_norm by hooks": ((5,), part(nn.utils.weight_norm(nn.Linear(5, 3)))),
    "spectral_norm by hooks": ((5,), part(nn.utils.spectral_norm(nn.Linear(5, 3)))),
    "avg_pool1d": (SIGNAL, part(nn.AvgPool1d(3))),
    "avg_pool2d": (IMAGE, part(nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False))),
    "avg_pool3d": (VOLUME, part(nn.AvgPool3d(2))),
    "adaptive_avg_pool": (IMAGE, plain(lambda x: functional.adaptive_avg_pool2d(x, (1, 4)))),
    "nearest": (IMAGE, plain(lambda x: functional.interpolate(x, scale_factor=2))),
    "nearest-exact": (IMAGE, plain(lambda x: functional.interpolate(x, size=(9, 4), mode="nearest-exact"))),
    "linear interpolation": (SIGNAL, plain(lambda x: functional.interpolate(x, size=20, mode="linear"))),
    "bilinear": (IMAGE, plain(lambda x: functional.interpolate(x, size=(9, 4), mode="bilinear"))),
    "bilinear, corners": (IMAGE, part(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True))),
    "bicubic": (IMAGE, plain(lambda x: functional.interpolate(x, scale_factor=1.5, mode="bicubic"))),
    "trilinear": (VOLUME, plain(lambda x: functional.interpolate(x, scale_factor=2, mode="trilinear"))),
    "pad": (IMAGE, plain(lambda x: functional.pad(x, (1, 0, 2, 3), value=0.7))),
    "pad reflect": (IMAGE, plain(lambda x: functional.pad(x, (1, 0, 2, 3), mode="reflect"))),
    "zero pad module": (IMAGE, part(nn.ZeroPad2d(2))),
    "slice": (IMAGE, plain(lambda x: x[:, 1:3, ::2, -1:])),
    "select": (IMAGE, plain(lambda x: x[..., 0])),
    "new axis": (IMAGE, plain(lambda x: x[:, None])),
    "index": (IMAGE, plain(lambda x: x[:, [0, 2, 2]])),
    "index by a buffer": (IMAGE, ((lambda m, x: x[:, m.places]), None)),
    "index_select": (IMAGE, ((lambda m, x: x.index_select(1, m.places)), None)),
    "flip and roll": (IMAGE, plain(lambda x: x.flip(2).roll(1, 3))),
    "cat": (IMAGE, plain(lambda x: torch.cat([x, 2 * x, torch.ones_like(x)], 1))),
    "split": (IMAGE, plain(lambda x: torch.cat(x.split([1, 3], 1)[::-1], 1))),
    "chunk": (IMAGE, plain(lambda x: x.chunk(2, 1)[0] - x.chunk(2, 1)[1])),
    "unbind and stack": (IMAGE, plain(lambda x: torch.stack(x.unbind(1)[::2], 2))),
    "view": (IMAGE, plain(lambda x: x.view(x.size(0), -1))),
    "reshape": (IMAGE, plain(lambda x: x.reshape(-1, 2, 72))),
    "flatten": (IMAGE, plain(lambda x: torch.flatten(x, 1))),
    "flatten and unflatten": (IMAGE, part(nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 72))))),
    "permute": (IMAGE, plain(lambda x: x.permute(0, 2, 3, 1).contiguous())),
    "transpose": (IMAGE, plain(lambda x: x.transpose(1, 2).mT)),
    "squeeze": (IMAGE, plain(lambda x: x[:, :1].squeeze(1).unsqueeze(-1))),
    "expand": (IMAGE, plain(lambda x: x[:, :1].expand(-1, 5, -1, -1))),
    "repeat": (IMAGE, plain(lambda x: x.repeat(1, 2, 1, 1))),
    "batch inside": (IMAGE, plain(lambda x: x.view(x.shape[0] * 4, 6, 6).sum(1).view(-1, 4, 6))),
    "sum and mean": (IMAGE, plain(lambda x: x.mean((2, 3)) + x.sum((2, 3)) - x.mean([2, 3]))),
    "sum keepdim": (IMAGE, plain(lambda x: x - x.mean(1, keepdim=True))),
    "cumsum": (SIGNAL, plain(lambda x: x.cumsum(2))),
    "add": (IMAGE, plain(lambda x: torch.add(x, x.flip(1), alpha=2) + 3)),
    "add in place": (IMAGE, plain(lambda x: (x + 1).add_(x).mul_(0.5))),
    "sub": (IMAGE, plain(lambda x: 1 - x - 2 * x)),
    "neg": (IMAGE, plain(lambda x: -x)),
    "multiplication and division": (IMAGE, plain(lambda x: x * torch.linspace(0, 1, 6, dtype=x.dtype) / 3)),
    "buffer arithmetic": (SIGNAL, ((lambda m, x: (x[:, :, :3] - m.weight) / (m.weight + 3)), None)),
    "matmul": ((7, 4), ((lambda m, x: x @ m.weight), None)),
    "matmul from the left": (SIGNAL, ((lambda m, x: torch.matmul(m.weight.T, x)), None)),
    "einsum": (IMAGE, ((lambda m, x: torch.einsum("bchw,cd->bdhw", x, m.weight)), None)),
    "tensordot": (SIGNAL, ((lambda m, x: torch.tensordot(x, m.weight, dims=([1], [0]))), None)),
    "baddbmm": (SIGNAL, plain(lambda x: torch.baddbmm(x, x.new_ones(x.shape[0], 4, 2), torch.ones_like(x[:, :2])))),
    "masked_fill": (IMAGE, ((lambda m, x: x.masked_fill(m.mask, 2.0)), None)),
    "triu": (IMAGE, plain(lambda x: x.triu())),
    "assignment": (IMAGE, plain(assigned)),
    "dropout": (IMAGE, part(nn.Sequential(nn.Dropout(0.5), nn.Dropout2d(), nn.Identity()))),
    "pixel_shuffle": (IMAGE, part(nn.PixelShuffle(2))),
    "pixel_unshuffle": (IMAGE, part(nn.PixelUnshuffle(2))),
    "channel_shuffle": (IMAGE, part(nn.ChannelShuffle(2))),
    "unfold and fold": (IMAGE, plain(lambda x: functional.fold(functional.unfold(x, 3, padding=1), (6, 6), 3, padding=1))),
    "embedding": ((4, 8), ((lambda m, x: x + m.part(torch.arange(4))), nn.Embedding(4, 8))),
    "casts": (IMAGE, plain(lambda x: x.to(torch.float64).to(x.dtype).type_as(x))),
    "type_as of the input": (IMAGE, plain(lambda x: x.double().type_as(x))),
    "detach": (IMAGE, plain(lambda x: x.detach() + x)),
    "no_grad": (IMAGE, plain(lambda x: _without_gradient(x) + x)),
}


def _without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        return 2 * x


PROXIMAL: dict[str, tuple[str, Any]] = {
    "nn.ReLU": ("NonNegative", part(nn.ReLU())),
    "nn.ReLU in place": ("NonNegative", plain(lambda x: nn.ReLU(inplace=True)(x + 0.0))),
    "F.relu": ("NonNegative", plain(functional.relu)),
    "torch.relu": ("NonNegative", plain(torch.relu)),
    "x.relu()": ("NonNegative", plain(lambda x: x.relu())),
    "x.relu_()": ("NonNegative", plain(lambda x: (x + 1).relu_())),
    "x.clamp(min=0)": ("NonNegative", plain(lambda x: x.clamp(min=0))),
    "x.clamp_min(0)": ("NonNegative", plain(lambda x: x.clamp_min(0.0))),
    "torch.maximum(x, 0)": ("NonNegative", plain(lambda x: torch.maximum(x, torch.zeros_like(x)))),
    "torch.maximum(x, tensor(0))": ("NonNegative", plain(lambda x: torch.maximum(x, torch.tensor(0.0, dtype=x.dtype)))),
    "torch.max(x, 0)": ("NonNegative", plain(lambda x: torch.max(x, x.new_zeros(1)))),
    "where(x > 0, x, s x)": ("LeakyReLUPotential", plain(lambda x: torch.where(x > 0, x, 0.2 * x))),
    "leaky": ("LeakyReLUPotential", part(nn.LeakyReLU(0.2))),
    "steep leaky": ("LeakyReLUPotential", part(nn.LeakyReLU(3.0))),
    "prelu": ("PReLUPotential", part(nn.PReLU())),
    "prelu per channel": ("PReLUPotential", part(nn.PReLU(4, 0.3))),
    "rrelu": ("LeakyReLUPotential", part(nn.RReLU())),
    "relu6": ("Box", part(nn.ReLU6())),
    "hardtanh": ("Box", part(nn.Hardtanh(-0.5, 2.0))),
    "clamp": ("Box", plain(lambda x: x.clamp(-0.3, 0.4))),
    "hardsigmoid": ("Box", part(nn.Hardsigmoid())),
    "tanh": ("TanhEntropy", plain(torch.tanh)),
    "sigmoid": ("LogisticEntropy", plain(lambda x: x.sigmoid())),
    "softmax": ("SimplexEntropy", plain(lambda x: x.softmax(1))),
    "F.softmax": ("SimplexEntropy", plain(lambda x: functional.softmax(x, dim=-1))),
    "softplus": ("SoftplusPotential", part(nn.Softplus(beta=3.0, threshold=30))),
    "elu": ("ELUPotential", part(nn.ELU(0.7))),
    "steep elu": ("ELUPotential", part(nn.ELU(1.7))),
    "celu": ("ELUPotential", part(nn.CELU(0.7))),
    "selu": ("ELUPotential", part(nn.SELU())),
    "softsign": ("SoftsignPotential", part(nn.Softsign())),
    "softshrink": ("L1", part(nn.Softshrink(0.3))),
    "softshrink beside an operator in place": ("L1", plain(lambda x: functional.softshrink(x, 0.3).add_(1))),
    "threshold": ("Box", part(nn.Threshold(0.2, 0.2))),
    "arctan": ("ArctanPotential", plain(torch.atan)),
    "logsigmoid": ("LogSigmoidPotential", part(nn.LogSigmoid())),
}
RECTIFIED: dict[str, Any] = {
    "abs": plain(lambda x: x.abs()),
    "maximum": plain(lambda x: torch.maximum(x, x.flip(1))),
    "maximum with a constant": plain(lambda x: torch.maximum(x, torch.linspace(-1, 1, 6, dtype=x.dtype))),
    "max of two": plain(lambda x: torch.max(x, x.mean(1, keepdim=True).expand_as(x))),
    "minimum": plain(lambda x: torch.minimum(x, x.flip(2))),
    "minimum with zero": plain(lambda x: torch.minimum(x, torch.zeros_like(x))),
    "minimum with a constant": plain(lambda x: torch.minimum(torch.full_like(x, 0.2), x)),
    "clamp by tensors": ((lambda m, x: x.clamp(-m.weight[:, :1, None].abs(), m.weight[:, 2:, None].abs() + 1)), None),
    "maxout": plain(lambda x: torch.max(*x.chunk(2, 1))),
    "max_pool2d": part(nn.MaxPool2d(2)),
    "max_pool2d with padding": part(nn.MaxPool2d(3, 2, 1)),
    "max_pool2d in ceil mode": part(nn.MaxPool2d(3, 2, ceil_mode=True)),
    "max_pool2d with dilation": part(nn.MaxPool2d((2, 3), (1, 2), (1, 1), dilation=(2, 1))),
    "max_pool2d along one axis": part(nn.Sequential(nn.MaxPool2d((1, 2)), nn.MaxPool2d((3, 1)))),
    "max_pool2d of single entries": part(nn.Sequential(nn.MaxPool2d(1, 2), nn.ReLU())),
    "negative prelu": part(nn.PReLU(4, -0.4)),
    "steep prelu": part(nn.PReLU(1, 2.5)),
    "tanhshrink": part(nn.Tanhshrink()),
}
SMOOTH: dict[str, tuple[str, Any]] = {
    "softplus with a low threshold": ("softplus.*it falls at its threshold", part(nn.Softplus(threshold=2.0))),
    "gelu": ("gelu.*it is not monotone", part(nn.GELU())),
    "silu": ("silu.*it is not monotone", part(nn.SiLU())),
    "layer norm": ("layer_norm", part(nn.LayerNorm(6))),
    "group norm": ("group_norm", part(nn.GroupNorm(2, 4))),
    "square": ("pow", plain(lambda x: x**2)),
    "product": ("mul", plain(lambda x: x * x.mean((2, 3), keepdim=True))),
    "exp": ("exp", plain(torch.exp)),
    "reciprocal": ("reciprocal", plain(lambda x: 1 / (2 + x.abs()))),
    "max over an axis": ("max", plain(lambda x: x.max(1).values)),
    "selection by a mask": ("gt", plain(lambda x: torch.where(x > 0.3, x, 0.0 * x + 0.3 * x.flip(1)))),
    "squeeze and excitation": ("mul", plain(lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)))),
    "attention": ("matmul", plain(lambda x: functional.scaled_dot_product_attention(x, x.flip(1), x))),
    "batch second": ("mul", plain(lambda x: (x.transpose(0, 1) * x.transpose(0, 1).sum(0)).transpose(0, 1))),
}


def model_of(entry: Any) -> nn.Module:
    torch.manual_seed(0)
    function, module = entry
    return Call(function, module).double().eval()


def check(model: nn.Module, shape: tuple[int, ...]) -> Any:
    """The lifted network, equal to the model at two batch sizes, its affine nodes with linear parts and adjoints that agree."""
    network = lift(model, torch.zeros(1, *shape, dtype=torch.float64))
    for batch in (1, 3):
        x = torch.randn(batch, *shape, dtype=torch.float64)
        before = x.clone()
        with torch.no_grad():
            torch.testing.assert_close(network(x), model(x), rtol=1e-12, atol=1e-12)
        assert x.equal(before)
    for node in network.nodes:
        if node.kind != "affine":
            continue
        one, two = ([torch.randn(3, *s, dtype=torch.float64) for s in node.input_shapes] for _ in range(2))
        with torch.no_grad():
            forward = node(*one) - node(*two)
            linear = node.linear(*(a - b for a, b in zip(one, two, strict=True)))
            y = torch.randn_like(linear)
            torch.testing.assert_close(forward, linear, rtol=1e-10, atol=1e-11)
            right = sum(inner(a - b, p) for a, b, p in zip(one, two, node.adjoint(y), strict=True))
            scale = (torch.linalg.vector_norm(linear) * torch.linalg.vector_norm(y)).clamp(min=1.0)
            assert (inner(linear, y) - right).abs().max() <= 1e-12 * scale
    return network


@pytest.mark.parametrize("name", AFFINE)
def test_affine_operators(name: str) -> None:
    shape, entry = AFFINE[name]
    network = check(model_of(entry), shape)
    assert [node.kind for node in network.nodes] == ["affine"]


@pytest.mark.parametrize("name", PROXIMAL)
def test_activations_in_every_spelling(name: str) -> None:
    potential, entry = PROXIMAL[name]
    network = check(model_of(entry), IMAGE)
    assert [type(node.potential).__name__ for node in network.hidden] == [potential]


@pytest.mark.parametrize("name", RECTIFIED)
def test_piecewise_linear_operators_are_affine_around_relu(name: str) -> None:
    network = check(model_of(RECTIFIED[name]), IMAGE)
    assert network.is_exactly_lifted
    assert network.hidden


@pytest.mark.parametrize(("kind", "shape"), [(nn.MaxPool1d, SIGNAL), (nn.MaxPool3d, VOLUME)])
def test_max_pooling_of_signals_and_volumes(kind: Any, shape: tuple[int, ...]) -> None:
    assert check(Call(lambda m, x: m.part(x), kind(3, 1, 1)).double().eval(), shape).is_exactly_lifted


@pytest.mark.parametrize("name", SMOOTH)
def test_everything_else_is_smooth_and_says_why(name: str) -> None:
    text, entry = SMOOTH[name]
    network = check(model_of(entry), IMAGE)
    assert not network.is_exactly_lifted
    lines = [line for line in network.summary().splitlines() if line.startswith("smooth: ")]
    assert len(lines) == sum(node.kind == "smooth" for node in network.nodes)
    assert any(re.search(text, line) for line in lines), lines


def test_the_slope_of_a_prelu_stays_the_models_parameter() -> None:
    for init in (0.3, -0.4):
        model = nn.Sequential(nn.Linear(3, 4), nn.PReLU(4, init)).eval()
        network = lift(model, torch.zeros(1, 3))
        assert {id(p) for p in network.parameters()} == {id(p) for p in model.parameters()}
        with torch.no_grad():
            model[1].weight.mul_(0.5)
            x = torch.randn(2, 3)
            assert torch.allclose(network(x), model(x))
        assert torch.allclose(network.astype(torch.float64)(x.double()).float(), model(x), atol=1e-6)


def test_a_shared_affine_operator_runs_once() -> None:
    class Preactivated(nn.Module):
        """z enters the activation and the skip connection."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            z = self.a(x)
            return z + self.b(torch.relu(z))

    network = lift(Preactivated().eval(), torch.zeros(1, 4))
    names = [instruction.name for instruction in network.program(network.nodes[-1].name).instructions]
    assert len(names) == len(set(names)) == 4
    assert sum(len(node.program.instructions) for node in network.nodes) > 3
