"""The answer of ``invert``, with its evidence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from netinverse.archives import UNREADABLE, clear_leftovers, read_archive, require_format, write_archive
from netinverse.checks import first_samples, require_path
from netinverse.diagnostics.certificates import Certificate
from netinverse.solvers.status import Status

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FORMAT = "netinverse reconstruction 1"
PER_SAMPLE = (
    *("x", "alpha", "residual", "fidelity_value", "steps", "subgradient", "noise_level", "given_noise_level", "data", "latent"),
)
"""The tensors with the batch first; some may be None."""
_TABLES = ("tried_columns", "history_columns", "continuation")


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """x, the weight it was found at, how each sample ended, and what shows how good it is. All per-sample values are (batch,).

    residual: ||F(x) - data||_2, ``data`` the projected data. noise_level: what is left of ``given_noise_level`` in them (None
    where none was given). subgradient: p in dR(x), or None. tried_columns, history_columns: columns of ``tried`` (every weight
    visited) and ``history`` (every step). latent: what was solved for where that is not x: the latent variable of a generator, x
    with its fields. continuation: the duals and step balances that would continue the work.
    """

    x: Tensor
    alpha: Tensor
    status: tuple[Status, ...]
    residual: Tensor
    fidelity_value: Tensor
    steps: Tensor
    certificate: Certificate
    data: Tensor
    message: str
    seconds: float
    subgradient: Tensor | None = None
    noise_level: Tensor | None = None
    given_noise_level: Tensor | None = None
    latent: Tensor | None = None
    tried_columns: Mapping[str, Tensor] = field(default_factory=dict)
    history_columns: Mapping[str, Tensor] = field(default_factory=dict)
    continuation: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def converged(self) -> bool:
        """True where every sample has status CONVERGED."""
        return all(s is Status.CONVERGED for s in self.status)

    @property
    def tried(self) -> pd.DataFrame:
        """Every weight visited: sample, alpha, residual, objective."""
        return _table(self.tried_columns, ("sample", "alpha", "residual", "objective"))

    @property
    def history(self) -> pd.DataFrame:
        """Every step: sample, alpha, step, objective, residual, optimality, seconds."""
        return _table(self.history_columns, ("sample", "alpha", "step", "objective", "residual", "optimality", "seconds"))

    def require_converged(self) -> Reconstruction:
        """This result, or a RuntimeError that names the samples that did not converge, and why."""
        if not self.converged:
            raise RuntimeError(
                f"Reconstruction: {sum(s is not Status.CONVERGED for s in self.status)} of {len(self.status)} sample(s) did not "
                f"converge. " + " ".join(self._complaints())
            )
        return self

    def summary(self) -> str:
        """A short table: least, median and greatest over the samples, then how they ended."""
        rows = [("alpha", self.alpha), ("residual", self.residual)]
        rows += [] if self.noise_level is None else [("noise level left", self.noise_level)]
        rows += [] if self.given_noise_level is None else [("noise level given", self.given_noise_level)]
        certified = self.certificate.kind != "none"
        optimality = (self.certificate.kind if certified else "optimality", self.certificate.value)
        rows += [("fidelity", self.fidelity_value), optimality, ("steps", self.steps)]
        lines = [f"{len(self.status)} reconstruction(s) of shape {tuple(self.x.shape[1:])} in {self.seconds:.2f} s"]
        if self.status:
            lines.append(f"{'':<18} {'least':>11} {'median':>11} {'greatest':>11}")
            for name, values in rows:
                if bool(values.isnan().all()):
                    continue
                v = values.detach().double().cpu().numpy()
                lines.append(f"{name:<18} {np.nanmin(v):>11.4g} {np.nanmedian(v):>11.4g} {np.nanmax(v):>11.4g}")
            good = sum(s is Status.CONVERGED for s in self.status)
            kind = self.certificate.kind if certified else "no certificate"
            lines.append(f"{good} of {len(self.status)} converged; {kind}: {self.certificate.meaning}")
            ways = Counter(self.certificate.made_feasible).most_common()
            lines += ["dual points made feasible by " + ", ".join(f"{way} ({n})" for way, n in ways)] if ways else []
        return "\n".join([*lines, *self._complaints(), *([self.message] if self.message else [])])

    def _complaints(self) -> list[str]:
        """One sentence for each status other than CONVERGED, naming its samples."""
        counts = Counter(s for s in self.status if s is not Status.CONVERGED)
        masks = {s: torch.tensor([t is s for t in self.status]) for s in counts}
        return [f"{s.name} ({n}), {first_samples(masks[s])}: {s.value}." for s, n in counts.most_common()]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one .npz file (arrays and one JSON text, no pickle); it appears whole or not at all."""
        target = require_path("Reconstruction.save", "path", path)
        if not target.parent.is_dir():
            raise FileNotFoundError(
                f"Reconstruction.save: the folder of {os.fspath(path)!r} does not exist, so nothing was written. Make it first."
            )
        tensors, meta = self.archive()
        try:
            write_archive(target, tensors, {"format": FORMAT, **meta})
            clear_leftovers(target)
        except OSError as error:
            raise OSError(
                f"Reconstruction.save: {os.fspath(path)!r} could not be written ({error}). What was there before is as it was, "
                f"and this result is still in memory. Make room, or give another path."
            ) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Reconstruction:
        """The result that ``save`` wrote, bit by bit, on the CPU."""
        source = require_path("Reconstruction.load", "path", path)
        if not source.is_file():
            raise FileNotFoundError(f"Reconstruction.load: there is no file {os.fspath(path)!r}. Check the path.")
        try:
            tensors, meta = read_archive(source)
            require_format(meta.get("format"), FORMAT)
            return cls.of_archive(tensors, meta)
        except UNREADABLE as error:
            raise ValueError(
                f"Reconstruction.load: {os.fspath(path)!r} is no complete file of Reconstruction.save ({error}). "
                f"Save the result again; a network (.pt2) or an array (.npy) is not a result."
            ) from error

    def archive(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that is in it, as named tensors and what JSON holds."""
        named = {name: getattr(self, name) for name in PER_SAMPLE if getattr(self, name) is not None}
        tables = {f"{t}/{name}": v for t in _TABLES for name, v in getattr(self, t).items()}
        meta = {
            "status": [s.name for s in self.status],
            "kind": self.certificate.kind,
            "meaning": self.certificate.meaning,
            "made_feasible": list(self.certificate.made_feasible),
            "message": self.message,
            "seconds": self.seconds,
        }
        return {**named, "certificate": self.certificate.value, **tables}, meta

    @classmethod
    def of_archive(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Reconstruction:
        """What ``archive`` took apart."""
        parts = {t: {n.split("/", 1)[1]: v for n, v in tensors.items() if n.startswith(f"{t}/")} for t in _TABLES}
        return cls(
            status=tuple(Status[s] for s in meta["status"]),
            certificate=Certificate(meta["kind"], tensors["certificate"], meta["meaning"], tuple(meta["made_feasible"])),
            message=meta["message"],
            seconds=meta["seconds"],
            **{name: tensors.get(name) for name in PER_SAMPLE},  # type: ignore[arg-type]
            **parts,  # type: ignore[arg-type]
        )

    def plot(self, truth: Tensor | None = None) -> Figure:
        """The reconstructions, beside the truth and with their PSNR where it is given."""
        from netinverse.plots import reconstruction_grid

        columns = {} if truth is None else {"truth": truth}
        return reconstruction_grid({**columns, "reconstruction": self.x}, truth=truth)


def _table(columns: Mapping[str, Tensor], names: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({n: columns[n].detach().cpu().numpy() if n in columns else np.zeros(0) for n in names}).astype(
        {n: np.int64 for n in names if n in ("sample", "step")}
    )
