"""Three ways to minimise a lifted energy: block descent with and without inertia, ADMM, and Gauss-Newton on the lifted system."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

import netinverse as ni
from netinverse.fidelities import SquaredFidelity
from netinverse.networks import LiftedNetwork, NetworkOutput
from netinverse.problems import InverseProblem, LiftedProblem
from netinverse.protocols import LinearMap
from netinverse.solvers.block_descent import BlockDescent
from netinverse.solvers.gauss_newton import GaussNewton
from netinverse.solvers.iterate import iterates
from netinverse.tensors import Derivative

F64 = torch.float64
SHARES = (1e-2, 1e-4, 1e-6)
PENALTIES = (0.3, 1.0, 3.0)
"""Of ADMM, in units of the heaviest layer; the best counts."""


@dataclass(frozen=True)
class Size:
    entries: int
    samples: int
    layers: int
    sweeps: int
    rounds: int
    newton: int
    folder: str


SIZES = {
    "full": Size(16, 4, 5, 1500, 3000, 25, "out/lifted_schemes"),
    "smoke": Size(4, 2, 2, 50, 50, 3, "out/lifted_schemes-smoke"),
}
Trace = list[tuple[float, list[float]]]
"""Seconds, and the objective of every sample."""


def problem_of(network: LiftedNetwork, entries: int, samples: int, alpha: float = 1e-2) -> LiftedProblem:
    truth = torch.randn(samples, entries, generator=torch.Generator().manual_seed(0), dtype=F64)
    data, _ = ni.add_noise(network(truth), relative=0.02, seed=0)
    fidelity = SquaredFidelity()
    inverse = InverseProblem(
        variable=fidelity.variable(network),
        output=NetworkOutput(network),
        term=fidelity.at(network, data),
        data=data,
        regulariser=ni.Tikhonov(),
        constraint=None,
        alpha=torch.full((samples,), alpha, dtype=F64),
        affine=False,
    )
    return LiftedProblem.lift(inverse, network)


def descended(problem: LiftedProblem, size: Size, inertia: bool) -> Trace:
    solver = BlockDescent(sweeps_per_step=10, inertia=inertia)
    return timed((s.objective for s in iterates(solver, problem, start(problem))), size.sweeps // 10)


def start(problem: LiftedProblem) -> Tensor:
    return torch.zeros(len(problem.inverse.data), *problem.energy.network.input_shape, dtype=F64)


def timed(objectives: Iterator[Tensor], count: int) -> Trace:
    began, trace = time.perf_counter(), []
    for objective in islice(objectives, count + 1):
        trace.append((time.perf_counter() - began, objective.tolist()))
    return trace


@dataclass(frozen=True)
class Assembled:
    """w = (x, u_1, ..., u_L) -> (z_1, ..., z_L, z_out) = A w + c as a dense matrix, and where each part lies."""

    problem: LiftedProblem
    matrix: Tensor
    offset: Tensor

    @classmethod
    def of(cls, problem: LiftedProblem) -> Assembled:
        sizes = [problem.energy.network.input_shape[0], *(node.shape[0] for node in problem.energy.blocks)]

        def affine(w: Tensor) -> Tensor:
            x, *us = torch.split(w, sizes, 1)
            values = problem.energy.affine_values(x, us)
            return torch.cat([values[name] for name in cls.names(problem)], 1)

        offset = affine(torch.zeros(1, sum(sizes), dtype=F64))
        return cls(problem, (affine(torch.eye(sum(sizes), dtype=F64)) - offset).T.detach(), offset.detach())

    @staticmethod
    def names(problem: LiftedProblem) -> list[str]:
        return [*(node.inputs[0] for node in problem.energy.blocks), problem.energy.output]


def prox_of_relu_penalty(a: Tensor, b: Tensor, weight: Tensor, rho: float) -> tuple[Tensor, Tensor]:
    """argmin over (z, u) of weight B(u, z) + rho/2 (z - a)^2 + rho/2 (u - b)^2, entry by entry, B that of ReLU: the best face."""
    share = (rho / 2) / (weight + rho / 2) * (b - a)
    u = ((rho * b + weight * a) / (rho + weight - weight.square() / rho)).clamp(min=0)
    zero = torch.zeros_like(a)
    faces = (
        (((a + b - share) / 2).clamp(min=0), ((a + b + share) / 2).clamp(min=0)),
        ((a + weight * u / rho).clamp(max=0), u),
        ((rho * a / (weight + rho)).clamp(min=0), zero),
        (a.clamp(max=0), zero),
        (zero, (rho * b / (weight + rho)).clamp(min=0)),
    )

    def cost(z: Tensor, u: Tensor) -> Tensor:
        penalty = torch.where(z > 0, (u - z).square() / 2, u.square() / 2 - u * z)
        return weight * penalty + rho / 2 * ((z - a).square() + (u - b).square())

    best = torch.stack([cost(z, u) for z, u in faces]).argmin(0)[None]
    pick = [torch.stack([face[k] for face in faces]).gather(0, best)[0] for k in (0, 1)]
    return pick[0], pick[1]


def admm(problem: LiftedProblem, rounds: int, times: float) -> Iterator[Tensor]:
    """min of the energy with (z, v) = (A w + c, u) as a constraint: a linear system factorised once, and exact maps of every B.

    Boyd, Parikh, Chu, Peleato & Eckstein, Found. Trends Mach. Learn. 3, 2011. Not convex here; the objective is that at (x, v).
    """
    whole, alpha, data = Assembled.of(problem), problem.inverse.alpha[0].item(), problem.inverse.data
    n, outputs = problem.energy.network.input_shape[0], data.shape[1]
    sizes = [node.shape[0] for node in problem.energy.blocks]
    weights = torch.cat([torch.full((s,), float(problem.energy.weight(k)), dtype=F64) for k, s in enumerate(sizes)])
    rho = 2 * times * float(weights.max())
    a, c = whole.matrix, whole.offset
    diagonal = torch.cat([torch.full((n,), alpha, dtype=F64), torch.full((sum(sizes),), rho, dtype=F64)])
    factor = torch.linalg.cholesky(torch.diag(diagonal) + rho * a.T @ a)
    x = start(problem)
    us = torch.cat(problem.energy.activations(x), 1)
    z = torch.cat([x, us], 1) @ a.T + c
    v, p, q = us, torch.zeros_like(z), torch.zeros_like(us)
    for _ in range(rounds + 1):
        yield problem.objective(x, torch.split(v, sizes, 1))
        right = rho * (z - c - p) @ a
        right[:, n:] += rho * (v - q)
        w = torch.cholesky_solve(right.T, factor).T
        x, us, image = w[:, :n], w[:, n:], w @ a.T + c
        hidden, v = prox_of_relu_penalty((image + p)[:, :-outputs], us + q, weights, rho)
        out = (data + rho * (image + p)[:, -outputs:]) / (1 + rho)
        z = torch.cat([hidden, out], 1)
        p, q = p + image - z, q + us - v


@dataclass(frozen=True, eq=False)
class Disturbed:
    """(x, t) -> z_out of the network whose activations are u_l = sigma_l(z_l) + s_l, s_l = t_l (alpha/lambda_l)^1/2.

    Minimising the fidelity there plus alpha/2 ||(x, t)||^2 is minimising the lifted energy with the quadratic penalties
    lambda_l/2 ||u_l - sigma_l(z_l)||^2 and Tikhonov's regulariser: a reduced problem, with a lifted unknown.
    """

    problem: LiftedProblem

    def __call__(self, w: Tensor) -> Tensor:
        network, energy = self.problem.energy.network, self.problem.energy
        sizes = [network.input_shape[0], *(node.shape[0] for node in energy.blocks)]
        x, *ts = torch.split(w, sizes, 1)
        shares = [(self.problem.inverse.alpha[0] / energy.weight(k)) ** 0.5 for k in range(len(ts))]
        added = {node.name: share * t for node, share, t in zip(energy.blocks, shares, ts, strict=True)}
        values = {network.input_name: x}
        for node in network.nodes:
            values[node.name] = node(*(values[name] for name in node.inputs)) + added.get(node.name, 0)
        return values[energy.output]

    def linearise(self, w: Tensor) -> tuple[Tensor, LinearMap]:
        derivative = Derivative(self, w)
        return derivative.value, derivative


def newton(problem: LiftedProblem, size: Size) -> Trace:
    operator = Disturbed(problem)
    unknowns = problem.energy.network.input_shape[0] + sum(node.shape[0] for node in problem.energy.blocks)
    disturbed = replace(problem.inverse, variable=operator, output=operator)
    zeros = torch.zeros(len(problem.inverse.data), unknowns, dtype=F64)
    return timed((s.objective for s in iterates(GaussNewton(tolerance=1e-10), disturbed, zeros)), size.newton)


def best_admm(problem: LiftedProblem, size: Size) -> Trace:
    """The penalty that comes lowest in the mean, after a tenth of the rounds."""
    tries = {times: timed(admm(problem, size.rounds, times), size.rounds // 10) for times in PENALTIES}
    best = min(tries, key=lambda times: sum(tries[times][-1][1]))
    return timed(admm(problem, size.rounds, best), size.rounds)


def seconds_to(trace: Trace, share: float) -> list[float]:
    """Until every sample's objective stays within ``share`` of the least that this scheme found, sample by sample."""
    values = torch.tensor([v for _, v in trace], dtype=F64)
    least = values.amin(0)
    late = values > least * (1 + share)
    last = torch.where(late, torch.arange(1, len(values) + 1)[:, None], 0).amax(0)
    return [trace[k][0] if k < len(trace) else float("inf") for k in last.tolist()]


SCHEMES: dict[str, Callable[[LiftedProblem, Size], Trace]] = {
    "block descent with inertia": lambda problem, size: descended(problem, size, True),
    "block descent without": lambda problem, size: descended(problem, size, False),
    "ADMM": best_admm,
    "Gauss-Newton, lifted": newton,
}


def main(size: str = "full", out: str | Path | None = None) -> dict[str, Any]:
    """Print the table; write ``lifted_schemes.png`` and ``result.json`` to ``out``. Returns what the JSON holds."""
    chosen = SIZES[size]
    n = chosen.entries
    networks = {
        "mlp": ni.mlp((n, 2 * n, 2 * n, 3 * n), seed=0, dtype=F64),
        "plus layers": ni.monotone_residual_network(n, chosen.layers, seed=0, dtype=F64),
    }
    report: dict[str, Any] = {"size": size, "samples": chosen.samples, "traces": {}}
    for name, network in networks.items():
        problem = problem_of(network, n, chosen.samples)
        runs = {label: run(problem, chosen) for label, run in tqdm(SCHEMES.items(), desc=name, unit="scheme")}
        report["traces"][name] = runs
    print(table(report))
    folder = Path(out or chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture(report).savefig(folder / "lifted_schemes.png", dpi=130)
    (folder / "result.json").write_text(json.dumps(report) + "\n", "utf-8")
    print("\n".join(str(folder / name) for name in ("lifted_schemes.png", "result.json")))
    return report


def table(report: dict[str, Any]) -> str:
    lines = [
        f"seconds until the objective is within a share of the least that the scheme reaches; median of {report['samples']}",
        f"{'network':<13}{'scheme':<28}" + "".join(f"{share:>9.0e}" for share in SHARES) + f"{'least':>12}{'seconds':>9}",
    ]
    for network, runs in report["traces"].items():
        for label, trace in runs.items():
            reached = [torch.tensor(seconds_to(trace, share)).median().item() for share in SHARES]
            least = torch.tensor([v for _, v in trace]).amin(0).mean().item()
            cells = "".join(f"{r:>9.2f}" for r in reached)
            lines.append(f"{network:<13}{label:<28}{cells}{least:>12.6f}{trace[-1][0]:>9.1f}")
    return "\n".join(lines)


def picture(report: dict[str, Any]) -> Figure:
    """The mean objective over what the scheme comes to, against seconds."""
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    for axis, (network, runs) in zip(figure.subplots(1, 2), report["traces"].items(), strict=True):
        for label, trace in runs.items():
            values = torch.tensor([v for _, v in trace], dtype=F64)
            excess = (values / values.amin(0) - 1).mean(1).clamp(min=1e-10)
            axis.loglog([max(t, 1e-3) for t, _ in trace], excess.tolist(), label=label)
        axis.set(title=network, xlabel="seconds", ylabel="objective over its least, minus 1", ylim=(1e-8, None))
        axis.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8, frameon=False)
    return figure


if __name__ == "__main__":
    main()
