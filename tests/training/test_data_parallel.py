"""Two processes that share batches: the parameters of one, the same refusals in both, and none that waits for a dead one."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import netinverse as ni
from netinverse.archives import read_archive
from netinverse.training import DataParallel, LiftedTraining
from tests.training.data_parallel_process import CASES, SIZE, X, Y, classifier

ROOT = Path(__file__).parents[2]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the two processes left: all that is tested here comes from one start of torch."""
    place = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-m", "tests.training.data_parallel_process"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen([*command, str(k), str(place)], cwd=ROOT, env=environment) for k in range(2)]
    try:
        assert [process.wait(120) for process in processes] == [0, -signal.SIGKILL]
    finally:
        for process in processes:
            process.kill()
    return place


@pytest.fixture(scope="module")
def results(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{k}.pt") for k in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_end_where_one_does(name: str, results: list[dict[str, Any]]) -> None:
    """Although rank 1 began at other parameters."""
    first, second = (each[name] for each in results)
    expected = CASES[name].fit(0, None)
    begun = list(CASES[name].network(0).parameters())
    assert same(first["parameters"], second["parameters"])
    torch.testing.assert_close(torch.tensor(first["history"]), torch.tensor(second["history"]), rtol=0, atol=0, equal_nan=True)
    for a, b, start in zip(first["parameters"], expected["parameters"], begun, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
        assert not torch.allclose(a, start, atol=1e-3)
    torch.testing.assert_close(
        torch.tensor(first["history"]), torch.tensor(expected["history"]), atol=1e-9, rtol=0, equal_nan=True
    )


def test_all_go_on_from_the_checkpoint_that_the_first_wrote(results: list[dict[str, Any]]) -> None:
    first, second = (each["resumed"] for each in results)
    assert first["message"] == second["message"] == "KeyboardInterrupt: "
    assert first["written"][0] == 2 * 9 + 3 and first["written"][1] > first["written"][0] and second["written"] == (0, 0)
    assert same(first["parameters"], second["parameters"])
    model, case = classifier(), CASES["aggregated"]
    case.training.fit(model, case.loader(), 4)
    for a, b in zip(first["parameters"], model.parameters(), strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nan", r"RuntimeError: .*loss of sample\(s\) 8, 10 is not finite in batch 1 of epoch 0"),
        ("label", "ValueError: .*label of sample 11 of the batch is 7"),
        ("sampler", r"ValueError: DataParallel: rank\(s\) 1 came with another batch .* without a DistributedSampler"),
        ("order", r"ValueError: DataParallel: rank\(s\) 1 came with another batch"),
        ("length", r"ValueError: DataParallel: rank\(s\) 1 came with another batch"),
        ("seed", r"ValueError: DataParallel: rank\(s\) 1 came with another network, other settings, epochs or seed"),
        ("loss", r"ValueError: DataParallel: loss is CrossEntropyLoss, which gives one number .*with reduction='none'"),
        ("algorithm", "ValueError: DataParallel: the algorithm is ImplicitSGD, .* Take ProximalSGD"),
    ],
)
def test_every_process_raises_the_same(name: str, text: str, results: list[dict[str, Any]]) -> None:
    first, second = (each["messages"][name] for each in results)
    assert first == second
    assert re.match(text, first), first


def test_a_loss_that_is_not_finite_is_named_as_by_one_process(results: list[dict[str, Any]]) -> None:
    x = X.clone()
    x[[20, 22], 1] = torch.nan
    with pytest.raises(RuntimeError) as caught:
        CASES["adam"].training.fit(classifier(), [(x[k : k + SIZE], Y[k : k + SIZE]) for k in range(0, 48, SIZE)], 2)
    assert results[0]["messages"]["nan"] == f"RuntimeError: {caught.value}"


def test_a_process_that_hangs_or_dies_stops_the_others(folder: Path) -> None:
    """Within the timeout, with a checkpoint from which one process ends where an undisturbed one does."""
    left = torch.load(folder / "left.pt")
    for name in ("hung", "killed"):
        assert left["messages"][name].startswith("LostProcess: DataParallel: rank 0 of 2 lost the others"), left["messages"]
    kept, _ = read_archive(folder / "killed.npz")
    assert same(left["parameters"], [value for key, value in kept.items() if key.startswith("parameters/")])
    case = CASES["aggregated"]
    resumed, whole = ni.lift(case.network(7), X[:2]), ni.lift(case.network(0), X[:2])
    case.training.fit(resumed, case.loader(), 4, checkpoint=folder / "killed.npz")
    case.training.fit(whole, case.loader(), 4)
    for a, b in zip(resumed.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_without_a_process_group_it_says_how_to_start() -> None:
    with pytest.raises(RuntimeError, match=r"torch\.distributed is not initialised.*torchrun"):
        LiftedTraining().fit(classifier(), CASES["adam"].loader(), 1, parallel=DataParallel())
    with pytest.raises(TypeError, match="parallel is the class DataParallel"):
        LiftedTraining().fit(classifier(), CASES["adam"].loader(), 1, parallel=DataParallel)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_commands_of_the_page_train_and_go_on(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "parallel.md").read_text("utf-8")
    program, shell = (re.findall(rf"^```{kind}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) for kind in ("python", "sh"))
    assert len(program) == len(shell) == 1
    (tmp_path / "train.py").write_text(program[0], "utf-8")
    commands = shell[0].splitlines()
    assert len(commands) == 2
    for command in commands:
        variable, name, *arguments = shlex.split(command)
        assert name == "torchrun"
        environment = {**os.environ, **dict([variable.split("=")]), "PYTHONPATH": str(ROOT)}
        line = [sys.executable, "-m", "torch.distributed.run", *arguments]
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        last = done.stdout.strip().splitlines()[-1].split()
        assert last[1] == "4" and float(last[3]) > 0.9, done.stdout
        file = tmp_path / f"{arguments[-1]}.pt"
        before = torch.load(file)
        subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, check=True, timeout=240)
        assert same([*before.values()], [*torch.load(file).values()])
