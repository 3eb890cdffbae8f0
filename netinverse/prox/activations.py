"""Activations by name: each as a multiple of the proximal map of a potential."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from torch import Tensor

from netinverse.protocols import Potential
from netinverse.prox.entropies import LogisticEntropy, TanhEntropy
from netinverse.prox.indicators import Box, NonNegative
from netinverse.prox.norms import L1, NonNegativeL1, Zero
from netinverse.prox.prelu import PReLUPotential
from netinverse.prox.rectifiers import ELUPotential, ISRLUPotential, LeakyReLUPotential
from netinverse.prox.sigmoids import ArctanPotential, InverseSquareRootPotential, SoftsignPotential
from netinverse.prox.simplex_entropy import SimplexEntropy
from netinverse.prox.smooth_rectifiers import LogSigmoidPotential, SoftplusPotential, SquareplusPotential

_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


@dataclass(frozen=True)
class ScaledActivation:
    """sigma(z) = factor * prox_potential(inner_scale * z + inner_shift).

    ``factor`` belongs into the next affine map, ``inner_scale`` and ``inner_shift`` into the one before. All three are trivial
    (1, 1, 0) for an activation that is itself a proximal map.
    """

    potential: Potential
    factor: float = 1.0
    inner_scale: float = 1.0
    inner_shift: float = 0.0

    @property
    def is_proximal(self) -> bool:
        """Whether sigma = prox_potential, without any scale."""
        return (self.factor, self.inner_scale, self.inner_shift) == (1.0, 1.0, 0.0)

    def __call__(self, z: Tensor) -> Tensor:
        """sigma(z), (batch, ...)."""
        return self.factor * self.potential.prox(self.inner_scale * z + self.inner_shift)


def _clip(lower: float | None = None, upper: float | None = None) -> ScaledActivation:
    low, high = -inf if lower is None else lower, inf if upper is None else upper
    return ScaledActivation(NonNegative() if (low, high) == (0, inf) else Box(low, high))


def _leaky_relu(negative_slope: float = 0.01) -> ScaledActivation | None:
    a = float(negative_slope)
    if a < 0:
        return None
    if a == 0:
        return ScaledActivation(NonNegative())
    if a <= 1:
        return ScaledActivation(LeakyReLUPotential(a))
    # a times a rectifier with slope 1 left and 1/a right of 0: reflect it.
    return ScaledActivation(LeakyReLUPotential(1 / a), factor=-a, inner_scale=-1.0)


def _prelu(weight: float | Tensor = 0.25) -> ScaledActivation | None:
    """One slope, or one for each channel, which stay the tensor they are."""
    if not isinstance(weight, Tensor):
        return _leaky_relu(weight)
    fits = bool(((weight > 0) & (weight <= 1)).all())
    return ScaledActivation(PReLUPotential(weight)) if fits else None


def _elu(alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> ScaledActivation | None:
    """scale z where z >= 0, scale alpha (e^(input_scale z) - 1) where z < 0, divided by its largest slope."""
    if not (alpha > 0 and scale > 0 and input_scale > 0):
        return None
    steepest = max(1.0, alpha * input_scale)
    return ScaledActivation(ELUPotential(alpha / steepest, float(input_scale), 1 / steepest), factor=scale * steepest)


def _celu(alpha: float = 1.0) -> ScaledActivation | None:
    return ScaledActivation(ELUPotential(float(alpha), 1 / alpha)) if alpha > 0 else None


def _selu() -> ScaledActivation | None:
    return _elu(_SELU_ALPHA, _SELU_SCALE)


def _softplus(beta: float = 1.0, threshold: float = 20.0) -> ScaledActivation | None:
    """torch jumps down by ln(1 + e^-threshold)/beta at z = threshold/beta: 2e-9/beta at 20, which is taken for none."""
    return ScaledActivation(SoftplusPotential(float(beta))) if beta > 0 and threshold >= 20 else None


def _softshrink(lambd: float = 0.5) -> ScaledActivation:
    return ScaledActivation(L1(float(lambd)) if lambd > 0 else Zero())


def _threshold(threshold: float = 0.0, value: float = -1.0) -> ScaledActivation | None:
    """z where z > threshold, value elsewhere: continuous only where the two agree."""
    return _clip(float(threshold)) if threshold == value else None


def _softmax(dim: int = -1, half_to_float: bool = False, dtype: object = None) -> ScaledActivation | None:
    """Along a given axis; axis 0 counts the samples."""
    return None if dim == 0 or dim is None or half_to_float else ScaledActivation(SimplexEntropy(int(dim)))


def _softmin(dim: int = -1) -> ScaledActivation | None:
    """softmax(-z)."""
    return None if dim == 0 or dim is None else ScaledActivation(SimplexEntropy(int(dim)), inner_scale=-1.0)


def _plain(potential: Potential) -> Callable[[], ScaledActivation]:
    return lambda: ScaledActivation(potential)


ACTIVATIONS: dict[str, Callable[..., ScaledActivation | None]] = {
    "identity": _plain(Zero()),
    "linear": _plain(Zero()),
    "relu": _plain(NonNegative()),
    "relu6": lambda: _clip(0.0, 6.0),
    "leaky_relu": _leaky_relu,
    "prelu": _prelu,
    "rrelu": lambda lower=1 / 8, upper=1 / 3, training=False: _leaky_relu(0.5 * (lower + upper)),
    "hardtanh": lambda min_val=-1.0, max_val=1.0: _clip(min_val, max_val),
    "hardsigmoid": lambda: ScaledActivation(Box(0.0, 1.0), inner_scale=1 / 6, inner_shift=0.5),
    "clip": lambda min=None, max=None: _clip(min, max),
    "clamp": lambda min=None, max=None: _clip(min, max),
    "clamp_min": lambda min: _clip(min),
    "clamp_max": lambda max: _clip(None, max),
    "threshold": _threshold,
    "softshrink": _softshrink,
    "tanh": _plain(TanhEntropy()),
    "sigmoid": _plain(LogisticEntropy()),
    "logistic": _plain(LogisticEntropy()),
    "log_sigmoid": _plain(LogSigmoidPotential()),
    "softplus": _softplus,
    "atan": _plain(ArctanPotential()),
    "arctan": _plain(ArctanPotential()),
    "softsign": _plain(SoftsignPotential()),
    "inverse_square_root": _plain(InverseSquareRootPotential()),
    "elu": _elu,
    "celu": _celu,
    "selu": _selu,
    "isrlu": _plain(ISRLUPotential()),
    "squareplus": _plain(SquareplusPotential()),
    "shifted_relu": lambda threshold=1.0: ScaledActivation(NonNegativeL1(threshold)),
    "softmax": _softmax,
    "softmin": _softmin,
}
_SPELLINGS = {
    "_softmax": "softmax",
    "safe_softmax": "softmax",
    "_safe_softmax": "softmax",
    "logsigmoid": "log_sigmoid",
    "log_sigmoid_forward": "log_sigmoid",
    "_prelu_kernel": "prelu",
    "leakyrelu": "leaky_relu",
    "hard_tanh": "hardtanh",
    "hard_sigmoid": "hardsigmoid",
}
NOT_PROXIMAL = {
    "gelu": "it is not monotone (it falls left of -0.75)",
    "silu": "it is not monotone (it falls left of -1.28)",
    "swish": "it is not monotone (it falls left of -1.28)",
    "mish": "it is not monotone (it falls left of -1.19)",
    "hardswish": "it is not monotone (it falls between -3 and -1.5)",
    "hardshrink": "it jumps at its threshold",
    "softplus": "it falls at its threshold, where torch replaces it by z",
    "threshold": "it jumps where its two branches differ",
    "softmax": "axis 0 counts the samples, which must not share a simplex",
    "leaky_relu": "it falls for a negative slope",
    "prelu": "it falls for a negative slope, or is steeper than 1",
}


def canonical(name: str) -> str:
    """The key of an activation: ``aten.leaky_relu_.default`` is ``leaky_relu``."""
    short = name.removeprefix("aten::").removeprefix("aten.").split(".")[0]
    short = short if short in _SPELLINGS or short in ACTIVATIONS else short.removesuffix("_")
    return _SPELLINGS.get(short, short)
