"""Regularisers R(x) = g(K x): a linear transform K and a convex function g with a proximal map."""

from netinverse.regularisers.elastic_net import ElasticNet as ElasticNet
from netinverse.regularisers.group_sparsity import GroupSparsity as GroupSparsity
from netinverse.regularisers.huber_total_variation import HuberTotalVariation as HuberTotalVariation
from netinverse.regularisers.regulariser import PerSampleRegulariser as PerSampleRegulariser
from netinverse.regularisers.regulariser import Regulariser as Regulariser
from netinverse.regularisers.sparsity import Sparsity as Sparsity
from netinverse.regularisers.tikhonov import Tikhonov as Tikhonov
from netinverse.regularisers.tilted import TiltedRegulariser as TiltedRegulariser
from netinverse.regularisers.total_variation import TotalVariation as TotalVariation
from netinverse.regularisers.wavelet_sparsity import WaveletSparsity as WaveletSparsity
