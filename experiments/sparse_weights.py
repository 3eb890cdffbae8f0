"""Weights that begin almost all at zero and appear as the data ask: LinBreg and AdaBreg beside Adam, pruned afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn
from tqdm import tqdm

import netinverse as ni
from experiments.training import accuracy, back_propagation, digits, nonzero, perceptron
from netinverse.training import AdaBreg, LinBreg, sparsify

DENSITY = 0.01
GOAL = 0.05


@dataclass(frozen=True)
class Size:
    """weights: of the l1 norms, one run for each; the best run is the most accurate with at most 5 % of the weights."""

    train: int
    test: int
    epochs: int
    width: int
    weights: dict[str, tuple[float, ...]]
    folder: str


WEIGHTS = {"LinBreg": (0.03, 0.1, 0.3), "AdaBreg": (0.03, 0.1, 0.3, 1.0)}
SIZES = {
    "full": Size(4500, 500, 30, 784, WEIGHTS, "out/sparse_weights"),
    "smoke": Size(128, 64, 1, 16, {name: weights[:1] for name, weights in WEIGHTS.items()}, "out/sparse_weights-smoke"),
}


@dataclass(frozen=True)
class Row:
    method: str
    weight: float | None
    accuracy: float
    nonzero: float


def bregman(name: str, weight: float, size: Size) -> pd.DataFrame:
    train, test = digits(size.train, size.test)
    model = perceptron([784, size.width, 10])
    sparsify(model.parameters(), DENSITY)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "regulariser": ni.L1(weight)},
        {"params": [p for p in model.parameters() if p.ndim == 1]},
    ]
    optimiser = LinBreg(groups, lr=0.1, momentum=0.9) if name == "LinBreg" else AdaBreg(groups, lr=1e-3)
    return back_propagation(model, optimiser, train, test, size.epochs)


def pruned(size: Size) -> tuple[pd.DataFrame, Row]:
    """Adam, and what is left of its accuracy when all but the largest 5 % of each layer's weights are set to zero."""
    train, test = digits(size.train, size.test)
    model = perceptron([784, size.width, 10])
    history = back_propagation(model, torch.optim.Adam(model.parameters()), train, test, size.epochs)
    _keep_largest(model)
    return history, Row("Adam, pruned to 5 %", None, accuracy(model, test), nonzero(model))


@torch.no_grad()
def _keep_largest(model: nn.Module) -> None:
    for p in model.parameters():
        if p.ndim > 1:
            kept = int(GOAL * p.numel())
            p[p.abs() < p.abs().flatten().kthvalue(p.numel() - kept + 1).values] = 0


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``sparse_weights.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    runs: list[tuple[str, float, Callable[[], pd.DataFrame]]] = [
        (name, weight, lambda name=name, weight=weight: bregman(name, weight, chosen))  # type: ignore[misc]
        for name, weights in chosen.weights.items()
        for weight in weights
    ]
    found = {(name, weight): run() for name, weight, run in tqdm(runs, desc="sparse weights", unit="run")}
    adam, after = pruned(chosen)
    rows = [Row(name, weight, *_last(history)) for (name, weight), history in found.items()]
    rows += [Row("Adam", None, *_last(adam)), after]
    report = {"size": size, "rows": [asdict(row) for row in rows], "best": {n: _best(rows, n) for n in chosen.weights}}
    print(table(rows, report, chosen))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture(found, adam, after).savefig(folder / "sparse_weights.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("sparse_weights.png", "result.json")))
    return report


def _last(history: pd.DataFrame) -> tuple[float, float]:
    return float(history["accuracy"].iloc[-1]), float(history["nonzero"].iloc[-1])


def _best(rows: list[Row], method: str) -> dict[str, Any] | None:
    """The most accurate with at most 5 % of the weights; None where every run has more."""
    sparse = [row for row in rows if row.method == method and row.nonzero <= GOAL]
    return asdict(max(sparse, key=lambda row: row.accuracy)) if sparse else None


def table(rows: list[Row], report: dict[str, Any], size: Size) -> str:
    lines = [
        f"784-{size.width}-10 ReLU, {size.train} digits, {size.epochs} epochs, begun with {100 * DENSITY:g} % of the weights",
        f"{'method':22}{'weight of l1':>14}{'test accuracy':>15}{'weights not zero':>18}",
    ]
    for row in rows:
        weight = "" if row.weight is None else f"{row.weight:g}"
        lines.append(f"{row.method:22}{weight:>14}{100 * row.accuracy:13.1f} %{100 * row.nonzero:16.2f} %")
    for name, row in report["best"].items():
        if row is not None:
            lines.append(f"{name}: {100 * row['accuracy']:.1f} % with {100 * row['nonzero']:.2f} % of the weights")
    return "\n".join(lines)


def picture(found: dict[tuple[str, float], pd.DataFrame], adam: pd.DataFrame, after: Row) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, weight), history in found.items():
        style = "-" if name == "AdaBreg" else "--"
        left.plot(100 * history["nonzero"], 100 * history["accuracy"], style, marker=".", label=f"{name}, {weight:g}")
        right.plot(history["epoch"], 100 * history["nonzero"], style, label=f"{name}, {weight:g}")
    left.plot(100 * after.nonzero, 100 * after.accuracy, "k^", label=after.method)
    left.axhline(100 * float(adam["accuracy"].iloc[-1]), color="gray", linestyle=":", label="Adam, all weights")
    left.axvline(100 * GOAL, color="gray", linewidth=0.8)
    left.set_xlabel("weights that are not zero (%), epoch by epoch")
    left.set_ylabel("test accuracy (%)")
    right.set_xlabel("epochs")
    right.set_ylabel("weights that are not zero (%)")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    left.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()
