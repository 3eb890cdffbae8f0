"""One layer, total variation: the seconds to a certified gap, beside Clarabel, pyproximal, ODL and the published iteration."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

import netinverse as ni
from experiments.benchmarks.measuring import Curve, Target, gaps_against_seconds, processor_timed, verdicts, write
from experiments.benchmarks.perceptron_peers import PEERS, Reference, published

ALPHA = 0.015
NOISE = 0.005
RATIOS = {
    "Clarabel, default accuracy / gap 1e-6": (20.0, True),
    "best first-order peer / gap 1e-4": (10.0, True),
    "published iteration to 1e-2 / gap 1e-6": (200.0, True),
    "gap 1e-10 / gap 1e-6": (5.0, False),
}
"""The bound of each ratio of seconds, and whether it is one from below."""
SPREAD = 5.0
"""How many times the median of its size a problem may take."""
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "soft-threshold": nn.Softshrink}


@dataclass(frozen=True)
class Size:
    side: int
    other_sides: tuple[int, ...]
    alphas: tuple[float, ...]
    scales: tuple[float, ...]
    draws: int
    repeats: int
    budget: float
    folder: str


SIZES = {
    "full": Size(64, (32, 128), (1e-3, 1e-2, 1e-1, 1.0, 10.0), (1e-3, 1e3), 16, 3, 60.0, "out/benchmarks"),
    "smoke": Size(16, (), (1e-1,), (1e3,), 2, 1, 1.0, "out/benchmarks-smoke"),
}


@dataclass(frozen=True)
class Case:
    """A layer side^2 -> side^2/8 with normal weights, and noisy data of a picture of two rectangles."""

    side: int
    alpha: float = ALPHA
    scale: float = 1.0
    activation: str = "relu"
    seed: int = 0

    def network(self) -> nn.Sequential:
        pixels = self.side**2
        layer = nn.Linear(pixels, pixels // 8, bias=False, dtype=torch.float64)
        generator = torch.Generator().manual_seed(self.seed)
        layer.weight.data = self.scale * torch.randn(pixels // 8, pixels, generator=generator, dtype=torch.float64)
        return nn.Sequential(nn.Flatten(), layer, ACTIVATIONS[self.activation]()).eval().requires_grad_(False)

    def truth(self) -> Tensor:
        n = self.side
        x = torch.zeros(1, 1, n, n, dtype=torch.float64)
        x[:, :, n // 4 : n // 2, n // 4 : 3 * n // 4], x[:, :, n // 2 : 3 * n // 4, n // 3 : n // 2] = 1.0, 0.5
        return x

    def data(self, network: nn.Module) -> Tensor:
        """With normal noise of 0.005, in units of what the weights are scaled by, inside the range of the activation."""
        clean: Tensor = network(self.truth())
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(self.seed + 1), dtype=torch.float64)
        noisy = clean + NOISE * (1.0 if self.activation == "tanh" else self.scale) * noise
        if self.activation == "tanh":
            return noisy.clamp(-1 + 1e-9, 1 - 1e-9)
        return noisy.clamp(min=0) if self.activation == "relu" else noisy

    def solve(self, tolerance: float) -> tuple[ni.Reconstruction, float]:
        """The answer, and the processor's seconds of ``invert`` for a network that was lifted before."""
        network = self.network()
        data = self.data(network)
        lifted = ni.lift(network, self.truth())
        return processor_timed(lambda: ni.invert(lifted, data, rule=ni.Fixed(self.alpha), tolerance=tolerance))


def relative_gap(result: ni.Reconstruction) -> float:
    return float(result.certificate.value / objective(result))


def objective(result: ni.Reconstruction) -> Tensor:
    return result.fidelity_value + result.alpha * ni.TotalVariation()(result.x)


def ours(case: Case, repeats: int) -> tuple[dict[str, float], Curve, Reference, float]:
    """Median seconds to each certified gap, the curve of one run, and the problem for the peers."""
    seconds = {f"{tolerance:.0e}": median(case.solve(tolerance)[1] for _ in range(repeats)) for tolerance in (1e-4, 1e-6, 1e-10)}
    best, whole = case.solve(1e-10)
    best.require_converged()
    minimum = float(objective(best))
    rows = best.history[best.history["sample"] == 0]
    share = whole / best.seconds  # the history has those of the clock
    begun = share * (best.seconds - float(rows["seconds"].iloc[-1]))
    curve = Curve(
        "netinverse, certified gap",
        [begun + share * s for s in rows["seconds"]],
        [o / minimum for o in rows["optimality"]],
    )
    network = case.network()
    layer = network[1]
    assert isinstance(layer, nn.Linear)
    problem = Reference(layer.weight.numpy(), case.data(network)[0].numpy(), case.side, case.alpha, minimum, 1e-4, 60.0)
    return seconds, curve, problem, relative_gap(best)


def peers(problem: Reference) -> dict[str, Curve]:
    """The curve of every peer that is installed."""
    found = {}
    for name, run in tqdm(PEERS.items(), desc="peers", unit="peer"):
        try:
            found[name] = run(problem)
        except ImportError as error:
            tqdm.write(f"{name} is left out: {error}. pip install 'netinverse[benchmarks]' brings it.")
    return found


def sweep(size: Size) -> Iterator[tuple[str, Case]]:
    """Every weight, scale and activation at every size, and draws: all of them at the main size, three at the others."""
    for side in (size.side, *size.other_sides):
        plain, at = Case(side), f"{side}x{side}"
        yield from ((f"{at}, alpha {alpha:g}", replace(plain, alpha=alpha)) for alpha in size.alphas)
        yield from ((f"{at}, weights times {scale:g}", replace(plain, scale=scale)) for scale in size.scales)
        yield from ((f"{at}, {name}", replace(plain, activation=name)) for name in ("tanh", "soft-threshold"))
        yield from ((f"{at}, draw {seed}", replace(plain, seed=seed)) for seed in range(size.draws if side == size.side else 3))


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the tables; write ``perceptron.json`` and ``perceptron.png`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    case = Case(chosen.side)
    case.solve(1e-2)  # what the first call loads
    seconds, curve, problem, gap = ours(case, chosen.repeats)
    problem = replace(problem, budget=chosen.budget)
    found = peers(problem)
    slow = published(replace(problem, gap=1e-2, budget=max(chosen.budget, 200 * seconds["1e-06"])))
    rows = []
    for label, each in tqdm(list(sweep(chosen)), desc="the same elsewhere", unit="problem"):
        result, spent = each.solve(1e-6)
        rows.append({"label": label, "side": each.side, "seconds": spent, "gap": relative_gap(result), "met": result.converged})
    report = {
        "size": size,
        "side": chosen.side,
        "alpha": ALPHA,
        "minimum": problem.minimum,
        "seconds": seconds,
        "gap_reached": gap,
        "peers": {name: asdict(c) for name, c in {**found, "published iteration": slow}.items()},
        "ratios": ratios(seconds, found, slow),
        "elsewhere": rows,
    }
    reached = targets(report)
    report["targets"] = [asdict(each) for each in reached]
    print(table(report, found, slow), verdicts(reached), sep="\n")
    folder = out or chosen.folder
    title = f"{chosen.side}x{chosen.side} picture behind one layer, total variation, weight {ALPHA:g}"
    write("perceptron", report, folder, gaps_against_seconds([curve, *found.values(), slow], title))
    return report


def ratios(seconds: dict[str, float], found: dict[str, Curve], slow: Curve) -> dict[str, float]:
    """How many times faster; where a peer did not get there, at least that many times."""
    out = {}
    if "Clarabel" in found:
        out["Clarabel, default accuracy / gap 1e-6"] = found["Clarabel"].seconds[-1] / seconds["1e-06"]
    first_order = [c.until(1e-4) or c.seconds[-1] for name, c in found.items() if name != "Clarabel"]
    if first_order:
        out["best first-order peer / gap 1e-4"] = min(first_order) / seconds["1e-04"]
    out["published iteration to 1e-2 / gap 1e-6"] = (slow.until(1e-2) or slow.seconds[-1]) / seconds["1e-06"]
    out["gap 1e-10 / gap 1e-6"] = seconds["1e-10"] / seconds["1e-06"]
    return out


def targets(report: dict[str, Any]) -> list[Target]:
    """The figures of P1: ratios, the last gap, and for each size what failed and how far the seconds spread."""
    found = [Target(f"P1: {name}", report["ratios"].get(name), bound, at_least) for name, (bound, at_least) in RATIOS.items()]
    found.append(Target("P1: relative gap reached where 1e-10 is asked for", report["gap_reached"], 1e-10, False))
    rows = report["elsewhere"]
    for side in sorted({row["side"] for row in rows}):
        here = [row for row in rows if row["side"] == side]
        slowest = max(row["seconds"] for row in here) / median(row["seconds"] for row in here)
        found.append(
            Target(f"P1: {side}x{side}, {len(here)} problems: not solved to 1e-6", sum(not row["met"] for row in here), 0, False)
        )
        found.append(Target(f"P1: {side}x{side}, {len(here)} problems: the slowest / the median", slowest, SPREAD, False))
    return found


def table(report: dict[str, Any], found: dict[str, Curve], slow: Curve) -> str:
    lines = [f"{'netinverse to a certified gap of ' + gap:52}{s:9.2f} s" for gap, s in report["seconds"].items()]
    for name, curve in {**found, "published iteration": slow}.items():
        goal = 1e-2 if curve is slow else 1e-4
        reached = curve.until(goal)
        said = f"to {goal:.0e}" if reached is not None else f"not to {goal:.0e}; {min(curve.gaps):.1e}"
        lines.append(f"{f'{name} ({said})':52}{reached if reached is not None else curve.seconds[-1]:9.2f} s")
    rows = report["elsewhere"]
    for side in sorted({row["side"] for row in rows}):
        here = [row for row in rows if row["side"] == side]
        middle = median(row["seconds"] for row in here)
        worst = max(row["seconds"] for row in here) / middle
        met = sum(row["met"] for row in here)
        lines.append(f"{side}x{side}: {met}/{len(here)} to 1e-6, median {middle:.2f} s, the slowest {worst:.2f} times that")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    main(parser.parse_args().size)
