"""What the features of a residual network still know of a picture: inverted from four depths, with the stability of each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from skimage import data
from skimage.transform import resize
from torch import Tensor
from tqdm import tqdm

import netinverse as ni
from experiments.demo import psnr
from experiments.resnet import SMOKE, Settings, classifier

DEPTHS = ("stem", "layer1", "layer2", "layer3")


@dataclass(frozen=True)
class Size:
    pixels: int
    settings: Settings
    noise: tuple[float, ...]
    tolerance: float
    folder: str


SIZES = {
    "full": Size(32, Settings(), (0.0, 0.01, 0.05, 0.2), 1e-4, "out/feature_inversion"),
    "smoke": Size(8, SMOKE, (0.05, 0.2), 1e-2, "out/feature_inversion-smoke"),
}


@dataclass(frozen=True)
class Row:
    """One depth at one noise level. ``amplification``: ||x - truth|| over the norm of the noise; None without noise."""

    depth: str
    features: tuple[int, ...]
    relative_noise: float
    psnr: float
    error: float
    noise: float
    amplification: float | None
    residual_over_level: float | None
    alpha: float
    status: str


def astronaut(pixels: int) -> Tensor:
    """The face of scikit-image's astronaut, which the network was not trained on, ``(1, 3, pixels, pixels)``."""
    face = data.astronaut()[0:256, 96:352] / 255
    return torch.as_tensor(resize(face, (pixels, pixels), anti_aliasing=True)).permute(2, 0, 1)[None].float()


def at_depth(network: torch.nn.Module, depth: str, truth: Tensor, size: Size) -> tuple[list[Row], Tensor]:
    """The picture from the output of the module ``depth`` at every noise level, all in one batch."""
    lifted = ni.lift(network, truth, output=depth)
    clean = lifted(truth)
    noisy = [ni.add_noise(clean, relative=relative, seed=0) for relative in size.noise]
    result = ni.invert(
        lifted,
        torch.cat([each for each, _ in noisy]),
        noise_level=torch.cat([level for _, level in noisy]),
        constraint=ni.Box(0.0, 1.0),
        tolerance=size.tolerance,
        progress=True,
    )
    assert result.noise_level is not None
    rows = []
    for i, relative in enumerate(size.noise):
        noise, error = float(noisy[i][1]), float((result.x[i] - truth[0]).norm())
        left = float(result.noise_level[i])
        rows.append(
            Row(
                depth=depth,
                features=tuple(clean.shape[1:]),
                relative_noise=relative,
                psnr=psnr(truth, result.x[i : i + 1])[0],
                error=error,
                noise=noise,
                amplification=error / noise if noise > 0 else None,
                residual_over_level=float(result.residual[i]) / left if left > 0 else None,
                alpha=float(result.alpha[i]),
                status=result.status[i].name,
            )
        )
    return rows, result.x


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``pictures.png``, ``stability.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    folder = Path(out or chosen.folder)
    trained = classifier(chosen.settings)
    truth = astronaut(chosen.pixels)
    rows: list[Row] = []
    found: dict[str, Tensor] = {}
    for depth in tqdm(DEPTHS, desc="depths", unit="depth"):
        part, found[depth] = at_depth(trained.network, depth, truth, chosen)
        rows += part
    report = {"size": size, "accuracy": trained.accuracy, "pixels": chosen.pixels, "rows": [asdict(row) for row in rows]}
    print(table(rows, trained.accuracy))
    folder.mkdir(parents=True, exist_ok=True)
    pictures(truth, found, rows, chosen.noise).savefig(folder / "pictures.png", dpi=130)
    stability(rows).savefig(folder / "stability.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("pictures.png", "stability.png", "result.json")))
    return report


def table(rows: list[Row], accuracy: float) -> str:
    head = (
        f"{'depth':8}{'features':>14}{'noise':>8}{'PSNR (dB)':>11}{'error/noise':>13}{'residual/level':>16}{'alpha':>11}  status"
    )
    lines = [f"a picture that the network has not seen; {100 * accuracy:.0f} % of its test patches are named correctly", head]
    for row in rows:
        features = "x".join(map(str, row.features))
        amplification = "-" if row.amplification is None else f"{row.amplification:.3f}"
        residual = "-" if row.residual_over_level is None else f"{row.residual_over_level:.3f}"
        lines.append(
            f"{row.depth:8}{features:>14}{100 * row.relative_noise:>6g} %{row.psnr:>11.2f}{amplification:>13}{residual:>16}"
            f"{row.alpha:>11.3g}  {row.status}"
        )
    return "\n".join(lines)


def pictures(truth: Tensor, found: dict[str, Tensor], rows: list[Row], noise: tuple[float, ...]) -> Figure:
    """truth | four depths, a row for each noise level, with the PSNR below and the status where it is not CONVERGED."""
    figure = Figure(figsize=(1.75 * (len(found) + 1), 1.95 * len(noise) + 0.3), layout="constrained")
    axes = figure.subplots(len(noise), len(found) + 1, squeeze=False)
    by_place = {(row.depth, row.relative_noise): row for row in rows}
    for i, relative in enumerate(noise):
        shown: list[tuple[str, Tensor]] = [("truth", truth[0]), *((depth, x[i]) for depth, x in found.items())]
        for axis, (name, image) in zip(axes[i], shown, strict=True):
            axis.imshow(np.clip(image.permute(1, 2, 0).numpy(), 0, 1), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            if i == 0:
                axis.set_title(name, fontsize=10)
            if name != "truth":
                row = by_place[name, relative]
                ended = "" if row.status == ni.Status.CONVERGED.name else f"\n{row.status.lower().replace('_', ' ')}"
                axis.set_xlabel(f"{row.psnr:.1f} dB{ended}", fontsize=9)
        axes[i][0].set_ylabel(f"{100 * relative:g} % noise", fontsize=10)
    return figure


def stability(rows: list[Row]) -> Figure:
    """The error of the picture against the noise of the features, a line for each depth; dotted: a factor of 1 and 0.1."""
    figure = Figure(figsize=(5.4, 3.9), layout="constrained")
    axis = figure.subplots()
    for depth, style in zip(DEPTHS, ("o-", "s--", "^-.", "D:"), strict=True):
        part = [row for row in rows if row.depth == depth and row.noise > 0]
        axis.loglog([row.noise for row in part], [row.error for row in part], style, label=f"{depth}")
    low, high = axis.get_xlim()
    for factor in (1.0, 0.1):
        axis.loglog([low, high], [factor * low, factor * high], color="0.6", lw=0.8, ls=":", zorder=0)
        axis.annotate(f"error = {factor:g} noise", (high, factor * high), fontsize=7, color="0.4", ha="right", va="bottom")
    axis.set_xlim(low, high)
    axis.set(xlabel="norm of the noise on the features", ylabel="norm of the error of the picture")
    axis.legend(fontsize=8, frameon=False)
    return figure


if __name__ == "__main__":
    main()
