"""Torch networks as graphs of affine maps and activations."""

from netinverse.networks.builders import mlp as mlp
from netinverse.networks.builders import monotone_residual_network as monotone_residual_network
from netinverse.networks.capture import lift as lift
from netinverse.networks.derivative import NetworkOutput as NetworkOutput
from netinverse.networks.derivative import PreActivation as PreActivation
from netinverse.networks.files import load_network as load_network
from netinverse.networks.graph import LiftedNetwork as LiftedNetwork
from netinverse.networks.node import Node as Node
from netinverse.networks.proximal_denoiser import proximal_denoiser as proximal_denoiser
