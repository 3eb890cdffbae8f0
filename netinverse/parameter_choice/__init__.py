"""Rules that choose the regularisation weight alpha."""

from netinverse.parameter_choice.a_priori import APriori as APriori
from netinverse.parameter_choice.composition import FirstMet as FirstMet
from netinverse.parameter_choice.composition import Heavier as Heavier
from netinverse.parameter_choice.composition import Rule as Rule
from netinverse.parameter_choice.discrepancy import DiscrepancyPrinciple as DiscrepancyPrinciple
from netinverse.parameter_choice.fixed import Fixed as Fixed
from netinverse.parameter_choice.hanke_raus import HankeRaus as HankeRaus
from netinverse.parameter_choice.l_curve import LCurve as LCurve
from netinverse.parameter_choice.lepskii import Lepskii as Lepskii
from netinverse.parameter_choice.quasi_optimality import QuasiOptimality as QuasiOptimality
from netinverse.parameter_choice.rule import ParameterChoice as ParameterChoice
from netinverse.parameter_choice.rule import ParameterRule as ParameterRule
from netinverse.parameter_choice.rule import RuleProblem as RuleProblem
from netinverse.parameter_choice.rule import RuleWarning as RuleWarning
from netinverse.parameter_choice.rule import SolveAt as SolveAt
from netinverse.parameter_choice.rule import Solved as Solved
from netinverse.parameter_choice.sequential_discrepancy import SequentialDiscrepancy as SequentialDiscrepancy
from netinverse.parameter_choice.trace import Pick as Pick
from netinverse.parameter_choice.trace import Trace as Trace
from netinverse.parameter_choice.walk import Walk as Walk
