"""Clean codes of digits: the seconds to a mean PSNR, beside Adam and L-BFGS at the best of their settings."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

import netinverse as ni
from experiments.autoencoder import SMOKE, Settings, autoencoder
from experiments.benchmarks.measuring import Target, processor_timed, verdicts, write
from experiments.benchmarks.noise_levels import BOX, smoothed_total_variation
from experiments.demo import psnr

GOAL = 24.0
"""What Adam has to reach, in dB, and"""
OURS = 26.5
"""what the inversion has to reach in a tenth of that time."""
NEAR = 0.1
"""L-BFGS has reached what it reaches when it is within so many dB of it."""
ALPHAS = (0.003, 0.01, 0.03, 0.1)


@dataclass(frozen=True)
class Size:
    digits: int
    settings: Settings
    tolerances: tuple[float, ...]
    alphas: tuple[float, ...]
    rates: tuple[float, ...]
    steps: int
    repeats: int
    folder: str


SIZES = {
    "full": Size(50, Settings(), (1e-1, 3e-2, 1e-2), ALPHAS, (0.03, 0.1, 0.3), 2000, 3, "out/benchmarks"),
    "smoke": Size(2, SMOKE, (1e-2,), (0.03,), (0.1,), 20, 1, "out/benchmarks-smoke"),
}


@dataclass(frozen=True)
class Run:
    """The mean PSNR of a method after so many seconds of the processor."""

    method: str
    alpha: float | None
    setting: str
    seconds: list[float]
    psnr: list[float]

    def until(self, goal: float) -> float | None:
        return next((s for s, p in zip(self.seconds, self.psnr, strict=True) if p >= goal), None)

    @property
    def best(self) -> float:
        return max(self.psnr)


@dataclass(frozen=True)
class Contest:
    """The codes, and what they were made from."""

    network: nn.Module
    data: Tensor
    truth: Tensor
    size: Size

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.truth.shape[1:])

    def inversion(self, name: str, arguments: dict[str, Any], tolerances: tuple[float, ...]) -> Run:
        """One point for each tolerance, a run of its own."""
        lifted = ni.lift(self.network, self.truth[:1])
        alpha = None if "noise_level" in arguments else self.size.alphas[0]
        run = Run(name, alpha, "box", [], [])
        for tolerance in tolerances:
            result, seconds = processor_timed(
                lambda t=tolerance: ni.invert(lifted, self.data, constraint=ni.Box(*BOX), tolerance=t, **arguments)  # type: ignore[misc]
            )
            run.seconds.append(seconds)
            run.psnr.append(float(np.mean(psnr(self.truth, result.x))))
        return run

    def peer(self, method: str, alpha: float, rate: float, box: bool, limit: float = np.inf) -> Run:
        """Adam or L-BFGS on 1/2||F(x) - data||^2 + alpha TV(x), in the precision of the data; Adam until it is at the goal."""
        adam = method == "Adam"
        steps = (
            adam_steps(self.network, self.data, alpha, rate, box, self.shape)
            if adam
            else lbfgs_steps(self.network, self.data, alpha, box, self.shape)
        )
        run = Run(method, alpha, f"{f'rate {rate:g}, ' if adam else ''}{'box' if box else 'no box'}", [], [])
        return trajectory(run, steps, self.truth, self.size.steps, GOAL if adam else np.inf, limit)


INVERSIONS: dict[str, dict[str, Any]] = {
    "netinverse, discrepancy principle": {"noise_level": 0.0},
    "netinverse, fixed weight": {"rule": ni.Fixed(ALPHAS[0])},
    "netinverse, fixed weight, float32": {"rule": ni.Fixed(ALPHAS[0]), "method": ni.Variational(precision=torch.float32)},
}


def trajectory(run: Run, steps: Iterator[Tensor], truth: Tensor, count: int, goal: float, limit: float, every: int = 10) -> Run:
    """PSNR against the seconds of the steps alone, until the goal, the limit of seconds or the last step."""
    spent, x = 0.0, None
    for number in range(1, count + 1):
        new, seconds = processor_timed(lambda: next(steps, None))
        spent += seconds
        x = x if new is None else new
        if x is not None and (number % every == 0 or new is None or number == count):
            run.seconds.append(spent)
            run.psnr.append(float(np.mean(psnr(truth, x))))
            if run.psnr[-1] >= goal or spent > limit:
                break
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
    return min(runs, key=lambda run: (run.until(goal) or np.inf, -run.best))


def searched(contest: Contest) -> list[tuple[str, tuple[float, float, bool]]]:
    """Peers at the settings that do best: Adam with and without the box, L-BFGS likewise."""
    size = contest.size
    found = []
    for box in (True, False):
        runs: dict[tuple[float, float, bool], Run] = {}
        for alpha in tqdm(size.alphas, desc=f"Adam, {'box' if box else 'no box'}", unit="weight"):
            for rate in size.rates:
                # What takes longer than the best so far cannot be better.
                limit = min((run.until(GOAL) or np.inf for run in runs.values()), default=np.inf)
                runs[alpha, rate, box] = contest.peer("Adam", alpha, rate, box, limit)
        found.append(("Adam", min(runs, key=lambda key: (runs[key].until(GOAL) or np.inf, -runs[key].best))))
    for box in (True, False):
        grid = tqdm(size.alphas, desc=f"L-BFGS, {'box' if box else 'no box'}", unit="weight")
        runs = {(alpha, 1.0, box): contest.peer("L-BFGS", alpha, 1.0, box) for alpha in grid}
        found.append(("L-BFGS", max(runs, key=lambda key: runs[key].best)))
    return found


def median_of(runs: list[Run]) -> Run:
    """Repeats of one run, with the median of their seconds."""
    return replace(runs[0], seconds=[float(median(each)) for each in zip(*(run.seconds for run in runs), strict=True)])


def targets(runs: list[Run]) -> list[Target]:
    """The seconds of the peers over those of the inversion, where each has reached what it has to."""
    ours = [seconds for run in runs if run.method.startswith("netinverse") and (seconds := run.until(OURS)) is not None]
    adam = [seconds for run in runs if run.method == "Adam" and (seconds := run.until(GOAL)) is not None]
    lbfgs = max((run for run in runs if run.method == "L-BFGS"), key=lambda run: run.best)
    there = lbfgs.until(lbfgs.best - NEAR)
    assert there is not None
    by_then = [s for run in runs if run.method.startswith("netinverse") and (s := run.until(lbfgs.best)) is not None]
    return [
        Target(f"P2: seconds of Adam to {GOAL:g} dB / of the inversion to {OURS:g} dB", _over(adam, ours), 10.0, at_least=True),
        Target(
            f"P2: seconds of L-BFGS to its {lbfgs.best:.1f} dB / of the inversion to {OURS:g} dB", _over([there], ours), 5.0, True
        ),
        Target(f"    ... / of the inversion to the same {lbfgs.best:.1f} dB", _over([there], by_then), 5.0, at_least=True),
    ]


def _over(theirs: list[float], ours: list[float]) -> float | None:
    return min(theirs) / min(ours) if theirs and ours else None


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``digits.json`` and ``digits.png`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    network = autoencoder(chosen.settings)
    truth = network.held_out[: chosen.digits]
    with torch.no_grad():
        data = network.encoder(truth)
    contest = Contest(network.encoder, data, truth, chosen)
    settings = searched(contest)
    rounds: list[list[Run]] = []
    for _ in tqdm(range(chosen.repeats), desc="in turns", unit="round"):
        mine = [contest.inversion(name, arguments, chosen.tolerances) for name, arguments in INVERSIONS.items()]
        rounds.append([*mine, *(contest.peer(method, *setting) for method, setting in settings)])
    shown = [median_of(list(repeats)) for repeats in zip(*rounds, strict=True)]
    reached = targets(shown)
    print(table(shown, len(truth)))
    print(verdicts(reached))
    report = {"size": size, "goal": GOAL, "runs": [asdict(run) for run in shown], "targets": [asdict(each) for each in reached]}
    write("digits", report, out or chosen.folder, picture(shown, len(truth)))
    return report


def table(runs: list[Run], digits: int) -> str:
    head = f"{'':36}{'weight':>8}{'setting':>20}{f'{GOAL:g} dB after':>15}{'best dB':>9}{'at s':>8}"
    lines = [f"{digits} clean codes of held-out digits; seconds of the processor, medians", head]
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
