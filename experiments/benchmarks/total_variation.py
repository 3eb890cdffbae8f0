"""The proximal map of total variation: the seconds to a gap, beside scikit-image's."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from skimage import data
from skimage.color import rgb2gray
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor
from tqdm import tqdm

import netinverse as ni
from experiments.benchmarks.measuring import Target, processor_timed, verdicts, write

NOISE = 0.1
TARGET = 3.0
"""How many times faster than scikit-image the map has to be."""
EXACT = 1e-6
"""The gap at which the least objective is looked up: what it is too large by favours scikit-image, by a hundredth of the goal."""


WIDTHS = (12, 10, 10, 12, 10, 8)


@dataclass(frozen=True)
class Size:
    pixels: int
    images: tuple[str, ...]
    weights: tuple[float, ...]
    gap: float
    most_steps: int
    repeats: int
    folder: str


SIZES = {
    "full": Size(512, ("camera", "astronaut", "moon"), (0.02, 0.05, 0.1, 0.2), 1e-4, 640, 3, "out/benchmarks"),
    "smoke": Size(64, ("camera",), (0.1,), 1e-2, 40, 1, "out/benchmarks-smoke"),
}


def noisy(image: str, pixels: int) -> Tensor:
    """A photograph in grey with normal noise, (1, 1, pixels, pixels)."""
    clean = getattr(data, image)()
    clean = torch.as_tensor(rgb2gray(clean) if clean.ndim == 3 else clean / 255.0)[:pixels, :pixels]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=clean.dtype)
    return (clean + NOISE * noise)[None, None]


def compare(image: str, weight: float, size: Size) -> dict[str, Any]:
    """Both on one picture at one weight, call after call in turn, in seconds of the processor.

    Ours stops with the gap, which it certifies by itself. scikit-image's stops after as few steps as bring its objective that
    near to the least one, looked up beforehand: fewer than any rule that does not know the answer could take.
    """
    z, penalty = noisy(image, size.pixels), ni.TotalVariation()
    flat = z[0, 0].numpy()

    def objective(x: Tensor) -> float:
        return float(weight * penalty(x) + (x - z).square().sum() / 2)

    minimum = objective(penalty.prox(z, weight, tolerance=EXACT).x)

    def excess(x: Tensor) -> float:
        return (objective(x) - minimum) / minimum

    def peer(steps: int) -> Tensor:
        return torch.as_tensor(denoise_tv_chambolle(flat, weight=weight, eps=1e-30, max_num_iter=steps))[None, None]

    steps, reached = fewest(lambda n: excess(peer(n)) <= size.gap, size.most_steps)
    turns = [
        (processor_timed(lambda: penalty.prox(z, weight, tolerance=size.gap)), processor_timed(lambda: peer(steps)))
        for _ in range(size.repeats + 1)
    ]
    seconds, peer_seconds = (median(turn[who][1] for turn in turns[1:]) for who in (0, 1))
    ours = turns[-1][0][0]
    return {
        "image": image,
        "weight": weight,
        "seconds": seconds,
        "gap": float(ours.gap) / objective(ours.x),
        "excess": excess(ours.x),
        "iterations": int(ours.iterations),
        "peer_seconds": peer_seconds,
        "peer_excess": excess(turns[-1][1][0]),
        "peer_steps": steps,
        "peer_reached": reached,
        "ratio": peer_seconds / seconds,
    }


def fewest(enough: Callable[[int], bool], most: int) -> tuple[int, bool]:
    """The least number of steps that is enough, a tenth too many at most, and whether there is one up to ``most``."""
    steps = 5
    while not enough(steps):
        if steps >= most:
            return steps, False
        steps *= 2
    few, many = steps // 2, steps
    while many - few > max(1, few // 10):
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many, True


def main(size: str = "full", out: str | Path | None = None) -> list[dict[str, Any]]:
    """Print the table; write ``total_variation.json`` to ``out``. Returns the rows."""
    chosen = SIZES[size]
    cases = [(image, weight) for image in chosen.images for weight in chosen.weights]
    rows = [compare(image, weight, chosen) for image, weight in tqdm(cases, desc="pictures and weights", unit="case")]
    reached = targets(rows, chosen)
    print(table(rows, chosen), verdicts(reached), sep="\n")
    report = {
        "size": size,
        "pixels": chosen.pixels,
        "gap": chosen.gap,
        "rows": rows,
        "targets": [asdict(each) for each in reached],
    }
    write("total_variation", report, out or chosen.folder)
    return rows


def targets(rows: list[dict[str, Any]], size: Size) -> list[Target]:
    return [
        Target(
            f"P5: the least of {len(rows)} ratios of seconds to those of scikit-image",
            min(r["ratio"] for r in rows),
            TARGET,
            True,
        ),
        Target("P5: the largest certified gap", max(r["gap"] for r in rows), size.gap, False),
    ]


def table(rows: list[dict[str, Any]], size: Size) -> str:
    lines = [f"{size.pixels}x{size.pixels} pixels to a relative gap of {size.gap:g}; the gap of ours is certified"]
    heads = ("netinverse", "gap", "excess", "chambolle", "excess", "ratio")
    lines += [f"{'picture':>10}{'weight':>8}" + "".join(f"{head:>{width}}" for head, width in zip(heads, WIDTHS, strict=True))]
    for row in rows:
        more = "" if row["peer_reached"] else f"  (at least: {row['peer_steps']} steps are not enough)"
        lines.append(
            f"{row['image']:>10}{row['weight']:8g}{row['seconds']:10.3f} s{row['gap']:10.1e}{row['excess']:10.1e}"
            f"{row['peer_seconds']:10.3f} s{row['peer_excess']:10.1e}{row['ratio']:8.1f}{more}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    main(parser.parse_args().size)
