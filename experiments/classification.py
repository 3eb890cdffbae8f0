"""Handwritten digits classified by a 784-784-10 ReLU network: lifted training beside back-propagation."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn
from tqdm import tqdm

from experiments.training import back_propagation, digits, lifted, perceptron, seconds_to
from netinverse.training import Algorithm, ImplicitSGD, LiftedTraining, ProximalSAGA, ProximalSGD

LEVEL = 0.95
LAST = 3
"""Epochs at the end whose accuracies are averaged: of 500 digits one is 0.2 points."""
RATES = {
    "Adam": (3e-4, 1e-3, 3e-3),
    "SGD with momentum": (0.03, 0.1, 0.3),
    "lifted, Adam": (3e-4, 1e-3, 3e-3),
    "lifted, momentum": (0.03, 0.1, 0.3),
}

Run = Callable[[nn.Module, int], pd.DataFrame]
"""Trains a network with a seed; its history."""


@dataclass(frozen=True)
class Size:
    train: int
    test: int
    epochs: int
    width: int
    repeats: int
    rates: dict[str, tuple[float, ...]]
    folder: str


SIZES = {
    "full": Size(4500, 500, 15, 784, 2, RATES, "out/classification"),
    "smoke": Size(256, 64, 1, 32, 1, {name: rates[:1] for name, rates in RATES.items()}, "out/classification-smoke"),
}


def histories(size: Size) -> dict[str, dict[str, list[pd.DataFrame]]]:
    """By method and setting: a history for each repeat, which differ in the initialisation and in the order of the batches."""
    train, test = digits(size.train, size.test)
    runs: dict[str, dict[str, Run]] = {}

    def by_back_propagation(make: Callable[[nn.Module], torch.optim.Optimizer]) -> Run:
        return lambda model, seed: back_propagation(model, make(model), train, test, size.epochs, seed)

    def by_lifting(algorithm: Algorithm, epochs: int = size.epochs) -> Run:
        batches = fixed if algorithm.batches == "fixed" else train
        return lambda model, seed: lifted(model, LiftedTraining(algorithm=algorithm), batches, test, epochs, seed)

    fixed = torch.utils.data.DataLoader(train.dataset, batch_size=64)
    runs["Adam"] = {
        f"{rate:g}": by_back_propagation(lambda model, rate=rate: torch.optim.Adam(model.parameters(), rate))  # type: ignore[misc]
        for rate in size.rates["Adam"]
    }
    runs["SGD with momentum"] = {
        f"{rate:g}": by_back_propagation(lambda model, rate=rate: torch.optim.SGD(model.parameters(), rate, 0.9))  # type: ignore[misc]
        for rate in size.rates["SGD with momentum"]
    }
    for method, optimiser in (("lifted, Adam", "adam"), ("lifted, momentum", "sgd")):
        runs[method] = {f"{rate:g}": by_lifting(ProximalSGD(rate, optimiser)) for rate in size.rates[method]}
    runs["other algorithms"] = {
        "ImplicitSGD": by_lifting(ImplicitSGD(), math.ceil(size.epochs / 5)),  # a batch costs several sweeps
        "ProximalSAGA": by_lifting(ProximalSAGA()),
    }
    found: dict[str, dict[str, list[pd.DataFrame]]] = {method: {name: [] for name in group} for method, group in runs.items()}
    # Repeat by repeat, so that a machine that is slower for a while is so for every method.
    turns = [(seed, *each) for seed in range(size.repeats) for each in _settings(runs) if seed == 0 or each[0] in size.rates]
    for seed, method, name, run in tqdm(turns, desc="classification", unit="run"):
        found[method][name].append(run(perceptron([784, size.width, 10], seed=seed), seed))
    return found


def _settings(runs: dict[str, dict[str, Run]]) -> list[tuple[str, str, Run]]:
    """The settings of all methods in turn: the first of each, the second of each."""
    queues = [[(method, name, run) for name, run in group.items()] for method, group in runs.items()]
    return [each for turn in zip_longest(*queues) for each in turn if each is not None]


def final(runs: list[pd.DataFrame]) -> float:
    """The mean accuracy of the last epochs, over the repeats."""
    return statistics.mean(float(history["accuracy"].iloc[-LAST:].mean()) for history in runs)


def best(settings: dict[str, list[pd.DataFrame]]) -> str:
    """The setting with the highest final accuracy."""
    return max(settings, key=lambda name: final(settings[name]))


def fastest(settings: dict[str, list[pd.DataFrame]]) -> tuple[float | None, str]:
    """The least median of the seconds to 95 %, over the repeats, and its setting; None where none comes so far."""
    medians = {name: statistics.median(seconds_to(h, LEVEL) for h in runs) for name, runs in settings.items()}
    name = min(medians, key=medians.__getitem__)
    return (medians[name] if medians[name] < math.inf else None), name


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``classification.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    found = histories(chosen)
    rows = []
    for method in chosen.rates:
        settings = found[method]
        name = best(settings)
        seconds, quick = fastest(settings)
        rows.append({"method": method, "rate": name, "accuracy": final(settings[name]), "seconds": seconds, "fast_rate": quick})
    by_method = {row["method"]: row for row in rows}
    report = {
        "size": size,
        "rows": rows,
        "beside_adam": {
            row["method"]: {
                "points_behind": 100 * (by_method["Adam"]["accuracy"] - row["accuracy"]),
                "seconds_ratio": ratio(row["seconds"], by_method["Adam"]["seconds"]),
            }
            for row in rows
            if row["method"] != "Adam"
        },
        "others": {name: final(runs) for name, runs in found["other algorithms"].items()},
    }
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    print(table(rows, report, chosen))
    picture(found, chosen).savefig(folder / "classification.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("classification.png", "result.json")))
    return report


def ratio(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a / b


def table(rows: list[dict[str, Any]], report: dict[str, Any], size: Size) -> str:
    lines = [
        f"784-{size.width}-10 ReLU, {size.train} digits, {size.epochs} epochs, {size.repeats} repeat(s); best rate of each grid; "
        f"accuracy: mean of the last {LAST} epochs",
        f"{'method':22}{'rate':>8}{'test accuracy':>15}{'seconds to 95 %':>17}{'at rate':>9}",
    ]
    for row in rows:
        accuracy, seconds = 100 * row["accuracy"], "never" if row["seconds"] is None else f"{row['seconds']:.2f}"
        lines.append(f"{row['method']:22}{row['rate']:>8}{accuracy:13.2f} %{seconds:>17}{row['fast_rate']:>9}")
    for method, beside in report["beside_adam"].items():
        longer = "" if beside["seconds_ratio"] is None else f", {beside['seconds_ratio']:.2f} times its seconds to 95 %"
        lines.append(f"{method}: {beside['points_behind']:+.2f} points behind Adam{longer}")
    lines.append("other algorithms: " + ", ".join(f"{name} {100 * value:.1f} %" for name, value in report["others"].items()))
    return "\n".join(lines)


def picture(found: dict[str, dict[str, list[pd.DataFrame]]], size: Size) -> Figure:
    figure = Figure(figsize=(14, 4.3), layout="constrained")
    epochs, seconds, others = figure.subplots(1, 3, sharey=True)
    for method in size.rates:
        name = best(found[method])
        runs = found[method][name]
        mean = pd.concat(runs).groupby("epoch")[["accuracy", "seconds"]].mean()
        (drawn,) = epochs.plot(mean.index, 100 * mean["accuracy"], "o-", markersize=4, label=f"{method}, rate {name}")
        spread = pd.concat(runs).groupby("epoch")["accuracy"]
        epochs.fill_between(mean.index, 100 * spread.min(), 100 * spread.max(), alpha=0.15, color=drawn.get_color())
        seconds.plot(mean["seconds"], 100 * mean["accuracy"], "o-", markersize=4, label=f"{method}, rate {name}")
    for name, (history, *_) in found["other algorithms"].items():
        others.plot(history["epoch"], 100 * history["accuracy"], "o-", markersize=4, label=name)
    epochs.set_title("mean and range of the repeats", fontsize=10)
    seconds.set_title("the same over time", fontsize=10)
    others.set_title("other algorithms", fontsize=10)
    for axis, label in ((epochs, "epochs"), (seconds, "seconds, evaluation included"), (others, "epochs")):
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    if size.epochs > 1:
        epochs.set_ylim(85, 98)
    epochs.set_ylabel("test accuracy (%)")
    return figure


if __name__ == "__main__":
    main()
