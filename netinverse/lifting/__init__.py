"""Lifted energies: the penalties between activations and pre-activations, and their sum over a network."""

from netinverse.lifting.convexity import input_modulus as input_modulus
from netinverse.lifting.convexity import plus_layers as plus_layers
from netinverse.lifting.energy import INPUT as INPUT
from netinverse.lifting.energy import LiftedEnergy as LiftedEnergy
from netinverse.lifting.penalties import BregmanPenalty as BregmanPenalty
from netinverse.lifting.penalties import QuadraticPenalty as QuadraticPenalty
from netinverse.lifting.penalties import RegularisedPenalty as RegularisedPenalty
from netinverse.lifting.penalties import penalty_of as penalty_of
from netinverse.lifting.sweep import Swept as Swept
from netinverse.lifting.sweep import backward_sweep as backward_sweep
from netinverse.lifting.weights import downstream as downstream
