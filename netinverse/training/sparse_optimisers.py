"""Linearised Bregman iterations as optimisers: weights that start sparse and grow entry by entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from netinverse.checks import require_number, require_numbers, require_object
from netinverse.protocols import ProximalFunction
from netinverse.prox import subdifferential_of

REGULARISER = "regulariser"
POSITIVE = {"lr": "It is the length of a step.", "delta": "The default is 1.", "eps": "The default is 1e-8."}


class _MirrorDescent(torch.optim.Optimizer):
    """v+ = v - lr d, theta+ = prox_{delta J}(delta v+), by parameter groups; a kind says what d is.

    J belongs to the optimiser and its groups as they were built, not to their state: ``state_dict`` has tensors and numbers,
    which ``torch.load`` reads as it is, and ``load_state_dict`` leaves every J in its place.
    """

    def _direction(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = _evaluated(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    _mirror_step(p, self._direction(p.grad, self.state[p], group), self.state[p], group)
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Of the constructor too. Raises as it does, for the settings of this group."""
        who = type(self).__name__
        _check(who, {**self.defaults, **param_group})
        super().add_param_group(param_group)
        try:
            _check_shapes(who, self.param_groups[-1])
        except ValueError:
            del self.param_groups[-1]
            raise

    def state_dict(self) -> dict[str, Any]:
        found = super().state_dict()
        groups = [{key: value for key, value in group.items() if key != REGULARISER} for group in found["param_groups"]]
        return {**found, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = [group[REGULARISER] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, regulariser in zip(self.param_groups, own, strict=True):
            group[REGULARISER] = regulariser


class LinBreg(_MirrorDescent):
    """v+ = v - lr d, theta+ = prox_{delta J}(delta v+), d the gradient with ``momentum``; v - theta/delta in dJ(theta).

    J is the ``regulariser`` of a parameter group, such as ni.L1(0.1) for sparse weights; None for plain gradient steps. With J =
    weight ||.||_1 an entry that is zero stays zero until its gradients add up to the weight: start with most entries at zero
    (``sparsify``), and the network becomes as dense as the data ask. v begins at theta/delta plus a subgradient of J, so that J
    has to have ``nearest_subgradient``: the norms, SquaredNorm and Huber do, NuclearNorm and constraints do not.

    Closures, parameter groups and schedulers work as in torch. So does state_dict, without J: what is loaded into an optimiser
    goes on with the regularisers that this one was built with. Bungert, Roith, Tenbrinck & Burger, JMLR 23(192), 2022.
    Raises ValueError for numbers out of range and for a J of other shapes than those of its parameters, as one of rows is of
    biases; TypeError for a J without a subdifferential.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        regulariser: ProximalFunction | None = None,
        delta: float = 1.0,
        momentum: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, REGULARISER: regulariser, "delta": delta, "momentum": momentum})

    def _direction(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        if group["momentum"] == 0:
            return gradient
        state["direction"] = group["momentum"] * state.get("direction", 0) + (1 - group["momentum"]) * gradient
        direction: Tensor = state["direction"]
        return direction


class AdaBreg(_MirrorDescent):
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
        super().__init__(params, {"lr": lr, REGULARISER: regulariser, "delta": delta, "betas": betas, "eps": eps})

    def _direction(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
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
    require_numbers("sparsify", "Pass 0.05 for one entry of twenty.", density=density)
    if not 0 < density <= 1:
        raise ValueError(f"sparsify: density is {density}, but must be a share of the entries in (0, 1]. Pass 0.05, for example.")
    if scale is not None:
        require_number("sparsify", "scale", scale, "Leave it out for density^(-1/2).")
    generator = torch.Generator().manual_seed(seed)
    for p in parameters:
        if p.ndim > 1:
            kept = (torch.rand(p.shape, generator=generator) < density).to(p)
            p.mul_(kept * (density**-0.5 if scale is None else scale))


def _mirror_step(p: Tensor, direction: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    regulariser, delta = group[REGULARISER], group["delta"]
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


def _check(who: str, group: Mapping[str, Any]) -> None:
    for name, remedy in POSITIVE.items():
        if name in group:
            require_number(who, name, group[name], remedy)
    momentum, betas = group.get("momentum", 0.0), group.get("betas", (0.0, 0.0))
    if not (isinstance(momentum, int | float) and 0 <= momentum < 1):
        raise ValueError(f"{who}: momentum is {momentum}, but must be at least 0 and below 1. The default is 0.")
    if not (isinstance(betas, Sequence) and len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
        raise ValueError(f"{who}: betas is {betas}, but both must be at least 0 and below 1. The default is (0.9, 0.999).")
    if group[REGULARISER] is not None:
        require_object(who, REGULARISER, group[REGULARISER], ("prox",), f"Write {who}(..., regulariser=ni.L1(0.1)).")
        subdifferential_of(who, group[REGULARISER])


def _check_shapes(who: str, group: Mapping[str, Any]) -> None:
    """Raise ValueError for a parameter that J cannot take, as torch's own errors in the first step would not tell which."""
    regulariser = group[REGULARISER]
    if regulariser is None:
        return
    for k, p in enumerate(group["params"]):
        try:
            regulariser.prox(torch.zeros_like(p)[None])
        except (IndexError, RuntimeError, ValueError) as error:
            name = group["param_names"][k] if "param_names" in group else k
            raise ValueError(
                f"{who}: regulariser {regulariser} cannot take parameter {name} of its group, of shape {tuple(p.shape)} "
                f"({error}). Put matrices and vectors in groups of their own: {who}([{{'params': matrices, 'regulariser': ...}}, "
                f"{{'params': biases}}])."
            ) from error
