"""The caller's modes of torch, kept out of a computation that they would change without a word."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def in_usual_modes(function: Callable[P, R]) -> Callable[P, R]:
    """The function with inference mode and autocast off and tensors made on the CPU, whatever the modes of its caller.

    In inference mode nothing is recorded: every derivative would be zero, and an inversion would stay where it began. Autocast
    would round to half precision what is computed in float64. A default device would hold what belongs beside the data. Tensors
    that were made in inference mode are taken as well: see ``checks.require_floating``.
    """

    @wraps(function)
    def usual(*args: P.args, **kwargs: P.kwargs) -> R:
        with ExitStack() as modes:
            if torch.is_inference_mode_enabled():
                modes.enter_context(torch.inference_mode(False))
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    modes.enter_context(torch.autocast(kind, enabled=False))
            if torch.get_default_device().type != "cpu":
                modes.enter_context(torch.device("cpu"))
            return function(*args, **kwargs)

    return usual
