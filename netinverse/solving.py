"""One inversion, of some samples or of all: the run of its method, the verdicts, and the evidence."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinverse.checkpoints import Checkpoint
from netinverse.diagnostics.certificates import Certificate
from netinverse.methods import Method, MethodResult, Step, Try
from netinverse.networks import LiftedNetwork
from netinverse.parameter_choice import ParameterRule, RuleProblem
from netinverse.parameter_choice.composition import Rule
from netinverse.problems import InverseProblem
from netinverse.reconstruction import Reconstruction
from netinverse.sensitivity import is_constant, judged
from netinverse.solvers.status import Status
from netinverse.starting import first_weight
from netinverse.tensors import norm


@dataclass(frozen=True)
class Inversion:
    """All that ``run`` needs: what is minimised, from where, and how. Quantities with a batch axis have one entry a sample.

    left: the noise level left in the projected data, given: that of the caller, both None where there is none. contradicted: as
    in ``Projection``. dtype: that of the answer. numbers: of the samples in the caller's batch; None counts from zero.
    """

    network: LiftedNetwork
    problem: InverseProblem
    start: Tensor
    left: Tensor | None
    given: Tensor | None
    contradicted: Tensor
    rule: ParameterRule
    method: Method
    tolerance: float
    max_steps: int | None
    seed: int
    dtype: torch.dtype
    numbers: Tensor | None = None

    def __len__(self) -> int:
        return len(self.start)

    def select(self, index: Tensor) -> Inversion:
        """That of the samples ``index``."""
        return replace(
            self,
            problem=self.problem.select(index),
            start=self.start[index],
            left=None if self.left is None else self.left[index],
            given=None if self.given is None else self.given[index],
            contradicted=self.contradicted[index],
            rule=self.rule.select(index, len(self)) if isinstance(self.rule, Rule) else self.rule,
            numbers=index if self.numbers is None else self.numbers[index],
        )

    def run(self, on_try: Callable[[Try], None] | None = None, checkpoint: Checkpoint | None = None) -> Reconstruction:
        """The reconstructions; ``message`` says what the method chose."""
        began = time.perf_counter()
        constant = is_constant(self.network, self.problem, self.start, self.seed)
        problem = self.problem.at(first_weight(self.problem, self.start))
        if bool(constant.all()):
            result = _unmoved(problem, self.start)
        else:
            result = self.method.run(
                self.network,
                problem,
                self.start,
                self.rule,
                RuleProblem(self.left, norm(problem.data), problem.alpha, self.given, problem.affine, self.numbers),
                tolerance=self.tolerance,
                max_steps=self.max_steps,
                on_try=on_try,
                checkpoint=checkpoint,
            )
            result = judged(result, problem, self.start, constant, self.contradicted, self.seed)
        return self._reconstruction(result, time.perf_counter() - began)

    def _reconstruction(self, result: MethodResult, seconds: float) -> Reconstruction:
        """The answer in the dtype of the data; numbers about it stay float64."""
        with torch.no_grad():
            fidelity_value = self.problem.term(self.problem.variable(result.x))
            residual = self.problem.residual(result.x)
        tried = {name: _column(result.tried, name) for name in ("samples", "alpha", "residual", "objective")}
        names = ("samples", "alpha", "objective", "residual", "optimality")
        history = {name: _column(result.history, name) for name in names}
        lengths = torch.tensor([len(step.samples) for step in result.history], dtype=torch.long)
        for name, values in (
            ("step", torch.tensor([step.number for step in result.history], dtype=torch.long)),
            ("seconds", torch.tensor([step.seconds for step in result.history], dtype=torch.float64)),
        ):
            history[name] = values.repeat_interleave(lengths)
        for table in (tried, history):
            table["sample"] = table.pop("samples")
        return Reconstruction(
            x=result.x.to(self.dtype),
            alpha=result.alpha,
            status=result.status,
            residual=residual,
            fidelity_value=fidelity_value,
            steps=result.steps,
            certificate=result.certificate,
            data=self.problem.data.to(self.dtype),
            message=result.note,
            seconds=seconds,
            subgradient=None if result.subgradient is None else result.subgradient.to(self.dtype),
            noise_level=self.left,
            given_noise_level=self.given,
            tried_columns=tried,
            history_columns=history,
            continuation=result.continuation,
        )


def _unmoved(problem: InverseProblem, x: Tensor) -> MethodResult:
    """The start, for a network that does not react to its input."""
    nothing = torch.full_like(problem.alpha, torch.nan)
    return MethodResult(
        x=x,
        alpha=nothing,
        objective=nothing,
        status=(Status.CONSTANT_NETWORK,) * len(x),
        certificate=Certificate("none", nothing, "nothing was solved"),
        steps=torch.zeros_like(nothing, dtype=torch.long),
        subgradient=None,
        continuation={},
        tried=(),
        history=(),
    )


def _column(rows: tuple[Try, ...] | tuple[Step, ...], name: str) -> Tensor:
    return torch.cat([getattr(row, name) for row in rows]) if rows else torch.zeros(0, dtype=torch.float64)
