"""A piecewise constant picture from the noisy outputs of one random layer: the published weight, and that of every rule.

The noise is 1e-4 of the data, below what the rules look for as they come, so that their floors are taken away. The published
weight is tried with and without telling ``invert`` the noise level: told, the Bregman fidelity clears dead units of noise.
"""

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
from experiments.benchmarks.perceptron import ALPHA, NOISE, Case, relative_gap
from experiments.demo import psnr

UNTOLD = "published, level not told"


@dataclass(frozen=True)
class Size:
    side: int
    alphas: tuple[float, ...]
    walk: ni.Walk
    tolerance: float
    folder: str


SIZES = {
    "full": Size(64, tuple(np.logspace(-4, 2, 19).tolist()), ni.Walk(floor=0.0), 1e-6, "out/perceptron"),
    "smoke": Size(16, (1e-2, 1e-1, 1.0), ni.Walk(ratio=0.1, max_tries=4, max_leaps=2), 1e-2, "out/perceptron-smoke"),
}


@dataclass(frozen=True)
class Row:
    """What one rule came to. error: ||x - truth||/||truth||; gap: the certificate over the objective."""

    rule: str
    alpha: float
    error: float
    psnr: float
    residual_over_level: float
    gap: float
    seconds: float
    status: str


def rules(walk: ni.Walk) -> dict[str, Any]:
    """By name; all but the first three and the a priori rule pick from a walk over the weights."""
    return {
        UNTOLD: ni.Fixed(ALPHA),
        "published": ni.Fixed(ALPHA),
        "discrepancy principle": ni.DiscrepancyPrinciple(floor=0.0),
        "discrepancy, sequential": ni.SequentialDiscrepancy(walk=walk),
        "a priori, alpha = delta": ni.APriori(),
        "Lepskii": ni.Lepskii(walk=walk),
        "quasi-optimality": ni.QuasiOptimality(walk=walk),
        "L-curve": ni.LCurve(walk=walk),
        "Hanke-Raus": ni.HankeRaus(walk=walk),
    }


def measured(rule: str, result: ni.Reconstruction, truth: Tensor, level: float) -> Row:
    return Row(
        rule=rule,
        alpha=float(result.alpha),
        error=float((result.x - truth).norm() / truth.norm()),
        psnr=psnr(truth, result.x)[0],
        residual_over_level=float(result.residual) / level,
        gap=relative_gap(result),
        seconds=result.seconds,
        status=result.status[0].name,
    )


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``pictures.png``, ``alphas.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    case = Case(chosen.side)
    network, truth = case.network(), case.truth()
    data = case.data(network)
    level = (data - network(truth)).norm(dim=1)
    lifted = ni.lift(network, truth)
    rows: list[Row] = []
    found: dict[str, Tensor] = {}
    for name, rule in tqdm(rules(chosen.walk).items(), desc="rules", unit="rule"):
        told = None if name == UNTOLD else level
        result = ni.invert(lifted, data, noise_level=told, rule=rule, tolerance=chosen.tolerance)
        rows.append(measured(name, result, truth, float(level)))
        found[name] = result.x
    alphas = torch.tensor(chosen.alphas, dtype=torch.float64)
    many, curve = data.expand(len(alphas), -1), {"alpha": alphas.tolist()}
    for suffix, told in (("", float(level)), ("_untold", None)):
        every = ni.invert(lifted, many, noise_level=told, rule=ni.Fixed(alphas), tolerance=chosen.tolerance)
        curve["error" + suffix] = ((every.x - truth).flatten(1).norm(dim=1) / truth.norm()).tolist()
        curve["residual_over_level" + suffix] = (every.residual / level).tolist()
    report = {
        "size": size,
        "side": chosen.side,
        "outputs": data.shape[1],
        "active": int((network(truth) > 0).sum()),
        "noise": NOISE,
        "noise_level": float(level),
        "rows": [asdict(row) for row in rows],
        "curve": curve,
    }
    print(table(report, rows))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    pictures(truth, found, rows).savefig(folder / "pictures.png", dpi=130)
    against_alpha(rows, curve).savefig(folder / "alphas.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("pictures.png", "alphas.png", "result.json")))
    return report


def table(report: dict[str, Any], rows: list[Row]) -> str:
    best = int(np.argmin(report["curve"]["error"]))
    lines = [
        f"{report['side']}x{report['side']} picture, {report['outputs']} outputs of one ReLU layer ({report['active']} active), "
        f"noise of {report['noise']:g} per entry, total variation",
        f"{'rule':26}{'alpha':>10}{'error':>10}{'PSNR (dB)':>11}{'residual/level':>16}{'gap/objective':>15}"
        f"{'seconds':>9}  status",
    ]
    for row in rows:
        lines.append(
            f"{row.rule:26}{row.alpha:>10.3g}{row.error:>10.2e}{row.psnr:>11.2f}{row.residual_over_level:>16.3f}{row.gap:>15.1e}"
            f"{row.seconds:>9.2f}  {row.status}"
        )
    error, alpha = report["curve"]["error"][best], report["curve"]["alpha"][best]
    return "\n".join([*lines, f"the best of {len(report['curve']['alpha'])} weights: {alpha:.3g}, with an error of {error:.2e}"])


def pictures(truth: Tensor, found: dict[str, Tensor], rows: list[Row]) -> Figure:
    """The truth and what every rule came to, with weight and PSNR below."""
    shown: list[tuple[str, Tensor, str]] = [("truth", truth, "")]
    shown += [(row.rule, found[row.rule], f"alpha {row.alpha:.2g}, {row.psnr:.1f} dB") for row in rows]
    columns = 5
    figure = Figure(figsize=(2.3 * columns + 0.6, 5.6), layout="constrained")
    for axis, (name, x, said) in zip(figure.subplots(-(-len(shown) // columns), columns).flat, shown, strict=True):
        drawn = axis.imshow(x[0, 0].numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(name, fontsize=9)
        axis.set_xlabel(said, fontsize=9)
    figure.colorbar(drawn, ax=figure.axes, shrink=0.6)
    return figure


def against_alpha(rows: list[Row], curve: dict[str, list[float]]) -> Figure:
    """Error against the weight, the noise level told and not, with the weight of every rule."""
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.loglog(curve["alpha"], curve["error"], "-", color="0.3", label="any weight", zorder=1)
    axis.loglog(curve["alpha"], curve["error_untold"], "--", color="0.3", label="any weight, level not told", zorder=1)
    for row, marker in zip(rows, "X*ohsD^vP", strict=True):
        size = {"*": 11, "o": 14, "h": 9, "s": 11}.get(marker, 7)  # several rules choose nearly the same weight
        axis.plot(row.alpha, row.error, marker, ms=size, mfc="none", mew=1.6, ls="", label=row.rule, zorder=2)
    axis.set(xlabel="weight alpha", ylabel="relative error")
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


if __name__ == "__main__":
    main()
