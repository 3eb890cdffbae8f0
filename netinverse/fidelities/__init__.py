"""Fidelities: what is minimised of the distance between the output of a network and the data."""

from netinverse.fidelities.bregman import BregmanFidelity as BregmanFidelity
from netinverse.fidelities.bregman import BregmanTerm as BregmanTerm
from netinverse.fidelities.data import default_fidelity as default_fidelity
from netinverse.fidelities.data import project_data as project_data
from netinverse.fidelities.fidelity import DataTerm as DataTerm
from netinverse.fidelities.fidelity import Fidelity as Fidelity
from netinverse.fidelities.kullback_leibler import KullbackLeibler as KullbackLeibler
from netinverse.fidelities.kullback_leibler import KullbackLeiblerTerm as KullbackLeiblerTerm
from netinverse.fidelities.squared import SquaredFidelity as SquaredFidelity
from netinverse.fidelities.squared import SquaredTerm as SquaredTerm
