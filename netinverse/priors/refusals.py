"""What a diagnostic says that needs R(x) = g(K x)."""

from __future__ import annotations

from netinverse.checks import require_object
from netinverse.priors.denoiser_prior import DenoiserPrior
from netinverse.priors.synthesis import SynthesisRegulariser


def require_composite(who: str, regulariser: object) -> None:
    """Raise TypeError for what is no R(x) = g(K x), a prior too: its subdifferential is no set that can be searched."""
    if isinstance(regulariser, SynthesisRegulariser | DenoiserPrior):
        raise TypeError(
            f"{who}: regulariser is a {type(regulariser).__name__}, whose subdifferential at an input is not known as a set, so "
            f"that no source element can be looked for. Use a regulariser g(K x), such as ni.TotalVariation() or ni.Tikhonov()."
        )
    require_object(
        who,
        "regulariser",
        regulariser,
        ("transform", "transform_norm", "check_shape", "prox"),
        "Use ni.Sparsity() for sum |x_i|, ni.Tikhonov() for 1/2||x||^2, ni.TotalVariation() for total variation.",
    )
