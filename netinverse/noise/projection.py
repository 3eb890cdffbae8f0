"""What projection leaves of the noise, and what else brings data back to the range of an activation."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.checks import require_numbers
from netinverse.protocols import Plateaued, Potential
from netinverse.tensors import norm, per_sample


def noise_left_after_projection(data: Tensor, projected: Tensor, noise_level: float | Tensor) -> Tensor:
    """sqrt(max(delta^2 - ||y^delta - P y^delta||^2, 0)), an upper bound of ||P y^delta - y||, per sample.

    P is the projection onto a closed convex set that contains the clean data y, and delta >= ||y^delta - y||. Then
    <y^delta - P y^delta, y - P y^delta> <= 0, and expanding ||(y^delta - P y^delta) + (P y^delta - y)||^2 gives
    ||P y^delta - y||^2 <= ||y^delta - y||^2 - ||y^delta - P y^delta||^2. Equality where the set is locally a subspace through y:
    entries that are zero in y and clipped to zero lose exactly their noise.

    Shapes: data, projected (batch, ...), noise_level a number or (batch,) -> (batch,).
    Zarantonello 1971; Bauschke & Combettes, Convex Analysis and Monotone Operator Theory, 2017, theorem 3.16.
    """
    level = torch.as_tensor(noise_level, dtype=data.dtype, device=data.device)
    cut = norm(data - projected)
    return ((level - cut).clamp(min=0) * (level + cut)).sqrt()


def require_snap(who: str, snap: float) -> None:
    """Raise ValueError unless ``snap`` is 0 or at least 1."""
    require_numbers(who, "The default is 3.", snap=snap)
    if not (snap == 0 or snap >= 1):
        raise ValueError(
            f"{who}: snap is {snap}, but must be 0, which leaves the data as they are, or at least 1: closer to an end than one "
            f"standard deviation noise and signal look alike. The default is 3."
        )


def snap_to_saturation(potential: Potential, data: Tensor, noise_level: Tensor, snap: float) -> Tensor:
    """Data with entries near a flat end moved onto it, where leaving noise there costs more than moving a signal does.

    A flat end is a bound of the domain that a half-line of pre-activations is mapped to: 0 of ReLU, both ends of a hard tanh.
    Inside the domain there may be such a value too, 0 of soft-thresholding: see ``_snap_to_plateau``.

    Entries whose true value is the end show noise on both sides of it; projection moved half of them onto the end. Where
    N entries are at the end and T within c = ``snap`` standard deviations of it, g signal entries a standard deviation explain
    T - N = g (c - 0.8), and 2 (N - 0.4 g) = N_0 entries belong to the end: signals next to it cross it, 0.4 standard deviations'
    worth of them.

    An entry at distance r = d sigma, d <= c, is noise with a chance in proportion to N_0 exp(-d^2/2)/sqrt(2 pi), signal in
    proportion to g. Left where it is, noise costs r |z - end| in the Bregman penalty, with the unknown |z - end| of the size S
    that the other entries show (root mean square); moved, a signal costs r^2/2. The smaller expected cost decides:
    it moves where N_0 exp(-d^2/2)/sqrt(2 pi) * 2 S > g r. At little noise that is every entry within c.

    Nothing moves where c standard deviations reach the middle of the domain: the ends cannot be told apart there. sigma is
    noise_level / sqrt(entries that are not at an end). Shapes: data (batch, ...), noise_level (batch,).
    """
    if isinstance(potential, Plateaued) and snap > 0 and data.numel():
        return _snap_to_plateau(potential, data, noise_level, snap)
    lower, upper = potential.flat_ends(data)
    if snap == 0 or not data.numel() or not bool((torch.isfinite(lower) | torch.isfinite(upper)).any()):
        return data
    at_end = [_count(data == end) for end in (lower, upper)]
    sigma = noise_level / (data[0].numel() - at_end[0] - at_end[1]).clamp(min=1).sqrt()
    widest = per_sample(snap * sigma, data)
    fits = widest <= (upper - lower) / 2
    snapped = data
    for end, count in zip((lower, upper), at_end, strict=True):
        if not bool(torch.isfinite(end).any()):
            continue
        distance = (data - end).abs()
        near = (distance > 0) & (distance <= widest) & fits
        signal = ((_count(near) - count) / (snap - 0.8)).clamp(min=0)
        noise = 2 * (count - 0.4 * signal).clamp(min=0)
        size = norm(data - end) / (data[0].numel() - count).clamp(min=1).sqrt()
        density = torch.exp(-(distance / per_sample(sigma, data)).square() / 2) / (2 * torch.pi) ** 0.5
        left, moved = per_sample(2 * noise * size, data) * density, per_sample(signal, data) * distance
        snapped = torch.where(near & (left > moved), end, snapped)
    return snapped


def _snap_to_plateau(potential: Plateaued, data: Tensor, noise_level: Tensor, snap: float) -> Tensor:
    """The same for a value inside the domain that an interval is mapped to, from both sides of which noise leads away.

    No entry is exactly there. Of those within c standard deviations, as many are signal as lie between c and 2c: g a standard
    deviation. The others, N_0, belong to the value. Left at distance r, noise costs r S with S half the interval: an entry moves
    where 4 N_0 exp(-d^2/2)/sqrt(2 pi) * S > g r. sigma is noise_level / sqrt(entries).
    """
    value, half = potential.plateau
    sigma = noise_level / data[0].numel() ** 0.5
    distance = (data - value).abs()
    d = distance / per_sample(sigma, data).clamp(min=torch.finfo(data.dtype).tiny)
    inside = _count(d <= snap)
    signal = (_count(d <= 2 * snap) - inside) / snap
    noise = (inside - signal * snap).clamp(min=0)
    density = torch.exp(-d.square() / 2) / (2 * torch.pi) ** 0.5
    moves = (d <= snap) & (per_sample(4 * half * noise, data) * density > per_sample(signal, data) * distance)
    return torch.where(moves, torch.as_tensor(value, dtype=data.dtype, device=data.device), data)


def _count(mask: Tensor) -> Tensor:
    return mask.flatten(1).sum(1).double()
