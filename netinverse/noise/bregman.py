"""How large a Bregman fidelity noise of a given l2 norm can make at the truth."""

from __future__ import annotations

from torch import Tensor

from netinverse.checks import per_sample_values, require_finite, require_floating, require_object
from netinverse.modes import in_usual_modes
from netinverse.noise.projection import noise_left_after_projection, require_snap, snap_to_saturation
from netinverse.protocols import Potential
from netinverse.prox import Box, NonNegative, Zero
from netinverse.prox.prelu import PReLUPotential
from netinverse.prox.rectifiers import LeakyReLUPotential
from netinverse.tensors import norm


@in_usual_modes
def bregman_noise_level(potential: Potential, data: Tensor, noise_level: float | Tensor, *, snap: float = 3.0) -> Tensor:
    """d with B(v, z) <= d^2 at the true pre-activation z: v the data as the Bregman fidelity uses them.

    v: the data projected onto the domain of the potential, with entries near a flat end moved onto it as ``snap_to_saturation``
    does. With y = sigma(z) and delta >= ||data - y||,

        d = sqrt(L/2) (left + ||v - P data||),    left = sqrt(delta^2 - ||data - P data||^2),

    where L bounds the slope of sigma^{-1} where it is single-valued: 1 for the identity, ReLU and clips, 1/slope for leaky ReLU.

    Condition: every unit that is saturated at the truth, as an inactive ReLU is, has its entry moved onto that end. Then it adds
    nothing, since B(0, z) = 0 for z <= 0, and the other units cost at most L/2 |v_i - y_i|^2. Noise v_i > 0 left on an inactive
    unit costs v_i |z_i| instead, linear in the noise and as large as the unknown |z_i|. At most ``snap`` standard deviations are
    moved, fewer where signals lie near the end too, so that some such units remain: raise ``snap`` for noise with heavy tails.
    With snap = 0 the bound holds where no unit is saturated.

    Shapes: data (batch, ...), noise_level a number or (batch,) -> (batch,). Raises ValueError for activations whose inverse has
    no bounded slope (tanh, logistic, soft-max ...): there no l2 norm bounds B, whose size depends on how saturated the units are.
    Wang & Benning, Front. Appl. Math. Stat. 9, 2023, for the role of d; the bound follows from B(v, z) <= L/2 ||v - sigma(z)||^2.
    """
    who = "bregman_noise_level"
    require_object(who, "potential", potential, ("prox", "penalty"), 'Write ni.potential_of("relu"), for example.')
    data = require_finite(who, "data", require_floating(who, "data", data))
    delta = per_sample_values("bregman_noise_level", "noise_level", noise_level, data)
    require_snap("bregman_noise_level", snap)
    slope = _inverse_slope(potential, data)
    projected = potential.project(data)
    left = noise_left_after_projection(data, projected, delta)
    moved = norm(snap_to_saturation(potential, projected, left, snap) - projected)
    level: Tensor = (slope / 2) ** 0.5 * (left + moved)
    return level


def _inverse_slope(potential: Potential, data: Tensor) -> float:
    """The largest slope of the inverse of the activation between its saturated ends."""
    if isinstance(potential, Zero | NonNegative | Box):
        return 1.0
    if isinstance(potential, LeakyReLUPotential | PReLUPotential):
        least = float(potential.left_slope(data).min()) if data.numel() else 1.0
        return 1.0 / min(least, potential.positive_slope)
    raise ValueError(
        f"bregman_noise_level: the inverse of the activation of {type(potential).__name__} has no bounded slope, so that noise "
        f"of a given norm can make the Bregman penalty as large as it likes. Use the squared fidelity, or ni.bregman_penalty at "
        f"a pre-activation you know."
    )
