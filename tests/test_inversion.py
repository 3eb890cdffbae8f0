"""``invert``: what it refuses, what it leaves alone, and what its answer says."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netinverse as ni

F64 = torch.float64
SHAPE = (1, 8, 8)


def seeded(build: Callable[[], nn.Module], dtype: torch.dtype = F64) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build().to(dtype).eval()


def convolutional(dtype: torch.dtype = F64) -> nn.Module:
    """1x8x8 -> 4 channels, stride 2 -> 60 outputs, ReLU twice."""
    return seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 60), nn.ReLU()), dtype)


def single() -> nn.Module:
    """One layer of 8 -> 12 with ReLU: a convex problem."""
    return seeded(lambda: nn.Sequential(nn.Linear(8, 12), nn.ReLU()))


def images(batch: int = 3) -> Tensor:
    x = torch.zeros(batch, *SHAPE, dtype=F64)
    for i in range(batch):
        x[i, 0, 1 + i % 3 : 5 + i % 3, 2 : 4 + i % 4] = 1 - 0.2 * (i % 3)
    return x


@cache
def noisy(relative: float = 0.05) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return ni.add_noise(convolutional()(images()), relative=relative)


@cache
def standard() -> ni.Reconstruction:
    """Three images behind two ReLU layers at 5 % noise; many tests look at this one."""
    data, level = noisy()
    return ni.invert(convolutional(), data, input_shape=SHAPE, noise_level=level, constraint=ni.Box(0, 1), tolerance=1e-4)


@pytest.mark.parametrize("regulariser", [ni.TotalVariation(), ni.HuberTotalVariation()], ids=lambda each: each.name)
def test_a_least_objective_of_zero_is_reached(regulariser: ni.TotalVariation | ni.HuberTotalVariation) -> None:
    """Exact data of a flat picture behind a convolution: fidelity and penalty vanish, and no gap is a share of that."""
    model = seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU()))
    data = model(torch.full((1, *SHAPE), 0.5, dtype=F64)).detach()
    result = ni.invert(model, data, input_shape=SHAPE, rule=ni.Fixed(0.05), regulariser=regulariser, constraint=ni.Box(0, 1))
    assert result.converged, result.status
    assert float(result.certificate.value) < 1e-13


class Arctan(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return torch.atan(z)


def vectors() -> tuple[nn.Module, Tensor, Tensor]:
    model = single()
    x = torch.rand(3, 8, generator=torch.Generator().manual_seed(2), dtype=F64)
    with torch.no_grad():
        return model, *ni.add_noise(model(x), relative=0.05)


# What is wrong, how to ask for it, the error, and what its text must say.
BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "nan": ({"data": torch.full((2, 12), torch.nan)}, ValueError, r"invert: data contains 24 NaN or infinite.* in samples 0, 1"),
    "infinity": (
        {"data": torch.tensor([[1.0] * 12, [float("inf")] + [1.0] * 11])},
        ValueError,
        r"data contains 1 NaN or infinite value\(s\), in sample 1;.*(Remove|repair)",
    ),
    "integers": ({"data": torch.ones(2, 12, dtype=torch.long)}, TypeError, r"data has dtype torch.int64.*data\.float\(\)"),
    "complex": ({"data": torch.ones(2, 12, dtype=torch.complex64)}, TypeError, "data has dtype torch.complex64"),
    "list": ({"data": [[1.0] * 12]}, TypeError, r"data is a list, but must be a torch\.Tensor.*torch\.as_tensor\(data\)"),
    "one sample": ({"data": torch.ones(12)}, ValueError, r"data has shape \(12,\), but the network returns .*data\[None\]"),
    "one number a sample": (
        {"network": nn.Sequential(nn.Linear(8, 1), nn.Flatten(0)).eval(), "data": torch.ones(2)},
        ValueError,
        r"returns one number for each sample, of shape \(batch,\).*data\[:, None\]",
    ),
    "data shape": ({"data": torch.ones(2, 11)}, ValueError, r"data has shape \(2, 11\), but the network returns \(batch, 12\)"),
    "start shape": ({"start": torch.zeros(2, 7)}, ValueError, r"start has shape \(2, 7\), but \(2, 8\) is expected: one input"),
    "start batch": ({"start": torch.zeros(3, 8)}, ValueError, r"start has shape \(3, 8\), but \(2, 8\) is expected"),
    "start dtype": ({"start": torch.zeros(2, 8, dtype=torch.int32)}, TypeError, "start has dtype torch.int32"),
    "start nan": ({"start": torch.full((2, 8), torch.nan)}, ValueError, "start contains 16 NaN"),
    "noise shape": ({"noise_level": torch.ones(3)}, ValueError, r"noise_level has shape \(3,\), but data holds 2.*\(2,\)"),
    "noise matrix": ({"noise_level": torch.ones(2, 1)}, ValueError, r"noise_level has shape \(2, 1\)"),
    "noise negative": (
        {"noise_level": torch.tensor([0.1, -0.5])},
        ValueError,
        "noise_level is -0.5 in sample 1, but must be zero",
    ),
    "noise nan": ({"noise_level": float("nan")}, ValueError, "noise_level contains 2 NaN"),
    "noise text": ({"noise_level": "0.1"}, TypeError, "noise_level is '0.1', but must be a real number"),
    "noise bool": ({"noise_level": True}, TypeError, "noise_level is True, but must be a real number"),
    "noise complex": ({"noise_level": 1j}, TypeError, "noise_level is 1j, but must be a real number"),
    "noise complex tensor": (
        {"noise_level": torch.ones(2, dtype=torch.complex64)},
        TypeError,
        r"noise_level is a tensor of dtype torch\.complex64.*2 real numbers, one for each sample",
    ),
    "no rule": ({"noise_level": None}, ValueError, r"neither a rule nor a noise_level is given.*noise_level=.*Fixed\(alpha\)"),
    "rule without noise": (
        {"noise_level": None, "rule": ni.DiscrepancyPrinciple()},
        ValueError,
        r"DiscrepancyPrinciple needs a noise_level.*Fixed\(alpha\)",
    ),
    "tolerance": ({"tolerance": 0.0}, ValueError, "tolerance is 0.0, but must be positive"),
    "tolerance nan": ({"tolerance": float("nan")}, ValueError, "tolerance is nan, but must be positive"),
    "tolerance text": ({"tolerance": "a"}, TypeError, "tolerance is 'a', but must be a positive number. The default is 1e-6"),
    "tolerance infinite": ({"tolerance": float("inf")}, ValueError, "tolerance is inf, but must be positive and finite"),
    "max_steps fraction": ({"max_steps": 1.5}, TypeError, "max_steps is 1.5, but must be a whole number. Leave it out"),
    "max_steps zero": ({"max_steps": 0}, ValueError, "max_steps is 0, but must be at least 1"),
    "max_steps negative": ({"max_steps": -1}, ValueError, "max_steps is -1, but must be at least 1"),
    "seed": ({"seed": "a"}, TypeError, "seed is 'a', but must be a whole number"),
    "regulariser class": ({"regulariser": ni.Tikhonov}, TypeError, r"regulariser is the class Tikhonov.*regulariser=Tikhonov\("),
    "rule class": ({"rule": ni.DiscrepancyPrinciple}, TypeError, "rule is the class DiscrepancyPrinciple, but must be an object"),
    "fidelity class": ({"fidelity": ni.SquaredFidelity}, TypeError, "fidelity is the class SquaredFidelity"),
    "constraint class": ({"constraint": ni.NonNegative}, TypeError, "constraint is the class NonNegative"),
    "method class": ({"method": ni.Variational}, TypeError, "method is the class Variational"),
    "function as regulariser": (
        {"regulariser": ni.L1()},
        TypeError,
        r"regulariser is L1\(.*half of R\(x\) = g\(K x\).*ni.Sparsity\(",
    ),
    "number as rule": ({"rule": 0.1}, TypeError, r"rule is 0.1, a float.*ni\.Fixed\(0\.1\) for the weight 0\.1"),
    "text as method": ({"method": "lifted"}, TypeError, r'method is .lifted., a str.*ni\.Variational\("lifted"\)'),
    "text as fidelity": ({"fidelity": "squared"}, TypeError, r"fidelity is 'squared', a str.*ni\.SquaredFidelity\(\)"),
    "pair as constraint": ({"constraint": (0, 1)}, TypeError, r"constraint is \(0, 1\), a tuple.*ni\.Box\(0, 1\)"),
    "l1 as constraint": (
        {"constraint": ni.L1()},
        ValueError,
        "constraint is a L1, which is no set.*regulariser=.*sets are ni.Box",
    ),
    "square as constraint": ({"constraint": ni.SquaredNorm()}, ValueError, "constraint is a SquaredNorm, which is no set"),
    "short box": (
        {"constraint": ni.Box(torch.zeros(7), torch.ones(7))},
        ValueError,
        r"constraint Box does not fit one input, which has shape \(8,\).*broadcast",
    ),
    "box of a batch": (
        {"constraint": ni.Box(torch.zeros(2, 8), torch.ones(2, 8))},
        ValueError,
        "constraint Box does not fit one input.*the same for all samples",
    ),
    "start list": ({"start": [1.0], "input_shape": None}, TypeError, r"start is a list, but must be a torch\.Tensor"),
    "input shape text": ({"input_shape": "8"}, TypeError, "input_shape is '8', but must be positive whole numbers"),
    "input shape zero": ({"input_shape": (0,)}, TypeError, r"input_shape is \(0,\), but must be positive whole numbers"),
    "network": ({"network": torch.relu}, TypeError, "network is a builtin_function_or_method, but must be a torch.nn.Module"),
    "input shape": (
        {"network": ni.mlp((8, 12)), "input_shape": (9,)},
        ValueError,
        r"input_shape is \(9,\), but the network takes .*\(8,\)",
    ),
    "no input shape": ({"input_shape": None}, ValueError, "input_shape is missing.*without the batch"),
    "regulariser": ({"regulariser": ni.TotalVariation()}, ValueError, r"TotalVariation: one input has shape \(8,\)"),
    "missing file": ({"network": "nowhere/model.pt2"}, FileNotFoundError, r"model\.pt2 is no file"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_one_clear_sentence(case: tuple[dict[str, Any], type[Exception], str]) -> None:
    changes, error, text = case
    arguments: dict[str, Any] = {"network": single().float(), "data": torch.ones(2, 12), "input_shape": (8,), "noise_level": 0.1}
    with pytest.raises(error, match=f"(?s){text}"):
        ni.invert(**{**arguments, **changes})


def test_a_network_in_training_mode_is_refused() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU())).train()
    with pytest.raises(ValueError, match=r"(?s)training mode.*eval\(\)"):
        ni.invert(model, torch.ones(2, 12, dtype=F64), input_shape=(8,), noise_level=0.1)
    assert model.training


def test_a_pickle_is_refused_and_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "model.pt"
    torch.save({"model": Trap()}, path)
    with pytest.raises(ValueError, match=r"(?s)holds no exported program but most likely a pickle.*torch\.export\.save"):
        ni.invert(path, torch.ones(2, 12), noise_level=0.1)
    assert not (tmp_path / "sprung").exists()


def test_a_constant_network_is_said_to_be_constant() -> None:
    model = single()
    with torch.no_grad():
        model[0].weight.zero_()
    result = ni.invert(model, torch.ones(2, 12, dtype=F64), input_shape=(8,), noise_level=0.1)
    assert result.status == (ni.Status.CONSTANT_NETWORK,) * 2 and not result.converged
    assert result.x.shape == (2, 8) and torch.isfinite(result.x).all() and result.certificate.kind == "none"
    with pytest.raises(RuntimeError, match=r"CONSTANT_NETWORK.*does not depend on its input"):
        result.require_converged()


def dim() -> tuple[nn.Module, Tensor]:
    """relu(W x - 1) with W between 0 and 1/255, and its outputs for x in [0, 255]: an author's network for bytes."""
    model = single()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model[0].weight.copy_(torch.rand(12, 8, generator=generator, dtype=F64) / 255)
        model[0].bias.fill_(-1.0)
        x = 255 * torch.rand(2, 8, generator=generator, dtype=F64)
        return model, model(x)


def test_a_network_for_large_inputs_is_not_called_constant() -> None:
    """Near zero its output is zero; inputs of ordinary size tell nothing."""
    model, data = dim()
    for constraint in (None, ni.Box(0, 255)):
        result = ni.invert(model, data, input_shape=(8,), noise_level=1e-2, constraint=constraint, tolerance=1e-3)
        assert result.converged
    narrow = ni.invert(model, data, input_shape=(8,), noise_level=1e-2, constraint=ni.Box(0, 1e-3), tolerance=1e-3)
    assert not narrow.converged  # in this box the output is zero everywhere
    squared = ni.invert(
        model, data, input_shape=(8,), noise_level=1e-2, constraint=ni.Box(0, 1e-3), fidelity=ni.SquaredFidelity()
    )
    assert squared.status == (ni.Status.CONSTANT_NETWORK,) * 2


def test_whether_a_network_is_constant_does_not_depend_on_the_neighbours() -> None:
    model, data = dim()
    start = torch.zeros(2, 8, dtype=F64)
    start[0] = 255
    for order in ([0, 1], [1, 0]):
        together = ni.invert(model, data[order], start=start[order], noise_level=1e-2, tolerance=1e-3)
        for i in range(2):
            alone = ni.invert(model, data[order][[i]], start=start[order][[i]], noise_level=1e-2, tolerance=1e-3)
            assert alone.status[0] is together.status[i] and (alone.x[0] - together.x[i]).abs().max() <= 1e-6


@pytest.mark.parametrize("rule", [ni.Fixed(1e-3), None])
def test_a_flat_point_is_no_answer(rule: ni.Fixed | None) -> None:
    """Every hidden unit is dead around zero: the derivative is zero there, whatever the data are."""
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 10)))
    with torch.no_grad():
        model[0].bias.fill_(-1.5)
        generator = torch.Generator().manual_seed(0)
        x = 6 * torch.randn(3, 6, generator=generator, dtype=F64)
        clean = model(torch.cat([x, torch.zeros(1, 6, dtype=F64)]))
    result = ni.invert(model, clean, input_shape=(6,), noise_level=0.01, rule=rule)
    assert result.status[:3] == (ni.Status.FLAT,) * 3 and "FLAT (3), samples 0, 1, 2" in result.summary()
    assert "begin from another start" in str(ni.Status.FLAT).lower()
    assert result.status[3] is not ni.Status.FLAT and result.residual[3] == 0  # flat, and a perfect fit


def test_a_noise_level_that_projection_contradicts_is_said() -> None:
    """Clean data lie in the range, so the noise is at least as large as what projection moves."""
    model, data, _ = vectors()
    with torch.no_grad():
        clean = model(torch.linspace(-1, 1, 24, dtype=F64).reshape(3, 8))
    data = clean + torch.where(clean == 0, -0.3, 0.05)
    cut = (data.clamp(min=0) - data).norm(dim=1)
    for rule in (None, ni.Fixed(0.1)):
        result = ni.invert(model, data, input_shape=(8,), noise_level=0.2, rule=rule, tolerance=1e-3)
        assert (cut > 0.3).all() and result.status == (ni.Status.DATA_OUTSIDE_RANGE,) * 3 and not result.converged
        assert "The noise level does not allow that in samples 0, 1, 2, moved by" in result.message
        torch.testing.assert_close(result.noise_level, cut)
    exact = ni.invert(model, data, input_shape=(8,), noise_level=0.0, tolerance=1e-3)
    assert exact.status == (ni.Status.DATA_OUTSIDE_RANGE,) * 3
    # All of the noise cut off, and no more: what is left are exact data.
    below = torch.where(clean == 0, -0.3, clean)
    removed = ni.invert(model, below, input_shape=(8,), noise_level=(below - clean).norm(dim=1), tolerance=1e-3)
    assert removed.converged and torch.equal(removed.noise_level, torch.zeros(3, dtype=F64))


def test_rounding_is_no_noise() -> None:
    """Soft-max of float32 does not sum to one exactly: neither outside the range, nor contradicting exact data."""
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.Softmax(-1)), torch.float32)
    with torch.no_grad():
        data = model(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    result = ni.invert(model, data, input_shape=6, noise_level=0.0, tolerance=1e-3)
    assert "outside" not in result.message and ni.Status.DATA_OUTSIDE_RANGE not in result.status
    assert torch.equal(result.noise_level, torch.zeros(4, dtype=F64))


def test_data_outside_the_range_are_projected_and_the_message_says_so() -> None:
    model, data, level = vectors()
    data = data.clone()
    data[1, 3] = -0.02
    data[[0, 2]] = data[[0, 2]].clamp(min=0)
    data[1] = torch.where(torch.arange(12) == 3, data[1], data[1].clamp(min=0))
    result = ni.invert(model, data, input_shape=(8,), noise_level=level, tolerance=1e-3)
    assert "outside the range of the last activation in sample 1: projected onto it, by at most 0.02" in result.message
    assert torch.equal(result.data, data.clamp(min=0))
    # ||P y^d - y||^2 <= delta^2 - ||y^d - P y^d||^2
    assert result.noise_level[1].item() == pytest.approx((level[1].item() ** 2 - 0.02**2) ** 0.5)
    assert torch.equal(result.noise_level[[0, 2]], level[[0, 2]]) and torch.equal(result.given_noise_level, level)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_an_empty_batch_gives_an_empty_result(dtype: torch.dtype, tmp_path: Path) -> None:
    result = ni.invert(convolutional(dtype), torch.zeros(0, 60, dtype=dtype), input_shape=SHAPE, noise_level=0.1)
    assert result.x.shape == (0, *SHAPE) and result.x.dtype == dtype and result.status == () and result.converged
    assert all(v.shape == (0,) for v in (result.alpha, result.residual, result.steps, result.certificate.value))
    assert len(result.tried) == len(result.history) == 0 and "0 reconstruction" in result.summary()
    result.save(tmp_path / "empty.npz")
    assert ni.Reconstruction.load(tmp_path / "empty.npz").x.shape == (0, *SHAPE)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_nothing_of_the_callers_changes_and_the_dtype_is_that_of_the_data(dtype: torch.dtype) -> None:
    model, data, level = vectors()
    model, data, start = model.to(dtype), data.to(dtype).requires_grad_(True), torch.full((3, 8), 0.25, dtype=dtype)
    model[0].bias.requires_grad_(False)
    before = copy.deepcopy(model.state_dict()), data.detach().clone(), start.clone(), level.clone()
    random = torch.get_rng_state()
    result = ni.invert(model, data, start=start, noise_level=level, tolerance=1e-3)
    assert all(torch.equal(v, before[0][k]) for k, v in model.state_dict().items())
    assert torch.equal(data, before[1]) and torch.equal(start, before[2]) and torch.equal(level, before[3])
    assert [p.requires_grad for p in model.parameters()] == [True, False] and data.requires_grad and data.grad is None
    assert all(p.grad is None for p in model.parameters()) and not model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert result.x.dtype == dtype and result.data.dtype == dtype and result.x.device == data.device
    for name, tensor in result.archive()[0].items():
        assert not tensor.requires_grad and tensor.grad_fn is None, name


def test_float32_is_computed_as_float64_is() -> None:
    """The arithmetic is float64 whatever comes in, so rounding the data and weights is all that differs."""
    data, level = noisy()
    found = ni.invert(
        convolutional(torch.float32),
        data.float(),
        input_shape=SHAPE,
        noise_level=level.float(),
        constraint=ni.Box(0, 1),
        tolerance=1e-4,
    )
    assert found.x.dtype == torch.float32 and found.converged
    assert (found.x.double() - standard().x).flatten(1).norm(dim=1).max() < 0.05 * images().flatten(1).norm(dim=1).min()


def test_the_defaults_are_named() -> None:
    model, data, level = vectors()
    assert "regulariser: total variation; fidelity: BregmanFidelity; rule: DiscrepancyPrinciple." in standard().message
    assert "regulariser: Tikhonov" in ni.invert(model, data, input_shape=(8,), noise_level=level, tolerance=1e-3).message
    affine = ni.mlp((8, 10), dtype=F64)
    message = ni.invert(affine, torch.ones(1, 10, dtype=F64), rule=ni.Fixed(0.1), tolerance=1e-3).message
    assert "fidelity: SquaredFidelity; rule: Fixed." in message


def test_the_certificate_names_its_kind() -> None:
    """Global where the problem is convex, local behind a hidden activation or where the last one is not kept convex."""
    model, data, _ = vectors()
    convex = ni.invert(model, data, input_shape=(8,), rule=ni.Fixed(0.05))
    assert convex.certificate.kind == "duality gap" and convex.certificate.is_global
    objective = convex.fidelity_value + 0.05 * 0.5 * convex.x.square().sum(1)
    assert convex.converged and (convex.certificate.value <= 1e-6 * objective).all()
    squared = ni.invert(model, data, input_shape=(8,), rule=ni.Fixed(0.05), fidelity=ni.SquaredFidelity(), tolerance=1e-3)
    assert squared.certificate.kind == "stationarity" and standard().certificate.kind == "stationarity"
    assert ni.invert(ni.mlp((8, 12), dtype=F64), data, rule=ni.Fixed(0.05)).certificate.kind == "duality gap"


def test_every_converged_residual_is_at_the_noise() -> None:
    result = standard()
    assert result.converged
    with torch.no_grad():
        residual = (convolutional()(result.x) - noisy()[0].clamp(min=0)).norm(dim=1)
    torch.testing.assert_close(result.residual, residual, rtol=1e-9, atol=0)
    ratio = residual / result.noise_level
    assert (ratio >= 0.95).all() and (ratio <= 1.15).all()
    assert (result.x >= 0).all() and (result.x <= 1).all()


@pytest.mark.parametrize("relative", [pytest.param(0.01, marks=pytest.mark.slow), 0.2])
def test_the_band_holds_at_other_noise_levels(relative: float) -> None:
    data, level = noisy(relative)
    result = ni.invert(convolutional(), data, input_shape=SHAPE, noise_level=level, constraint=ni.Box(0, 1), tolerance=1e-4)
    good = torch.tensor([s is ni.Status.CONVERGED for s in result.status])
    ratio = (result.residual / result.noise_level)[good]
    assert good.any() and (ratio >= 0.95).all() and (ratio <= 1.15).all()


def test_each_sample_alone_is_the_sample_in_the_batch() -> None:
    data, level = noisy()
    for i in range(len(data)):
        alone = ni.invert(
            convolutional(),
            data[i : i + 1],
            input_shape=SHAPE,
            noise_level=level[i : i + 1],
            constraint=ni.Box(0, 1),
            tolerance=1e-4,
        )
        assert (alone.x[0] - standard().x[i]).abs().max() <= 1e-6
        assert alone.alpha[0].item() == pytest.approx(standard().alpha[i].item(), rel=1e-6)
        assert alone.status[0] is standard().status[i]


def test_exact_data() -> None:
    """noise_level=0: the residual falls below the floor of the rule and the input comes back."""
    x = torch.rand(3, 8, generator=torch.Generator().manual_seed(2), dtype=F64) + 0.5
    affine = ni.mlp((8, 12), dtype=F64)
    with torch.no_grad():
        clean = affine(x)
    result = ni.invert(affine, clean, noise_level=0.0, tolerance=1e-4)
    assert result.converged and torch.equal(result.noise_level, torch.zeros(3, dtype=F64))
    assert (result.residual <= ni.DiscrepancyPrinciple().floor * clean.norm(dim=1)).all()
    assert ((result.x - x).norm(dim=1) <= 0.02 * x.norm(dim=1)).all()


def test_noise_larger_than_the_data_is_said() -> None:
    model, data, _ = vectors()
    level = torch.tensor([0.05, 1.0, 2.0], dtype=F64) * data.norm(dim=1)
    result = ni.invert(model, data, input_shape=(8,), noise_level=level, tolerance=1e-3)
    large = ni.Status.NOISE_EXCEEDS_DATA
    assert result.status[1:] == (large, large) and result.status[0] is not large and torch.isfinite(result.x).all()
    assert "NOISE_EXCEEDS_DATA (2), samples 1, 2" in result.summary()


def test_data_that_no_input_gives_are_said_to_be_unreachable() -> None:
    """Eight inputs, twelve outputs: the part of the data outside the range is the least residual."""
    affine = ni.mlp((8, 12), dtype=F64)
    data = torch.randn(2, 12, generator=torch.Generator().manual_seed(4), dtype=F64)
    weight = affine.nodes[0].map_from(affine.input_name)(torch.eye(8, dtype=F64)).T
    with torch.no_grad():
        offset = affine(torch.zeros(1, 8, dtype=F64))[0]
    least = torch.stack([(y - offset - weight @ torch.linalg.lstsq(weight, y - offset).solution).norm() for y in data])
    result = ni.invert(affine, data, noise_level=0.3 * least)
    assert result.status == (ni.Status.UNREACHABLE,) * 2
    assert (result.residual >= least * (1 - 1e-9)).all() and (result.residual <= 1.05 * least).all()
    assert "within tau * noise level" in result.summary()


def test_noise_above_the_residual_that_any_weight_leaves_is_said() -> None:
    """With a large bias the data are far longer than what the input changes in them; the norm of the data tells nothing."""
    layer = seeded(lambda: nn.Linear(6, 10))
    with torch.no_grad():
        layer.bias.fill_(3.0)
        data = layer(0.3 * torch.randn(1, 6, generator=torch.Generator().manual_seed(0), dtype=F64))
    result = ni.invert(layer, data, input_shape=(6,), noise_level=2.0)
    assert (data - 3).norm() < 2 < data.norm() and result.status == (ni.Status.NOISE_EXCEEDS_RESIDUAL,)
    tried = result.tried
    assert len(tried) <= 12 and result.alpha.item() == tried["alpha"].iloc[-1] and result.alpha.item() < 1e4


def test_an_input_shape_may_be_one_number() -> None:
    model, data, level = vectors()
    one = ni.invert(model, data, input_shape=8, noise_level=level, tolerance=1e-3)
    assert torch.equal(one.x, ni.invert(model, data, input_shape=(8,), noise_level=level, tolerance=1e-3).x)


def test_every_form_of_the_network_gives_the_same(tmp_path: Path) -> None:
    model, data, level = vectors()
    example = torch.zeros(2, 8, dtype=F64)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, tmp_path / "model.pt2")
    expected = ni.invert(model, data, input_shape=(8,), noise_level=level, tolerance=1e-4)
    forms = (program, tmp_path / "model.pt2", str(tmp_path / "model.pt2"), ni.lift(model, example))
    for network in forms:
        found = ni.invert(network, data, noise_level=level, tolerance=1e-4)
        assert torch.equal(found.x, expected.x) and torch.equal(found.alpha, expected.alpha)
    again = ni.invert(model, data, start=torch.zeros(3, 8, dtype=F64), noise_level=level, tolerance=1e-4)
    assert torch.equal(again.x, expected.x)


def test_a_saved_result_comes_back(tmp_path: Path) -> None:
    result = standard()
    result.save(tmp_path / "result.npz")
    loaded = ni.Reconstruction.load(tmp_path / "result.npz")
    for name, tensor in result.archive()[0].items():
        assert torch.equal(loaded.archive()[0][name], tensor), name
    assert loaded.status == result.status and loaded.message == result.message and loaded.summary() == result.summary()
    assert loaded.tried.equals(result.tried) and loaded.history.equals(result.history)
    assert loaded.certificate.kind == result.certificate.kind


def test_the_tables_tell_the_way() -> None:
    result = standard()
    assert list(result.tried.columns) == ["sample", "alpha", "residual", "objective"]
    assert list(result.history.columns) == ["sample", "alpha", "step", "objective", "residual", "optimality", "seconds"]
    assert set(result.tried["sample"]) == set(range(3)) and (result.tried["alpha"] > 0).all()
    for i in range(3):
        last = result.tried[result.tried["sample"] == i].iloc[-1]
        assert last["alpha"] == result.alpha[i].item()
        assert last["residual"] == pytest.approx(result.residual[i].item(), rel=1e-9)
    assert result.history["seconds"].is_monotonic_increasing and (result.history["step"] >= 1).all()
    assert result.history.notna().all().all() and result.tried.notna().all().all()
    for (sample, alpha), steps in result.history.groupby(["sample", "alpha"]):
        numbers, values = steps["step"].to_numpy(), steps["objective"].to_numpy()
        ends = np.append(numbers[1:] <= numbers[:-1], True)  # a weight may be solved at again
        tried = result.tried[(result.tried["sample"] == sample) & (result.tried["alpha"] == alpha)]
        np.testing.assert_array_equal(values[ends], tried["objective"])


@pytest.mark.parametrize("factor, holds", [(1.0, True), (1.1, False), (0.9, False), (-1.0, False)])
def test_the_subgradient_is_one(factor: float, holds: bool) -> None:
    """p in dR(x): R(v) >= R(x) + <p, v - x> for every input v, up to the accuracy of the answer; of 1.1 p that is not true."""
    result, tv = standard(), ni.TotalVariation()
    assert result.subgradient is not None
    x, p = result.x, factor * result.subgradient
    generator = torch.Generator().manual_seed(0)
    others = [torch.zeros_like(x), 2 * x, x + p, x - p]
    others += [x + scale * torch.randn(x.shape, generator=generator, dtype=F64) for scale in (0.01, 0.3, 3.0)]
    slack = torch.stack([tv(v) - tv(x) - (p * (v - x)).flatten(1).sum(1) for v in others])
    assert bool((slack >= -0.02 * tv(x)).all()) is holds


def test_a_layer_with_log_sigmoid_is_solved_to_a_duality_gap() -> None:
    """The gradient of what is minimised vanishes, by torch's own activation."""
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.LogSigmoid()))
    data = torch.tensor([[-0.5, -1.0, -2.0, -0.1, -0.7]], dtype=F64)
    result = ni.invert(
        model, data, input_shape=(4,), regulariser=ni.Tikhonov(), rule=ni.Fixed(0.1), tolerance=1e-12
    ).require_converged()
    assert result.certificate.kind == "duality gap"
    with torch.no_grad():
        gradient = (model(result.x) - data) @ model[0].weight + 0.1 * result.x
    assert gradient.abs().max() <= 1e-6


# Every activation that a torch module can end with: what is proximal, and what is smooth and takes the squared fidelity.
LAST: dict[str, nn.Module] = {
    type(layer).__name__: layer
    for layer in (
        *(nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.1), nn.PReLU(), nn.RReLU(), nn.Hardtanh(), nn.Hardsigmoid(), nn.Softshrink()),
        *(nn.Tanh(), nn.Sigmoid(), nn.LogSigmoid(), nn.Softplus(), nn.Softsign(), nn.ELU(), nn.CELU(), nn.SELU()),
        *(nn.Softmax(-1), nn.Softmin(-1), nn.Threshold(0.0, 0.0), nn.Identity(), nn.GELU(), nn.SiLU(), Arctan()),
    )
}


@pytest.mark.parametrize("name", LAST)
def test_what_is_said_to_have_converged_is_finite(name: str) -> None:
    """Data inside the range, on its ends and beyond them: an infinite objective has no certificate."""
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 5), LAST[name]))
    with torch.no_grad():
        inside = model(torch.tensor([[0.5, -1.0, 2.0, 0.1]], dtype=F64))
    ends = torch.tensor([[0.0] * 5, [1.0] * 5, [-1.0] * 5, [1.0, -1.0, 0.0, 0.3, 0.2], [9.0, -9.0, 0.0, 6.0, -0.3]], dtype=F64)
    result = ni.invert(model, torch.cat([inside, ends]), input_shape=(4,), rule=ni.Fixed(0.1), tolerance=1e-3)
    good = torch.tensor([s is ni.Status.CONVERGED for s in result.status])
    assert good[0] and good.sum() >= 4
    assert all(torch.isfinite(v[good]).all() for v in (result.fidelity_value, result.certificate.value, result.residual))
    objective = result.fidelity_value + 0.05 * result.x.square().sum(1)
    assert torch.isfinite(result.x).all() and (result.certificate.value <= 1e-3 * objective)[good].all()


def test_max_steps_is_kept_and_said() -> None:
    data, _ = noisy()
    result = ni.invert(convolutional(), data, input_shape=SHAPE, rule=ni.Fixed(1e-3), tolerance=1e-12, max_steps=1)
    assert ni.Status.STEP_LIMIT in result.status and not result.converged
    assert torch.isfinite(result.certificate.value).all()
    with pytest.raises(RuntimeError, match=r"STEP_LIMIT.*Raise max_steps or the tolerance"):
        result.require_converged()


@pytest.mark.parametrize("factor", [1e200, 1e308])
@pytest.mark.parametrize("rule", [None, ni.Fixed(0.1)], ids=["search", "fixed"])
def test_weights_too_large_for_any_norm_end_in_a_status(factor: float, rule: ni.Fixed | None) -> None:
    model = single()
    data = model(torch.ones(2, 8, dtype=F64)).detach()
    with torch.no_grad():
        model[0].weight.mul_(factor)
    result = ni.invert(model, data, input_shape=(8,), noise_level=None if rule else 0.1, rule=rule)
    assert result.status == (ni.Status.OVERFLOW,) * 2 and torch.isfinite(result.x).all()


def test_data_too_large_for_their_square_cost_their_own_sample_alone() -> None:
    model = single()
    data = model(torch.ones(2, 8, dtype=F64)).detach() + 0.01
    alone = ni.invert(model, data[:1], input_shape=(8,), noise_level=0.1)
    data[1] *= 1e300
    result = ni.invert(model, data, input_shape=(8,), noise_level=0.1)
    assert result.status == (alone.status[0], ni.Status.INFINITE_START) and torch.equal(result.x[:1], alone.x)


class RootOfNegative(nn.Module):
    """NaN wherever the activation is below 0.1, the start included."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = single()

    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(self.layer(x) - 0.1)


def test_a_network_that_is_nan_at_the_start_is_said_to_be_so() -> None:
    result = ni.invert(RootOfNegative().eval(), torch.ones(2, 12, dtype=F64), input_shape=(8,), noise_level=0.1)
    assert result.status == (ni.Status.INFINITE_START,) * 2 and len(result.tried) == 2
    assert torch.isfinite(result.x).all()
