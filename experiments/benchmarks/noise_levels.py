"""Error against noise: the inversion with the weight of the rule, the trained decoder, and Adam at the best weight there is."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

import netinverse as ni
from experiments.autoencoder import SMOKE, Autoencoder, Settings, autoencoder
from experiments.demo import psnr

BOX = (0.0, 1.0)
BOUNDS = ni.Box(*BOX)
SMOOTHING = 1e-6

# Where the best weight of Adam lies at each relative noise; a best weight at an end moves that end.
GRIDS = {
    0.0: (0.003, 0.01, 0.03, 0.1),
    0.01: (0.03, 0.1, 0.3),
    0.05: (0.1, 0.15, 0.2, 0.3, 0.6),
    0.1: (0.3, 0.4, 0.6, 1.2),
}


@dataclass(frozen=True)
class Size:
    digits: int
    settings: Settings
    grids: dict[float, tuple[float, ...]]
    rates: tuple[float, ...]
    steps: int
    extensions: int
    tolerance: float
    alone: int
    folder: str


SIZES = {
    "full": Size(50, Settings(), GRIDS, (0.03, 0.1), 600, 4, 1e-4, 3, "out/benchmarks"),
    "smoke": Size(2, SMOKE, {0.05: (0.1,), 0.1: (0.3,)}, (0.1,), 20, 1, 1e-2, 0, "out/benchmarks-smoke"),
}


@dataclass(frozen=True)
class Peer:
    """Adam at the weight and learning rate that the truth likes best; ``seconds`` of that one run."""

    psnr: float
    alpha: float
    rate: float
    seconds: float
    tried: dict[float, float]


def smoothed_total_variation(x: Tensor) -> Tensor:
    """sum over pixels of sqrt(d_1^2 + d_2^2 + 1e-6), forward differences, nothing across the boundary; ``(batch,)``."""
    down = nn.functional.pad(x.diff(dim=-2), (0, 0, 0, 1))
    right = nn.functional.pad(x.diff(dim=-1), (0, 1))
    return (down.square() + right.square() + SMOOTHING).sqrt().flatten(1).sum(1)


def adam(network: nn.Module, data: Tensor, shape: tuple[int, ...], alpha: float, rate: float, steps: int, box: bool) -> Tensor:
    """Adam on 1/2||F(x) - data||^2 + alpha TV(x) from zero, cosine schedule, clipped to the box after every step if ``box``."""
    x = torch.zeros((len(data), *shape), dtype=data.dtype, requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in tqdm(range(steps), desc=f"Adam, alpha {alpha:.3g}, rate {rate:g}", unit="step", leave=False):
        optimiser.zero_grad()
        misfit = (network(x) - data).square().flatten(1).sum(1) / 2
        (misfit + alpha * smoothed_total_variation(x)).sum().backward()
        optimiser.step()
        schedule.step()
        if box:
            with torch.no_grad():
                x.clamp_(*BOX)
    return x.detach()


def best_adam(network: nn.Module, data: Tensor, truth: Tensor, grid: tuple[float, ...], size: Size, box: bool) -> Peer:
    """The highest mean PSNR over weights and learning rates, chosen with the truth. An end of the grid that wins is moved on."""
    runs: dict[float, Peer] = {}

    def visit(alpha: float) -> None:
        found = []
        for rate in size.rates:
            began = time.perf_counter()
            x = adam(network, data, tuple(truth.shape[1:]), alpha, rate, size.steps, box)
            seconds = time.perf_counter() - began
            found.append(Peer(float(np.mean(psnr(truth, x))), alpha, rate, seconds, {}))
        runs[alpha] = max(found, key=lambda peer: peer.psnr)

    for alpha in grid:
        visit(alpha)
    for _ in range(size.extensions):
        following = beyond({alpha: peer.psnr for alpha, peer in runs.items()})
        if following is None:
            break
        visit(following)
    best = max(runs.values(), key=lambda peer: peer.psnr)
    return Peer(best.psnr, best.alpha, best.rate, best.seconds, {alpha: runs[alpha].psnr for alpha in sorted(runs)})


def beyond(values: dict[float, float]) -> float | None:
    """The next weight outside an end of the grid at which the value is largest; None where the largest lies inside."""
    grid = sorted(values)
    best = max(grid, key=lambda alpha: values[alpha])
    if len(grid) == 1 or best == grid[-1]:
        return 2 * best
    return best / 2 if best == grid[0] else None


def at_noise(relative: float, network: Autoencoder, size: Size, invert: bool) -> dict[str, Any]:
    """A row of the table."""
    truth = network.held_out[: size.digits]
    shape = tuple(truth.shape[1:])
    clean = network.encoder(truth)
    data, noise_level = ni.add_noise(clean, relative=relative, seed=0)
    projected = data.clamp(min=0)
    began = time.perf_counter()
    decoded = network.decoder(data)
    row: dict[str, Any] = {"relative_noise": relative, "digits": len(truth), "psnr_decoder": float(np.mean(psnr(truth, decoded)))}
    row["seconds_decoder"] = time.perf_counter() - began
    for name, box in (("adam", True), ("adam_unconstrained", False)):
        row[name] = asdict(best_adam(network.encoder, projected, truth, size.grids[relative], size, box))
    if not invert:
        return row

    def solve(samples: slice, constraint: ni.Box | None = BOUNDS) -> ni.Reconstruction:
        return ni.invert(
            network.encoder,
            data[samples],
            input_shape=shape,
            noise_level=noise_level[samples],
            constraint=constraint,
            tolerance=size.tolerance,
            progress=True,
        )

    result = solve(slice(None))
    row |= evidence(result, truth, torch.linalg.vector_norm((projected - clean).double(), dim=1))
    row["difference"] = row["psnr_inversion"] - row["adam"]["psnr"]
    row["psnr_inversion_unconstrained"] = float(np.mean(psnr(truth, solve(slice(None), None).x)))
    row["difference_unconstrained"] = row["psnr_inversion_unconstrained"] - row["adam_unconstrained"]["psnr"]
    row["alone_against_batch"] = alone_against_batch(solve, result, min(size.alone, len(truth)))
    return row


def evidence(result: ni.Reconstruction, truth: Tensor, left: Tensor) -> dict[str, Any]:
    """What the inversion says of itself, and what is known from outside. ``left``: the true noise of the projected data."""
    converged = torch.tensor([status is ni.Status.CONVERGED for status in result.status])
    assert result.noise_level is not None
    level = result.noise_level.double()
    noisy = level > 0
    values = psnr(truth, result.x)
    return {
        "psnr_inversion": float(np.mean(values)),
        "seconds_inversion": result.seconds,
        "alpha": float(result.alpha.mean()),
        "residual_over_level": _range(result.residual.double()[converged & noisy] / level[converged & noisy]),
        "estimate_over_truth": _range(level[left > 0] / left[left > 0]),
        "converged": int(converged.sum()),
        "per_sample": {"psnr": values, "alpha": result.alpha.tolist(), "status": [status.name for status in result.status]},
    }


def alone_against_batch(solve: Callable[[slice], ni.Reconstruction], batch: ni.Reconstruction, samples: int) -> float | None:
    """The largest entry by which a sample reconstructed alone differs from itself in the batch; None where none was compared."""
    differences = [float((solve(slice(i, i + 1)).x - batch.x[i : i + 1]).abs().max()) for i in range(samples)]
    return max(differences) if differences else None


def _range(values: Tensor) -> list[float] | None:
    return [float(values.min()), float(values.max())] if len(values) else None


def main(
    size: str = "full", out: str | Path | None = None, alone: int | None = None, invert: bool = True
) -> list[dict[str, Any]]:
    """Print the table; write ``noise_levels.json`` and ``noise_levels.png`` to ``out``. Returns the rows.

    alone: how many samples are also reconstructed on their own and compared with the batch. Without ``invert`` only the
    decoder and Adam are measured.
    """
    chosen = SIZES[size]
    if alone is not None:
        chosen = replace(chosen, alone=alone)
    network = autoencoder(chosen.settings)
    rows = []
    for relative in tqdm(chosen.grids, desc="noise levels", unit="level"):
        rows.append(at_noise(relative, network, chosen, invert))
    print(table(rows))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = {"size": size, "tolerance": chosen.tolerance, "adam_steps": chosen.steps, "rows": rows}
    (folder / "noise_levels.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    picture(rows).savefig(folder / "noise_levels.png", dpi=130)
    print(f"{folder / 'noise_levels.png'}\n{folder / 'noise_levels.json'}")
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """One line for each quantity, one column for each noise level."""

    def span(name: str) -> Callable[[dict[str, Any]], str]:
        return lambda row: f"{row[name][0]:.3f} .. {row[name][1]:.3f}" if row.get(name) else "-"

    def number(name: str, form: str) -> Callable[[dict[str, Any]], str]:
        return lambda row: "-" if row.get(name) is None else format(row[name], form)

    def peer(name: str, key: str, form: str) -> Callable[[dict[str, Any]], str]:
        return lambda row: format(row[name][key], form)

    lines: dict[str, Callable[[dict[str, Any]], str]] = {
        "relative noise": lambda row: f"{100 * row['relative_noise']:g} %",
        "PSNR inversion (dB)": number("psnr_inversion", ".2f"),
        "PSNR trained decoder (dB)": number("psnr_decoder", ".2f"),
        "PSNR Adam, best alpha (dB)": peer("adam", "psnr", ".2f"),
        "  inversion - Adam (dB)": number("difference", "+.2f"),
        "  its alpha": peer("adam", "alpha", ".4g"),
        "  its learning rate": peer("adam", "rate", "g"),
        "PSNR inversion, no box (dB)": number("psnr_inversion_unconstrained", ".2f"),
        "PSNR Adam, no box (dB)": peer("adam_unconstrained", "psnr", ".2f"),
        "  inversion - Adam, no box (dB)": number("difference_unconstrained", "+.2f"),
        "  its alpha, no box": peer("adam_unconstrained", "alpha", ".4g"),
        "alpha of the rule, mean": number("alpha", ".4g"),
        "residual / noise level": span("residual_over_level"),
        "noise left, estimate / truth": span("estimate_over_truth"),
        "converged": lambda row: f"{row['converged']}/{row['digits']}" if "converged" in row else "-",
        "seconds inversion": number("seconds_inversion", ".1f"),
        "seconds decoder": number("seconds_decoder", ".3f"),
        "seconds Adam, one alpha": peer("adam", "seconds", ".1f"),
        "alone against batch": number("alone_against_batch", ".1e"),
    }
    head = f"{rows[0]['digits']} held-out digits; residual and its level where converged (least .. most)"
    return "\n".join([head, *(f"{label:32}" + "".join(f"{show(row):>18}" for row in rows) for label, show in lines.items())])


def picture(rows: list[dict[str, Any]]) -> Figure:
    """PSNR against relative noise: linear up to 1 %, logarithmic from there."""
    noise = [100 * row["relative_noise"] for row in rows]
    curves: dict[str, tuple[str, list[float]]] = {
        "inversion, alpha from the rule": ("o-", [row.get("psnr_inversion", math.nan) for row in rows]),
        "Adam on the squared fidelity with TV, best alpha": ("s--", [row["adam"]["psnr"] for row in rows]),
        "trained decoder": ("^:", [row["psnr_decoder"] for row in rows]),
    }
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axis = figure.subplots()
    for label, (style, values) in curves.items():
        axis.plot(noise, values, style, label=label)
    axis.set_xscale("symlog", linthresh=1.0)
    axis.set_xticks(noise, [f"{value:g} %" for value in noise])
    axis.minorticks_off()
    axis.set_xlabel("noise, relative to the norm of the code")
    axis.set_ylabel("mean PSNR (dB)")
    axis.set_title(f"{rows[0]['digits']} held-out digits", fontsize=11)
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    parser.add_argument("--alone", type=int, help="samples that are also reconstructed alone and compared with the batch")
    parser.add_argument("--adam-only", action="store_true", help="leave the inversion out")
    given = parser.parse_args()
    main(given.size, alone=given.alone, invert=not given.adam_only)
