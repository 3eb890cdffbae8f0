"""Rules that choose the regularisation weight alpha."""

from netinverse.parameter_choice.discrepancy import DiscrepancyPrinciple as DiscrepancyPrinciple
from netinverse.parameter_choice.fixed import Fixed as Fixed
from netinverse.parameter_choice.rule import ParameterChoice as ParameterChoice
from netinverse.parameter_choice.rule import ParameterRule as ParameterRule
from netinverse.parameter_choice.rule import RuleProblem as RuleProblem
from netinverse.parameter_choice.rule import SolveAt as SolveAt
