"""Regularisers that are no g(K x): a minimum over what makes the input, or known by a denoiser alone."""

from netinverse.priors.denoiser_prior import Averagedness as Averagedness
from netinverse.priors.denoiser_prior import DenoiserPrior as DenoiserPrior
from netinverse.priors.generator_prior import GeneratorPrior as GeneratorPrior
from netinverse.priors.refusals import require_composite as require_composite
from netinverse.priors.synthesis import SynthesisRegulariser as SynthesisRegulariser
from netinverse.priors.total_generalised_variation import TotalGeneralisedVariation as TotalGeneralisedVariation
