"""Clean codes of digits: the seconds to a mean PSNR, beside Adam and L-BFGS at the best of their settings."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

import netinverse as ni
from experiments.autoencoder import SMOKE, Settings, autoencoder
from experiments.benchmarks.measuring import timed, write
from experiments.benchmarks.noise_levels import BOX, smoothed_total_variation
from experiments.demo import psnr

GOAL = 24.0
ALPHAS = (0.003, 0.01, 0.03, 0.1)


@dataclass(frozen=True)
class Size:
    digits: int
    settings: Settings
    tolerances: tuple[float, ...]
    alphas: tuple[float, ...]
    rates: tuple[float, ...]
    steps: int
    folder: str


SIZES = {
    "full": Size(50, Settings(), (1e-1, 1e-2, 1e-3), ALPHAS, (0.03, 0.1, 0.3), 2000, "out/benchmarks"),
    "smoke": Size(2, SMOKE, (1e-2,), (0.03,), (0.1,), 20, "out/benchmarks-smoke"),
}


@dataclass(frozen=True)
class Run:
    """The mean PSNR of a method after so many seconds."""

    method: str
    alpha: float | None
    setting: str
    seconds: list[float]
    psnr: list[float]

    def until(self, goal: float) -> float | None:
        return next((s for s, p in zip(self.seconds, self.psnr, strict=True) if p >= goal), None)


def ours(network: nn.Module, data: Tensor, truth: Tensor, size: Size) -> Iterator[Run]:
    """The rule and a weight that the truth likes, at several tolerances; each tolerance is a run of its own."""
    lifted = ni.lift(network, truth[:1])
    box = ni.Box(*BOX)
    choices: dict[str, dict[str, Any]] = {"netinverse, discrepancy principle": {"noise_level": 0.0}}
    choices["netinverse, fixed weight"] = {"rule": ni.Fixed(size.alphas[0])}
    for name, arguments in choices.items():
        runs = [
            timed(lambda t=tolerance, a=arguments: ni.invert(lifted, data, constraint=box, tolerance=t, **a))  # type: ignore[misc]
            for tolerance in size.tolerances
        ]
        found = [float(np.mean(psnr(truth, result.x))) for result, _ in runs]
        alpha = None if "noise_level" in arguments else size.alphas[0]
        yield Run(name, alpha, "box", [seconds for _, seconds in runs], found)


def peers(network: nn.Module, data: Tensor, truth: Tensor, size: Size) -> Iterator[Run]:
    """Adam and L-BFGS on 1/2||F(x) - data||^2 + alpha TV(x), in the precision of the data, at every setting of the grid."""
    grid = [(alpha, rate, box) for alpha in size.alphas for rate in size.rates for box in (True, False)]
    for alpha, rate, box in tqdm(grid, desc="Adam", unit="run"):
        yield trajectory(
            "Adam", adam_steps(network, data, alpha, rate, box, tuple(truth.shape[1:])), alpha, rate, box, truth, size
        )
    for alpha, box in tqdm([(a, b) for a in size.alphas for b in (True, False)], desc="L-BFGS", unit="run"):
        steps = lbfgs_steps(network, data, alpha, box, tuple(truth.shape[1:]))
        yield trajectory("L-BFGS", steps, alpha, 1.0, box, truth, size)


def trajectory(
    method: str, steps: Iterator[Tensor], alpha: float, rate: float, box: bool, truth: Tensor, size: Size, every: int = 10
) -> Run:
    """PSNR against the seconds of the steps alone."""
    run = Run(method, alpha, f"rate {rate:g}, {'box' if box else 'no box'}", [], [])
    spent, x = 0.0, None
    for number in range(1, size.steps + 1):
        began = time.perf_counter()
        new = next(steps, None)
        spent += time.perf_counter() - began
        x = x if new is None else new
        if x is not None and (number % every == 0 or new is None or number == size.steps):
            run.seconds.append(spent)
            run.psnr.append(float(np.mean(psnr(truth, x))))
        if new is None:
            break
    return run


def objective(network: nn.Module, data: Tensor, alpha: float) -> Callable[[Tensor], Tensor]:
    return lambda x: (network(x) - data).square().sum() / 2 + alpha * smoothed_total_variation(x).sum()


def adam_steps(
    network: nn.Module, data: Tensor, alpha: float, rate: float, box: bool, shape: tuple[int, ...]
) -> Iterator[Tensor]:
    x = torch.zeros((len(data), *shape), dtype=data.dtype, requires_grad=True)
    optimiser, value = torch.optim.Adam([x], lr=rate), objective(network, data, alpha)
    while True:
        optimiser.zero_grad()
        value(x).backward()
        optimiser.step()
        if box:
            with torch.no_grad():
                x.clamp_(*BOX)
        yield x.detach()


def lbfgs_steps(network: nn.Module, data: Tensor, alpha: float, box: bool, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """With a strong Wolfe search; the box by x = sigmoid(w), since L-BFGS knows no constraints. Each step is one iteration."""
    w = torch.zeros((len(data), *shape), dtype=data.dtype, requires_grad=True)
    optimiser, value = (
        torch.optim.LBFGS([w], max_iter=1, history_size=20, line_search_fn="strong_wolfe"),
        objective(network, data, alpha),
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = value(torch.sigmoid(w) if box else w)
        loss.backward()
        return loss

    while True:
        before = w.detach().clone()
        optimiser.step(closure)  # type: ignore[arg-type]
        if torch.equal(before, w.detach()):
            return  # it has stopped by itself
        yield (torch.sigmoid(w) if box else w).detach()


def best(runs: list[Run], goal: float) -> Run:
    """The first to reach the goal; where none does, the one that came nearest."""
    return min(runs, key=lambda run: (run.until(goal) or np.inf, -max(run.psnr, default=-np.inf)))


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``digits.json`` and ``digits.png`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    network = autoencoder(chosen.settings)
    truth = network.held_out[: chosen.digits]
    with torch.no_grad():
        data = network.encoder(truth)
    mine = list(ours(network.encoder, data, truth, chosen))
    others = list(peers(network.encoder, data, truth, chosen))
    shown = list(mine)
    for method in ("Adam", "L-BFGS"):
        for box in ("box", "no box"):
            shown.append(best([run for run in others if run.method == method and run.setting.endswith(f", {box}")], GOAL))
    print(table(shown, len(truth)))
    report = {"size": size, "goal": GOAL, "runs": [asdict(run) for run in shown]}
    write("digits", report, out or chosen.folder, picture(shown, len(truth)))
    return report


def table(runs: list[Run], digits: int) -> str:
    head = f"{'':36}{'weight':>8}{'setting':>20}{f'{GOAL:g} dB after':>15}{'best dB':>9}{'at s':>8}"
    lines = [f"{digits} clean codes of held-out digits", head]
    for run in runs:
        reached = run.until(GOAL)
        top = int(np.argmax(run.psnr))
        weight = "rule" if run.alpha is None else f"{run.alpha:g}"
        after = "-" if reached is None else f"{reached:.2f} s"
        lines.append(f"{run.method:36}{weight:>8}{run.setting:>20}{after:>15}{run.psnr[top]:9.2f}{run.seconds[top]:8.2f}")
    return "\n".join(lines)


def picture(runs: list[Run], digits: int) -> Figure:
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axis = figure.subplots()
    for run in runs:
        mine = run.method.startswith("netinverse")
        axis.plot(run.seconds, run.psnr, "o-" if mine else "-", label=run.method if mine else f"{run.method}, {run.setting}")
    axis.set_xscale("log")
    axis.set_xlabel("seconds")
    axis.set_ylabel("mean PSNR (dB)")
    axis.set_title(f"{digits} clean codes", fontsize=11)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    main(parser.parse_args().size)
