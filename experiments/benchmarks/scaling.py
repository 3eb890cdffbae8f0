"""How time, memory and steps grow: with the batch, and with the size of the picture."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

import netinverse as ni
from experiments.autoencoder import SMOKE, Settings, autoencoder
from experiments.benchmarks.measuring import Target, processor_timed, verdicts, write
from netinverse.footprint import peak_bytes


@dataclass(frozen=True)
class Size:
    batches: tuple[int, ...]
    sides: tuple[int, ...]
    settings: Settings
    tolerance: float
    folder: str


SIZES = {
    "full": Size((1, 4, 16, 64, 256), (28, 56, 112), Settings(), 1e-2, "out/benchmarks"),
    "smoke": Size((1, 2), (28,), SMOKE, 1e-1, "out/benchmarks-smoke"),
}


def of_batch(batch: int, settings: Settings, tolerance: float) -> dict[str, float]:
    """Digits from their codes at 5 % noise: seconds of one inversion, the memory it added at most, what its tensors hold at most
    at one weight, and its steps.

    To be called in a process of its own, whose peak of memory is this inversion's.
    """
    torch.set_num_threads(1)
    network = autoencoder(settings)
    truth = network.held_out[:batch]
    lifted = ni.lift(network.encoder, truth[:1])
    data, level = ni.add_noise(network.encoder(truth).detach(), relative=0.05, seed=0)
    box = ni.Box(0.0, 1.0)
    ni.invert(lifted, data[:1], noise_level=level[:1], constraint=box, tolerance=0.1)  # what the first call loads
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result, seconds = processor_timed(lambda: ni.invert(lifted, data, noise_level=level, constraint=box, tolerance=tolerance))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    held = peak_bytes(lambda: ni.invert(lifted, data, rule=ni.Fixed(0.05), constraint=box, tolerance=tolerance))
    return {
        "batch": batch,
        "seconds": seconds,
        "per_sample": seconds / batch,
        "megabytes": (peak - before) / 1024,
        "held": held / 2**20,
        "steps": float(result.steps.double().mean()),
    }


def of_side(side: int, settings: Settings, tolerance: float) -> dict[str, float]:
    """The convolutions of the encoder alone, which take pictures of every size: digits, enlarged, at 5 % noise."""
    torch.set_num_threads(1)
    network = autoencoder(settings)
    truth: Tensor = nn.functional.interpolate(network.held_out[:4], size=(side, side), mode="bilinear")
    convolutions = nn.Sequential(*list(network.encoder.children())[:4]).eval()
    lifted = ni.lift(convolutions, truth[:1])
    data, level = ni.add_noise(convolutions(truth).detach(), relative=0.05, seed=0)
    result, seconds = processor_timed(
        lambda: ni.invert(lifted, data, noise_level=level, constraint=ni.Box(0.0, 1.0), tolerance=tolerance)
    )
    return {"side": side, "seconds": seconds, "steps": float(result.steps.double().mean())}


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the tables; write ``scaling.json`` and ``scaling.png`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    autoencoder(chosen.settings)  # trained once, before any process looks for it
    spawn = multiprocessing.get_context("spawn")

    def alone(work: Any, value: int) -> dict[str, float]:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            found: dict[str, float] = pool.submit(work, value, chosen.settings, chosen.tolerance).result()
            return found

    batches = [alone(of_batch, batch) for batch in tqdm(chosen.batches, desc="batches", unit="size")]
    sides = [alone(of_side, side) for side in tqdm(chosen.sides, desc="pictures", unit="size")]
    reached = targets(batches, sides)
    print(table(batches, sides))
    print(verdicts(reached))
    report = {"size": size, "batches": batches, "sides": sides, "targets": [asdict(each) for each in reached]}
    write("scaling", report, out or chosen.folder, picture(batches, sides))
    return report


def targets(batches: list[dict[str, float]], sides: list[dict[str, float]]) -> list[Target]:
    """From the smallest to the largest: growth over that of the batch, seconds a sample, steps."""
    one, many = batches[0], batches[-1]
    small, large = sides[0], sides[-1]
    growth = many["batch"] / one["batch"]
    of = f"batch {one['batch']} -> {many['batch']}"
    names = f"P4: steps of pictures of side {large['side']} / of side {small['side']}"
    return [
        Target(f"P4: growth of seconds over that of the batch, {of}", many["seconds"] / one["seconds"] / growth, 1.0, False),
        Target(f"P4: growth of memory over that of the batch, {of}", many["held"] / one["held"] / growth, 1.0, False),
        Target(
            f"P4: seconds a sample, batch {many['batch']} / {one['batch']}", many["per_sample"] / one["per_sample"], 0.25, False
        ),
        Target(names, large["steps"] / small["steps"], 2.0, False),
    ]


def table(batches: list[dict[str, float]], sides: list[dict[str, float]]) -> str:
    lines = [f"{'batch':>8}{'seconds':>10}{'a sample':>10}{'MiB held':>10}{'MiB more':>10}{'steps':>8}"]
    lines += [
        f"{row['batch']:8}{row['seconds']:10.2f}{row['per_sample']:10.3f}{row['held']:10.2f}{row['megabytes']:10.0f}{row['steps']:8.1f}"
        for row in batches
    ]
    lines += [f"{'side':>8}{'seconds':>10}{'steps':>8}"]
    lines += [f"{row['side']:8}{row['seconds']:10.2f}{row['steps']:8.1f}" for row in sides]
    return "\n".join(lines)


def picture(batches: list[dict[str, float]], sides: list[dict[str, float]]) -> Figure:
    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    panels = (
        (batches, "batch", "per_sample", "seconds a sample"),
        (batches, "batch", "held", "MiB that tensors hold at most"),
        (sides, "side", "steps", "steps"),
    )
    for axis, (rows, along, name, label) in zip(figure.subplots(1, 3), panels, strict=True):
        sizes = [row[along] for row in rows]
        axis.plot(sizes, [row[name] for row in rows], "o-")
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axis.set_xlabel(along if along == "batch" else "side of the picture")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    main(parser.parse_args().size)
