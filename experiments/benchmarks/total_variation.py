"""The proximal map of total variation: the seconds to a gap, beside scikit-image's."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from skimage import data
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor
from tqdm import tqdm

import netinverse as ni
from experiments.benchmarks.measuring import median_seconds, timed, write

NOISE = 0.1


@dataclass(frozen=True)
class Size:
    pixels: int
    weights: tuple[float, ...]
    gap: float
    steps: tuple[int, ...]
    repeats: int
    folder: str


SIZES = {
    "full": Size(512, (0.02, 0.05, 0.1, 0.2), 1e-4, (5, 10, 20, 40, 80, 160, 320, 640, 1280), 3, "out/benchmarks"),
    "smoke": Size(64, (0.1,), 1e-2, (10, 40), 1, "out/benchmarks-smoke"),
}


def noisy(pixels: int) -> Tensor:
    """The cameraman with normal noise, (1, 1, pixels, pixels)."""
    clean = torch.as_tensor(data.camera()[:pixels, :pixels] / 255.0)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=clean.dtype)
    return (clean + NOISE * noise)[None, None]


def compare(z: Tensor, weight: float, size: Size) -> dict[str, Any]:
    """Both at one weight: seconds of a call that stops with the gap, certified here, looked up with the minimum there."""
    penalty = ni.TotalVariation()

    def objective(x: Tensor) -> float:
        return float(weight * penalty(x) + (x - z).square().sum() / 2)

    def prox(gap: float) -> Tensor:
        return penalty.prox(z, weight, tolerance=gap).x

    minimum = objective(prox(1e-8))
    ours = (objective(prox(size.gap)) - minimum) / minimum
    seconds = median_seconds(lambda: prox(size.gap), size.repeats)
    row: dict[str, Any] = {"weight": weight, "seconds": seconds, "gap": ours}
    flat = z[0, 0].numpy()
    for steps in size.steps:
        x, spent = timed(lambda n=steps: denoise_tv_chambolle(flat, weight=weight, eps=1e-30, max_num_iter=n))  # type: ignore[misc]
        gap = (objective(torch.as_tensor(x)[None, None]) - minimum) / minimum
        row |= {"peer_seconds": spent, "peer_steps": steps, "peer_gap": gap}
        if gap <= size.gap:
            break
    return {**row, "ratio": row["peer_seconds"] / seconds, "peer_reached": row["peer_gap"] <= size.gap}


def main(size: str = "full", out: str | Path | None = None) -> list[dict[str, Any]]:
    """Print the table; write ``total_variation.json`` to ``out``. Returns the rows."""
    chosen = SIZES[size]
    z = noisy(chosen.pixels)
    rows = [compare(z, weight, chosen) for weight in tqdm(chosen.weights, desc="weights", unit="weight")]
    print(table(rows, chosen))
    write("total_variation", {"size": size, "pixels": chosen.pixels, "gap": chosen.gap, "rows": rows}, out or chosen.folder)
    return rows


def table(rows: list[dict[str, Any]], size: Size) -> str:
    lines = [f"{size.pixels}x{size.pixels} pixels to a relative gap of {size.gap:g}"]
    lines += [f"{'weight':>8}{'netinverse':>12}{'gap':>10}{'chambolle':>12}{'gap':>10}{'ratio':>8}"]
    for row in rows:
        more = "" if row["peer_reached"] else "  (not there yet)"
        lines.append(
            f"{row['weight']:8g}{row['seconds']:10.2f} s{row['gap']:10.1e}{row['peer_seconds']:10.2f} s{row['peer_gap']:10.1e}"
            f"{row['ratio']:8.1f}{more}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    main(parser.parse_args().size)
