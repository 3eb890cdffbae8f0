"""Regularisation methods: a solver, a rule and what ties them together."""

from netinverse.methods.method import Method as Method
from netinverse.methods.method import MethodResult as MethodResult
from netinverse.methods.method import Step as Step
from netinverse.methods.method import Try as Try
from netinverse.methods.variational import Variational as Variational
