"""The main job: noisy codes of handwritten digits, and the digits that a trained encoder made them from."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

import netinverse as ni
from experiments.autoencoder import SMOKE, Settings, autoencoder

RELATIVE_NOISE = 0.01


@dataclass(frozen=True)
class Size:
    digits: int
    settings: Settings
    tolerance: float
    folder: str


SIZES = {
    "full": Size(digits=50, settings=Settings(), tolerance=1e-4, folder="out/demo"),
    "smoke": Size(digits=4, settings=SMOKE, tolerance=1e-3, folder="out/demo-smoke"),
}


def psnr(truth: Tensor, x: Tensor) -> list[float]:
    """Peak signal-to-noise ratio in dB of every sample, for values in [0, 1]."""
    pairs = zip(truth.double().numpy(), x.double().numpy(), strict=True)
    return [float(peak_signal_noise_ratio(a, b, data_range=1.0)) for a, b in pairs]


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``reconstruction.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    folder = Path(out or chosen.folder)
    network = autoencoder(chosen.settings)
    truth = network.held_out[: chosen.digits]
    clean = network.encoder(truth)
    data, noise_level = ni.add_noise(clean, relative=RELATIVE_NOISE, seed=0)
    decoded = network.decoder(data)

    began = time.perf_counter()
    result = ni.invert(
        network.encoder,
        data,
        input_shape=(1, 28, 28),
        noise_level=noise_level,
        constraint=ni.Box(0.0, 1.0),
        tolerance=chosen.tolerance,
        progress=True,
    )
    seconds = time.perf_counter() - began

    per_sample = {
        "psnr_inversion": psnr(truth, result.x),
        "psnr_decoder": psnr(truth, decoded),
        "alpha": result.alpha.tolist(),
        "residual": result.residual.tolist(),
        "noise_level": noise_level.tolist(),
    }
    report: dict[str, Any] = {name: float(np.mean(values)) for name, values in per_sample.items()}
    report |= {"relative_noise": RELATIVE_NOISE, "seconds": seconds, "digits": len(truth), "size": size}
    report |= {"status": [status.name for status in result.status], "per_sample": per_sample}

    print(table(per_sample, seconds, result))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    picture(truth, decoded, result.x, per_sample).savefig(folder / "reconstruction.png", dpi=130)
    print(f"{folder / 'reconstruction.png'}\n{folder / 'result.json'}")
    return report


ROWS = {
    "psnr_inversion": "PSNR of the inversion (dB)",
    "psnr_decoder": "PSNR of the trained decoder (dB)",
    "alpha": "alpha, chosen by the rule",
    "residual": "residual ||F(x) - data||",
    "noise_level": "noise level, as given",
}


def table(per_sample: dict[str, list[float]], seconds: float, result: Any) -> str:
    count = len(per_sample["alpha"])
    lines = [f"{count} held-out digits, codes with {100 * RELATIVE_NOISE:g} % noise"]
    lines.append(f"{'':34}{'mean':>10}{'least':>10}{'most':>10}")
    for name, label in ROWS.items():
        values = per_sample[name]
        lines.append(f"{label:34}" + "".join(f"{v:10.4g}" for v in (float(np.mean(values)), min(values), max(values))))
    lines.append(f"{'seconds for all':34}{seconds:10.1f}")
    converged = sum(status is ni.Status.CONVERGED for status in result.status)
    lines.append(f"{'converged':34}{f'{converged}/{count}':>10}   certificate: {result.certificate.kind}")
    return "\n".join(lines)


def picture(truth: Tensor, decoded: Tensor, x: Tensor, per_sample: dict[str, list[float]], most: int = 10) -> Figure:
    """truth | trained decoder | inversion, a column for each digit, with the PSNR below."""
    columns = min(most, len(truth))
    rows: list[tuple[str, Tensor, list[float] | None]] = [
        ("truth", truth, None),
        ("trained decoder", decoded, per_sample["psnr_decoder"]),
        ("inversion", x, per_sample["psnr_inversion"]),
    ]
    figure = Figure(figsize=(1.15 * columns + 0.6, 4.3), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for (label, images, values), line in zip(rows, axes, strict=True):
        for column, axis in enumerate(line):
            axis.imshow(images[column, 0].numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            if values is not None:
                axis.set_xlabel(f"{values[column]:.1f} dB", fontsize=9)
        line[0].set_ylabel(label, fontsize=10)
    figure.suptitle(f"Digits from codes with {100 * RELATIVE_NOISE:g} % noise", fontsize=11)
    return figure


if __name__ == "__main__":
    main()
