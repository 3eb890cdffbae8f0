"""The four penalties of lifted training, side by side: what each learns, and what an epoch of it costs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import nn
from tqdm import tqdm

from experiments.training import digits, lifted, perceptron
from netinverse.training import LiftedTraining, ProximalSGD

PENALTIES = ("bregman", "fenchel", "quadratic", "contrastive")
ACTIVATIONS: dict[str, type[nn.Module]] = {"ReLU": nn.ReLU, "sigmoid": nn.Sigmoid}


@dataclass(frozen=True)
class Size:
    train: int
    test: int
    epochs: int
    width: int
    rates: tuple[float, ...]
    folder: str


SIZES = {
    "full": Size(4500, 500, 6, 100, (1e-3, 3e-3), "out/penalties"),
    "smoke": Size(128, 64, 1, 16, (1e-3,), "out/penalties-smoke"),
}


@dataclass(frozen=True)
class Row:
    """rate: the best of the grid. seconds: of an epoch, beside those with the Bregman penalty."""

    activation: str
    penalty: str
    rate: float
    accuracy: float
    cost: float


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``penalties.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    train, test = digits(chosen.train, chosen.test)
    found: dict[tuple[str, str], dict[float, pd.DataFrame]] = {}
    # The penalties take turns, so that a machine that is slower for a while is so for all of them.
    turns = [(a, r, p) for a in ACTIVATIONS for r in chosen.rates for p in PENALTIES]
    for activation, rate, penalty in tqdm(turns, desc="penalties", unit="run"):
        model = perceptron([784, chosen.width, chosen.width, 10], ACTIVATIONS[activation])
        training = LiftedTraining(penalty, ProximalSGD(rate))
        found.setdefault((activation, penalty), {})[rate] = lifted(model, training, train, test, chosen.epochs)
    rows = [row for activation in ACTIVATIONS for row in table(activation, found, chosen)]
    print(f"784-{chosen.width}-{chosen.width}-10, {chosen.train} digits, {chosen.epochs} epochs, best rate of {chosen.rates}")
    print(f"{'activation':12}{'penalty':14}{'rate':>8}{'test accuracy':>16}{'seconds, Bregman = 1':>23}")
    for row in rows:
        print(f"{row.activation:12}{row.penalty:14}{row.rate:8g}{100 * row.accuracy:14.1f} %{row.cost:23.2f}")
    report = {"size": size, "rows": [asdict(row) for row in rows]}
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture(found, rows).savefig(folder / "penalties.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / each) for each in ("penalties.png", "result.json")))
    return report


def table(activation: str, found: dict[tuple[str, str], dict[float, pd.DataFrame]], size: Size) -> list[Row]:
    def seconds(penalty: str) -> float:
        return sum(float(history["seconds"].iloc[-1]) for history in found[activation, penalty].values())

    rows = []
    for penalty in PENALTIES:
        last = {rate: float(history["accuracy"].iloc[-1]) for rate, history in found[activation, penalty].items()}
        rate = max(last, key=last.__getitem__)
        rows.append(Row(activation, penalty, rate, last[rate], seconds(penalty) / seconds("bregman")))
    return rows


def picture(found: dict[tuple[str, str], dict[float, pd.DataFrame]], rows: list[Row]) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = dict(zip(ACTIVATIONS, figure.subplots(1, 2, sharey=True), strict=True))
    styles = {"bregman": "o-", "fenchel": "x--", "quadratic": "s-", "contrastive": "^-"}
    for row in rows:
        history = found[row.activation, row.penalty][row.rate]
        label = f"{row.penalty}, rate {row.rate:g}"
        axes[row.activation].plot(history["epoch"], 100 * history["accuracy"], styles[row.penalty], markersize=4, label=label)
    for name, axis in axes.items():
        axis.set_title(f"two hidden layers, {name}", fontsize=10)
        axis.set_xlabel("epochs")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes["ReLU"].set_ylabel("test accuracy (%)")
    return figure


if __name__ == "__main__":
    main()
