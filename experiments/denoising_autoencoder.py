"""An autoencoder that takes noise from pictures, trained by lifting and by back-propagation."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from experiments.pictures import pictures
from netinverse.training import LiftedTraining, ProximalSGD

METHODS = ("back-propagation", "lifted")
SIGMA = 0.3


@dataclass(frozen=True)
class Size:
    train: int
    epochs: int
    width: int
    rates: tuple[float, ...]
    fetch: bool
    folder: str


SIZES = {
    "full": Size(4500, 12, 196, (1e-3, 3e-3), True, "out/denoising_autoencoder"),
    "smoke": Size(128, 1, 16, (1e-3,), False, "out/denoising_autoencoder-smoke"),
}


@dataclass(frozen=True)
class Row:
    """psnr: of the denoised held-out pictures, in dB, mean over the pictures."""

    method: str
    rate: float
    psnr: float


def network(width: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 784), nn.Sigmoid()
        )


def noisy(x: Tensor, seed: int) -> Tensor:
    return x + SIGMA * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def psnr(found: Tensor, truth: Tensor) -> float:
    return float((-10 * (found - truth).square().mean(1).log10()).mean())


def trained(method: str, rate: float, x: Tensor, size: Size) -> nn.Module:
    """Both minimise 1/2||y - network(x + noise)||^2: lifting on the output of the sigmoid as any other loss."""
    model = network(size.width)
    batches = DataLoader(TensorDataset(noisy(x, 1), x), 64, shuffle=True, generator=torch.Generator().manual_seed(0))

    def loss(output: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (output - targets).square().sum(1)

    if method == "lifted":
        LiftedTraining(algorithm=ProximalSGD(rate), loss=loss).fit(model, batches, size.epochs)
        return model
    optimiser = torch.optim.Adam(model.parameters(), rate)
    for _ in range(size.epochs):
        for given, targets in batches:
            optimiser.zero_grad()
            loss(model(given), targets).mean().backward()
            optimiser.step()
    return model


@torch.no_grad()
def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``denoised.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    name, train, test = pictures(chosen.fetch)
    train, given = train[: chosen.train], noisy(test, 2)
    rows, shown = [], {"truth": test, f"noise {SIGMA:g}": given}
    best = dict.fromkeys(METHODS, -math.inf)
    for method, rate in tqdm([(m, r) for m in METHODS for r in chosen.rates], desc="denoising", unit="run"):
        with torch.enable_grad():
            model = trained(method, rate, train, chosen)
        found = model(given)
        rows.append(Row(method, rate, psnr(found, test)))
        if rows[-1].psnr > best[method]:
            best[method], shown[method] = rows[-1].psnr, found
    report = {"size": size, "pictures": name, "noisy": psnr(given, test), "best": best, "rows": [asdict(row) for row in rows]}
    print(f"{name}, 784-{chosen.width}-{chosen.width}-784, {len(train)} pictures, {chosen.epochs} epochs, noise {SIGMA:g}")
    print(f"{'method':20}{'rate':>8}{'PSNR':>12}\n{'noisy':20}{'':8}{report['noisy']:9.2f} dB")
    for row in rows:
        print(f"{row.method:20}{row.rate:8g}{row.psnr:9.2f} dB")
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture(shown).savefig(folder / "denoised.png", dpi=110)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / each) for each in ("denoised.png", "result.json")))
    return report


def picture(shown: dict[str, Tensor]) -> Figure:
    figure = Figure(figsize=(10, 1.15 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), 10)
    for row, (name, found) in zip(axes, shown.items(), strict=True):
        for axis, each in zip(row, found, strict=False):
            axis.imshow(each.reshape(28, 28), cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(name, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
