"""Linearised Bregman iterations as optimisers: weights that start sparse and grow entry by entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from netinverse.protocols import ProximalFunction
from netinverse.prox import subdifferential_of


class LinBreg(torch.optim.Optimizer):
    """v+ = v - lr d, theta+ = prox_{delta J}(delta v+), d the gradient with ``momentum``; v - theta/delta in dJ(theta).

    J is the ``regulariser`` of a parameter group, such as ni.L1(0.1) for sparse weights; None for plain gradient steps. With J =
    weight ||.||_1 an entry that is zero stays zero until its gradients add up to the weight: start with most entries at zero
    (``sparsify``), and the network becomes as dense as the data ask. Closures, parameter groups, state_dict and schedulers work
    as in torch. Bungert, Roith, Tenbrinck & Burger, JMLR 23(192), 2022.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        regulariser: ProximalFunction | None = None,
        delta: float = 1.0,
        momentum: float = 0.0,
    ) -> None:
        _check(type(self).__name__, lr, delta)
        if not 0 <= momentum < 1:
            raise ValueError(f"{type(self).__name__}: momentum is {momentum}, but must be at least 0 and below 1.")
        super().__init__(params, {"lr": lr, "regulariser": regulariser, "delta": delta, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = _evaluated(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    _mirror_step(p, self._direction(p.grad, self.state[p], group), self.state[p], group)
        return loss

    def _direction(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        if group["momentum"] == 0:
            return gradient
        state["direction"] = group["momentum"] * state.get("direction", 0) + (1 - group["momentum"]) * gradient
        direction: Tensor = state["direction"]
        return direction


class AdaBreg(torch.optim.Optimizer):
    """LinBreg with Adam's direction: v+ = v - lr m/(sqrt(s) + eps), theta+ = prox_{delta J}(delta v+).

    m and s the bias-corrected means of the gradient and of its square. Bungert, Roith, Tenbrinck & Burger, JMLR 23(192), 2022.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        regulariser: ProximalFunction | None = None,
        delta: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        _check("AdaBreg", lr, delta)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"AdaBreg: betas is {betas}, but both must be at least 0 and below 1.")
        super().__init__(params, {"lr": lr, "regulariser": regulariser, "delta": delta, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = _evaluated(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    _mirror_step(p, self._direction(p.grad, self.state[p], group), self.state[p], group)
        return loss

    @staticmethod
    def _direction(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        first, second = group["betas"]
        count = state["count"] = state.get("count", 0) + 1
        state["mean"] = first * state.get("mean", 0) + (1 - first) * gradient
        state["square"] = second * state.get("square", 0) + (1 - second) * gradient.square()
        mean, square = state["mean"] / (1 - first**count), state["square"] / (1 - second**count)
        direction: Tensor = mean / (square.sqrt() + group["eps"])
        return direction


@torch.no_grad()
def sparsify(parameters: Iterable[Tensor], density: float, seed: int = 0, scale: float | None = None) -> None:
    """Set all but a random share ``density`` of the entries of each matrix or filter to zero; vectors are left as they are.

    The entries that stay are multiplied by ``scale``, by default density^(-1/2), which keeps the variance of what a layer
    returns.
    """
    if not 0 < density <= 1:
        raise ValueError(f"sparsify: density is {density}, but must be a share of the entries in (0, 1].")
    generator = torch.Generator().manual_seed(seed)
    for p in parameters:
        if p.ndim > 1:
            kept = (torch.rand(p.shape, generator=generator) < density).to(p)
            p.mul_(kept * (density**-0.5 if scale is None else scale))


def _mirror_step(p: Tensor, direction: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    regulariser, delta = group["regulariser"], group["delta"]
    if regulariser is None:
        p.sub_(direction, alpha=delta * group["lr"])
        return
    if "dual" not in state:
        zero = torch.zeros_like(p)[None]
        slope = subdifferential_of(type(regulariser).__name__, regulariser).nearest_subgradient(p[None], zero)[0]
        state["dual"] = p / delta + slope
    state["dual"] = state["dual"] - group["lr"] * direction
    p.copy_(regulariser.prox(delta * state["dual"][None], delta)[0])


def _evaluated(closure: Callable[[], Any] | None) -> Any:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def _check(who: str, lr: float, delta: float) -> None:
    for name, value in (("lr", lr), ("delta", delta)):
        if not value > 0:
            raise ValueError(f"{who}: {name} is {value}, but must be positive.")
