"""Lifted or reduced: five networks inverted by each formulation at the same discrepancy, which is what ``auto`` goes by."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

import netinverse as ni
from experiments import autoencoder
from netinverse.tensors import norm

FORMULATIONS: dict[str, ni.Variational] = {
    "reduced": ni.Variational("reduced"),
    "lifted": ni.Variational("lifted"),
    "continued": ni.Variational("lifted", continuation=True),
}
F64 = torch.float64


@dataclass(frozen=True)
class Size:
    samples: int
    entries: int
    layers: int
    noise: tuple[float, ...]
    networks: tuple[str, ...]
    encoder: autoencoder.Settings
    tolerance: float
    folder: str


SIZES = {
    "full": Size(
        samples=4,
        entries=16,
        layers=6,
        noise=(0.01, 0.05),
        networks=("perceptron", "mlp", "deep tanh", "plus layers", "conv encoder"),
        encoder=autoencoder.Settings(),
        tolerance=1e-3,
        folder="out/formulations",
    ),
    "smoke": Size(2, 6, 2, (0.05,), ("mlp", "plus layers"), autoencoder.SMOKE, 1e-2, "out/formulations-smoke"),
}


@dataclass(frozen=True)
class Case:
    """A network, inputs, and how it is inverted."""

    network: nn.Module
    truth: Tensor
    regulariser: Any
    constraint: ni.Box | None = None


def normal(size: Size, entries: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size.samples, entries or size.entries, generator=generator, dtype=F64)


def mlp(size: Size, depth: int, activation: str) -> Case:
    """``depth`` hidden layers twice as wide as the input, three times as many outputs: inputs that can be found again."""
    n = size.entries
    network = ni.mlp((n, *(2 * n,) * depth, 3 * n), activation=activation, seed=0, dtype=F64)
    return Case(network, normal(size) / (1 if activation == "relu" else 2), ni.Tikhonov())


def perceptron(size: Size) -> Case:
    """One ReLU layer, four times as many outputs as inputs; convex as it is."""
    n = size.entries
    layer = nn.Linear(n, 4 * n, dtype=F64)
    layer.weight.data = torch.randn(4 * n, n, generator=torch.Generator().manual_seed(0), dtype=F64) / n**0.5
    layer.bias.data.zero_()
    return Case(nn.Sequential(layer, nn.ReLU()).eval(), normal(size), ni.Tikhonov())


def encoder(size: Size) -> Case:
    """That of the demo, with its digits, in the box and with total variation."""
    trained = autoencoder.autoencoder(size.encoder)
    return Case(trained.encoder.double(), trained.held_out[: size.samples].double(), ni.TotalVariation(), ni.Box(0.0, 1.0))


CASES: dict[str, Callable[[Size], Case]] = {
    "perceptron": perceptron,
    "conv encoder": encoder,
    "mlp": lambda size: mlp(size, 2, "relu"),
    "deep tanh": lambda size: mlp(size, 4, "tanh"),
    "plus layers": lambda size: Case(
        ni.monotone_residual_network(size.entries, size.layers, seed=0, dtype=F64), normal(size), ni.Tikhonov()
    ),
}


def inverted(case: Case, noise: float, method: ni.Variational, tolerance: float) -> dict[str, Any]:
    """One batch by one formulation: what it found, how well it fits, what is known of it, and how long it took."""
    with torch.no_grad():
        data, level = ni.add_noise(case.network(case.truth), relative=noise, seed=0)
    began = time.perf_counter()
    found = ni.invert(
        case.network,
        data,
        input_shape=tuple(case.truth.shape[1:]),
        noise_level=level,
        regulariser=case.regulariser,
        constraint=case.constraint,
        method=method,
        tolerance=tolerance,
    )
    seconds = time.perf_counter() - began
    error = norm(found.x - case.truth) / norm(case.truth)
    assert found.noise_level is not None
    return {
        "error": error.tolist(),
        "discrepancy": (found.residual / found.noise_level).tolist(),
        "converged": sum(status is ni.Status.CONVERGED for status in found.status),
        "certificate": found.certificate.kind,
        "seconds": seconds,
        "message": found.message,
    }


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``formulations.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    rows = []
    for name in tqdm(chosen.networks, desc="networks", unit="network"):
        case = CASES[name](chosen)
        for noise in chosen.noise:
            for label, method in FORMULATIONS.items():
                rows.append({"network": name, "noise": noise, "formulation": label})
                rows[-1] |= inverted(case, noise, method, chosen.tolerance)
    picked = {name: auto(CASES[name](chosen), chosen) for name in chosen.networks}
    report = {"size": size, "samples": chosen.samples, "rows": rows, "auto": picked}
    print(table(report))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture(report).savefig(folder / "formulations.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("formulations.png", "result.json")))
    return report


def auto(case: Case, size: Size) -> str:
    """What the message says that ``auto`` took."""
    found = inverted(Case(case.network, case.truth[:1], ni.Tikhonov()), size.noise[-1], ni.Variational(), 1e-2)
    return str(found["message"].rpartition("Formulation: ")[2].rstrip("."))


def table(report: dict[str, Any]) -> str:
    lines = [
        f"{report['samples']} inputs for each network; error relative to the truth, residual over the noise level left, medians",
        f"{'network':<14}{'noise':>6}  {'formulation':<12}{'error':>8}{'worst':>8}{'residual':>10}"
        f"{'converged':>11}{'s':>8}  certificate",
    ]
    for row in report["rows"]:
        error, discrepancy = np.array(row["error"]), np.array(row["discrepancy"])
        lines.append(
            f"{row['network']:<14}{row['noise']:>6.0%}  {row['formulation']:<12}{np.median(error):>8.4f}{error.max():>8.4f}"
            f"{np.median(discrepancy):>10.3f}{row['converged']:>8}/{len(error)}{row['seconds']:>9.1f}  {row['certificate']}"
        )
    return "\n".join([*lines, *(f"auto for {name}: {said}" for name, said in report["auto"].items())])


def picture(report: dict[str, Any]) -> Figure:
    """Error and seconds of every formulation, network by network; the most noise of all."""
    noise = max(row["noise"] for row in report["rows"])
    rows = [row for row in report["rows"] if row["noise"] == noise]
    networks = list(dict.fromkeys(row["network"] for row in rows))
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    for axis, name in zip(figure.subplots(1, 2), ("error", "seconds"), strict=True):
        for k, formulation in enumerate(FORMULATIONS):
            values = [np.median(row[name]) for row in rows if row["formulation"] == formulation]
            axis.bar(np.arange(len(networks)) + 0.27 * (k - 1), values, 0.25, color=f"C{k}", label=formulation)
            if name == "error":
                for i, row in enumerate(row for row in rows if row["formulation"] == formulation):
                    axis.plot([i + 0.27 * (k - 1)] * len(row["error"]), row["error"], ".", color="0.25", ms=3)
        axis.set(ylabel="relative error, median and samples" if name == "error" else "seconds of the batch", yscale="log")
        axis.set_xticks(range(len(networks)), networks, fontsize=8)
        axis.grid(axis="y", alpha=0.3)
    figure.axes[0].legend(fontsize=8, frameon=False)
    figure.suptitle(f"noise {noise:.0%}", fontsize=10)
    return figure


if __name__ == "__main__":
    main()
