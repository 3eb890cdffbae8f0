"""Unrolled dual forward-backward denoisers for pictures: trained by the lifted energy and by back-propagation, beside TV."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from skimage import data
from skimage.color import rgb2gray
from skimage.restoration import denoise_tv_chambolle
from skimage.transform import rescale
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

import netinverse as ni
from netinverse.training import LiftedTraining, ProximalSGD

NOISE = 25 / 255
KINDS = {"tied": True, "decoupled": False}
METHODS = ("lifted", "back-propagation")
TV_WEIGHTS = (0.06, 0.07, 0.08, 0.09, 0.1, 0.12, 0.14)
LEARNT_FROM = ("astronaut", "coffee", "rocket", "stereo_motorcycle", "brick", "grass", "gravel", "page", "moon", "retina")
HELD_OUT = ("camera", "cat", "coins")


@dataclass(frozen=True)
class Size:
    """patches: of each picture. turn: batches between two looks at the patches held out. search, turns: how many turns each rate
    of the grid gets, and the best one; the seconds that lifted training takes for them are what back-propagation gets.
    """

    patches: int
    side: int
    batch: int
    features: int
    depth: int
    turn: int
    search: int
    turns: int
    rates: dict[str, tuple[float, ...]]
    crop: int
    folder: str


RATES = {"tied": (1e-4, 3e-4, 1e-3), "decoupled": (3e-4, 1e-3, 3e-3)}
SIZES = {
    "full": Size(200, 32, 8, 16, 8, 40, 8, 30, RATES, 256, "out/proximal_denoiser"),
    "smoke": Size(4, 16, 4, 4, 2, 2, 1, 1, {kind: rates[:1] for kind, rates in RATES.items()}, 48, "out/proximal_denoiser-smoke"),
}


@functools.cache
def picture(name: str) -> Tensor:
    """(height, width), grey in [0, 1], at half its size where that leaves 200 pixels a side; all ship with scikit-image."""
    found = getattr(data, name)()
    found = found[0] if isinstance(found, tuple) else found
    grey = rgb2gray(found) if found.ndim == 3 else found / 255
    grey = rescale(grey, 0.5, anti_aliasing=True) if min(grey.shape) >= 400 else grey
    return torch.as_tensor(np.ascontiguousarray(grey)).float()


def noisy(clean: Tensor, seed: int) -> Tensor:
    return clean + NOISE * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))


@functools.cache
def patches(names: tuple[str, ...], count: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy and true, (names * count, 1, side, side)."""
    generator, cut = torch.Generator().manual_seed(seed), []
    for name in names:
        whole = picture(name)
        for _ in range(count):
            i, j = (int(torch.randint(n - side + 1, (1,), generator=generator)) for n in whole.shape)
            cut.append(whole[i : i + side, j : j + side])
    truth = torch.stack(cut)[:, None]
    return noisy(truth, seed), truth


def psnr(truth: Tensor, x: Tensor) -> float:
    """Mean over the batch, for the range [0, 1]."""
    return float(-10 * (truth - x).square().flatten(1).mean(1).log10().mean())


class Turns:
    """Batches of the patches, turn by turn; after each turn the clock stands still while the denoiser is looked at.

    ``curve``: (seconds of one core, PSNR on the patches held out). What is looked at are the parameters averaged over the last
    turns, each counting 0.8 times the next, which takes most of the noise of the last steps away from both methods.
    """

    def __init__(self, denoiser: nn.Module, size: Size) -> None:
        self.denoiser, self.size = denoiser, size
        self.data = patches(LEARNT_FROM, size.patches, size.side, 0)
        self.held = patches(HELD_OUT, max(1, size.patches // 8), size.side, 1)
        self.averaged = AveragedModel(denoiser, multi_avg_fn=get_ema_multi_avg_fn(0.8))
        self.generator, self.order = torch.Generator().manual_seed(0), torch.empty(0, dtype=torch.long)
        self.seconds, self.curve = 0.0, list[tuple[float, float]]()
        self._look()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        began = time.process_time()
        for _ in range(self.size.turn):
            if len(self.order) < self.size.batch:
                self.order = torch.randperm(len(self.data[0]), generator=self.generator)
            chosen, self.order = self.order[: self.size.batch], self.order[self.size.batch :]
            yield self.data[0][chosen], self.data[1][chosen]
        self.seconds += time.process_time() - began
        self._look()

    def _look(self) -> None:
        self.averaged.update_parameters(self.denoiser)
        with torch.no_grad():
            self.curve.append((self.seconds, psnr(self.held[1], self.averaged(self.held[0]))))

    @property
    def found(self) -> float:
        """The PSNR at the end."""
        return self.curve[-1][1]


def lifted(kind: str, rate: float, turns: int, size: Size) -> Turns:
    denoiser = ni.proximal_denoiser(1, size.features, size.depth, tied=KINDS[kind])
    loader = Turns(denoiser, size)
    LiftedTraining(algorithm=ProximalSGD(rate)).fit(ni.lift(denoiser, loader.data[0][:2]), loader, turns)
    return loader


def back_propagation(kind: str, rate: float, seconds: float, size: Size) -> Turns:
    """Adam on 1/2||x - truth||^2, the same loss, for so many seconds."""
    denoiser = ni.proximal_denoiser(1, size.features, size.depth, tied=KINDS[kind])
    loader, optimiser = Turns(denoiser, size), torch.optim.Adam(denoiser.parameters(), rate)
    while loader.seconds < seconds:
        for z, truth in loader:
            optimiser.zero_grad()
            (0.5 * (denoiser(z) - truth).square().sum() / len(z)).backward()
            optimiser.step()
    return loader


def best_of_grid(kind: str, size: Size, bar: tqdm[Any]) -> dict[str, tuple[float, Turns]]:
    """By method: the best rate of short runs, and the long run with it."""
    short = {}
    for rate in size.rates[kind]:
        short["lifted", rate] = lifted(kind, rate, size.search, size)
        short["back-propagation", rate] = back_propagation(kind, rate, short["lifted", rate].seconds, size)
        bar.update(2)
    rates = {method: max(size.rates[kind], key=lambda rate, m=method: short[m, rate].found) for method in METHODS}  # type: ignore[misc]
    ours = lifted(kind, rates["lifted"], size.turns, size)
    theirs = back_propagation(kind, rates["back-propagation"], ours.seconds, size)
    bar.update(2)
    return {"lifted": (rates["lifted"], ours), "back-propagation": (rates["back-propagation"], theirs)}


def total_variation(z: Tensor, truth: Tensor) -> Tensor:
    """With the weight that is best for this very picture, which takes the truth to know."""
    found = [torch.as_tensor(denoise_tv_chambolle(z[0, 0].numpy(), weight))[None, None] for weight in TV_WEIGHTS]
    return max(found, key=lambda x: psnr(truth, x))


@dataclass(frozen=True)
class Row:
    kind: str
    method: str
    rate: float | None
    seconds: float | None
    steps: int | None
    psnr: dict[str, float]


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``curves.png``, ``pictures.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    runs = sum(2 * len(rates) + 2 for rates in chosen.rates.values())
    with tqdm(total=runs, desc="proximal denoisers", unit="run") as bar:
        trained = {kind: best_of_grid(kind, chosen, bar) for kind in KINDS}
    shown = {name: _middle(picture(name), chosen.crop)[None, None] for name in HELD_OUT}
    given = {name: noisy(truth, 7 + k) for k, (name, truth) in enumerate(shown.items())}
    columns = {"noisy": given, "total variation": {name: total_variation(given[name], shown[name]) for name in shown}}
    rows = [Row("", label, None, None, None, _psnrs(shown, found)) for label, found in columns.items()]
    for kind, methods in trained.items():
        for method, (rate, run) in methods.items():
            with torch.no_grad():
                columns[f"{kind}, {method}"] = {name: run.averaged(z) for name, z in given.items()}
            steps = (len(run.curve) - 1) * chosen.turn
            rows.append(Row(kind, method, rate, run.seconds, steps, _psnrs(shown, columns[f"{kind}, {method}"])))
    report = {"size": size, "noise": NOISE, "settings": asdict(chosen), "rows": [asdict(row) for row in rows]}
    print(table(rows, chosen))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    curves(trained).savefig(folder / "curves.png", dpi=130)
    strip(columns | {"truth": shown}, rows).savefig(folder / "pictures.png", dpi=110)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("curves.png", "pictures.png", "result.json")))
    return report


def _middle(whole: Tensor, crop: int) -> Tensor:
    i, j = ((n - min(n, crop)) // 2 for n in whole.shape)
    return whole[i : i + crop, j : j + crop]


def _psnrs(truth: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, float]:
    return {name: psnr(truth[name], found[name]) for name in truth}


def table(rows: list[Row], size: Size) -> str:
    lines = [
        f"noise 25/255, {len(LEARNT_FROM) * size.patches} patches of {size.side} x {size.side} learnt from; {size.features} "
        f"filters of 3 x 3, {size.depth} steps; PSNR in dB on pictures held out",
        f"{'denoiser':12}{'training':18}{'rate':>8}{'steps':>7}{'seconds':>9}"
        + "".join(f"{n:>9}" for n in HELD_OUT)
        + f"{'mean':>9}",
    ]
    for row in rows:
        rate, steps = ("", "") if row.rate is None else (f"{row.rate:g}", str(row.steps))
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        found = [*row.psnr.values(), sum(row.psnr.values()) / len(row.psnr)]
        lines.append(f"{row.kind:12}{row.method:18}{rate:>8}{steps:>7}{seconds:>9}" + "".join(f"{p:9.2f}" for p in found))
    lines.append("seconds of one core, the same for both methods; total variation at the best weight for each picture")
    return "\n".join(lines)


def curves(trained: dict[str, dict[str, tuple[float, Turns]]]) -> Figure:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for kind, methods in trained.items():
        for method, (rate, run) in methods.items():
            style = "-" if method == "lifted" else "--"
            axis.plot(
                *zip(*run.curve, strict=True), style, color="C0" if kind == "tied" else "C1", label=f"{kind}, {method}, {rate:g}"
            )
    axis.set_xlabel("seconds of one core")
    axis.set_ylabel("PSNR on held-out patches (dB)")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure


def strip(columns: dict[str, dict[str, Tensor]], rows: list[Row]) -> Figure:
    """A row for each picture held out, a column for each denoiser."""
    values = {f"{row.kind}, {row.method}" if row.kind else row.method: row.psnr for row in rows}
    figure = Figure(figsize=(2.2 * len(columns), 2.35 * len(HELD_OUT)), layout="constrained")
    for axes, name in zip(figure.subplots(len(HELD_OUT), len(columns)), HELD_OUT, strict=True):
        for axis, (label, found) in zip(axes, columns.items(), strict=True):
            axis.imshow(found[name][0, 0], cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
            if name == HELD_OUT[0]:
                axis.set_title(label.replace(", ", ",\n"), fontsize=9)
            if label in values:
                axis.set_xlabel(f"{values[label][name]:.2f} dB", fontsize=9)
        axes[0].set_ylabel(name)
    return figure


if __name__ == "__main__":
    main()
