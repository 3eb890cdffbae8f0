"""A search in float32: its answer is that of float64, and its certificate is one of float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse import checkpoints
from netinverse.fingerprint import fingerprint

F64 = torch.float64
NARROW = ni.Variational(precision=torch.float32)


def layer(out: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, out), nn.ReLU()).double().eval().requires_grad_(False)


def data(model: nn.Module, batch: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    y: Tensor = model(torch.rand(batch, 6, generator=generator, dtype=F64))
    return y


def optimum(model: nn.Sequential, y: Tensor, alpha: float) -> float:
    """min B(y, W x + b) + alpha ||x||_1 for one sample, by an interior-point method; B = sum 1/2 max(z, 0)^2 - y z + 1/2 y^2."""
    linear = model[0]
    assert isinstance(linear, nn.Linear)
    x = cp.Variable(6)
    z = linear.weight.numpy() @ x + linear.bias.numpy()
    value = cp.sum_squares(cp.pos(z)) / 2 - y.numpy() @ z + float(y.square().sum()) / 2 + alpha * cp.norm1(x)
    found = cp.Problem(cp.Minimize(value)).solve(solver=cp.CLARABEL)
    return float(found)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8])
def test_the_gap_of_float64_holds_what_it_says(tolerance: float) -> None:
    """Also where the search is too coarse by far: the objective is above its minimum, and by no more than the certificate."""
    model, alpha = layer(9), 0.05
    y = data(model)
    wide, narrow = (
        ni.invert(model, y, input_shape=6, rule=ni.Fixed(alpha), regulariser=ni.Sparsity(), method=m, tolerance=tolerance)
        for m in (ni.Variational(), NARROW)
    )
    assert narrow.certificate.kind == "duality gap" and narrow.certificate.value.dtype is F64 and narrow.converged
    objective = narrow.fidelity_value + alpha * narrow.x.abs().sum(1)
    best = torch.tensor([optimum(model, row, alpha) for row in y], dtype=F64)
    assert (objective - best >= -1e-7).all() and (objective - best <= narrow.certificate.value + 1e-7).all()
    assert (narrow.certificate.value <= tolerance * objective * (1 + 1e-9)).all()
    assert narrow.alpha.tolist() == [alpha] * 3 and wide.converged


def test_a_sample_alone_and_in_a_batch() -> None:
    model, alpha = layer(9), 0.05
    y = data(model, 5)
    arguments: dict[str, Any] = {"input_shape": 6, "rule": ni.Fixed(alpha), "regulariser": ni.ElasticNet(), "method": NARROW}
    together = ni.invert(model, y, tolerance=1e-13, **arguments)
    for i in range(5):
        alone = ni.invert(model, y[i : i + 1], tolerance=1e-13, **arguments)
        torch.testing.assert_close(alone.x[0], together.x[i], rtol=0, atol=1e-6)


def deep() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU()]
        return nn.Sequential(*layers).eval().requires_grad_(False)


def picture(formulation: str, **arguments: Any) -> ni.Reconstruction:
    model, truth = deep(), torch.zeros(2, 1, 8, 8)
    truth[0, :, 2:6, 3:7], truth[1, :, 1:5, 2:8] = 0.8, 0.5
    y, level = ni.add_noise(model(truth), relative=0.05, seed=0)
    method = ni.Variational(formulation, precision=torch.float32)
    given = {"noise_level": level, "tolerance": 1e-3, "constraint": ni.Box(0.0, 1.0), "method": method, **arguments}
    return ni.invert(model, y, input_shape=(1, 8, 8), **given)


@pytest.mark.parametrize("formulation", ["reduced", "lifted"])
def test_deep_networks_converge_in_float64_from_where_float32_leads(formulation: str) -> None:
    found = picture(formulation, rule=ni.Fixed(0.02))
    assert found.converged and found.x.dtype is torch.float32
    for value in (found.alpha, found.residual, found.fidelity_value, found.certificate.value):
        assert value.dtype is F64
    # The last rows of each sample are those of float64, which agree with the certificate to all digits.
    last = found.history.groupby("sample").last()
    np.testing.assert_array_equal(last["optimality"].to_numpy(), found.certificate.value.numpy())


def test_the_rule_meets_its_noise_level() -> None:
    found = picture("reduced", rule=ni.DiscrepancyPrinciple(max_tries=12))
    assert found.noise_level is not None
    met = torch.tensor([status is ni.Status.CONVERGED for status in found.status])
    assert met.any() and (found.residual <= 1.02 * found.noise_level)[met].all()


def test_interrupted_in_either_precision_it_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Exception):
        pass

    whole = picture("reduced", rule=ni.Fixed(0.02))
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    save, saves = checkpoints.Checkpoint.save, 0
    kinds: list[torch.dtype] = []

    def stopping(self: checkpoints.Checkpoint, tensors: Any) -> None:
        nonlocal saves
        save(self, tensors)
        kinds.append(tensors["state/000"].dtype)
        saves, self._next = saves + 1, 0.0
        raise Interrupted

    monkeypatch.setattr(checkpoints.Checkpoint, "save", stopping)
    resumed = None
    for _ in range(60):
        try:
            resumed = picture("reduced", rule=ni.Fixed(0.02), checkpoint=tmp_path / "work.npz")
            break
        except Interrupted:
            continue
    assert resumed is not None and torch.equal(resumed.x, whole.x) and torch.equal(resumed.steps, whole.steps)
    assert set(kinds) == {torch.float32, F64}


def test_only_two_precisions_are_known() -> None:
    with pytest.raises(ValueError, match=r"precision is torch.float16, but must be torch.float32 or torch.float64"):
        ni.Variational(precision=torch.float16)
    assert fingerprint(ni.Variational()) != fingerprint(NARROW)
