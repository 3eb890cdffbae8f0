"""A batch in chunks: the answers of the whole batch, in the memory that was asked for."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse import checkpoints, chunks, solving
from netinverse.checkpoints import Checkpoint, CheckpointWarning
from netinverse.chunks import joined
from netinverse.footprint import peak_bytes

F64 = torch.float64
BATCH = 12


class Interrupted(Exception):
    """What stands for a lost process inside one."""


@functools.cache
def network(deep: bool = True) -> ni.LiftedNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU()]
        model = nn.Sequential(*layers[: 4 if deep else 2]).double().eval().requires_grad_(False)
    return ni.lift(model, torch.zeros(2, 1, 8, 8, dtype=F64))


def data(model: nn.Module) -> tuple[Tensor, Tensor]:
    truth = torch.zeros(BATCH, 1, 8, 8, dtype=F64)
    for i in range(BATCH):
        truth[i, :, i % 3 : 5, 2 : 4 + i % 4] = 0.3 + 0.05 * i
    noisy: tuple[Tensor, Tensor] = ni.add_noise(model(truth), relative=0.02, seed=0)
    return noisy


def solve(deep: bool = True, **arguments: Any) -> ni.Reconstruction:
    y, level = data(network(deep))
    given = {"noise_level": level, "tolerance": 1e-2, "constraint": ni.Box(0.0, 1.0), "max_steps": 2, **arguments}
    return ni.invert(network(deep), y, **given)


WEIGHTS = torch.linspace(0.01, 0.05, BATCH, dtype=F64)
CASES: dict[str, dict[str, Any]] = {
    "convex": {"deep": False, "regulariser": ni.Sparsity(), "rule": ni.Fixed(WEIGHTS), "max_steps": 8},
    "Gauss-Newton": {"rule": ni.DiscrepancyPrinciple(max_tries=2)},
    "lifted": {"method": ni.Variational("lifted"), "rule": ni.Fixed(WEIGHTS) | ni.DiscrepancyPrinciple()},
    "Landweber": {"method": ni.Landweber(20), "max_steps": None},
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ("Gauss-Newton", "lifted") else name for name in CASES]
)
def test_chunks_give_the_answers_of_the_batch_in_less_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    found: list[ni.Reconstruction] = []
    run = solving.Inversion.run
    network(CASES[name].get("deep", True))  # lifted before anything is counted
    whole_peak = peak_bytes(lambda: found.append(solve(**CASES[name])))
    budget = 0.6 * whole_peak
    monkeypatch.setattr(chunks, "_step_bytes", counted := _Remembering(chunks._step_bytes))
    parted = solve(memory_budget=budget, **CASES[name])  # the sizes are found here; what finding them takes is not the work's

    def noting(self: solving.Inversion, *args: Any) -> ni.Reconstruction:
        sizes.append(len(self))
        return run(self, *args)

    monkeypatch.setattr(solving.Inversion, "run", noting)
    peak = peak_bytes(lambda: found.append(solve(memory_budget=budget, **CASES[name])))
    whole, again = found
    assert sum(sizes) == BATCH and len(sizes) > 1 and counted.asked
    held = sum(t.numel() * t.element_size() for t in whole.archive()[0].values())
    assert peak <= budget + 3 * held
    for each in (parted, again):
        torch.testing.assert_close(each.x, whole.x, rtol=0, atol=1e-12)
        torch.testing.assert_close(each.alpha, whole.alpha, rtol=1e-12, atol=0)
        torch.testing.assert_close(each.certificate.value, whole.certificate.value, rtol=1e-6, atol=1e-12, equal_nan=True)
        assert each.status == whole.status and torch.equal(each.steps, whole.steps)
        assert each.message == whole.message and each.certificate.kind == whole.certificate.kind
        assert each.certificate.made_feasible == whole.certificate.made_feasible
        assert set(each.continuation) == set(whole.continuation)
    for table in ("tried", "history"):
        a, b = (
            getattr(result, table).drop(columns="seconds", errors="ignore").sort_values("sample", kind="stable").to_numpy()
            for result in (parted, whole)
        )
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-12)
    assert parted.history["seconds"].is_monotonic_increasing


class _Remembering:
    """The bytes of a step, measured once."""

    def __init__(self, measure: Any) -> None:
        self._measure, self._known, self.asked = measure, dict[int, int](), 0

    def __call__(self, inversion: Any, index: Tensor) -> int:
        self.asked += 1
        if len(index) not in self._known:
            self._known[len(index)] = self._measure(inversion, index)
        return self._known[len(index)]


def test_what_fits_is_not_cut() -> None:
    arguments: dict[str, Any] = {"deep": False, "regulariser": ni.Sparsity(), "rule": ni.Fixed(0.05)}
    assert torch.equal(solve(**arguments).x, solve(memory_budget=1e9, **arguments).x)
    empty = ni.invert(network(), data(network())[0][:0], rule=ni.Fixed(0.1), memory_budget=1.0)
    assert empty.x.shape == (0, 1, 8, 8)


def test_a_budget_for_no_sample_at_all_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match=r"memory_budget is 1e\+03 bytes, but one sample alone takes about .*Give at least"):
        solve(deep=False, regulariser=ni.Sparsity(), memory_budget=1e3, rule=ni.Fixed(0.05))
    for wrong in (0, -1.0, float("inf")):
        with pytest.raises(ValueError, match=r"memory_budget is .*It is in bytes"):
            solve(memory_budget=wrong)


def three_chunks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    everyone = torch.arange(BATCH)
    monkeypatch.setattr("netinverse.inversion.chunks_of", lambda *_: everyone.tensor_split(3))
    return {"deep": False, "regulariser": ni.Sparsity(), "rule": ni.Fixed(0.05), "memory_budget": 1e9}


def test_interrupted_in_any_chunk_it_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = three_chunks(monkeypatch)
    whole = solve(**arguments)
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    save, saves = Checkpoint.save, 0

    def counting(self: Checkpoint, tensors: Any) -> None:
        nonlocal saves
        save(self, tensors)
        saves += 1
        self._next = 0.0
        if saves in stops:
            raise Interrupted

    monkeypatch.setattr(Checkpoint, "save", counting)
    stops: set[int] = set()
    solve(checkpoint=tmp_path / "counted.npz", **arguments)
    total, saves = saves, 0
    assert total >= 6  # at least one step of each chunk, and its end
    stops = set(range(1, total + 1))
    path = tmp_path / "work.npz"
    for _ in range(total):
        with pytest.raises(Interrupted):
            solve(checkpoint=path, **arguments)
    resumed = solve(checkpoint=path, **arguments)
    assert torch.equal(resumed.x, whole.x) and torch.equal(resumed.steps, whole.steps) and resumed.status == whole.status
    assert torch.equal(resumed.certificate.value, whole.certificate.value)
    a, b = (result.history.drop(columns="seconds").to_numpy() for result in (resumed, whole))
    np.testing.assert_array_equal(a, b)
    monkeypatch.setattr(solving.Inversion, "run", lambda *_: pytest.fail("solved although all chunks are kept"))
    assert torch.equal(solve(checkpoint=path, **arguments).x, whole.x)
    with pytest.raises(ValueError, match="its settings differ"):
        solve(checkpoint=path, **{**arguments, "memory_budget": 2e9})
    monkeypatch.setattr("netinverse.inversion.chunks_of", lambda *_: torch.arange(BATCH).tensor_split(2))
    with pytest.raises(ValueError, match=r"chunks of 4, 4, 4 samples, but the budget now makes chunks of 6.*Delete the file"):
        solve(checkpoint=path, **arguments)


def test_a_disk_that_fills_at_the_end_of_a_chunk_costs_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file then still holds the chunk before, which the next one must not take for its own."""
    arguments = three_chunks(monkeypatch)
    whole = solve(**arguments)
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    finish, write = Checkpoint.finish, checkpoints.write_archive

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    def finishing(self: Checkpoint, *args: Any) -> None:
        monkeypatch.setattr(checkpoints, "write_archive", full)
        finish(self, *args)
        self._next = 0.0
        monkeypatch.setattr(checkpoints, "write_archive", write)

    monkeypatch.setattr(Checkpoint, "finish", finishing)
    with pytest.warns(CheckpointWarning, match="No space left"):
        assert torch.equal(solve(checkpoint=tmp_path / "work.npz", **arguments).x, whole.x)


def test_parts_are_numbered_through() -> None:
    part = solve(deep=False, regulariser=ni.Sparsity(), rule=ni.Fixed(0.05))
    both = joined([part, part])
    assert torch.equal(both.x, torch.cat([part.x, part.x])) and len(both.status) == 2 * BATCH
    assert both.history["sample"].max() == 2 * BATCH - 1 and both.seconds == 2 * part.seconds
    assert both.certificate.value.shape == (2 * BATCH,) and both.noise_level is not None
