"""From the name of an activation, in any of torch's spellings, to its potential."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from netinverse.protocols import Potential
from netinverse.prox.activations import ACTIVATIONS, NOT_PROXIMAL, canonical
from netinverse.prox.activations import ScaledActivation as ScaledActivation


def activation_of_aten(target: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> ScaledActivation | None:
    """The ScaledActivation that an ATen operator computes, or None if it is no scaled proximal map.

    ``target``: an overload (``torch.ops.aten.relu.default``) or its name (``"relu"``, ``"aten.relu.default"``).
    ``args``, ``kwargs``: what follows the input tensor in the call, without it. Numbers only: a bound that is a tensor
    gives None, except one with a single element; the slopes of a PReLU stay the tensor they are.
    """
    name = canonical(str(target))
    build = ACTIVATIONS.get(name)
    if build is None or name in {"identity", "linear"}:
        return None
    number = _same if name == "prelu" else _number  # its slopes may be a parameter
    values = [number(value) for value in args]
    named = {key: number(value) for key, value in (kwargs or {}).items()}
    try:
        inspect.signature(build).bind(*values, **named)
    except TypeError:
        return None
    everything = [*values, *named.values()]
    if name not in {"softmax", "softmin", "prelu"} and not all(
        value is None or isinstance(value, (int, float)) for value in everything
    ):
        return None
    try:
        return build(*values, **named)
    except ValueError:  # bounds the wrong way round, a NaN: torch computes something, but no proximal map
        return None


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def _same(value: Any) -> Any:
    return value


def _softmax_axis(module: nn.Module) -> int:
    axis: int | None = getattr(module, "dim", None)
    return -1 if axis is None else axis


_MODULES: dict[type[nn.Module], Callable[[Any], tuple[str, dict[str, Any]]]] = {
    nn.Identity: lambda m: ("identity", {}),
    nn.ReLU: lambda m: ("relu", {}),
    nn.ReLU6: lambda m: ("relu6", {}),
    nn.LeakyReLU: lambda m: ("leaky_relu", {"negative_slope": m.negative_slope}),
    nn.PReLU: lambda m: ("prelu", {"weight": m.weight}),
    nn.RReLU: lambda m: ("leaky_relu", {"negative_slope": 0.5 * (m.lower + m.upper)}),
    nn.Hardtanh: lambda m: ("hardtanh", {"min_val": m.min_val, "max_val": m.max_val}),
    nn.Hardsigmoid: lambda m: ("hardsigmoid", {}),
    nn.Threshold: lambda m: ("threshold", {"threshold": m.threshold, "value": m.value}),
    nn.Softshrink: lambda m: ("softshrink", {"lambd": m.lambd}),
    nn.Tanh: lambda m: ("tanh", {}),
    nn.Sigmoid: lambda m: ("sigmoid", {}),
    nn.LogSigmoid: lambda m: ("log_sigmoid", {}),
    nn.Softplus: lambda m: ("softplus", {"beta": m.beta}),
    nn.Softsign: lambda m: ("softsign", {}),
    nn.ELU: lambda m: ("elu", {"alpha": m.alpha}),
    nn.CELU: lambda m: ("celu", {"alpha": m.alpha}),
    nn.SELU: lambda m: ("selu", {}),
    nn.Softmax: lambda m: ("softmax", {"dim": _softmax_axis(m)}),
    nn.Softmin: lambda m: ("softmin", {"dim": _softmax_axis(m)}),
    nn.Softmax2d: lambda m: ("softmax", {"dim": -3}),
    nn.GELU: lambda m: ("gelu", {}),
    nn.SiLU: lambda m: ("silu", {}),
    nn.Mish: lambda m: ("mish", {}),
    nn.Hardswish: lambda m: ("hardswish", {}),
    nn.Hardshrink: lambda m: ("hardshrink", {}),
}


def potential_of(activation: str | nn.Module | Callable[..., Any]) -> Potential:
    """The potential Psi with prox_Psi = activation.

    ``activation``: a name of torch.nn.functional (``"relu"``), the function itself, or a module (``nn.ELU(0.5)``), whose
    parameters are read. Activations that are a multiple of a proximal map (SELU, ELU with alpha > 1) are refused here, since no
    potential has them as its proximal map; ``activation_of_aten`` returns them with their factor.
    """
    name, options = _described(activation)
    build = ACTIVATIONS.get(name)
    found = build(**options) if build is not None else None
    if found is not None and found.is_proximal:
        return found.potential
    if found is not None:
        why = (
            f"it is {found.factor:g} * prox({found.inner_scale:g} z + {found.inner_shift:g}), so its slope exceeds 1 or its "
            f"argument is not z, and no potential has it as its proximal map"
        )
        remedy = "Move the factors into the neighbouring affine maps, as netinverse.lift does, and use the potential of the rest"
    elif name in NOT_PROXIMAL:
        why = f"{NOT_PROXIMAL[name]}, so it is no proximal map of a convex function, which is always monotone and 1-Lipschitz"
        remedy = "Use a proximal activation such as softplus or ELU, or treat it as a smooth operator (the reduced formulation)"
    else:
        why = "it is not in the catalogue"
        remedy = f"Known are: {', '.join(sorted(ACTIVATIONS))}. Or write a netinverse.protocols.Potential of your own"
    raise ValueError(f"potential_of: activation is {activation!r}; {why}. {remedy}.")


def _described(activation: str | nn.Module | Callable[..., Any]) -> tuple[str, dict[str, Any]]:
    """Canonical name and parameters."""
    if isinstance(activation, nn.Module):
        describe = _MODULES.get(type(activation))
        return describe(activation) if describe is not None else (type(activation).__name__, {})
    name = activation if isinstance(activation, str) else getattr(activation, "__name__", repr(activation))
    name = canonical(name.lower())
    return (name, {"min": 0.0}) if name == "clamp_min" else (name, {})
