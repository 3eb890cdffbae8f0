"""Noise: adding it, estimating it, and what projection and a fidelity make of it."""

from netinverse.noise.adding import add_noise as add_noise
from netinverse.noise.bregman import bregman_noise_level as bregman_noise_level
from netinverse.noise.estimation import NoiseEstimate as NoiseEstimate
from netinverse.noise.estimation import estimate_noise_level as estimate_noise_level
from netinverse.noise.projection import noise_left_after_projection as noise_left_after_projection
from netinverse.noise.projection import snap_to_saturation as snap_to_saturation
