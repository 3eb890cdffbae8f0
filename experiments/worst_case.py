"""Noise in the worst direction beside random noise of the same norm: how much farther the digits of an encoder move."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

import netinverse as ni
from experiments.autoencoder import SMOKE, Settings, autoencoder

KINDS = {"gaussian": "random", "worst-case": "worst case"}


@dataclass(frozen=True)
class Size:
    digits: int
    settings: Settings
    noise: tuple[float, ...]
    tolerance: float
    folder: str


SIZES = {
    "full": Size(10, Settings(), (0.0, 0.003, 0.01, 0.03, 0.1, 0.3), 1e-4, "out/worst_case"),
    "smoke": Size(1, SMOKE, (0.0, 0.1), 1e-1, "out/worst_case-smoke"),
}


@dataclass(frozen=True)
class Row:
    """Medians over the digits at one noise level. error: ||x - truth||/||truth||; amplification: ||x - x_0||/||noise||.

    x_0: the reconstruction from the same code without noise; left: the share of the noise that projecting the data leaves.
    """

    kind: str
    relative_noise: float
    error: float
    amplification: float | None
    residual_over_level: float | None
    left: float | None
    alpha: float
    converged: int


def inverted(encoder: torch.nn.Module, truth: Tensor, size: Size) -> pd.DataFrame:
    """A row for each kind of noise, noise level and digit, all reconstructed in one batch; level 0 is no noise."""
    clean = encoder(truth)
    cases = [(kind, level, relative) for kind in KINDS for level, relative in enumerate(size.noise)]
    noisy = []
    for kind, _, relative in cases:
        where: dict[str, Any] = {"network": encoder, "truth": truth} if kind == "worst-case" else {}
        noisy.append(ni.add_noise(clean, relative=relative, kind=kind, **where))
    level = torch.cat([level for _, level in noisy])
    result = ni.invert(
        encoder,
        torch.cat([data for data, _ in noisy]),
        input_shape=tuple(truth.shape[1:]),
        noise_level=level,
        constraint=ni.Box(0.0, 1.0),
        tolerance=size.tolerance,
        progress=True,
    )
    assert result.noise_level is not None
    x = result.x.reshape(len(KINDS), len(size.noise), *truth.shape)
    return pd.DataFrame(
        {
            "kind": [kind for kind, _, _ in cases for _ in truth],
            "level": [level for _, level, _ in cases for _ in truth],
            "relative_noise": [relative for _, _, relative in cases for _ in truth],
            "error": ((x - truth).flatten(3).norm(dim=3) / truth.flatten(1).norm(dim=1)).flatten().numpy(),
            "moved": ((x - x[:, :1]).flatten(3).norm(dim=3).flatten() / level).numpy(),
            "residual_over_level": (result.residual / result.noise_level).numpy(),
            "left": (result.noise_level / level).numpy(),
            "alpha": result.alpha.numpy(),
            "converged": [status is ni.Status.CONVERGED for status in result.status],
        }
    )


def medians(found: pd.DataFrame) -> list[Row]:
    rows = []
    for (_, kind), part in found.groupby(["level", "kind"]):
        middle = part.median(numeric_only=True)
        noisy = bool(middle["relative_noise"] > 0)
        rows.append(
            Row(
                kind=str(kind),
                relative_noise=float(middle["relative_noise"]),
                error=float(middle["error"]),
                amplification=float(middle["moved"]) if noisy else None,
                residual_over_level=float(middle["residual_over_level"]) if noisy else None,
                left=float(middle["left"]) if noisy else None,
                alpha=float(middle["alpha"]),
                converged=int(part["converged"].sum()),
            )
        )
    return rows


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``worst_case.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    network = autoencoder(chosen.settings)
    truth = network.held_out[: chosen.digits]
    found = inverted(network.encoder, truth, chosen)
    rows = medians(found)
    local = ni.conditioning(network.encoder, truth)
    report = {
        "size": size,
        "digits": len(truth),
        "rows": [asdict(row) for row in rows],
        "local_amplification": local.noise_amplification.tolist(),
        "rank": local.rank.tolist(),
        "invisible_share": local.invisible_share.tolist(),
    }
    print(table(rows, local))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture(found, local.noise_amplification).savefig(folder / "worst_case.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("worst_case.png", "result.json")))
    return report


def table(rows: list[Row], local: ni.Conditioning) -> str:
    factor, rank, unseen = local.noise_amplification, local.rank, float(local.invisible_share.median())
    lines = [
        f"{len(rank)} held-out digits, medians. Without regularisation noise is amplified by up to {float(factor.median()):.1f} "
        f"({float(factor.min()):.1f} .. {float(factor.max()):.1f}) in the {int(rank.min())} .. {int(rank.max())} directions",
        f"that the codes show, which leave {100 * unseen:.0f} % of a digit's norm unseen",
        f"{'noise':>8}{'kind':>13}{'error':>9}{'moved/noise':>13}{'residual/level':>16}{'noise left':>12}{'alpha':>10}"
        f"{'converged':>11}",
    ]
    for row in rows:
        numbers = "".join(
            f"{'-' if value is None else f'{value:.3f}':>{width}}"
            for value, width in ((row.amplification, 13), (row.residual_over_level, 16), (row.left, 12))
        )
        lines.append(
            f"{100 * row.relative_noise:>6.3g} %{KINDS[row.kind]:>13}{row.error:>9.3f}{numbers}{row.alpha:>10.3g}"
            f"{f'{row.converged}/{len(rank)}':>11}"
        )
    return "\n".join(lines)


def picture(found: pd.DataFrame, local: Tensor) -> Figure:
    """Left the relative error, right the amplification, with its local value; medians and the range of all digits."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (kind, label), style in zip(KINDS.items(), ("o-", "s--"), strict=True):
        levels = found[(found["kind"] == kind) & (found["level"] > 0)].groupby("level")
        noise = 100 * levels["relative_noise"].median()
        for axis, column in ((left, "error"), (right, "moved")):
            values = levels[column]
            (line,) = axis.loglog(noise, values.median(), style, label=f"{label} noise")
            axis.fill_between(noise, values.min().to_numpy(), values.max().to_numpy(), color=line.get_color(), alpha=0.15, lw=0)
    left.axhline(float(found[found["level"] == 0]["error"].median()), color="0.4", ls=":", label="no noise")
    right.axhspan(float(local.min()), float(local.max()), color="0.9", zorder=0)
    right.axhline(float(local.median()), color="0.4", ls=":", label="no regularisation, worst case:\n1 / least singular value")
    left.set_ylabel("||x - truth|| / ||truth||")
    right.set_ylabel("||x - x without noise|| / ||noise||")
    for axis in (left, right):
        axis.set_xlabel("noise / norm of the code (%)")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=9, frameon=False)
    figure.suptitle(f"{len(local)} digits: medians and ranges", fontsize=11)
    return figure


if __name__ == "__main__":
    main()
