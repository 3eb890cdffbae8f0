"""Bytes of tensors at their peak, against counts by hand."""

from __future__ import annotations

import torch

from netinverse.footprint import peak_bytes

KIB = torch.zeros(128, dtype=torch.float64)  # one KiB


def test_what_lives_at_the_same_time_is_added_up() -> None:
    def work() -> None:
        a = KIB + 1  # 1
        b = a * 2  # 2
        del a
        c = torch.cat([b, b])  # 1 + 2
        del b
        (c + 1).sum()  # 2 + 2

    assert 4 * 1024 <= peak_bytes(work) <= 4 * 1024 + 8


def test_views_and_writing_in_place_take_nothing_and_what_was_there_before_does_not_count() -> None:
    before = KIB.clone()
    assert peak_bytes(lambda: before.reshape(2, 64).T.add_(1)) == 0
    assert peak_bytes(lambda: before + 1) == 1024
    assert peak_bytes(lambda: None) == 0


def test_what_autograd_keeps_counts_until_it_is_let_go() -> None:
    x = KIB.clone().requires_grad_(True)

    def chain(length: int) -> None:
        y = x
        for _ in range(length):
            y = y.exp()  # its value is kept for its derivative
        torch.autograd.grad(y.sum(), x)

    four, eight = peak_bytes(lambda: chain(4)), peak_bytes(lambda: chain(8))
    assert eight - four == 4 * 1024

    def forgetful() -> None:
        with torch.no_grad():
            chain_value = x
            for _ in range(8):
                chain_value = chain_value.exp()

    assert peak_bytes(forgetful) == 2 * 1024


def test_the_values_stay_what_they_are() -> None:
    found = []
    peak_bytes(lambda: found.append(torch.linspace(0, 1, 5).square().sum()))
    assert torch.equal(found[0], torch.linspace(0, 1, 5).square().sum())
