"""Laws that a user's own maps, functions, regularisers and rules have to keep, each checked by one call.

Every check returns None, or raises LawBroken with the law, the sample and the size of the departure.
"""

from netinverse.testing.functions import check_conjugate as check_conjugate
from netinverse.testing.functions import check_prox as check_prox
from netinverse.testing.laws import LawBroken as LawBroken
from netinverse.testing.operators import check_adjoint as check_adjoint
from netinverse.testing.operators import check_derivative as check_derivative
from netinverse.testing.regularisers import check_regulariser as check_regulariser
from netinverse.testing.rules import check_rule as check_rule
