"""Work that is killed at random moments and begun again: ``python -m tests.kills KILLS FOLDER solve|study|training ...``.

Every attempt is a fork of this process, killed with SIGKILL after a random time; the next goes on from what is on the disk. An
attempt that comes to its end has to have the answer of the uninterrupted work, bit for bit, and leaves nothing half written.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import netinverse as ni
from netinverse import checkpoints
from netinverse.archives import read_archive, write_archive
from netinverse.training import journal

F64 = torch.float64
ANSWER = "answer.npz"


def solve(folder: Path | None) -> dict[str, Tensor]:
    """Sparse inputs in a box, by the discrepancy principle."""
    network, draw = ni.mlp((16, 12), seed=1, dtype=F64), torch.Generator().manual_seed(0)
    data, level = ni.add_noise(network(torch.rand(2, 16, generator=draw, dtype=F64)).detach(), relative=0.05)
    checkpoint = None if folder is None else folder / "work.npz"
    found = ni.invert(
        network, data, noise_level=level, regulariser=ni.Sparsity(), constraint=ni.Box(0.0, 1.0), checkpoint=checkpoint
    )
    return {"x": found.x, "alpha": found.alpha, "steps": found.steps, "certificate": found.certificate.value}


def study(folder: Path | None) -> dict[str, Tensor]:
    """Twelve cells of one inversion each."""
    network, draw = ni.mlp((6, 5), seed=1, dtype=F64), torch.Generator().manual_seed(0)
    truth = torch.rand(2, 6, generator=draw, dtype=F64)
    cells = None if folder is None else folder / "cells"
    levels, rules = [0.05, 0.1, 0.2], [ni.APriori(), ni.DiscrepancyPrinciple()]
    found = ni.stability_study(network, truth, noise_levels=levels, rule=rules, tolerance=1e-3, folder=cells, batch_size=1).table
    return {name: torch.from_numpy(found[name].to_numpy(copy=True)) for name in ("alpha", "error", "residual", "bound", "steps")}


def training(folder: Path | None) -> dict[str, Tensor]:
    """Twelve epochs of five batches in an order that is drawn."""
    network, draw = ni.mlp((6, 8, 3), seed=1, dtype=F64), torch.Generator().manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.rand(40, 6, generator=draw, dtype=F64), torch.arange(40) % 3)
    checkpoint = None if folder is None else folder / "training.npz"
    loader = torch.utils.data.DataLoader(data, 8, shuffle=True)
    found = ni.training.LiftedTraining().fit(network, loader, 12, checkpoint=checkpoint)
    return {**dict(network.state_dict()), "loss": torch.from_numpy(found["loss"].to_numpy(copy=True))}


WORKS: dict[str, Callable[[Path | None], dict[str, Tensor]]] = {"solve": solve, "study": study, "training": training}


def attempt(work: Callable[[Path | None], dict[str, Tensor]], folder: Path, answer: Path, *, kept: bool) -> int:
    """Begin the work in a process of its own, which writes ``answer`` at its end; the number of that process."""
    child = os.fork()
    if child:
        return child
    found = work(folder if kept else None)
    write_archive(answer, found, {})
    os._exit(0)


def ended(child: int) -> bool:
    done, code = os.waitpid(child, os.WNOHANG)
    assert not done or code == 0, "the work failed"
    return bool(done)


def killed(name: str, kills: int, place: Path) -> None:
    work, folder, moments = WORKS[name], place / "kept", random.Random(0)
    began = time.monotonic()
    first = attempt(work, folder, place / f"{name}.npz", kept=False)
    assert os.waitpid(first, 0)[1] == 0
    length = time.monotonic() - began
    expected, _ = read_archive(place / f"{name}.npz")
    done = finished = 0
    while done < kills or not finished:
        folder.mkdir(exist_ok=True)
        child = attempt(work, folder, folder / ANSWER, kept=True)
        end = time.monotonic() + (moments.uniform(0.0, 0.6 * length) if done < kills else 1e9)
        while not (over := ended(child)) and time.monotonic() < end:
            time.sleep(0.001)
        if not over:
            os.kill(child, signal.SIGKILL)
            code = os.waitpid(child, 0)[1]
            assert code in (0, signal.SIGKILL)
            over = code == 0  # it came to its end just before
            done += not over
        if over:
            found, _ = read_archive(folder / ANSWER)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[part].nan_to_num(), expected[part].nan_to_num()) for part in expected)
            left = [path.name for path in folder.rglob("*") if ".part" in path.name and not path.name.startswith(f".{ANSWER}")]
            assert left == [], left
            finished += 1
            shutil.rmtree(folder)
    print(f"{name}: {done} kills, {finished} times to the end, {length:.2f} s uninterrupted")


if __name__ == "__main__":
    checkpoints.EVERY, journal.SHARE = 0.0, float("inf")  # as often as can be
    torch.set_num_threads(1)
    for chosen in sys.argv[3:]:
        killed(chosen, int(sys.argv[1]), Path(sys.argv[2]))
