"""Accuracy against stability of inversion: ordinary encoders, and encoders whose layers are made to be inverted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter
from torch import Tensor, nn
from tqdm import tqdm

import netinverse as ni
from experiments import stored
from experiments.demo import psnr
from experiments.training import accuracy, digits
from netinverse.layers import ContractiveBlock, PairedReLU, PlusLayer, parseval, spectrally_bounded
from netinverse.training import ConditioningPenalty

SLOPE, CONTRACTION = 0.2, 0.9
CLASSIFICATION = 5.0
"""The weight of the cross-entropy of the classifier beside 1/2||decoder - x||^2."""
EVERY = 20
"""Steps between two proximal maps of the conditioning penalty, which decompose matrices."""


@dataclass(frozen=True)
class Settings:
    """All that decides the trained weights of one encoder."""

    encoder: str
    train: int = 4500
    epochs: int = 15
    batch: int = 128
    learning_rate: float = 2e-3
    code: int = 300
    hidden: int = 784
    decoder: int = 500
    seed: int = 0


@dataclass(frozen=True)
class Size:
    """``rates``: those of the ordinary encoder, which is taken at the best of them; ``inverted``: digits by noise level."""

    kinds: tuple[str, ...]
    seeds: int
    rates: tuple[float, ...]
    digits: int
    inverted: dict[float, int]
    tolerance: float
    settings: dict[str, int]
    folder: str


@dataclass(frozen=True)
class Kind:
    """784 -> hidden -> code: the layers, the bound of the noise amplification that they give, the rate, and a penalty's help."""

    layers: Callable[[int, int], nn.Sequential]
    bound: float = math.inf
    rate: float = 2e-3
    is_conditioned: bool = False


def ordinary(code: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, code))


def with_relu(code: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(*ordinary(code, hidden), nn.ReLU())


def leaky(code: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(parseval(nn.Linear(784, code)), nn.LeakyReLU(SLOPE), parseval(nn.Linear(code, code)))


def paired(code: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(spectrally_bounded(nn.Linear(784, code // 2)), PairedReLU())


def contractive(code: int, hidden: int) -> nn.Sequential:
    block = ContractiveBlock(nn.Linear(code, hidden), nn.Linear(hidden, code), lipschitz=CONTRACTION)
    return nn.Sequential(parseval(nn.Linear(784, code)), block)


def plus(code: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(parseval(nn.Linear(784, code)), PlusLayer(code, hidden), PlusLayer(code, hidden))


KINDS = {
    "ordinary": Kind(ordinary),
    "ordinary, ReLU code": Kind(with_relu, rate=4e-3),
    "conditioned": Kind(ordinary, rate=4e-3, is_conditioned=True),
    "Parseval, leaky ReLU": Kind(leaky, 1 / SLOPE),
    "paired filters": Kind(paired, 2.0),
    "contractive block": Kind(contractive, 1 / (1 - CONTRACTION)),
    "plus layers": Kind(plus, 1.0),
}


SIZES = {
    "full": Size(tuple(KINDS), 1, (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2), 50, {0.01: 8, 0.05: 16, 0.2: 8}, 1e-3, {}, "out/encoders"),
    "smoke": Size(
        ("ordinary", "plus layers"),
        1,
        (2e-3,),
        1,
        {0.05: 1},
        1e-1,
        {"train": 128, "epochs": 1, "code": 30, "hidden": 40, "decoder": 20},
        "out/encoders-smoke",
    ),
}


class Model(nn.Module):
    """A code, what a decoder makes of it, and what a linear classifier does."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        code, width = settings.code, settings.decoder
        self.encoder = KINDS[settings.encoder].layers(code, settings.hidden)
        self.decoder = nn.Sequential(nn.Linear(code, width), nn.ReLU(), nn.Linear(width, 784), nn.Sigmoid())
        self.head = nn.Linear(code, 10)


def trained(settings: Settings) -> Model:
    """By Adam, once, and kept under ``out/models``."""
    name = settings.encoder.lower().replace(", ", "-").replace(" ", "-")
    build, train = (lambda: Model(settings)), (lambda model: _train(model, settings))
    model = stored.trained(f"encoder-{name}", settings, build, train, "out/models")
    assert isinstance(model, Model)
    return model


def _train(model: nn.Module, settings: Settings) -> None:
    assert isinstance(model, Model)
    loader, _ = digits(settings.train, batch=settings.batch)
    optimiser = torch.optim.Adam(model.parameters(), settings.learning_rate)
    steps = settings.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        for x, y in (batch for _ in range(settings.epochs) for batch in loader):
            optimiser.zero_grad()
            code = model.encoder(x)
            loss = 0.5 * (model.decoder(code) - x).square().sum(1).mean()
            loss = loss + CLASSIFICATION * nn.functional.cross_entropy(model.head(code), y)
            loss.backward()
            optimiser.step()
            schedule.step()
            if KINDS[settings.encoder].is_conditioned and schedule.last_epoch % EVERY == 0:
                condition(model.encoder)


@torch.no_grad()
def condition(encoder: nn.Sequential) -> None:
    """The proximal map of the penalty: singular values half way to [1/2, 2]."""
    for p in encoder.parameters():
        if p.ndim > 1:
            p.copy_(ConditioningPenalty().prox(p[None])[0])


def quality(model: Model, x: Tensor, y: Tensor) -> dict[str, float]:
    """What decoder and classifier make of the clean codes of held-out digits."""
    decoded = model.decoder(model.encoder(x))
    return {
        "error": float((decoded - x).square().mean()),
        "decoder": float(np.mean(psnr(x, decoded))),
        "accuracy": accuracy(nn.Sequential(model.encoder, model.head), [(x, y)]),
    }


def settings_of(size: Size, x: Tensor, y: Tensor) -> dict[str, Settings]:
    """By encoder. The ordinary one is taken at the rate whose decoder has the least error, the others at one rate each."""
    given = {name: Settings(name, learning_rate=KINDS[name].rate, **size.settings) for name in size.kinds}
    tried = [replace(given["ordinary"], learning_rate=rate) for rate in size.rates]
    return given | {"ordinary": min(tried, key=lambda settings: quality(trained(settings), x, y)["error"])}


def stability(network: ni.LiftedNetwork, x: Tensor) -> dict[str, float]:
    """Of the encoder at these digits; medians.

    relative: by how much a relative change of the code can move the input, relative to the input. It does not fall when all codes
    are multiplied by a number, as the amplification does. rank: units that are dead at a digit count as directions that are not
    seen, not as an infinite amplification.
    """
    found = ni.conditioning(network, x)
    gain = (network(x).norm(dim=1) / x.flatten(1).norm(dim=1)).double()
    return {
        "amplification": float(found.noise_amplification.median()),
        "worst": float(found.noise_amplification.max()),
        "relative": float((found.noise_amplification * gain).median()),
        "rank": float(found.rank.double().median()),
    }


def inverted(network: ni.LiftedNetwork, decoder: nn.Module, x: Tensor, size: Size) -> dict[str, float]:
    """Mean PSNR of the inversion and of the trained decoder at every noise level."""
    found: dict[str, float] = {}
    for relative, count in size.inverted.items():
        truth = x[:count]
        data, level = ni.add_noise(network(truth), relative=relative, seed=0)
        result = ni.invert(network, data, noise_level=level, constraint=ni.Box(0.0, 1.0), tolerance=size.tolerance)
        found[f"inversion_{relative:g}"] = float(np.mean(psnr(truth, result.x)))
        found[f"decoder_{relative:g}"] = float(np.mean(psnr(truth.flatten(1), decoder(data))))
        found[f"converged_{relative:g}"] = sum(status is ni.Status.CONVERGED for status in result.status) / count
    return found


def measured(settings: Settings, size: Size, x: Tensor, y: Tensor) -> dict[str, Any]:
    """One encoder: the quality of every seed, the rest of the first one."""
    name, model = settings.encoder, trained(settings)
    every = [quality(trained(replace(settings, seed=seed)), x, y) for seed in range(size.seeds)]
    means = {key: float(np.mean([found[key] for found in every])) for key in every[0]}
    spread = {f"{key}_spread": float(np.ptp([found[key] for found in every])) for key in every[0]}
    bound = KINDS[name].bound if math.isfinite(KINDS[name].bound) else None
    row = {"encoder": name, "rate": settings.learning_rate, "bound": bound, **means, **spread}
    pictures = x.reshape(-1, 1, 28, 28)
    network = ni.lift(nn.Sequential(nn.Flatten(), model.encoder).eval(), pictures)
    return row | stability(network, pictures[: size.digits]) | inverted(network, model.decoder, pictures, size)


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``encoders.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    _, ((x, y),) = digits(4500)
    every = settings_of(chosen, x, y).values()
    rows = [measured(settings, chosen, x, y) for settings in tqdm(every, desc="encoders", unit="encoder")]
    report = {"size": size, "rows": rows, "settings": asdict(Settings("", **chosen.settings))}
    print(table(rows, chosen))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture(rows, chosen).savefig(folder / "encoders.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("encoders.png", "result.json")))
    return report


def table(rows: list[dict[str, Any]], size: Size) -> str:
    levels = list(size.inverted)
    counts = ", ".join(f"{count} at {100 * level:g} %" for level, count in size.inverted.items())
    several = f", means of {size.seeds} seeds, range in brackets; the rest of the first seed" if size.seeds > 1 else ""
    lines = [
        f"codes of {Settings('', **size.settings).code} numbers; error and accuracy on 500 held-out digits{several}",
        f"amplification, the same relative to the norms of code and digit, rank: medians of {size.digits}; inverted: {counts}",
        f"{'':22}{'decoder':>18}{'classifier':>18}{'noise amplification':>22}{'relative':>10}{'rank':>6}"
        f"  PSNR in dB of the inversion (of the trained decoder) at noise",
        f"{'encoder':22}{'squared error':>18}{'accuracy in %':>18}{'(bound)':>22}{'':>16}"
        + "".join(f"{100 * level:g} %".rjust(14) for level in levels),
    ]
    for row in rows:
        error, share = f"{row['error']:.5f}", f"{100 * row['accuracy']:.1f}"
        if size.seeds > 1:
            error, share = f"{error} ({row['error_spread']:.5f})", f"{share} ({100 * row['accuracy_spread']:.1f})"
        bound = "none" if row["bound"] is None else f"{row['bound']:.3g}"
        amplification = f"{row['amplification']:.3g} ({bound})"
        found = "".join(f"{row[f'inversion_{level:g}']:.2f} ({row[f'decoder_{level:g}']:.1f})".rjust(14) for level in levels)
        lines.append(
            f"{row['encoder']:22}{error:>18}{share:>18}{amplification:>22}{row['relative']:>10.3g}{row['rank']:>6.0f}{found}"
        )
    return "\n".join([*lines, *beside_ordinary(rows, size)])


def beside_ordinary(rows: list[dict[str, Any]], size: Size) -> list[str]:
    """What is gained and lost against the first encoder."""
    first, level = rows[0], 0.05
    return [
        f"{row['encoder']} beside the ordinary one: amplification {first['amplification'] / row['amplification']:.1f} times "
        f"smaller ({first['relative'] / row['relative']:.1f} times, relative), inversion at {100 * level:g} % noise "
        f"{row[f'inversion_{level:g}'] - first[f'inversion_{level:g}']:+.1f} dB, error "
        f"{100 * (row['error'] / first['error'] - 1):+.0f} %, accuracy {100 * (row['accuracy'] - first['accuracy']):+.1f} points"
        for row in rows[1:]
    ]


def picture(rows: list[dict[str, Any]], size: Size) -> Figure:
    """Quality of the code, and of the inversion, against the noise amplification; a marker for each encoder."""
    figure = Figure(figsize=(12.5, 4.2), layout="constrained")
    axes = figure.subplots(1, 3)
    level = 0.05
    least, most = (end(row["amplification"] for row in rows) for end in (min, max))
    shown = (
        ("accuracy", 100.0, "accuracy of a linear classifier (%)"),
        ("decoder", 1.0, "PSNR of the trained decoder, clean codes (dB)"),
        (f"inversion_{level:g}", 1.0, f"PSNR of the inversion, {100 * level:g} % noise (dB)"),
    )
    for axis, (key, unit, label) in zip(axes, shown, strict=True):
        for row, marker in zip(rows, "os^Dv*P", strict=False):
            axis.plot(row["amplification"], unit * row[key], marker, markersize=9, label=row["encoder"])
        axis.set_xscale("log")
        axis.set_xticks([t for t in (0.5, 1, 2, 5, 10, 20, 50, 100) if least / 1.2 <= t <= most * 1.2])
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set(xlabel="noise amplification, median", ylabel=label)
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(rows), fontsize=9, frameon=False)
    return figure


if __name__ == "__main__":
    main()
