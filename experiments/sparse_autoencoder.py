"""Autoencoders with few active code units: by the l1 norm of the code, and by a threshold that stops back-propagation at once."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

import netinverse as ni
from experiments.training import digits
from netinverse.training import LiftedTraining, ProximalSGD

SMALL = 0.1
"""The threshold of the code where its l1 norm makes it sparse."""
WEIGHT = 10.0
"""Of the penalties of all layers beside the loss, and of the l1 norm with them: what a code unit passes on grows with it."""
METHODS = {
    "l1": "back-propagation, l1 of the code",
    "threshold": "back-propagation, threshold",
    "lifted l1": "lifted, l1 of the code",
    "lifted threshold": "lifted, threshold",
}


@dataclass(frozen=True)
class Size:
    """settings: by method the weights of the l1 norm, or the thresholds; each with every rate."""

    train: int
    test: int
    epochs: int
    width: int
    rates: tuple[float, ...]
    settings: dict[str, tuple[float, ...]]
    folder: str


THRESHOLDS = (0.3, 0.6, 1.0)
SETTINGS = {
    "l1": (0.01, 0.03, 0.1, 0.3),
    "threshold": THRESHOLDS,
    "lifted l1": (0.001, 0.003, 0.01),
    "lifted threshold": THRESHOLDS,
}
SIZES = {
    "full": Size(4500, 500, 10, 784, (3e-4, 1e-3), SETTINGS, "out/sparse_autoencoder"),
    "smoke": Size(128, 64, 1, 16, (1e-3,), {name: each[:1] for name, each in SETTINGS.items()}, "out/sparse_autoencoder-smoke"),
}


@dataclass(frozen=True)
class Row:
    """active: the share of code units that are not zero; error: mean squared error; both on held-out digits."""

    method: str
    setting: float
    rate: float
    active: float
    error: float


def network(width: int, threshold: float) -> nn.Sequential:
    """784-width-width-width-784, the second activation the code."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.Softshrink(threshold))
        return nn.Sequential(encoder, nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 784)))


def trained(method: str, setting: float, rate: float, x: Tensor, size: Size) -> nn.Sequential:
    """mean of 1/2||y - x||^2, + setting ||code||_1 where the method has it, + WEIGHT times as much where it is lifted."""
    model = network(size.width, setting if method.endswith("threshold") else SMALL)
    batches = DataLoader(TensorDataset(x, x), 64, shuffle=True, generator=torch.Generator().manual_seed(0))
    if not method.startswith("lifted"):
        weight = setting if method == "l1" else 0.0
        optimiser = torch.optim.Adam(model.parameters(), rate)
        for _ in range(size.epochs):
            for given, targets in batches:
                code = model[0](given)
                loss = 0.5 * (model[1](code) - targets).square().sum(1) + weight * code.abs().sum(1)
                optimiser.zero_grad()
                loss.mean().backward()
                optimiser.step()
        return model
    added = {"0.3": ni.L1(setting)} if method == "lifted l1" else {}
    LiftedTraining(algorithm=ProximalSGD(rate), weight=WEIGHT, activation_regulariser=added).fit(model, batches, size.epochs)
    return model


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``sparse_autoencoder.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    train, test = digits(chosen.train, chosen.test)
    x, held_out = train.dataset.tensors[0], test[0][0]  # type: ignore[attr-defined]
    turns = [(method, setting, rate) for method, each in chosen.settings.items() for setting in each for rate in chosen.rates]
    rows = []
    for method, setting, rate in tqdm(turns, desc="sparse autoencoder", unit="run"):
        model = trained(method, setting, rate, x, chosen)
        with torch.no_grad():
            code = model[0](held_out)
            error = float((model[1](code) - held_out).square().mean())
        rows.append(Row(method, setting, rate, float((code != 0).float().mean()), error))
    report = {"size": size, "rows": [asdict(row) for row in rows], "beside": beside(rows)}
    print(table(rows, report["beside"], chosen))  # type: ignore[arg-type]
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture(rows).savefig(folder / "sparse_autoencoder.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / each) for each in ("sparse_autoencoder.png", "result.json")))
    return report


def curve(rows: list[Row], method: str, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Shares of active units, increasing, and the errors there."""
    points = sorted((row.active, row.error) for row in rows if row.method == method and row.rate == rate)
    return np.array([p[0] for p in points]), np.array([p[1] for p in points])


def least(rows: list[Row], method: str, active: float) -> float | None:
    """The error at this share of active units, on the straight lines between the settings, at the best rate; None beyond all."""
    found = []
    for rate in sorted({row.rate for row in rows}):
        shares, errors = curve(rows, method, rate)
        if len(shares) and shares[0] <= active <= shares[-1]:
            found.append(float(np.interp(active, shares, errors)))
    return min(found) if found else None


def beside(rows: list[Row]) -> list[dict[str, Any]]:
    """Each lifted run whose share of active units back-propagation reaches too, with its error over that of back-propagation."""
    found = []
    for row in rows:
        reference = least(rows, "l1", row.active)
        if row.method != "l1" and reference is not None:
            found.append({**asdict(row), "ratio": row.error / reference})
    return found


def table(rows: list[Row], compared: list[dict[str, Any]], size: Size) -> str:
    ratios = {(each["method"], each["setting"], each["rate"]): each["ratio"] for each in compared}
    lines = [
        f"784-{size.width}-{size.width}-{size.width}-784, {size.train} digits, {size.epochs} epochs; the error beside that of",
        "back-propagation at the same share of active code units, between its settings, at its best rate",
        f"{'method':34}{'setting':>8}{'rate':>8}{'active':>10}{'error':>10}{'beside':>8}",
    ]
    for row in rows:
        ratio = ratios.get((row.method, row.setting, row.rate))
        end = "" if ratio is None else f"{ratio:8.2f}"
        lines.append(f"{METHODS[row.method]:34}{row.setting:8g}{row.rate:8g}{100 * row.active:8.1f} %{row.error:10.4f}{end}")
    return "\n".join(lines)


def picture(rows: list[Row]) -> Figure:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    for k, (method, label) in enumerate(METHODS.items()):
        for rate, style in zip(sorted({row.rate for row in rows}), ("o--", "o-", "o:"), strict=False):
            shares, errors = curve(rows, method, rate)
            axis.plot(100 * shares, errors, style, color=f"C{k}", markersize=4, label=f"{label}, rate {rate:g}")
    axis.set_xlabel("active code units (%), held-out digits")
    axis.set_ylabel("mean squared error, held-out digits")
    axis.set_yscale("log")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()
