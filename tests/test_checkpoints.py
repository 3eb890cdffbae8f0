"""An interrupted ``invert`` goes on from its checkpoint to the same answer, and no checkpoint can do harm."""

from __future__ import annotations

import functools
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse import checkpoints
from netinverse.checkpoints import Checkpoint, CheckpointWarning
from netinverse.fingerprint import fingerprint
from netinverse.parameter_choice.walk import Walk

F64 = torch.float64


class Interrupted(Exception):
    """What stands for a lost process inside one."""


def network(deep: bool) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), *([nn.Linear(40, 40), nn.ReLU()] if deep else [])]
        return nn.Sequential(*layers).double().eval().requires_grad_(False)


def data(model: nn.Module) -> tuple[Tensor, Tensor]:
    truth = torch.zeros(3, 1, 8, 8, dtype=F64)
    truth[0, :, 2:6, 3:7], truth[1, :, 1:5, 2:8], truth[2, :, 0:3, :] = 0.8, 0.5, 0.3
    noisy: tuple[Tensor, Tensor] = ni.add_noise(model(truth), relative=0.02, seed=0)
    return noisy


CASES: dict[str, tuple[bool, dict[str, Any]]] = {
    "interior point": (False, {"tolerance": 1e-8}),
    "primal-dual": (False, {"regulariser": ni.Sparsity(), "rule": ni.Fixed(0.05), "tolerance": 1e-6}),
    "Gauss-Newton": (True, {"constraint": ni.Box(0.0, 1.0), "rule": ni.DiscrepancyPrinciple(max_tries=6)}),
    "lifted": (True, {"method": ni.Variational("lifted"), "rule": ni.Fixed(0.003), "tolerance": 1e-6}),
    "walk": (False, {"rule": ni.QuasiOptimality(walk=Walk(max_tries=8)) | ni.DiscrepancyPrinciple()}),
    "Bregman iteration": (True, {"method": ni.BregmanIteration(max_iterations=6)}),
    "Landweber": (True, {"method": ni.Landweber(100)}),
    "Levenberg-Marquardt": (True, {"method": ni.LevenbergMarquardt()}),
}


SLOW = ("Gauss-Newton", "lifted", "walk")


@pytest.mark.filterwarnings("ignore::netinverse.RuleWarning")
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CASES])
def test_interrupted_anywhere_it_ends_with_the_same_bits(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    deep, arguments = CASES[name]
    model = network(deep)
    y, level = data(model)
    arguments = {"input_shape": (1, 8, 8), "noise_level": level, "tolerance": 1e-2, **arguments}
    whole = ni.invert(model, y, **arguments)

    saves = 0
    save = Checkpoint.save

    def counting(self: Checkpoint, tensors: Any) -> None:
        nonlocal saves
        save(self, tensors)
        saves += 1
        self._next = 0.0
        if saves in stops:
            raise Interrupted

    monkeypatch.setattr(Checkpoint, "save", counting)
    stops: set[int] = set()
    ni.invert(model, y, checkpoint=tmp_path / "counted.npz", **arguments)
    total, saves = saves, 0
    assert total >= 5
    path = tmp_path / "work.npz"
    stops = {1, total // 2, total}
    for _ in range(len(stops)):
        with pytest.raises(Interrupted):
            ni.invert(model, y, checkpoint=path, **arguments)
    stops = set()
    resumed = ni.invert(model, y, checkpoint=path, **arguments)
    assert torch.equal(resumed.x, whole.x) and torch.equal(resumed.alpha, whole.alpha) and resumed.status == whole.status
    assert torch.equal(resumed.steps, whole.steps)
    np.testing.assert_array_equal(resumed.certificate.value.numpy(), whole.certificate.value.numpy())
    for table in ("tried", "history"):
        a, b = (getattr(result, table).drop(columns="seconds", errors="ignore") for result in (resumed, whole))
        np.testing.assert_array_equal(a.to_numpy(), b.to_numpy())
    again = ni.invert(model, y, checkpoint=path, **arguments)  # what is finished is found again
    assert torch.equal(again.x, whole.x)


def solve(path: Path, y: Tensor | None = None, **arguments: Any) -> ni.Reconstruction:
    model = network(False)
    found, level = data(model)
    settings = {"input_shape": (1, 8, 8), "noise_level": level, "tolerance": 1e-3, **arguments}
    return ni.invert(model, found if y is None else y, checkpoint=path, **settings)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    path = tmp_path / "work.npz"
    solve(path)
    assert path.exists() and [file.name for file in tmp_path.iterdir()] == ["work.npz"]
    return path


def test_a_checkpoint_of_another_solve_is_refused(written: Path) -> None:
    before = written.read_bytes()
    y, _ = data(network(False))
    with pytest.raises(ValueError, match=r"belongs to another solve: its data differ.*another path"):
        solve(written, y + 0.1)
    with pytest.raises(ValueError, match="its settings differ"):
        solve(written, regulariser=ni.Tikhonov())
    with pytest.raises(ValueError, match="its network and its data differ"):
        model = network(True)
        found, level = data(model)
        ni.invert(model, found, input_shape=(1, 8, 8), noise_level=level, tolerance=1e-3, checkpoint=written)
    assert written.read_bytes() == before


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other archive", "result"])
def test_a_damaged_or_foreign_file_is_one_clear_error(damage: str, written: Path) -> None:
    whole = written.read_bytes()
    if damage == "cut":
        written.write_bytes(whole[: len(whole) // 2])
    elif damage == "other archive":
        np.savez(written, x=np.zeros(3))
    elif damage == "result":
        solve(written.with_name("b.npz")).save(written)
    else:
        written.write_bytes(b"" if damage == "empty" else b"no archive")
    with pytest.raises(ValueError, match=r"no checkpoint that can be resumed \(.*Delete the file"):
        solve(written)


def test_a_folder_that_does_not_exist_is_said_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="folder of the checkpoint"):
        solve(tmp_path / "nowhere" / "work.npz")


def test_a_full_disk_costs_the_checkpoint_and_not_the_solve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    monkeypatch.setattr("netinverse.archives.np.savez", full)
    with pytest.warns(CheckpointWarning, match="could not be written.*No space left") as caught:
        result = solve(tmp_path / "work.npz")
    assert result.converged and len(caught) == 1 and list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_while_writing_leaves_the_checkpoint_before(written: Path) -> None:
    """The limit is the system's own: the write fails in the middle of the file, with some of it on the disk."""
    resource = pytest.importorskip("resource")
    before = written.read_bytes()
    kept = Checkpoint(written, problem={"name": "value"})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        with pytest.warns(CheckpointWarning, match=r"could not be written.*an earlier checkpoint is still there"):
            kept.save({"x": torch.zeros(10_000, dtype=F64)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert written.read_bytes() == before and list(written.parent.iterdir()) == [written]


def test_what_a_killed_writer_left_is_cleared_away(written: Path) -> None:
    left = written.with_name(f".{written.name}.abc123.part")
    other = written.with_name(".other.npz.abc123.part")
    for path in (left, other):
        path.write_bytes(b"half of it")
    Checkpoint(written, problem={}).save({"x": torch.zeros(3)})
    assert sorted(written.parent.iterdir()) == [other, written]


def test_a_folder_in_its_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "work.npz").mkdir()
    with pytest.raises(ValueError, match=r"is a folder, so that nothing can be kept in it.*another path"):
        solve(tmp_path / "work.npz")


def test_fingerprints_tell_values_apart_and_nothing_else() -> None:
    assert fingerprint(ni.Fixed(torch.tensor([1.0]))) == fingerprint(ni.Fixed(torch.tensor([1.0])))
    kinds = [
        ni.Fixed(torch.tensor([1.0])),
        ni.Fixed(torch.tensor([1.0 + 1e-7])),
        ni.Fixed(torch.tensor([1.0], dtype=F64)),
        ni.Fixed(1.0),
        ni.TotalVariation(),
        ni.TotalVariation(isotropic=False),
        ni.Box(0.0, 1.0),
        ni.Box(0.0, 2.0),
        network(True),
        network(False),
        None,
        (1, 2),
        (12,),
        {"a": 1},
    ]
    assert len({fingerprint(kind) for kind in kinds}) == len(kinds)


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale


def test_fingerprints_tell_functions_apart() -> None:
    def closed(factor: float):
        return lambda v: factor * v

    def recursive(n: int) -> int:
        return n and recursive(n - 1)

    one = [lambda v: 0.9 * v, closed(0.9), functools.partial(torch.mul, other=0.9), Scaled(0.9).forward, Scaled(0.9), recursive]
    same = [lambda v: 0.9 * v, closed(0.9), functools.partial(torch.mul, other=0.9), Scaled(0.9).forward, Scaled(0.9), recursive]
    others = [lambda v: 0.1 * v, closed(0.1), functools.partial(torch.mul, other=0.1), Scaled(0.1).forward, Scaled(0.1)]
    assert [fingerprint(each) for each in one] == [fingerprint(each) for each in same]
    assert len({fingerprint(each) for each in [*one, *others, torch.sin, torch.cos]}) == len(one) + len(others) + 2


def test_a_file_of_a_solve_with_another_denoiser_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    network, data = nn.Linear(4, 3).double(), torch.ones(2, 3, dtype=torch.float64)

    def solve(factor: float) -> None:
        prior = ni.DenoiserPrior(lambda v: factor * v)
        ni.invert(network, data, input_shape=4, rule=ni.Fixed(0.1), regulariser=prior, checkpoint=tmp_path / "solve.npz")

    solve(0.9)
    with pytest.raises(ValueError, match="settings"):
        solve(0.1)
