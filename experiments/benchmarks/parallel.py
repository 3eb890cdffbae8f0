"""Two processes that train one network against one: where shared batches and shared layers are worth their messages."""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.distributed as dist
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

import netinverse as ni
from experiments.benchmarks.measuring import write
from experiments.training import perceptron
from netinverse.training import DataParallel, LayerParallel, LiftedTraining
from netinverse.training.layer_groups import layer_groups, sweep_cost
from netinverse.training.processes import Processes

TARGET = 1.6
WAYS = ("one", "data", "layers")
LABELS = {"data": "shared batches", "layers": "shared layers"}


@dataclass(frozen=True)
class Size:
    """``dense``, ``convolutional``: widths or channels, each with every one of its batches. ``hidden``: how many layers.

    ``seconds``: of one process for each measurement, of ``least`` batches or more.
    """

    dense: tuple[int, ...]
    dense_batches: tuple[int, ...]
    convolutional: tuple[int, ...]
    convolutional_batches: tuple[int, ...]
    hidden: int
    seconds: float
    least: int
    repeats: int
    folder: str

    @property
    def cases(self) -> list[tuple[str, int, int]]:
        """(kind, width, batch)."""
        dense = [("dense", width, batch) for width in self.dense for batch in self.dense_batches]
        return dense + [("conv", width, batch) for width in self.convolutional for batch in self.convolutional_batches]


SIZES = {
    "full": Size((128, 256, 512, 1024), (64, 512), (8, 16), (16, 64, 256), 6, 0.3, 24, 5, "out/benchmarks"),
    "smoke": Size((16,), (8,), (), (), 3, 0.0, 4, 1, "out/benchmarks-smoke"),
}


def made(kind: str, width: int, hidden: int) -> nn.Sequential:
    """784 to 10, with so many hidden layers of so many units, or of so many channels of 14 x 14."""
    if kind == "dense":
        return perceptron([784, *[width] * hidden, 10])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, width, 3, 2, 1), nn.ReLU()]
        layers += [part for _ in range(hidden - 1) for part in (nn.Conv2d(width, width, 3, 1, 1), nn.ReLU())]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(196 * width, 10))


def work_per_number(network: ni.LiftedNetwork, batch: int) -> dict[str, float]:
    """Operations of a sweep over the numbers that two processes exchange in it: gradients, or activations and residuals."""
    trained = dict(network.named_parameters())
    work = batch * sum(sweep_cost(node, trained) for node in network.nodes)
    first, second = layer_groups(network, trained, 2)
    taken = {name for node in second for name in node.inputs}
    crossing = sum(math.prod(node.shape) for node in first if node.name in taken)
    return {"data": work / sum(p.numel() for p in trained.values()), "layers": work / (2 * batch * crossing)}


@dataclass
class Watched:
    """Three epochs of the same batch: a few to warm up, ``count``, and one; the clocks where each began."""

    pair: tuple[Tensor, Tensor]
    count: int
    clocks: list[tuple[float, float]] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.clocks.append((time.perf_counter(), time.process_time()))
        yield from [self.pair] * (3, self.count, 1)[len(self.clocks) - 1]

    @property
    def seconds(self) -> tuple[float, float]:
        """Of a batch of the second epoch, its end included: by the wall clock, and of this process's threads."""
        (wall, own), (wall_after, own_after) = self.clocks[1:]
        return (wall_after - wall) / self.count, (own_after - own) / self.count


def process(rank: int, place: str, size: Size) -> None:
    """One of the two; the first leaves the rows in a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{place}/rendezvous", rank=rank, world_size=2)
    cases = tqdm(size.cases, desc="parallel", unit="case", disable=rank > 0)
    rows = [row for case in cases for row in measured(*case, size, rank)]
    if rank == 0:
        Path(place, "rows.json").write_text(json.dumps(rows), "utf-8")
    dist.barrier()
    dist.destroy_process_group()


def measured(kind: str, width: int, batch: int, size: Size, rank: int) -> list[dict[str, Any]]:
    """Each way in turn, again and again; a row for each time: seconds a batch, and of each process's own work in it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, 784, generator=generator)
    pair = (x, torch.randint(10, (batch,), generator=generator))
    network = ni.lift(made(kind, width, size.hidden), x[:2])
    ways: dict[str, Processes | None] = {"one": None, "data": DataParallel(), "layers": LayerParallel()}

    def seconds(way: str, count: int) -> list[float]:
        """By the wall clock of the first, and of the own work of both; alone, the first works while the other sleeps."""
        dist.barrier()
        watched = Watched(pair, count)
        if way != "one" or rank == 0:
            LiftedTraining().fit(network, watched, 3, parallel=ways[way])
        found = torch.tensor(watched.seconds if watched.clocks else (0.0, 0.0), dtype=torch.float64)
        both = [torch.zeros_like(found) for _ in range(2)]
        dist.all_gather(both, found)
        return [float(both[0][0]), float(both[0][1]), float(both[1][1])]

    work = work_per_number(network, batch) | {"one": math.inf}
    count = max(size.least, math.ceil(size.seconds / seconds("one", size.least)[0]))
    rows = []
    for turn in range(size.repeats):
        for way in WAYS:
            wall, first, second = seconds(way, count)
            times = {"turn": turn, "wall": wall, "own": max(first, second)}
            rows.append({"kind": kind, "width": width, "batch": batch, "way": way, "work": work[way], **times})
    return rows


def speed_ups(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """By case: milliseconds of one process, and how many times faster two are, by the median over the turns.

    ``work``: operations for each number that is exchanged. ``busy``: one's own work over that of the busier of two, which is what
    two are worth where nothing else runs and no message is waited for. ``spread``: of one by the wall clock, (largest - least) /
    median.
    """
    found = []
    for (kind, width, batch), part in pd.DataFrame(rows).groupby(["kind", "width", "batch"]):
        wall, own = (part.pivot_table(index="turn", columns="way", values=each) for each in ("wall", "own"))
        one = wall["one"]
        row = {"kind": kind, "width": width, "batch": batch, "one, ms": 1e3 * one.median()}
        row |= {"own, ms": 1e3 * own["one"].median(), "spread": (one.max() - one.min()) / one.median()}
        for way in LABELS:
            row[f"{way}: work"] = part[part["way"] == way]["work"].iloc[0]
            row |= {way: (one / wall[way]).median(), f"{way}, busy": (own["one"] / own[way]).median()}
        found.append(row)
    return pd.DataFrame(found)


def beginnings(table: pd.DataFrame) -> list[str]:
    """Where the target begins: the work for each number from which on no case misses it."""
    lines = []
    for way, label in LABELS.items():
        for column, by in ((way, "the wall clock"), (f"{way}, busy", "own work")):
            part = table.sort_values(f"{way}: work")
            kept = (part[column] >= TARGET)[::-1].cummin()[::-1]
            where = f"from {part[kept][f'{way}: work'].iloc[0]:.3g} operations a number on" if kept.any() else "nowhere"
            reached = f"{int((part[column] >= TARGET).sum())} of {len(part)} cases, at most {part[column].max():.2f}"
            lines.append(f"{label}, by {by}: {TARGET} times one process {where} ({reached})")
    return lines


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table and where two are 1.6 times as fast; write ``parallel.json`` and ``parallel.png`` to ``out``."""
    chosen = SIZES[size]
    os.environ["OMP_NUM_THREADS"] = "1"
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as place:
        processes = [spawn.Process(target=process, args=(rank, place, chosen)) for rank in range(2)]
        for each in processes:
            each.start()
        for each in processes:
            each.join()
        if any(each.exitcode for each in processes):
            raise RuntimeError("benchmarks.parallel: a process has ended with an error; its own output says which.")
        rows = json.loads(Path(place, "rows.json").read_text("utf-8"))
    table = speed_ups(rows)
    load = os.getloadavg()[0]
    print(f"784, {chosen.hidden} hidden layers, 10; one thread a process; load of the machine at the end {load:.1f}")
    print(table.to_string(index=False, float_format="{:.2f}".format))
    print("\n".join(beginnings(table)))
    report = {"size": size, "load": load, "table": table.to_dict("records"), "rows": rows}
    write("parallel", report, out or chosen.folder, picture(table))
    return report


def picture(table: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (way, label) in zip(axes, LABELS.items(), strict=True):
        for kind, part in table.groupby("kind"):
            points = axis.plot(part[f"{way}: work"], part[way], "o", markersize=5, label=f"{kind}, wall clock")
            axis.plot(part[f"{way}: work"], part[f"{way}, busy"], "x", color=points[0].get_color(), label=f"{kind}, own work")
        axis.axhline(TARGET, color="gray", linewidth=0.8, linestyle=":")
        axis.set_xscale("log")
        axis.set_xlabel("operations for each number exchanged")
        axis.set_title(label, fontsize=10)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("two processes over one")
    axes[0].legend(fontsize=8)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    main(parser.parse_args().size)
