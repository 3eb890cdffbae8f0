"""Layers whose inverse is stable by construction, made of torch modules: they are trained as any other and lifted exactly."""

from netinverse.layers.contractive import ContractiveBlock as ContractiveBlock
from netinverse.layers.paired import PairedReLU as PairedReLU
from netinverse.layers.paired import injective as injective
from netinverse.layers.plus import PlusLayer as PlusLayer
from netinverse.layers.spectral import parseval as parseval
from netinverse.layers.spectral import spectrally_bounded as spectrally_bounded
