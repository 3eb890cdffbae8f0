"""What a user may get wrong, line by line: one clear error each, or a status, and nothing that was passed is changed.

A line is what was typed, the error, and a pattern for the whole message: who complains, what was found, what to do instead.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import netinverse as ni
from netinverse import prox
from netinverse.fingerprint import fingerprint

F64 = torch.float64
Lines = list[tuple[str, type[Exception], str]]


def loader(x: Tensor, targets: Tensor) -> DataLoader[Any]:
    return DataLoader(TensorDataset(x, targets), batch_size=2, generator=torch.Generator())


def linear(inputs: int, outputs: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(inputs, outputs).double()


def nested(x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls nested tensors a prototype
        return torch.nested.nested_tensor(list(x))


class Given:
    """What the lines use: tiny networks and tensors, and files that are not what their names say."""

    def __init__(self, folder: Path) -> None:
        draw = torch.Generator().manual_seed(0)
        self.net = ni.mlp((4, 6, 3), dtype=F64)
        self.wide = ni.mlp((4, 3), dtype=F64)
        self.module = nn.Sequential(linear(4, 6), nn.ReLU()).eval()
        self.constant = ni.mlp((4, 3), dtype=F64)
        with torch.no_grad():
            next(self.constant.parameters()).zero_()
        self.x = torch.rand(2, 4, generator=draw, dtype=F64)
        self.y = self.net(self.x).detach()
        self.image = torch.rand(2, 1, 8, 8, generator=draw, dtype=F64)
        self.labels = torch.tensor([0, 2])
        self.lost = self.x.clone()
        self.lost[1, 0] = torch.nan
        self.folder = folder
        self.source = ni.source_element(self.wide, self.x, ni.Tikhonov())
        self.result = ni.invert(self.wide, self.y, rule=ni.Fixed(0.1), tolerance=1e-2)
        self.study = ni.stability_study(self.wide, self.x, noise_levels=[0.1], rule=ni.Fixed(0.1), tolerance=1e-2)
        (folder / "full").mkdir()
        (folder / "full" / "mine.txt").write_text("mine")
        (folder / "empty").write_bytes(b"")
        (folder / "text.npz").write_text("no archive")
        (folder / "text.parquet").write_text("no table")
        (folder / "pickle.pt2").write_bytes(pickle.dumps({"a": 1}))
        np.savez(folder / "other.npz", a=np.zeros(3))

    def marks(self) -> dict[str, object]:
        """What must be the same afterwards."""
        tensors = {n: v for n, v in vars(self).items() if isinstance(v, Tensor)}
        modules = {n: v for n, v in vars(self).items() if isinstance(v, nn.Module)}
        parameters = [p for module in modules.values() for p in module.parameters()]
        return {
            **{name: fingerprint(value) for name, value in tensors.items()},
            **{name: (fingerprint(value), value.training) for name, value in modules.items()},
            "graphs": [t.requires_grad for t in tensors.values()],
            "gradients": [(p.requires_grad, p.grad is None) for p in parameters],
            "files": {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()},
            "random numbers": fingerprint(torch.get_rng_state()),
            "settings": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()),
        }


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Given(tmp_path_factory.mktemp("files"))


@pytest.fixture
def unchanged(given: Given) -> Iterator[Given]:
    before = given.marks()
    yield given
    after = given.marks()
    assert {name for name in before if before[name] != after[name]} == set()


FUNCTIONS: Lines = [
    ("ni.Box(1.0, 0.0)", ValueError, "Box: lower is 1 and upper is 0.*Swap or repair the bounds"),
    ("ni.Box(float('nan'), 1.0)", ValueError, "Box: lower is nan.*Swap or repair"),
    ("ni.Box('low', 1)", TypeError, r"Box: lower is 'low' and upper is 1, but both must be numbers.*Write Box\("),
    ("ni.Box(torch.zeros(3), torch.ones(2))", TypeError, r"Box: lower is tensor.*broadcast.*Write Box\("),
    ("ni.Box(torch.ones(3), torch.zeros(3))", ValueError, "Box: lower is 1 and upper is 0.*Swap or repair"),
    ("ni.Box().prox([1.0])", TypeError, r"Box\.prox: x is a list.*Convert it with torch\.as_tensor"),
    ("ni.Box()(g.labels)", TypeError, r"Box: x has dtype torch\.int64.*Use x\.float\(\)"),
    ("ni.L1(-1.0)", ValueError, r"L1: weight is -1\.0, but must be positive.*Pass a positive number"),
    ("ni.L1('heavy')", TypeError, r"L1: weight is 'heavy', but must be a number.*Zero\(\)"),
    ("ni.L1(float('nan'))", ValueError, "L1: weight is nan, but must be positive and finite.*Pass a positive number"),
    ("ni.L1(float('inf'))", ValueError, "L1: weight is inf, but must be positive and finite.*Pass a positive number"),
    ("ni.L1(torch.ones(2))", TypeError, r"L1: weight is tensor.*must be a number.*Zero\(\)"),
    ("ni.L1()(3.0)", TypeError, r"L1: x is a float.*torch\.as_tensor"),
    ("ni.L1().prox(g.x, -1.0)", ValueError, r"L1\.prox: step is -1\.0, but must be zero or more.*default is 1"),
    ("ni.L1().prox(g.x, float('nan'))", ValueError, r"L1\.prox: step is nan.*default is 1"),
    ("ni.L1().prox(g.x, torch.ones(3))", ValueError, r"per_sample: there are 3 values.*2 sample.*shape \(2,\)"),
    ("ni.GroupL21().prox(g.x, torch.ones(3))", ValueError, r"per_sample: there are 3 values.*2 sample.*shape \(2,\)"),
    ("ni.L1().prox(g.x.to(torch.complex64))", TypeError, r"L1\.prox: x has dtype torch\.complex64.*Use x\.float\(\)"),
    ("ni.SquaredNorm(None)", TypeError, r"SquaredNorm: weight is None, but must be a number.*Zero\(\)"),
    ("ni.Huber(0.0)", ValueError, r"Huber: width is 0\.0.*L1\(\)"),
    ("ni.Huber(1.0, -1.0)", ValueError, r"Huber: weight is -1\.0.*Pass a positive number"),
    ("ni.GroupL21(axis=0)", ValueError, "GroupL21: axis is 0, but axis 0 counts the samples.*Pass an axis >= 1"),
    ("ni.GroupL21(axis=1.5)", TypeError, r"GroupL21: axis is 1\.5, but must be a whole number.*default is 1"),
    ("ni.GroupL21(axis=5)(g.x)", ValueError, r"groups: x has shape \(2, 4\).*axis 5.*Pass axis=1"),
    ("ni.NuclearNorm(0.0)", ValueError, r"NuclearNorm: weight is 0\.0.*Pass a positive number"),
    ("ni.NuclearNorm()(g.x)", ValueError, r"singular values: x has shape \(2, 4\).*pass x\[None\]"),
    ("prox.LeakyReLUPotential(2.0)", ValueError, r"LeakyReLUPotential: negative_slope is 2\.0.*divide by it"),
    ("prox.SoftplusPotential(0.0)", ValueError, r"SoftplusPotential: beta is 0\.0.*Pass a positive number"),
    ("prox.ELUPotential(-1.0)", ValueError, r"ELUPotential: alpha is -1\.0.*Divide the activation"),
    ("prox.PReLUPotential(torch.tensor([2.0]))", ValueError, r"PReLUPotential: slopes lie in \[2, 2\].*affine maps around ReLU"),
    ("prox.SimplexEntropy(0)", ValueError, "SimplexEntropy: axis is 0.*Pass an axis >= 1"),
    ("prox.Scaled(ni.L1(), -1.0)", ValueError, "Scaled: weight is -1.*Pass a nonnegative weight"),
    ("prox.Translated(ni.L1(), 'far')", TypeError, "Translated: shift is 'far'.*Pass a number"),
    ("ni.potential_of('rlu')", ValueError, "potential_of: activation is 'rlu'; it is not in the catalogue.*Known are: arctan"),
    ("ni.potential_of(nn.GELU())", ValueError, r"potential_of: activation is GELU.*not monotone.*Use a proximal activation"),
    (
        "ni.potential_of(nn.LeakyReLU(2.0))",
        ValueError,
        "potential_of: activation is LeakyReLU.*slope exceeds 1.*Move the factors",
    ),
    ("ni.bregman_penalty(nn.ReLU(), g.x, g.x)", TypeError, r"bregman_penalty: potential is ReLU\(\).*ni\.potential_of"),
    (
        "ni.bregman_penalty(ni.NonNegative(), g.x, g.y)",
        ValueError,
        r"bregman_penalty: u has shape \(2, 4\).*\(2, 3\) is expected",
    ),
    ("ni.bregman_penalty(ni.NonNegative(), g.x, g.x.float())", TypeError, r"bregman_penalty: u has dtype.*Use u = u\.to\(z\)"),
    ("ni.bregman_distance(ni.L1, g.x, g.x, g.x)", TypeError, r"bregman_distance: function is the class L1.*Write function=L1\("),
    ("ni.bregman_distance(ni.L1(), g.x, g.x, None)", TypeError, r"bregman_distance: subgradient is a NoneType.*torch\.as_tensor"),
    (
        "ni.symmetric_bregman_distance(ni.L1(), g.x, g.x, g.x, g.y)",
        ValueError,
        r"symmetric_bregman_distance: p_y has shape \(2, 3\).*\(2, 4\) is expected",
    ),
]

REGULARISERS: Lines = [
    ("ni.TotalVariation()(g.x)", ValueError, r"TotalVariation: one input has shape \(4,\).*Reshape the input"),
    (
        "ni.TotalVariation('no')",
        TypeError,
        "TotalVariation: isotropic is 'no', but must be True or False: the Euclidean.*l1 norm",
    ),
    ("ni.HuberTotalVariation(0.0)", ValueError, r"HuberTotalVariation: width is 0\.0.*TotalVariation\(\)"),
    ("ni.ElasticNet(1.0, 0.0)", ValueError, r"ElasticNet: l2 is 0\.0.*L1\(\)"),
    ("ni.GroupSparsity(0)", ValueError, "GroupSparsity: size is 0, but must be at least 1.*Leave it out"),
    ("ni.GroupSparsity(1.5)", TypeError, r"GroupSparsity: size is 1\.5.*Leave it out"),
    ("ni.GroupSparsity(3)(g.x)", ValueError, r"GroupSparsity: one input has shape \(4,\).*groups of 3.*Pass a size that divides"),
    ("ni.WaveletSparsity('haarx')", ValueError, "WaveletSparsity: wavelet is 'haarx', which PyWavelets does not know.*'haar'"),
    ("ni.TotalVariation()(g.image.tolist())", TypeError, r"TotalVariation: x is a list.*torch\.as_tensor\(x\)"),
    ("ni.Tikhonov()(g.labels)", TypeError, r"Tikhonov: x has dtype torch\.int64.*Use x\.float\(\)"),
    ("ni.WaveletSparsity(3)", ValueError, "WaveletSparsity: wavelet is 3, which PyWavelets does not know.*'haar'"),
    ("ni.WaveletSparsity('bior2.2')", ValueError, r"WaveletSparsity: wavelet is 'bior2\.2', which is not orthogonal.*Use an"),
    ("ni.WaveletSparsity(levels=0)", ValueError, "WaveletSparsity: levels is 0, but must be at least 1.*Leave it out"),
    ("ni.WaveletSparsity(levels=9)(g.image)", ValueError, r"PeriodicWavelet: one input has shape \(1, 8, 8\).*pass fewer levels"),
    ("ni.TotalGeneralisedVariation(-1.0)", ValueError, r"TotalGeneralisedVariation: weight is -1\.0.*Pass a positive number"),
    ("ni.DenoiserPrior('bm3d')", TypeError, "DenoiserPrior: denoiser is 'bm3d'.*Pass a function or a torch module"),
    ("ni.DenoiserPrior(nn.Tanh)", TypeError, r"DenoiserPrior: denoiser is the class Tanh.*Write denoiser=Tanh\("),
    ("ni.DenoiserPrior(nn.Tanh())", ValueError, r"DenoiserPrior: denoiser is in training mode.*Call denoiser\.eval\(\)"),
    ("ni.DenoiserPrior(torch.tanh, -1.0)", ValueError, r"DenoiserPrior: sigma is -1\.0.*leave it out"),
    ("ni.GeneratorPrior(torch.tanh)", TypeError, "GeneratorPrior: generator is a builtin.*Wrap a function in a module"),
    ("ni.GeneratorPrior(linear(2, 4))", ValueError, r"GeneratorPrior: generator is in training mode.*generator\.eval\(\)"),
]

RULES: Lines = [
    ("ni.Fixed(0.0)", ValueError, r"Fixed: alpha is 0\.0, but must be positive.*take a very small one"),
    ("ni.Fixed(['a', 'b'])", TypeError, r"Fixed: alpha is \['a', 'b'\], but must be a positive number.*take a very small one"),
    ("ni.Fixed([0.1, -0.1])", ValueError, r"Fixed: alpha is \[0\.1, -0\.1\].*take a very small one"),
    ("ni.Fixed('light')", TypeError, "Fixed: alpha is 'light', but must be a positive number.*take a very small one"),
    ("ni.Fixed(torch.tensor([1.0, -1.0]))", ValueError, r"Fixed: alpha is \[1\.0, -1\.0\].*take a very small one"),
    ("ni.Fixed(torch.ones(2, 2))", ValueError, r"Fixed: alpha has shape \(2, 2\).*one number, or one for each sample"),
    ("ni.DiscrepancyPrinciple(0.5)", ValueError, r"DiscrepancyPrinciple: tau is 0\.5.*The default is 1\.01"),
    ("ni.DiscrepancyPrinciple('tight')", TypeError, r"DiscrepancyPrinciple: tau is 'tight'.*The default is 1\.01"),
    ("ni.DiscrepancyPrinciple(aim=2.0)", ValueError, r"DiscrepancyPrinciple: aim is 2\.0.*The defaults are 0\.944"),
    ("ni.DiscrepancyPrinciple(floor=-1.0)", ValueError, r"DiscrepancyPrinciple: floor is -1\.0.*The default is 8e-4"),
    ("ni.DiscrepancyPrinciple(max_tries=1.5)", ValueError, r"DiscrepancyPrinciple: max_tries is 1\.5.*The default is 40"),
    ("ni.APriori(0.0)", ValueError, r"APriori: power is 0\.0.*The defaults are 1 and 1"),
    ("ni.APriori('half')", TypeError, "APriori: power is 'half'.*The defaults are 1 and 1"),
    ("ni.Lepskii(-1.0)", ValueError, r"Lepskii: constant is -1\.0.*The default is 4"),
    ("ni.SequentialDiscrepancy(0.9)", ValueError, r"SequentialDiscrepancy: tau is 0\.9.*The default is 1\.01"),
    ("ni.QuasiOptimality(walk=0.5)", TypeError, r"QuasiOptimality: walk is 0\.5.*Write walk=ni\.Walk\("),
    ("ni.Walk(ratio=1.5)", ValueError, r"Walk: ratio is 1\.5.*The defaults are 0\.5 and 40"),
    ("ni.Walk(max_tries=0)", ValueError, r"Walk: ratio is 0\.5 and max_tries is 0.*The defaults"),
    ("ni.Walk(floor=-1.0)", ValueError, r"Walk: floor is -1\.0.*Leave it out for the default"),
    ("ni.Fixed(1.0) | 3", TypeError, r"Rule: the other of \| or & is 3.*ni\.LCurve\(\) \| ni\.Fixed"),
    ("ni.Fixed(1.0) & 'a'", TypeError, r"Rule: the other of \| or & is 'a'.*ni\.LCurve\(\) \| ni\.Fixed"),
]

METHODS: Lines = [
    ("ni.Variational('deep')", ValueError, "Variational: formulation is 'deep', which is not one of 'auto'.*'auto' picks"),
    ("ni.Variational(layer_weights=1.0)", ValueError, r"Variational: layer_weights.*Write Variational\('lifted'"),
    ("ni.Variational('lifted', layer_weights=0.0)", ValueError, r"Variational: layer_weights is 0\.0.*Leave it out"),
    ("ni.Variational('lifted', layer_weights=[])", ValueError, r"Variational: layer_weights is \[\].*Leave it out"),
    ("ni.Variational('lifted', continuation='no')", TypeError, "Variational: continuation is 'no', but must be True or.*weights"),
    ("ni.Variational(precision=torch.float16)", ValueError, r"Variational: precision is torch\.float16.*torch\.float64"),
    ("ni.BregmanIteration(alpha=0.0)", ValueError, r"BregmanIteration: alpha is 0\.0.*Leave it out"),
    ("ni.BregmanIteration(max_iterations=0)", ValueError, "BregmanIteration: max_iterations is 0.*The default is 50"),
    ("ni.LinearisedBregman(mu=0.0)", ValueError, r"LinearisedBregman: mu is 0\.0.*The default is 1"),
    ("ni.Landweber(1.5)", TypeError, r"Landweber: max_iterations is 1\.5.*The default is 1000"),
    ("ni.GaussNewton(decay=1.0)", ValueError, r"GaussNewton: decay is 1\.0.*The default is 0\.7"),
    ("ni.LevenbergMarquardt(decay='slow')", TypeError, r"LevenbergMarquardt: decay is 'slow'.*The default is 0\.7"),
    ("ni.BregmanFidelity(0.5)", ValueError, r"BregmanFidelity: snap is 0\.5.*The default is 3"),
    ("ni.BregmanFidelity('near')", TypeError, "BregmanFidelity: snap is 'near'.*The default is 3"),
    ("ni.KullbackLeibler(0.0)", ValueError, r"KullbackLeibler: background is 0\.0.*leave it out"),
]

INVERT: Lines = [
    ("ni.invert(3, g.y, noise_level=0.1)", TypeError, r"invert: network is a int, but must be a torch\.nn\.Module.*\.pt2"),
    (
        "ni.invert('nowhere.pt2', g.y, noise_level=0.1)",
        FileNotFoundError,
        r"load_network: nowhere\.pt2 is no file.*Pass the path",
    ),
    ("ni.invert(g.module, g.x, noise_level=0.1)", ValueError, r"invert: input_shape is missing.*Pass input_shape="),
    ("ni.invert(g.net, g.y)", ValueError, r"invert: neither a rule nor a noise_level is given.*Pass noise_level="),
    ("ni.invert(g.net, g.y.tolist(), noise_level=0.1)", TypeError, r"invert: data is a list.*torch\.as_tensor\(data\)"),
    ("ni.invert(g.net, [*g.y], noise_level=0.1)", TypeError, r"invert: data is a list.*torch\.stack\(data\)"),
    (
        "ni.invert(g.net, pd.DataFrame(g.y.numpy()), noise_level=0.1)",
        TypeError,
        r"invert: data is a DataFrame.*Pass data\.to_numpy\(\)",
    ),
    (
        "ni.invert(g.net, g.y.to_sparse(), noise_level=0.1)",
        TypeError,
        r"invert: data is a tensor of layout torch\.sparse.*to_dense\(\)",
    ),
    ("ni.invert(g.net, g.y.to('meta'), noise_level=0.1)", TypeError, "invert: data is a tensor on the meta.*Pass the values"),
    ("ni.invert(g.net, nested(g.y), noise_level=0.1)", TypeError, r"invert: data is a tensor nested.*torch\.stack\(data\.unbind"),
    (
        "ni.invert(g.net, np.ma.masked_less(g.y.numpy(), 0), noise_level=0.1)",
        TypeError,
        r"invert: data is a masked array.*Leave them out.*network\(x\)\[:, kept\]",
    ),
    ("ni.invert(g.net, g.y, noise_level=g.y)", ValueError, r"invert: noise_level has shape \(2, 3\).*shape \(2,\)"),
    ("ni.invert(g.net, g.y, rule='discrepancy')", TypeError, r"invert: rule is 'discrepancy'.*rule=ni\.DiscrepancyPrinciple\(\)"),
    (
        "ni.invert(g.net, g.y, noise_level=0.1, method='landweber')",
        TypeError,
        r"invert: method is 'landweber'.*method=ni\.Landweber\(\)",
    ),
    (
        "ni.invert(g.module.state_dict(), g.y, noise_level=0.1, input_shape=4)",
        TypeError,
        r"invert: network is a OrderedDict, but must be a torch\.nn\.Module.*the path of a \.pt2 file",
    ),
    ("ni.invert(g.net, g.labels, noise_level=0.1)", TypeError, r"invert: data has dtype torch\.int64.*Use data\.float\(\)"),
    ("ni.invert(g.net, np.array(['a']), noise_level=0.1)", TypeError, r"invert: data is an array of dtype <U1.*astype\(numpy"),
    (
        "ni.invert(g.net, torch.tensor(1.0), noise_level=0.1)",
        ValueError,
        r"invert: data has shape \(\).*Pass data as the network",
    ),
    ("ni.invert(g.net, g.y[0], noise_level=0.1)", ValueError, r"invert: data has shape \(3,\).*use data\[None\]"),
    ("ni.invert(g.net, g.x, noise_level=0.1)", ValueError, r"invert: data has shape \(2, 4\).*\(batch, 3\)"),
    ("ni.invert(g.net, g.lost[:, :3], noise_level=0.1)", ValueError, "invert: data contains 1 NaN.*in sample 1.*Remove these"),
    (
        "ni.invert(g.net, g.y, noise_level=-0.1)",
        ValueError,
        r"invert: noise_level is -0\.1 in samples 0, 1.*Pass one such number",
    ),
    ("ni.invert(g.net, g.y, noise_level=[0.1, 0.1, 0.1])", ValueError, r"invert: noise_level has shape \(3,\).*shape \(2,\)"),
    ("ni.invert(g.net, g.y, noise_level='low')", TypeError, "invert: noise_level is 'low'.*2 real numbers"),
    ("ni.invert(g.net, g.y, rule=ni.Fixed(torch.ones(3)))", ValueError, r"Fixed: alpha has shape \(3,\).*shape \(2,\)"),
    ("ni.invert(g.net, g.y, rule=0.1)", TypeError, r"invert: rule is 0\.1.*or ni\.Fixed\(0\.1\)"),
    ("ni.invert(g.net, g.y, rule=ni.Lepskii())", ValueError, "invert: Lepskii needs a noise_level.*Pass noise_level="),
    ("ni.invert(g.net, g.y, noise_level=0.1, regulariser=ni.L1())", TypeError, r"invert: regulariser is L1\(.*ni\.Sparsity\(\)"),
    ("ni.invert(g.net, g.y, noise_level=0.1, method='lifted')", TypeError, "invert: method is 'lifted'.*ni.Variational"),
    ("ni.invert(g.net, g.y, noise_level=0.1, fidelity='l2')", TypeError, "invert: fidelity is 'l2'.*ni.SquaredFidelity"),
    ("ni.invert(g.net, g.y, noise_level=0.1, constraint=(0, 1))", TypeError, r"invert: constraint is \(0, 1\).*ni\.Box\(0, 1\)"),
    (
        "ni.invert(g.net, g.y, noise_level=0.1, constraint=ni.L1())",
        ValueError,
        "invert: constraint is a L1, which is no set.*ni.Box",
    ),
    (
        "ni.invert(g.net, g.y, noise_level=0.1, start=g.x[:1])",
        ValueError,
        r"invert: start has shape \(1, 4\).*one input for each",
    ),
    ("ni.invert(g.net, g.y, noise_level=0.1, start=g.lost)", ValueError, "invert: start contains 1 NaN.*in sample 1.*Remove"),
    ("ni.invert(g.net, g.y, noise_level=0.1, tolerance=0)", ValueError, "invert: tolerance is 0.*The default is 1e-6"),
    ("ni.invert(g.net, g.y, noise_level=0.1, max_steps=0)", ValueError, "invert: max_steps is 0.*Leave it out"),
    (
        "ni.invert(g.net, g.y, noise_level=0.1, seed=2**70)",
        ValueError,
        r"invert: seed is \d+, but must be below.*The default is 0",
    ),
    (
        "ni.invert(g.net, g.y, noise_level=0.1, progress='no')",
        TypeError,
        "invert: progress is 'no', but must be True or False.*bar",
    ),
    ("ni.invert(g.net, g.y, noise_level=0.1, memory_budget=10)", ValueError, "invert: memory_budget is 10 bytes.*Give at least"),
    ("ni.invert(g.net, g.y, noise_level=0.1, checkpoint=3)", TypeError, "invert: checkpoint is a int.*Pass a str"),
    (
        "ni.invert(g.net, g.y, rule=ni.Fixed(1), checkpoint=g.folder)",
        ValueError,
        "invert: checkpoint .*is a folder.*another path",
    ),
    (
        "ni.invert(g.net, g.y, rule=ni.Fixed(1), checkpoint=g.folder / 'text.npz')",
        ValueError,
        "invert: checkpoint.*Delete the file",
    ),
    (
        "ni.invert(g.net, g.y, rule=ni.Fixed(1), checkpoint='no/where.npz')",
        FileNotFoundError,
        "invert: the folder of the.*Make it",
    ),
    ("ni.invert(g.net, g.y, noise_level=0.1, input_shape=(9,))", ValueError, r"invert: input_shape is \(9,\), but.*shape \(4,\)"),
    ("ni.invert(g.net, g.y, rule=ni.Fixed(1), fidelity=ni.KullbackLeibler())", ValueError, "KullbackLeibler: .*negative.*Use"),
    (
        "ni.invert(g.net, g.y, regulariser=ni.DenoiserPrior(lambda x: x[:, :2]), rule=ni.Fixed(0.1))",
        ValueError,
        r"DenoiserPrior: the denoiser returns shape \(2, 2\).*Wrap it in a module",
    ),
]

NOISE: Lines = [
    ("ni.add_noise(g.y)", ValueError, r"add_noise: neither of relative and sigma given.*Pass relative=0\.01"),
    ("ni.add_noise(g.y, relative=-0.1)", ValueError, r"add_noise: relative is -0\.1 in samples 0, 1.*Pass one such number"),
    ("ni.add_noise(g.y, relative='a')", TypeError, "add_noise: relative is 'a'.*2 real numbers"),
    ("ni.add_noise(g.y, sigma=float('inf'))", ValueError, "add_noise: sigma contains 2 NaN or infinite.*repair"),
    ("ni.add_noise(g.labels, relative=0.1)", TypeError, r"add_noise: clean has dtype torch\.int64.*Use clean\.float\(\)"),
    ("ni.add_noise(g.lost, relative=0.1)", ValueError, "add_noise: clean contains 1 NaN.*Remove these"),
    ("ni.add_noise(g.y, relative=0.1, kind='pink')", ValueError, "add_noise: kind is 'pink'.*The default is 'gaussian'"),
    ("ni.add_noise(g.y, relative=0.1, seed=-1)", ValueError, "add_noise: seed is -1.*The default is 0"),
    ("ni.add_noise(g.y, sigma=0.1, kind='poisson')", ValueError, "add_noise: clean has negative entries.*Use kind='gaussian'"),
    ("ni.bregman_noise_level(3, g.y, 0.1)", TypeError, "bregman_noise_level: potential is 3.*ni.potential_of"),
    ("ni.estimate_noise_level([])", ValueError, "estimate_noise_level: there is 0 output.*Measure again"),
    ("ni.estimate_noise_level(3)", TypeError, r"estimate_noise_level: data is a int.*torch\.as_tensor"),
    ("ni.estimate_noise_level(g.y)", ValueError, r"estimate_noise_level: data has shape \(2, 3\).*Pass a list of repeated"),
    (
        "ni.estimate_noise_level(g.y, network=g.net)",
        ValueError,
        "estimate_noise_level: the last activation.*Pass repeated outputs",
    ),
]

NETWORKS: Lines = [
    ("ni.lift(3, g.x)", TypeError, r"lift: model is a int, but must be a torch\.nn\.Module.*\.pt2"),
    ("ni.lift(g.module)", ValueError, r"lift: example is missing.*torch\.zeros\(1"),
    ("ni.lift(g.module, 3)", TypeError, r"lift: example is a int.*torch\.as_tensor"),
    (
        "ni.lift(g.module, g.x.float())",
        ValueError,
        r"lift: the model does not accept an example.*torch\.float32.*Pass an example",
    ),
    ("ni.lift(nn.Sequential(nn.BatchNorm1d(4)), g.x)", ValueError, r"lift: .*training mode.*eval\(\)"),
    ("ni.lift(g.module, g.x, output=3)", TypeError, r"lift: output is 3, but must be the name.*such as 'layer3\.1'"),
    ("ni.lift(torch.jit.ScriptModule(), g.x)", TypeError, "lift: the model is a torch.jit.ScriptModule.*Lift the module"),
    ("ni.lift(nn.DataParallel(g.module).eval(), g.x)", TypeError, r"lift: the model is wrapped in DataParallel.*model\.module"),
    ("ni.load_network(3)", TypeError, "load_network: path is a int.*Pass a str"),
    ("ni.load_network(g.folder / 'empty')", ValueError, "load_network: .*is empty.*write it again"),
    ("ni.load_network(g.folder / 'pickle.pt2')", ValueError, r"load_network: .*most likely a pickle.*torch\.export\.save"),
    ("ni.mlp((4,))", ValueError, r"mlp: sizes is \(4,\).*mlp\(\(784, 100, 10\)\)"),
    ("ni.mlp((4, 2.5))", ValueError, r"mlp: sizes is \(4, 2\.5\).*mlp\(\(784"),
    ("ni.mlp((4, 2), activation='gelu')", ValueError, "mlp: activation is 'gelu', but must be one of elu.*relu"),
    ("ni.mlp((4, 2), seed='a')", TypeError, "mlp: seed is 'a'.*The default is 0"),
    ("ni.mlp((4, 2), dtype=torch.int32)", TypeError, r"mlp: dtype is torch\.int32.*Pass torch\.float64"),
    ("ni.monotone_residual_network(3, 0)", ValueError, "monotone_residual_network: depth is 0.*depth=5"),
    ("ni.proximal_denoiser(1, 3, 2, threshold=-1.0)", ValueError, r"proximal_denoiser: threshold is -1\.0.*default is 0\.08"),
    ("ni.proximal_denoiser(1, 3, 2, tied='no')", TypeError, "proximal_denoiser: tied is 'no', but must be True or False.*maps"),
    ("g.net(g.x[:, :3])", ValueError, r"LiftedNetwork: x has shape \(2, 3\).*\(batch, 4\).*the batch first"),
    ("g.net(g.x.float())", ValueError, r"LiftedNetwork: x has.*torch\.float32.*use network\.astype"),
    ("g.net([1.0])", TypeError, r"LiftedNetwork: x is a list.*torch\.as_tensor"),
    ("g.net.activations(g.x[:, :3])", ValueError, r"LiftedNetwork: x has shape \(2, 3\).*the batch first"),
    ("g.net.astype(torch.int32)", TypeError, r"LiftedNetwork\.astype: dtype is torch\.int32.*Pass torch\.float64"),
    ("ni.NetworkOutput(g.module)", TypeError, r"NetworkOutput: network is Sequential.*ni\.lift\("),
    ("ni.NetworkOutput(g.net).to_scipy(g.y)", ValueError, r"LiftedNetwork: x has shape \(2, 3\).*the batch first"),
    ("ni.layers.parseval(nn.ReLU())", TypeError, r"parseval: layer is a ReLU.*Write parseval\(nn\.Linear"),
    ("ni.layers.parseval(linear(2, 2), scale=0.0)", ValueError, r"parseval: scale is 0\.0.*The default is 1"),
    ("ni.layers.spectrally_bounded(linear(2, 2), 2.0, 1.0)", ValueError, r"spectrally_bounded: smallest is 2\.0.*parseval"),
    ("ni.layers.injective(linear(4, 2))", ValueError, "injective: the layer has 2 outputs.*Use at least as many"),
    ("ni.layers.injective(linear(2, 4), 0.0)", ValueError, r"injective: smallest is 0\.0.*the default is 0\.5"),
    ("ni.layers.PlusLayer(0)", ValueError, r"PlusLayer: features is 0.*Such as PlusLayer\(300\)"),
    ("ni.layers.PlusLayer(2, activation='relu')", TypeError, r"PlusLayer: activation is 'relu'.*nn\.Tanh\(\)"),
    ("ni.layers.ContractiveBlock()", ValueError, r"ContractiveBlock: there are no layers.*nn\.Linear\(300, 300\)"),
    (
        "ni.layers.ContractiveBlock(linear(2, 2), lipschitz=1.0)",
        ValueError,
        r"ContractiveBlock: lipschitz is 1\.0.*default is 0\.9",
    ),
    (
        "ni.layers.ContractiveBlock(linear(2, 3))(g.x[:, :2])",
        ValueError,
        r"ContractiveBlock: the layers take \(2,\) to.*Let",
    ),
]

DIAGNOSTICS: Lines = [
    ("ni.source_element(g.net, g.x, ni.L1())", TypeError, r"source_element: regulariser is L1\(.*Use ni\.Sparsity\(\)"),
    ("ni.source_element(g.net, g.x, ni.Tikhonov)", TypeError, r"source_element: regulariser is the class Tikhonov.*Tikhonov\("),
    ("ni.source_element(g.net, g.x, ni.Tikhonov(), max_iterations=0)", ValueError, "source_element: max_iterations is 0.*5000"),
    ("ni.source_element(g.net, [1.0], ni.Tikhonov())", TypeError, r"source_element: truth is a list.*torch\.as_tensor"),
    (
        "ni.error_bound(g.wide, g.x, g.y, 0.1, ni.Tikhonov(), None)",
        TypeError,
        r"error_bound: source is a NoneType.*source_element\(",
    ),
    (
        "ni.error_bound(g.wide, g.x, g.y, -1, ni.Tikhonov(), g.source)",
        ValueError,
        "error_bound: alpha is -1.*Pass one such number",
    ),
    (
        "ni.error_bound(g.wide, g.x, g.x, 1, ni.Tikhonov(), g.source)",
        ValueError,
        r"error_bound: data has shape \(2, 4\).*returns",
    ),
    ("ni.conditioning(g.net, g.x, k=1.5)", TypeError, r"conditioning: k is 1\.5.*the default is 8"),
    ("ni.conditioning(g.net, g.x, max_steps=0)", ValueError, "conditioning: max_steps is 0.*The default is 1024"),
    ("ni.conditioning(3, g.x)", TypeError, r"conditioning: network is a int.*torch\.nn\.Module"),
    ("ni.conditioning(g.net, g.lost)", ValueError, "conditioning: x contains 1 NaN.*in sample 1.*Remove these"),
    ("ni.layer_conditioning(g.net, g.x, k=0)", ValueError, "layer_conditioning: k is 0.*the default is 8"),
    ("ni.tangential_cone_constant(g.net, g.x, 'near')", TypeError, "tangential_cone_constant: radius is 'near'.*2 real numbers"),
    ("ni.testing.check_adjoint(3, g.x)", TypeError, "check_adjoint: linear_map is 3.*Give its class these methods"),
    ("ni.testing.check_derivative(g.module, g.x)", TypeError, "check_derivative: operator is Sequential.*Give its class"),
    ("ni.testing.check_prox(ni.L1(), g.lost)", ValueError, "check_prox: x contains 1 NaN.*in sample 1.*Remove these"),
    ("ni.testing.check_rule(ni.Fixed)", TypeError, r"check_rule: rule is the class Fixed.*Write rule=Fixed\("),
    ("ni.testing.check_regulariser(ni.L1(), g.x)", TypeError, r"check_regulariser: regulariser is L1\(.*Give its class"),
    ("ni.plots.reconstruction_grid({})", ValueError, "reconstruction_grid: columns is empty.*Pass {'reconstruction'"),
    ("ni.plots.reconstruction_grid({'x': 3})", TypeError, r"reconstruction_grid: x is a int.*torch\.as_tensor"),
    ("ni.plots.structure(g.module)", TypeError, r"structure: network is .*Sequential.*ni\.lift\("),
]

FILES: Lines = [
    ("ni.Reconstruction.load(3)", TypeError, r"Reconstruction\.load: path is a int.*Pass a str"),
    ("ni.Reconstruction.load('nowhere.npz')", FileNotFoundError, r"Reconstruction\.load: there is no file.*Check the path"),
    (
        "ni.Reconstruction.load(g.folder / 'text.npz')",
        ValueError,
        r"Reconstruction\.load: .*no complete file.*Save the result again",
    ),
    ("ni.Reconstruction.load(g.folder / 'other.npz')", ValueError, r"Reconstruction\.load: .*no complete file.*Save the result"),
    ("g.result.save('no/where.npz')", FileNotFoundError, r"Reconstruction\.save: the folder of.*Make it first"),
    ("g.result.plot(truth=g.y)", ValueError, r"psnr: x has shape \(2, 4\) and truth \(2, 3\).*Pass equal shapes"),
    ("ni.Study.load(3)", TypeError, r"Study\.load: path is a int.*Pass a str"),
    ("ni.Study.load(g.folder / 'text.parquet')", ValueError, r"Study\.load: .*is no study.*Study\.save writes one"),
    ("g.study.save(g.folder / 'study.csv')", ValueError, r"Study\.save: the path is.*must end in \.parquet"),
    ("g.study.rate('beauty')", ValueError, r"Study\.rate: quantity is 'beauty'.*Take .*error"),
    ("g.study.rate('error', rule='Morozov')", ValueError, "Study: rule is 'Morozov', but the study has 'Fixed'.*Name one"),
]

STUDIES: Lines = [
    (
        "ni.stability_study(g.net, g.x, noise_levels=0.1)",
        ValueError,
        r"stability_study: noise_levels has shape \(\).*\[0\.01, 0\.1\]",
    ),
    (
        "ni.stability_study(g.net, g.x, noise_levels=[1], rule='l-curve')",
        TypeError,
        r"invert: rule is 'l-curve'.*Write rule=ni\.Discrep",
    ),
    ("ni.stability_study(g.net, g.x, noise_levels=['low'])", TypeError, r"stability_study: noise_levels is \['low'\].*such as"),
    ("ni.stability_study(g.net, g.x, noise_levels=[0.2, 0.1])", ValueError, r"stability_study: noise_levels is.*Pass sorted\("),
    (
        "ni.stability_study(g.net, g.x, noise_levels=[-1.0])",
        ValueError,
        r"stability_study: noise_levels is \[-1\.0\].*zero or positive",
    ),
    (
        "ni.stability_study(g.net, g.x[:0], noise_levels=[0.1])",
        ValueError,
        "stability_study: truth holds no sample.*Pass at least",
    ),
    ("ni.stability_study(g.net, g.lost, noise_levels=[0.1])", ValueError, "stability_study: truth contains 1 NaN.*Remove these"),
    (
        "ni.stability_study(g.net, g.x, noise_levels=[0.1], relative='no')",
        TypeError,
        "stability_study: relative is 'no'.*True or False",
    ),
    ("ni.stability_study(g.net, g.x, noise_levels=[0.1], jobs=0)", ValueError, "stability_study: jobs is 0.*Leave it out"),
    ("ni.stability_study(g.net, g.x, noise_levels=[0.1], jobs=1.5)", TypeError, r"stability_study: jobs is 1\.5.*leave it out"),
    (
        "ni.stability_study(g.net, g.x, noise_levels=[0.1], seeds='a')",
        TypeError,
        r"stability_study: seeds is 'a'.*seeds=\[0, 1, 2\]",
    ),
    (
        "ni.stability_study(g.net, g.x, noise_levels=[0.1], kind='pink')",
        ValueError,
        "stability_study: kind is 'pink'.*The default",
    ),
    ("ni.stability_study(g.net, g.x, noise_levels=[0.1], folder=3)", TypeError, "stability_study: folder is a int.*Pass a str"),
    (
        "ni.stability_study(g.net, g.x, noise_levels=[0.1], folder=g.folder / 'full')",
        ValueError,
        "stability_study: .*exists and holds no study.*Give a new or an empty folder",
    ),
    (
        "ni.convergence_study(g.net, g.x, noise_levels=[])",
        ValueError,
        r"convergence_study: noise_levels has shape \(0,\).*such as",
    ),
    ("ni.convergence_study(g.net, g.x, rule=[])", ValueError, "convergence_study: rule is empty.*The default is"),
    ("ni.invert_data_set(g.net, 'y.npy', g.folder / 'new')", TypeError, "invert_data_set: data is a str.*numpy.load"),
    ("ni.invert_data_set(g.net, 3, g.folder / 'new')", TypeError, "invert_data_set: data is a int.*Pass a tensor"),
    ("ni.invert_data_set(g.net, g.y, g.folder / 'new', jobs=0)", ValueError, "invert_data_set: jobs is 0.*Leave it out"),
    ("ni.invert_data_set(g.net, g.y, 3)", TypeError, "invert_data_set: folder is a int.*Pass a str"),
    (
        "ni.invert_data_set(g.net, g.y, g.folder / 'new', speed=3)",
        TypeError,
        "invert_data_set: there is no argument speed.*it takes",
    ),
]

TRAINING: Lines = [
    (
        "t.LiftedTraining(penalty='l2')",
        ValueError,
        "LiftedTraining: penalty is 'l2', but must be one of 'bregman'.*'contrastive'",
    ),
    ("t.LiftedTraining(loss='hinge')", ValueError, "LiftedTraining: loss is 'hinge', but must be 'auto'.*or a function"),
    ("t.LiftedTraining(loss=3)", ValueError, "LiftedTraining: loss is 3, but must be 'auto'.*or a function"),
    ("t.LiftedTraining(weight=0.0)", ValueError, r"LiftedTraining: weight is 0\.0.*The default is 1"),
    (
        "t.LiftedTraining(algorithm=t.ProximalSGD)",
        TypeError,
        r"LiftedTraining: algorithm is the class ProximalSGD.*ProximalSGD\(",
    ),
    ("t.LiftedTraining(auxiliaries=3)", TypeError, r"LiftedTraining: auxiliaries is 3.*ni\.training\.TargetCodes\(\)"),
    ("t.LiftedTraining(regulariser=0.1)", TypeError, r"LiftedTraining: regulariser is 0\.1.*regulariser=ni\.L1"),
    (
        "t.LiftedTraining(activation_regulariser=ni.L1())",
        TypeError,
        r'LiftedTraining: activation_regulariser is L1\(.*{"name": ni\.L1',
    ),
    ("t.BlockDescent(sweeps=0)", ValueError, "BlockDescent: sweeps is 0.*The default is 10"),
    ("t.BlockDescent(acceleration='fast')", ValueError, "BlockDescent: acceleration is 'fast', but must be None.*'adam'"),
    ("t.ImplicitSGD(proximity=0.0)", ValueError, r"ImplicitSGD: proximity is 0\.0.*The default is 0\.1"),
    ("t.ProximalSAGA('fast')", TypeError, r"ProximalSAGA: learning_rate is 'fast'.*The default is 0\.03"),
    ("t.ProximalSGD(optimiser='rms')", ValueError, "ProximalSGD: optimiser is 'rms', but must be 'adam'.*'sgd'"),
    ("t.TargetCodes(held=2.0)", ValueError, r"TargetCodes: held is 2\.0.*The defaults are 0\.2 and 0\.6"),
    ("t.ConditioningPenalty(1.0, 2.0, 1.0)", ValueError, r"ConditioningPenalty: weight is 1\.0, smallest 2\.0.*The defaults are"),
    (
        "t.LinBreg(g.net.parameters(), lr='fast')",
        TypeError,
        "LinBreg: lr is 'fast', but must be a positive number.*length of a step",
    ),
    ("t.LinBreg(g.net.parameters(), delta=0.0)", ValueError, r"LinBreg: delta is 0\.0.*The default is 1"),
    ("t.LinBreg(g.net.parameters(), momentum=1.0)", ValueError, r"LinBreg: momentum is 1\.0.*The default is 0"),
    ("t.LinBreg(g.net.parameters(), regulariser=ni.NonNegative())", TypeError, "LinBreg: NonNegative has no nearest_sub.*norm"),
    ("t.AdaBreg(g.net.parameters(), eps=-1.0)", ValueError, r"AdaBreg: eps is -1\.0.*The default is 1e-8"),
    ("t.AdaBreg(g.net.parameters(), betas=0.9)", ValueError, r"AdaBreg: betas is 0\.9.*The default is \(0\.9"),
    ("t.sparsify(g.net.parameters(), 2.0)", ValueError, r"sparsify: density is 2\.0.*Pass 0\.05"),
    ("t.sparsify(g.net.parameters(), 0.5, scale=-1.0)", ValueError, r"sparsify: scale is -1\.0.*Leave it out"),
    ("fit(3, loader(g.x, g.labels))", TypeError, r"LiftedTraining\.fit: network is a int.*torch\.nn\.Module"),
    ("fit(g.net, 3)", TypeError, r"LiftedTraining\.fit: loader is 3.*Pass a DataLoader"),
    ("fit(g.net, iter([]))", TypeError, r"LiftedTraining\.fit: loader is an iterator.*Pass a DataLoader"),
    ("fit(g.net, [], checkpoint_share=0)", ValueError, r"LiftedTraining\.fit: checkpoint_share is 0.*math\.inf"),
    ("fit(g.net, [])", ValueError, r"LiftedTraining\.fit: the loader gives no batch.*Check its dataset"),
    ("fit(g.net, [g.x])", TypeError, r"LiftedTraining\.fit: the loader gives Tensor objects.*pair the inputs"),
    (
        "fit(g.net, loader(g.lost, g.labels))",
        RuntimeError,
        r"LiftedTraining\.fit: the loss of sample\(s\) 1 is not finite.*Look for NaN",
    ),
    ("fit(g.net, loader(g.x, g.labels + 7))", ValueError, "LiftedTraining: the label of sample 0.*is 7.*labels must lie in 0"),
    ("fit(g.net, loader(g.x, g.x))", ValueError, r"LiftedTraining: targets have shape \(2, 4\).*Reshape the targets"),
    ("fit(g.net, loader(g.y, g.labels))", ValueError, r"LiftedTraining\.fit: a batch has inputs of shape \(2, 3\).*\(batch, 4\)"),
    ("fit(nn.Sequential(linear(4, 3), nn.GELU()), loader(g.x, g.labels))", ValueError, r"LiftedTraining\.fit: the .*Replace it"),
    ("fit(g.net, loader(g.x, g.labels), epochs=0)", ValueError, r"LiftedTraining\.fit: epochs is 0.*The default is 10"),
    ("fit(g.net, loader(g.x, g.labels), patience=0)", ValueError, r"LiftedTraining\.fit: patience is 0.*Leave it out"),
    ("fit(g.net, loader(g.x, g.labels), seed='a')", TypeError, r"LiftedTraining\.fit: seed is 'a'.*The default is 0"),
    ("fit(g.net, loader(g.x, g.labels), validation=3)", TypeError, r"LiftedTraining\.fit: validation is 3.*Pass a DataLoader"),
    ("fit(g.net, loader(g.x, g.labels), parallel=2)", TypeError, r"LiftedTraining\.fit: parallel is 2.*DataParallel\(\)"),
    ("fit(g.net, loader(g.x, g.labels), checkpoint=3)", TypeError, r"LiftedTraining\.fit: checkpoint is a int.*Pass a str"),
    (
        "fit(g.net, loader(g.x, g.labels), checkpoint=g.folder / 'text.npz')",
        ValueError,
        r"LiftedTraining\.fit: checkpoint .* is no complete checkpoint.*pass another file",
    ),
]

LINES = [
    *(*FUNCTIONS, *REGULARISERS, *RULES, *METHODS, *INVERT, *NOISE),
    *(*NETWORKS, *DIAGNOSTICS, *FILES, *STUDIES, *TRAINING),
]


def typed(line: str, given: Given) -> object:
    names = {"ni": ni, "prox": prox, "t": ni.training, "fit": ni.training.LiftedTraining().fit, "g": given}
    return eval(
        line, {**names, "loader": loader, "linear": linear, "torch": torch, "nn": nn, "np": np, "pd": pd, "nested": nested}
    )


@pytest.mark.parametrize(("line", "error", "message"), LINES, ids=[line for line, _, _ in LINES])
def test_one_clear_error_and_nothing_changed(line: str, error: type[Exception], message: str, unchanged: Given) -> None:
    with pytest.raises(error) as caught:
        typed(line, unchanged)
    assert type(caught.value) is error
    assert re.match(f"(?s){message}", str(caught.value)), str(caught.value)


def test_the_lines_are_many_and_each_asks_for_who_what_and_a_remedy() -> None:
    assert len(LINES) >= 120 and len({line for line, _, _ in LINES}) == len(LINES)
    for line, _, message in LINES:
        who, found = message.split(": ", 1)
        assert who and ".*" in found, line


STATUSES: dict[str, tuple[ni.Status, ...]] = {
    "ni.invert(g.constant, g.y, noise_level=0.1)": (ni.Status.CONSTANT_NETWORK,) * 2,
    "ni.invert(g.wide, g.y, regulariser=ni.DenoiserPrior(lambda x: x * torch.nan), rule=ni.Fixed(0.1))": (
        ni.Status.INFINITE_START,
    )
    * 2,
    "ni.invert(g.wide, g.y, noise_level=100.0)": (ni.Status.NOISE_EXCEEDS_DATA,) * 2,
    "ni.invert(g.wide, g.y, rule=ni.Fixed(0.1), max_steps=1, tolerance=1e-12, regulariser=ni.Sparsity())": (ni.Status.STEP_LIMIT,)
    * 2,
    "ni.invert(g.net, g.y[:0], noise_level=0.1)": (),
}


@pytest.mark.parametrize("line", STATUSES)
def test_a_status_with_a_remedy_and_nothing_changed(line: str, unchanged: Given) -> None:
    result = typed(line, unchanged)
    assert isinstance(result, ni.Reconstruction)
    assert result.status == STATUSES[line] and result.x.shape == (len(STATUSES[line]), 4)
    assert torch.isfinite(result.x).all()
    for status in result.status:
        assert len(status.value.split()) > 5 and status.value in result.summary()
