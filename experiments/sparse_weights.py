"""Weights that begin almost all at zero and appear as the data ask: LinBreg and AdaBreg beside Adam, pruned afterwards."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
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
    """weights: of the l1 norm of the first matrix; the best is the most accurate on average with at most 5 % of the weights."""

    train: int
    test: int
    epochs: int
    width: int
    repeats: int
    weights: dict[str, tuple[float, ...]]
    folder: str


WEIGHTS = {"LinBreg": (0.003, 0.01, 0.03), "AdaBreg": (0.4, 0.5, 0.6, 0.8)}
LAST = 0.1
"""The weight of the l1 norm of the last matrix, which has a hundredth of the entries, in units of that of the first."""
SIZES = {
    "full": Size(4500, 500, 24, 784, 3, WEIGHTS, "out/sparse_weights"),
    "smoke": Size(128, 64, 1, 16, 1, {name: weights[:1] for name, weights in WEIGHTS.items()}, "out/sparse_weights-smoke"),
}


@dataclass(frozen=True)
class Row:
    """After the last epoch: means over the repeats, and the least and the greatest accuracy."""

    method: str
    weight: float | None
    accuracy: float
    least: float
    greatest: float
    nonzero: float


def bregman(name: str, weight: float, size: Size, seed: int) -> pd.DataFrame:
    train, test = digits(size.train, size.test)
    model = perceptron([784, size.width, 10], seed=seed)
    sparsify(model.parameters(), DENSITY, seed=seed)
    first, last = (p for p in model.parameters() if p.ndim > 1)
    groups = [
        {"params": [first], "regulariser": ni.L1(weight)},
        {"params": [last], "regulariser": ni.L1(LAST * weight)},
        {"params": [p for p in model.parameters() if p.ndim == 1]},
    ]
    optimiser = LinBreg(groups, lr=0.1, momentum=0.9) if name == "LinBreg" else AdaBreg(groups, lr=2e-3)
    return back_propagation(model, optimiser, train, test, size.epochs, seed)


def adam(size: Size, seed: int) -> tuple[pd.DataFrame, tuple[float, float]]:
    """Its history, and the accuracy that is left, with all but the largest 5 % of each layer's weights set to zero."""
    train, test = digits(size.train, size.test)
    model = perceptron([784, size.width, 10], seed=seed)
    history = back_propagation(model, torch.optim.Adam(model.parameters()), train, test, size.epochs, seed)
    _keep_largest(model)
    return history, (accuracy(model, test), nonzero(model))


@torch.no_grad()
def _keep_largest(model: nn.Module) -> None:
    for p in model.parameters():
        if p.ndim > 1:
            kept = int(GOAL * p.numel())
            p[p.abs() < p.abs().flatten().kthvalue(p.numel() - kept + 1).values] = 0


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``sparse_weights.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    settings = [(name, weight) for name, weights in chosen.weights.items() for weight in weights]
    turns = [(setting, seed) for seed in range(chosen.repeats) for setting in settings]
    found: dict[tuple[str, float], list[pd.DataFrame]] = {setting: [] for setting in settings}
    for setting, seed in tqdm(turns, desc="sparse weights", unit="run"):
        found[setting].append(bregman(*setting, chosen, seed))
    dense = [adam(chosen, seed) for seed in range(chosen.repeats)]
    rows = [_row(name, weight, list(map(_last, histories))) for (name, weight), histories in found.items()]
    after = _row("Adam, pruned to 5 %", None, [pruned for _, pruned in dense])
    rows += [_row("Adam", None, [_last(history) for history, _ in dense]), after]
    report = {"size": size, "rows": [asdict(row) for row in rows], "best": {n: _best(rows, n) for n in chosen.weights}}
    print(table(rows, report, chosen))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture(found, [history for history, _ in dense], after).savefig(folder / "sparse_weights.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("sparse_weights.png", "result.json")))
    return report


def _row(method: str, weight: float | None, ends: list[tuple[float, float]]) -> Row:
    accuracies, shares = zip(*ends, strict=True)
    return Row(method, weight, mean(accuracies), min(accuracies), max(accuracies), mean(shares))


def _last(history: pd.DataFrame) -> tuple[float, float]:
    return float(history["accuracy"].iloc[-1]), float(history["nonzero"].iloc[-1])


def _best(rows: list[Row], method: str) -> dict[str, Any] | None:
    """The most accurate with at most 5 % of the weights; None where every run has more."""
    sparse = [row for row in rows if row.method == method and row.nonzero <= GOAL]
    return asdict(max(sparse, key=lambda row: row.accuracy)) if sparse else None


def table(rows: list[Row], report: dict[str, Any], size: Size) -> str:
    lines = [
        f"784-{size.width}-10 ReLU, {size.train} digits, {size.epochs} epochs, begun with {100 * DENSITY:g} % of the weights; "
        f"mean of {size.repeats} repeat(s)",
        f"{'method':22}{'weight of l1':>14}{'test accuracy':>15}{'least .. greatest':>20}{'weights not zero':>18}",
    ]
    for row in rows:
        weight = "" if row.weight is None else f"{row.weight:g}"
        spread = f"{100 * row.least:.1f} .. {100 * row.greatest:.1f}"
        lines.append(f"{row.method:22}{weight:>14}{100 * row.accuracy:13.2f} %{spread:>20}{100 * row.nonzero:16.2f} %")
    for name, row in report["best"].items():
        if row is not None:
            lines.append(f"{name}: {100 * row['accuracy']:.2f} % with {100 * row['nonzero']:.2f} % of the weights")
    return "\n".join(lines)


def picture(found: dict[tuple[str, float], list[pd.DataFrame]], dense: list[pd.DataFrame], after: Row) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, weight), histories in found.items():
        history = pd.concat(histories).groupby("epoch", as_index=False).mean()
        style = "-" if name == "AdaBreg" else "--"
        left.plot(100 * history["nonzero"], 100 * history["accuracy"], style, marker=".", label=f"{name}, {weight:g}")
        right.plot(history["epoch"], 100 * history["nonzero"], style, label=f"{name}, {weight:g}")
    left.plot(100 * after.nonzero, 100 * after.accuracy, "k^", label=after.method)
    left.axhline(100 * mean(_last(history)[0] for history in dense), color="gray", linestyle=":", label="Adam, all weights")
    left.axvline(100 * GOAL, color="gray", linewidth=0.8)
    left.set_ylim(bottom=min(80.0, 100 * after.accuracy - 1))
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
