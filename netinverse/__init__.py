"""netinverse: the inputs of trained neural networks, reconstructed from their noisy outputs."""

from netinverse import layers as layers
from netinverse import testing as testing
from netinverse import training as training
from netinverse.checkpoints import CheckpointWarning as CheckpointWarning
from netinverse.diagnostics.certificates import Certificate as Certificate
from netinverse.diagnostics.conditioning import Conditioning as Conditioning
from netinverse.diagnostics.conditioning import conditioning as conditioning
from netinverse.diagnostics.conditioning import layer_conditioning as layer_conditioning
from netinverse.diagnostics.conditioning import tangential_cone_constant as tangential_cone_constant
from netinverse.diagnostics.error_bounds import ErrorBound as ErrorBound
from netinverse.diagnostics.error_bounds import error_bound as error_bound
from netinverse.diagnostics.source_condition import SourceElement as SourceElement
from netinverse.diagnostics.source_condition import source_element as source_element
from netinverse.fidelities import BregmanFidelity as BregmanFidelity
from netinverse.fidelities import KullbackLeibler as KullbackLeibler
from netinverse.fidelities import SquaredFidelity as SquaredFidelity
from netinverse.inversion import invert as invert
from netinverse.methods import BregmanIteration as BregmanIteration
from netinverse.methods import GaussNewton as GaussNewton
from netinverse.methods import Landweber as Landweber
from netinverse.methods import LevenbergMarquardt as LevenbergMarquardt
from netinverse.methods import LinearisedBregman as LinearisedBregman
from netinverse.methods import Variational as Variational
from netinverse.networks import LiftedNetwork as LiftedNetwork
from netinverse.networks import NetworkOutput as NetworkOutput
from netinverse.networks import Node as Node
from netinverse.networks import PreActivation as PreActivation
from netinverse.networks import lift as lift
from netinverse.networks import load_network as load_network
from netinverse.networks import mlp as mlp
from netinverse.networks import monotone_residual_network as monotone_residual_network
from netinverse.networks import proximal_denoiser as proximal_denoiser
from netinverse.noise import NoiseEstimate as NoiseEstimate
from netinverse.noise import add_noise as add_noise
from netinverse.noise import bregman_noise_level as bregman_noise_level
from netinverse.noise import estimate_noise_level as estimate_noise_level
from netinverse.parameter_choice import APriori as APriori
from netinverse.parameter_choice import DiscrepancyPrinciple as DiscrepancyPrinciple
from netinverse.parameter_choice import Fixed as Fixed
from netinverse.parameter_choice import HankeRaus as HankeRaus
from netinverse.parameter_choice import LCurve as LCurve
from netinverse.parameter_choice import Lepskii as Lepskii
from netinverse.parameter_choice import QuasiOptimality as QuasiOptimality
from netinverse.parameter_choice import RuleWarning as RuleWarning
from netinverse.parameter_choice import SequentialDiscrepancy as SequentialDiscrepancy
from netinverse.parameter_choice import Trace as Trace
from netinverse.parameter_choice import Walk as Walk
from netinverse.priors import Averagedness as Averagedness
from netinverse.priors import DenoiserPrior as DenoiserPrior
from netinverse.priors import GeneratorPrior as GeneratorPrior
from netinverse.priors import TotalGeneralisedVariation as TotalGeneralisedVariation
from netinverse.prox import L1 as L1
from netinverse.prox import Box as Box
from netinverse.prox import GroupL21 as GroupL21
from netinverse.prox import Huber as Huber
from netinverse.prox import NonNegative as NonNegative
from netinverse.prox import NuclearNorm as NuclearNorm
from netinverse.prox import Simplex as Simplex
from netinverse.prox import SquaredNorm as SquaredNorm
from netinverse.prox import Zero as Zero
from netinverse.prox import bregman_distance as bregman_distance
from netinverse.prox import bregman_penalty as bregman_penalty
from netinverse.prox import potential_of as potential_of
from netinverse.prox import symmetric_bregman_distance as symmetric_bregman_distance
from netinverse.reconstruction import Reconstruction as Reconstruction
from netinverse.regularisers import ElasticNet as ElasticNet
from netinverse.regularisers import GroupSparsity as GroupSparsity
from netinverse.regularisers import HuberTotalVariation as HuberTotalVariation
from netinverse.regularisers import Sparsity as Sparsity
from netinverse.regularisers import Tikhonov as Tikhonov
from netinverse.regularisers import TotalVariation as TotalVariation
from netinverse.regularisers import WaveletSparsity as WaveletSparsity
from netinverse.solvers.status import Status as Status
from netinverse.studies import InvertedDataSet as InvertedDataSet
from netinverse.studies import Rate as Rate
from netinverse.studies import Study as Study
from netinverse.studies import convergence_study as convergence_study
from netinverse.studies import invert_data_set as invert_data_set
from netinverse.studies import stability_study as stability_study
from netinverse.version import __version__ as __version__


def __getattr__(name: str) -> object:
    """``netinverse.plots`` on first use: matplotlib is not imported before."""
    if name == "plots":
        import importlib

        return importlib.import_module("netinverse.plots")
    raise AttributeError(f"module 'netinverse' has no attribute {name!r}")
