"""How a sample's reconstruction ended, and what to do about it."""

from __future__ import annotations

from enum import Enum


class Status(Enum):
    """The value is a sentence with a remedy."""

    CONVERGED = "converged: the certificate is within the tolerance, and the rule is met"
    STEP_LIMIT = (
        "the step limit was reached before the tolerance; the last iterate and its certificate are returned. "
        "Raise max_steps or the tolerance"
    )
    STALLED = (
        "no step lowers the objective, although the certificate is above the tolerance, as happens at a kink of the network; "
        "the certificate says how far from stationary. Accept that accuracy, raise the tolerance, or begin from another start"
    )
    DIVERGED = (
        "a NaN or infinite objective was met; the last finite iterate is returned. "
        "Look at the scale of the network's weights and of the data, or begin from another start"
    )
    NOISE_EXCEEDS_DATA = (
        "the noise level is at least the norm of the data, so nothing can be recovered from them. "
        "Pass the noise level as an absolute l2 norm per sample, or fix the weight with rule=Fixed(alpha)"
    )
    UNREACHABLE = (
        "the network's range does not come within tau * noise level of the data; the least residual reached is reported. "
        "Give a noise level of at least that residual, or begin from another start"
    )
    CONSTANT_NETWORK = (
        "the network's output does not depend on its input near the start, so that nothing can be recovered. "
        "Check its weights, or begin from another start"
    )

    def __str__(self) -> str:
        return self.value
