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
        "a NaN or infinite objective or derivative was met; the last iterate before it is returned. "
        "Look at the scale of the network's weights and of the data, or begin from another start"
    )
    INFINITE_START = (
        "the objective is infinite or NaN at the start, so no step can be judged; the start is returned. "
        "Begin from another start, or look at the scale of the network's weights and of the data"
    )
    OVERFLOW = (
        "the network's derivative is so steep that the square of its norm is no finite number, so no step is short enough; the "
        "last iterate is returned. Measure the input in larger units: divide the weights of the first layer by a large number, "
        "and the answer by the same"
    )
    FLAT = (
        "the network does not react to small changes of this input, so every input near it is as good, and the certificate says "
        "nothing. Begin from another start"
    )
    NOISE_EXCEEDS_DATA = (
        "the noise level is at least the norm of the data, so nothing can be recovered from them. "
        "Pass the noise level as an absolute l2 norm per sample, or fix the weight with rule=Fixed(alpha)"
    )
    UNREACHABLE = (
        "the network's range does not come within tau * noise level of the data; the least residual reached is reported. "
        "Give a noise level of at least that residual, or begin from another start"
    )
    NO_MINIMUM = (
        "the function that the rule minimises over alpha has no minimum between the weights visited, so the data alone do not "
        "say how strongly to regularise; a weight with a small value is returned. Pass noise_level= and use "
        "rule=DiscrepancyPrinciple(), or fix the weight with rule=Fixed(alpha)"
    )
    NOISE_EXCEEDS_RESIDUAL = (
        "the noise level is above the residual that is left under any regularisation, so the data say nothing that the "
        "regulariser does not say alone; the weight returned is one from which more weight changes nothing. "
        "Give a smaller noise level if it is an absolute l2 norm per sample, or fix the weight with rule=Fixed(alpha)"
    )
    DATA_OUTSIDE_RANGE = (
        "the data lie farther from the range of the last activation than the noise level allows, so the noise level is too small "
        "or the data are not this network's; the rule took that distance for the noise. Give a noise level of at least that "
        "distance, which the message names"
    )
    RESIDUAL_JUMPS = (
        "the residual jumps across the noise level: it is below at the weight returned, and above at one a little larger, since "
        "the solutions change from one minimum to another. The data are fitted more closely than the noise level asks. "
        "Begin from another start, or fix the weight with rule=Fixed(alpha)"
    )
    SEARCH_LIMIT = (
        "the rule did not find its weight within the weights it may try; the last one is returned, solved. "
        "Look at result.tried; raise max_tries of the rule, or fix the weight with rule=Fixed(alpha)"
    )
    CONSTANT_NETWORK = (
        "the network's output does not depend on its input: it is the same at all inputs tried, so nothing can be recovered. "
        "Check its weights, or begin from another start"
    )

    def __str__(self) -> str:
        return self.value
