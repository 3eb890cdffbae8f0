"""Convex functions with their proximal maps: constraints, regularisers, and the potentials of activations."""

from netinverse.prox.calculus import Scaled as Scaled
from netinverse.prox.calculus import Translated as Translated
from netinverse.prox.calculus import moreau_envelope as moreau_envelope
from netinverse.prox.calculus import prox_conjugate as prox_conjugate
from netinverse.prox.catalogue import ScaledActivation as ScaledActivation
from netinverse.prox.catalogue import activation_of_aten as activation_of_aten
from netinverse.prox.entropies import LogisticEntropy as LogisticEntropy
from netinverse.prox.entropies import TanhEntropy as TanhEntropy
from netinverse.prox.indicators import Box as Box
from netinverse.prox.indicators import NonNegative as NonNegative
from netinverse.prox.indicators import Simplex as Simplex
from netinverse.prox.norms import L1 as L1
from netinverse.prox.norms import GroupL21 as GroupL21
from netinverse.prox.norms import Huber as Huber
from netinverse.prox.norms import NonNegativeL1 as NonNegativeL1
from netinverse.prox.norms import SquaredNorm as SquaredNorm
from netinverse.prox.norms import Zero as Zero
from netinverse.prox.rectifiers import ELUPotential as ELUPotential
from netinverse.prox.rectifiers import ISRLUPotential as ISRLUPotential
from netinverse.prox.rectifiers import LeakyReLUPotential as LeakyReLUPotential
from netinverse.prox.sigmoids import ArctanPotential as ArctanPotential
from netinverse.prox.sigmoids import InverseSquareRootPotential as InverseSquareRootPotential
from netinverse.prox.sigmoids import SoftsignPotential as SoftsignPotential
from netinverse.prox.simplex_entropy import SimplexEntropy as SimplexEntropy
from netinverse.prox.smooth_rectifiers import SoftplusPotential as SoftplusPotential
from netinverse.prox.smooth_rectifiers import SquareplusPotential as SquareplusPotential
