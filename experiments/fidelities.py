"""The Bregman fidelity beside the squared one at the same residual, and what dead units cost each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

import netinverse as ni
from experiments.autoencoder import SMOKE, Settings, autoencoder
from experiments.benchmarks.perceptron import Case
from experiments.demo import psnr
from experiments.shallow import units

FIDELITIES: dict[str, Any] = {
    "Bregman": ni.BregmanFidelity(),
    "Bregman, as it comes": ni.BregmanFidelity(snap=0.0),
    "squared": ni.SquaredFidelity(),
}
STYLES = dict(zip(FIDELITIES, ("o-", "s--", "^:"), strict=True))


@dataclass(frozen=True)
class Size:
    side: int
    pictures: int
    digits: int
    settings: Settings
    noise: tuple[float, ...]
    tolerance: float
    folder: str


SIZES = {
    "full": Size(32, 4, 6, Settings(), (0.01, 0.03, 0.1, 0.3), 1e-4, "out/fidelities"),
    "smoke": Size(8, 1, 1, SMOKE, (0.3,), 1e-1, "out/fidelities-smoke"),
}


@dataclass(frozen=True)
class Row:
    """One network, fidelity and noise level: means over the samples; residual over the noise level that projection leaves.

    cost: the fidelity at the truth over half the squared noise level, the largest sample; 1 is what squares cost.
    """

    network: str
    fidelity: str
    relative_noise: float
    psnr: float
    residual_over_level: float
    alpha: float
    cost: float
    converged: int
    samples: int
    seconds: float


@dataclass(frozen=True)
class Setting:
    name: str
    network: ni.LiftedNetwork
    truth: Tensor


def settings(size: Size) -> list[Setting]:
    """Several draws of the perceptron's noise on one picture, and digits behind their encoder."""
    case, network = Case(size.side), autoencoder(size.settings)
    truth, digits = case.truth().repeat(size.pictures, 1, 1, 1), network.held_out[: size.digits].double()
    return [
        Setting("perceptron", ni.lift(case.network(), truth), truth),
        Setting("encoder of digits", ni.lift(network.encoder, digits.float()).astype(torch.float64), digits),
    ]


def compared(setting: Setting, relative: float, size: Size) -> list[Row]:
    """Every fidelity on the same data, by the discrepancy principle: with the same residual wherever it reaches that."""
    data, noise_level = ni.add_noise(setting.network(setting.truth), relative=relative, seed=0)
    rows = []
    for name, fidelity in FIDELITIES.items():
        result = ni.invert(
            setting.network,
            data,
            noise_level=noise_level,
            constraint=ni.Box(0.0, 1.0),
            fidelity=fidelity,
            tolerance=size.tolerance,
        )
        assert result.noise_level is not None
        rows.append(
            Row(
                network=setting.name,
                fidelity=name,
                relative_noise=relative,
                psnr=float(np.mean(psnr(setting.truth, result.x))),
                residual_over_level=float((result.residual / result.noise_level).mean()),
                alpha=float(result.alpha.mean()),
                cost=float((at_truth(setting, fidelity, result) / (result.noise_level.square() / 2)).max()),
                converged=sum(status is ni.Status.CONVERGED for status in result.status),
                samples=len(result.status),
                seconds=result.seconds,
            )
        )
    return rows


def at_truth(setting: Setting, fidelity: Any, result: ni.Reconstruction) -> Tensor:
    """fidelity(F(truth), data), with the data as the fidelity treats them, (batch,)."""
    assert result.noise_level is not None
    treated = fidelity.treat(setting.network, result.data, result.noise_level)
    with torch.no_grad():
        value: Tensor = fidelity.at(setting.network, treated)(fidelity.variable(setting.network)(setting.truth))
    return value


def from_dead_units() -> dict[str, float]:
    """25 ReLU units behind the number 1, inverted from -1/2, where every unit is dead: the answers."""
    truth = torch.ones(1, 1, dtype=torch.float64)
    network = ni.lift(units(), truth)
    start = torch.full((1, 1), -0.5, dtype=torch.float64)
    found = {}
    for name, fidelity in FIDELITIES.items():
        result = ni.invert(
            network, network(truth), start=start, regulariser=ni.Tikhonov(), rule=ni.Fixed(1e-4), fidelity=fidelity
        )
        found[name] = float(result.x)
    return found


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``fidelities.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    rows: list[Row] = []
    cases = [(setting, relative) for setting in settings(chosen) for relative in chosen.noise]
    for setting, relative in tqdm(cases, desc="networks and noise levels", unit="case"):
        rows += compared(setting, relative, chosen)
    dead = from_dead_units()
    report = {"size": size, "rows": [asdict(row) for row in rows], "from_dead_units": dead}
    print(table(rows, dead))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture(rows).savefig(folder / "fidelities.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("fidelities.png", "result.json")))
    return report


def table(rows: list[Row], dead: dict[str, float]) -> str:
    lines = [
        f"{'network':19}{'noise':>7}  {'fidelity':22}{'PSNR (dB)':>10}{'residual/level':>16}{'cost of truth':>15}{'alpha':>10}"
        f"{'converged':>11}{'seconds':>9}"
    ]
    for row in rows:
        lines.append(
            f"{row.network:19}{100 * row.relative_noise:>5g} %  {row.fidelity:22}{row.psnr:>10.2f}"
            f"{row.residual_over_level:>16.3f}{row.cost:>15.2f}{row.alpha:>10.3g}{f'{row.converged}/{row.samples}':>11}{row.seconds:>9.1f}"
        )
    lines.append("cost of truth: the fidelity at the truth over half the squared noise level; the largest of the samples")
    answers = ", ".join(f"{name} {value:.4f}" for name, value in dead.items())
    lines.append(f"25 ReLU units behind the number 1, begun at -1/2 where all are dead: {answers}")
    return "\n".join(lines)


def picture(rows: list[Row]) -> Figure:
    """PSNR, and the cost of the truth, against noise; a column for each network."""
    networks = list(dict.fromkeys(row.network for row in rows))
    figure = Figure(figsize=(4.4 * len(networks), 6.4), layout="constrained")
    axes = figure.subplots(2, len(networks), squeeze=False, sharex=True, sharey="row")
    for (above, below), network in zip(axes.T, networks, strict=True):
        for fidelity, style in STYLES.items():
            here = [row for row in rows if row.network == network and row.fidelity == fidelity]
            noise = [100 * row.relative_noise for row in here]
            above.semilogx(noise, [row.psnr for row in here], style, label=fidelity)
            below.loglog(noise, [row.cost for row in here], style, label=fidelity)
        above.set_title(network, fontsize=11)
        below.set_xlabel("noise / norm of the data (%)")
        for axis in (above, below):
            axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("mean PSNR (dB)")
    axes[1][0].set_ylabel("fidelity of the truth\n/ half the squared noise level")
    axes[0][0].legend(fontsize=9, frameon=False)
    return figure


if __name__ == "__main__":
    main()
