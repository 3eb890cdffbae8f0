"""Regularisation methods: a solver, a rule and what ties them together."""

from netinverse.methods.bregman_iteration import BregmanIteration as BregmanIteration
from netinverse.methods.landweber import Landweber as Landweber
from netinverse.methods.linearised_bregman import LinearisedBregman as LinearisedBregman
from netinverse.methods.method import Method as Method
from netinverse.methods.method import MethodResult as MethodResult
from netinverse.methods.method import Step as Step
from netinverse.methods.method import Try as Try
from netinverse.methods.newton import GaussNewton as GaussNewton
from netinverse.methods.newton import LevenbergMarquardt as LevenbergMarquardt
from netinverse.methods.variational import Variational as Variational
