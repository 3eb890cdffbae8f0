"""The contract of a regularisation method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from netinverse.checkpoints import Checkpoint
from netinverse.diagnostics.certificates import Certificate
from netinverse.networks.graph import LiftedNetwork
from netinverse.parameter_choice.rule import ParameterRule, RuleProblem
from netinverse.problems import InverseProblem
from netinverse.solvers.status import Status


@dataclass(frozen=True)
class Try:
    """One solution at one weight for some samples, all ``(k,)``."""

    samples: Tensor
    alpha: Tensor
    residual: Tensor
    objective: Tensor


@dataclass(frozen=True)
class Step:
    """One step of a solver for some samples at their weights, all ``(k,)``; ``seconds`` since the method began."""

    samples: Tensor
    alpha: Tensor
    number: int
    objective: Tensor
    optimality: Tensor
    residual: Tensor
    seconds: float


@dataclass(frozen=True)
class MethodResult:
    """The reconstruction of every sample, the weight, the evidence, and the way there; ``note``: what the method chose."""

    x: Tensor
    alpha: Tensor
    objective: Tensor
    status: tuple[Status, ...]
    certificate: Certificate
    steps: Tensor
    subgradient: Tensor | None
    continuation: dict[str, Tensor]
    tried: tuple[Try, ...]
    history: tuple[Step, ...]
    note: str = ""


class Method(Protocol):
    """Configuration only."""

    def run(
        self,
        network: LiftedNetwork,
        problem: InverseProblem,
        start: Tensor,
        rule: ParameterRule,
        rule_problem: RuleProblem,
        *,
        tolerance: float,
        max_steps: int | None,
        on_try: Callable[[Try], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> MethodResult: ...
