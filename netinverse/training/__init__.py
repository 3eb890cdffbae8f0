"""Training with the lifted energy: parameters from data, without differentiating activations."""

from netinverse.training.algorithm import Algorithm as Algorithm
from netinverse.training.auxiliaries import ForwardPass as ForwardPass
from netinverse.training.auxiliaries import TargetCodes as TargetCodes
from netinverse.training.block_descent import BlockDescent as BlockDescent
from netinverse.training.conditioning_penalty import ConditioningPenalty as ConditioningPenalty
from netinverse.training.data_parallel import DataParallel as DataParallel
from netinverse.training.implicit_sgd import ImplicitSGD as ImplicitSGD
from netinverse.training.layer_parallel import LayerParallel as LayerParallel
from netinverse.training.lifted_training import LiftedTraining as LiftedTraining
from netinverse.training.proximal_saga import ProximalSAGA as ProximalSAGA
from netinverse.training.proximal_sgd import ProximalSGD as ProximalSGD
from netinverse.training.sparse_optimisers import AdaBreg as AdaBreg
from netinverse.training.sparse_optimisers import LinBreg as LinBreg
from netinverse.training.sparse_optimisers import sparsify as sparsify
