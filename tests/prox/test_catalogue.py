"""The catalogue against the operators of torch themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import netinverse.prox as px

torch.set_num_threads(1)
aten = torch.ops.aten
OPERATORS: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (aten.relu.default, (), {}),
    (aten.relu_.default, (), {}),
    (aten.relu6.default, (), {}),
    (aten.leaky_relu.default, (), {}),
    (aten.leaky_relu.default, (0.2,), {}),
    (aten.leaky_relu.default, (0.0,), {}),
    (aten.leaky_relu.default, (2.5,), {}),
    (aten.prelu.default, (torch.tensor([0.3], dtype=torch.float64),), {}),
    (aten.prelu.default, (torch.linspace(0.1, 1.0, 15, dtype=torch.float64),), {}),
    (aten.hardtanh.default, (-2.0, 3.0), {}),
    (aten.hardsigmoid.default, (), {}),
    (aten.clamp.default, (None, 1.0), {}),
    (aten.clamp.default, (-1.0,), {"max": 2.0}),
    (aten.clamp.default, (0,), {}),
    (aten.clamp_min.default, (0.5,), {}),
    (aten.clamp_max.default, (0.5,), {}),
    (aten.threshold.default, (0.2, 0.2), {}),
    (aten.softshrink.default, (0.3,), {}),
    (aten.softshrink.default, (0.0,), {}),
    (aten.tanh.default, (), {}),
    (aten.sigmoid.default, (), {}),
    (aten.log_sigmoid.default, (), {}),
    (aten.softplus.default, (), {}),
    (aten.softplus.default, (2.0, 100.0), {}),
    (aten.atan.default, (), {}),
    (aten.elu.default, (), {}),
    (aten.elu.default, (0.5,), {}),
    (aten.elu.default, (0.5, 2.0, 3.0), {}),
    (aten.elu.default, (1.6732632423543772, 1.0507009873554805), {}),
    (aten.selu.default, (), {}),
    (aten.celu.default, (2.0,), {}),
    (aten.softmax.int, (-1,), {}),
    (aten._softmax.default, (1, False), {}),
]
NOT_PROXIMAL: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (aten.gelu.default, (), {}),
    (aten.silu.default, (), {}),
    (aten.mish.default, (), {}),
    (aten.hardswish.default, (), {}),
    (aten.hardshrink.default, (), {}),
    (aten.leaky_relu.default, (-0.5,), {}),
    (aten.threshold.default, (0.2, 0.0), {}),
    (aten.clamp.default, (2.0, 1.0), {}),
    (aten.clamp.Tensor, (torch.zeros(5),), {}),
    (aten.softmax.int, (0,), {}),
    (aten.log_softmax.int, (1,), {}),
    (aten.mul.Tensor, (2.0,), {}),
    (aten.exp.default, (), {}),
    (aten.elu.default, (-1.0,), {}),
    (aten.elu.default, (1.0, 0.0), {}),
    (aten.elu.default, (1.0, 1.0, -1.0), {}),
    (aten.celu.default, (-1.0,), {}),
    (aten.softplus.default, (-1.0,), {}),
    (aten.softplus.default, (1.0, 19.9), {}),
    (aten.prelu.default, (torch.tensor([0.3, 1.1]),), {}),
    (aten.prelu.default, (torch.tensor([0.3, 0.0]),), {}),
    (aten.relu.default, (1, 2, 3), {}),
    ("softmin", (0,), {}),
    ("identity", (), {}),
]


@pytest.mark.parametrize(("target", "args", "kwargs"), OPERATORS, ids=str)
def test_operators_are_scaled_proximal_maps(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    z = torch.linspace(-9, 9, 60, dtype=torch.float64).reshape(4, 15)
    found = px.activation_of_aten(target, args, kwargs)
    assert found is not None
    torch.testing.assert_close(found(z), target(z.clone(), *args, **kwargs), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("target", "args", "kwargs"), NOT_PROXIMAL, ids=str)
def test_other_operators_are_refused(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert px.activation_of_aten(target, args, kwargs) is None


def test_operators_by_name() -> None:
    for name in ("relu", "aten.relu.default", "aten::relu"):
        assert px.activation_of_aten(name) == px.ScaledActivation(px.NonNegative())


def test_activations_that_no_operator_has() -> None:
    z = torch.linspace(-9, 9, 60, dtype=torch.float64).reshape(4, 15)
    for name, args, expected in (
        ("softmin", (1,), torch.softmax(-z, 1)),
        ("shifted_relu", (0.7,), torch.relu(z - 0.7)),
        ("rrelu", (0.1, 0.5), torch.where(z < 0, 0.3 * z, z)),
        ("prelu", (0.4,), torch.where(z < 0, 0.4 * z, z)),
    ):
        found = px.activation_of_aten(name, args)
        assert found is not None
        torch.testing.assert_close(found(z), expected, rtol=1e-14, atol=1e-14)


def test_only_an_activation_without_scales_is_a_proximal_map() -> None:
    relu = px.NonNegative()
    assert px.ScaledActivation(relu).is_proximal
    for scales in ((2.0, 1.0, 0.0), (1.0, 2.0, 0.0), (1.0, 1.0, 0.5)):
        activation = px.ScaledActivation(relu, *scales)
        assert not activation.is_proximal
        z = torch.tensor([[-1.0, 0.25, 3.0]])
        torch.testing.assert_close(activation(z), scales[0] * torch.relu(scales[1] * z + scales[2]))


MODULES = [
    nn.Identity(),
    nn.ReLU(),
    nn.ReLU6(),
    nn.LeakyReLU(0.3),
    nn.PReLU(1, 0.4),
    nn.PReLU(3, 0.4),
    nn.Hardtanh(-2, 0.5),
    nn.Threshold(0.3, 0.3),
    nn.Softshrink(0.8),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.Softplus(beta=3, threshold=1000),
    nn.LogSigmoid(),
    nn.Softsign(),
    nn.ELU(),
    nn.ELU(0.6),
    nn.CELU(2.5),
    nn.Softmax(dim=1),
    nn.Softmax(dim=-1),
    nn.RReLU().eval(),
]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_modules(module: nn.Module) -> None:
    module = module.double()
    z = torch.linspace(-9, 9, 60, dtype=torch.float64).reshape(4, 3, 5)
    torch.testing.assert_close(px.potential_of(module).prox(z), module(z).detach(), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "softplus", "elu", "softsign", "leaky_relu", "hardtanh", "relu6"])
def test_names_and_functions_of_torch(name: str) -> None:
    function = getattr(torch.nn.functional, name)
    z = torch.linspace(-9, 9, 60, dtype=torch.float64).reshape(4, 15)
    for spelling in (name, function):
        torch.testing.assert_close(px.potential_of(spelling).prox(z), function(z), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("activation", "text"),
    [
        ("gelu", "potential_of: activation is 'gelu'; it is not monotone"),
        (nn.SiLU(), "it is not monotone"),
        (torch.nn.functional.mish, "it is not monotone"),
        (nn.Hardshrink(), "it jumps at its threshold"),
        (nn.Threshold(0.1, 5.0), "it jumps where its two branches differ"),
        ("threshold", "it jumps where its two branches differ"),
        (nn.SELU(), r"it is 1\.7581 \* prox.*slope exceeds 1.*affine maps"),
        (nn.ELU(2.0), r"it is 2 \* prox"),
        (nn.PReLU(7, -0.1), "it falls for a negative slope, or is steeper than 1"),
        (nn.Softmax(dim=0), "axis 0 counts the samples"),
        (nn.Linear(2, 2), "it is not in the catalogue. Known are: .*relu"),
        ("rely", "activation is 'rely'; it is not in the catalogue"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_refusals_explain_themselves(activation: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        px.potential_of(activation)
