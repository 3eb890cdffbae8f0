"""Sigmoid and tanh networks of 5 to 50 layers on handwritten digits: where back-propagation stops learning, lifting does not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn
from tqdm import tqdm

from experiments.training import back_propagation, digits, lifted, perceptron
from netinverse.training import LiftedTraining, ProximalSGD, TargetCodes

METHODS = ("SGD with momentum", "Adam", "lifted, forward pass", "lifted, target codes")
ACTIVATIONS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
RATES = {"SGD with momentum": (0.1, 0.3), "Adam": (3e-4, 1e-3)}


@dataclass(frozen=True)
class Size:
    """layers: how many activations. rates: of back-propagation, the best of which is shown; lifted training has its default."""

    train: int
    test: int
    epochs: int
    width: int
    layers: tuple[int, ...]
    activations: tuple[str, ...]
    rates: dict[str, tuple[float, ...]]
    folder: str


SIZES = {
    "full": Size(4500, 500, 20, 100, (5, 20, 50), ("sigmoid", "tanh"), RATES, "out/depth"),
    "smoke": Size(128, 64, 1, 16, (2,), ("sigmoid",), {name: rates[:1] for name, rates in RATES.items()}, "out/depth-smoke"),
}


def accuracy_of(method: str, activation: str, layers: int, size: Size) -> float:
    """Test accuracy after the last epoch, with the best rate of the grid."""
    train, test = digits(size.train, size.test)

    def make() -> nn.Module:
        return perceptron([784, *[size.width] * layers, 10], ACTIVATIONS[activation])

    if method in size.rates:
        found = []
        for rate in size.rates[method]:
            model = make()
            sgd = method.startswith("SGD")
            optimiser = torch.optim.SGD(model.parameters(), rate, 0.9) if sgd else torch.optim.Adam(model.parameters(), rate)
            found.append(back_propagation(model, optimiser, train, test, size.epochs))
    elif method == "lifted, forward pass":
        found = [lifted(make(), LiftedTraining(algorithm=ProximalSGD()), train, test, size.epochs)]
    else:
        training = LiftedTraining(algorithm=ProximalSGD(), auxiliaries=TargetCodes())
        found = [lifted(make(), training, train, test, size.epochs)]
    return max(float(history["accuracy"].iloc[-1]) for history in found)


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``depth.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    cases = [(a, layers, method) for a in chosen.activations for layers in chosen.layers for method in METHODS]
    rows = [
        {"activation": a, "layers": layers, "method": method, "accuracy": accuracy_of(method, a, layers, chosen)}
        for a, layers, method in tqdm(cases, desc="depth", unit="network")
    ]
    report = {"size": size, "epochs": chosen.epochs, "width": chosen.width, "rows": rows}
    table = pd.DataFrame(rows)
    wide = table.pivot_table(index=["activation", "layers"], columns="method", values="accuracy", sort=False)
    print(f"test accuracy after {chosen.epochs} epochs, width {chosen.width}, torch's initialisation (chance is 0.1)")
    print(wide.to_string(float_format="{:.3f}".format))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture(table, chosen).savefig(folder / "depth.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("depth.png", "result.json")))
    return report


def picture(table: pd.DataFrame, size: Size) -> Figure:
    figure = Figure(figsize=(5 * len(size.activations), 4), layout="constrained")
    axes = figure.subplots(1, len(size.activations), sharey=True, squeeze=False)[0]
    for axis, activation in zip(axes, size.activations, strict=True):
        for method in METHODS:
            part = table[(table["activation"] == activation) & (table["method"] == method)]
            axis.plot(part["layers"], 100 * part["accuracy"], "o-", markersize=4, label=method)
        axis.axhline(10, color="gray", linewidth=0.8, linestyle=":", label="chance")
        axis.set_title(f"{activation}, width {size.width}, {size.epochs} epochs", fontsize=10)
        axis.set_xlabel("hidden layers")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test accuracy (%)")
    axes[0].legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()
