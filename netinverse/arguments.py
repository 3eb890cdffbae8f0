"""What ``invert`` accepts as its arguments. Each refusal is one sentence that says what to write instead."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from netinverse.checks import require_flag, require_number, require_object, require_seed, require_whole
from netinverse.fidelities import Fidelity
from netinverse.methods import Method, Variational
from netinverse.parameter_choice import ParameterRule
from netinverse.priors import DenoiserPrior, SynthesisRegulariser
from netinverse.protocols import ProximalFunction
from netinverse.regularisers import Regulariser


def shape_of(input_shape: int | Sequence[int] | None) -> tuple[int, ...] | None:
    """The shape of one input as a tuple; one number stands for a vector of that length."""
    if input_shape is None:
        return None
    sizes: object = (input_shape,) if isinstance(input_shape, Integral) else input_shape
    if not isinstance(sizes, Sequence) or not all(_is_size(n) for n in sizes):
        raise TypeError(
            f"invert: input_shape is {input_shape!r}, but must be positive whole numbers, the shape of one input without the "
            f"batch. Write input_shape=(channels, height, width), or input_shape=6 for vectors of length 6."
        )
    return tuple(int(n) for n in sizes)


def _is_size(value: object) -> bool:
    return isinstance(value, int | Integral) and value is not True and int(value) > 0


def check_settings(
    tolerance: object, max_steps: object, seed: object, memory_budget: object = None, progress: object = False
) -> None:
    require_number("invert", "tolerance", tolerance, "The default is 1e-6.")
    if max_steps is not None:
        require_whole("invert", "max_steps", max_steps, 1, "Leave it out for the default of the method.")
    require_seed("invert", seed)
    require_flag("invert", "progress", progress, "whether a bar is shown")
    if memory_budget is not None:
        require_number("invert", "memory_budget", memory_budget, "It is in bytes; leave it out for no limit.")


def check_objects(
    regulariser: Regulariser | SynthesisRegulariser | None,
    rule: ParameterRule | None,
    method: Method | None,
    fidelity: Fidelity | None,
) -> None:
    """Raise where one of them is a class, a number, a name or a function that it is not."""
    if regulariser is not None and not isinstance(regulariser, SynthesisRegulariser):
        require_object(
            "invert",
            "regulariser",
            regulariser,
            ("transform", "transform_norm", "check_shape", "prox"),
            "A function g such as ni.L1() is only half of R(x) = g(K x): use ni.Sparsity() for sum |x_i|, ni.Tikhonov() for "
            "1/2||x||^2, ni.TotalVariation() for total variation.",
        )
    if isinstance(regulariser, DenoiserPrior) and not isinstance(method, Variational | None):
        raise ValueError(
            f"invert: method is {type(method).__name__}, but the regulariser is a DenoiserPrior, which is not convex and has no "
            f"subgradients: only ni.Variational() takes it. Leave the method out, or use another regulariser."
        )
    if isinstance(regulariser, DenoiserPrior) and isinstance(method, Variational) and method.formulation == "lifted":
        raise ValueError(
            "invert: the lifted formulation needs a convex regulariser, but a DenoiserPrior is none. Use the reduced one."
        )
    if rule is not None:
        require_object(
            "invert", "rule", rule, ("choose",), "Write rule=ni.DiscrepancyPrinciple(), or ni.Fixed(0.1) for the weight 0.1."
        )
    if method is not None:
        require_object(
            "invert",
            "method",
            method,
            ("run",),
            'Write method=ni.Landweber(), for example, or ni.Variational("lifted") for the lifted formulation.',
        )
    if fidelity is not None:
        require_object(
            "invert", "fidelity", fidelity, ("variable", "at", "treat"), "Write fidelity=ni.SquaredFidelity(), for example."
        )


def check_constraint(constraint: ProximalFunction | None, x: Tensor) -> None:
    """Raise unless ``constraint`` is the indicator of a set that inputs shaped as those of ``x`` can lie in.

    The proximal map of an indicator is a projection, whatever its step, and its value there is zero. Of any other function the
    projection would be missing, and the solvers' steps would add it with weights that nobody chose.
    """
    if constraint is None:
        return
    require_object(
        "invert", "constraint", constraint, ("prox", "conjugate", "__call__"), "For 0 <= x <= 1 write constraint=ni.Box(0, 1)."
    )
    shape = tuple(x.shape[1:])
    probe = 10 * torch.randn((1, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(x)
    try:
        near, far = constraint.prox(probe, 1.0), constraint.prox(probe, 100.0)
        fits = near.shape == probe.shape
    except (RuntimeError, ValueError, IndexError):
        fits = False
    if not fits:
        raise ValueError(
            f"invert: constraint {type(constraint).__name__} does not fit one input, which has shape {shape}. Bounds are "
            f"numbers, or tensors that broadcast to that shape, the same for all samples."
        )
    value = constraint(near)
    if not torch.equal(near, far) or bool(((value != 0) & ~value.isinf()).any()):
        raise ValueError(
            f"invert: constraint is a {type(constraint).__name__}, which is no set: a constraint says where inputs may lie, and "
            f"its value is 0 there. To penalise inputs pass regulariser=, such as ni.Sparsity() or ni.Tikhonov(); sets are "
            f"ni.Box, ni.NonNegative and ni.Simplex."
        )
