"""What all tests share: one thread, so that sums come out in one order, and property tests without a clock."""

from __future__ import annotations

import os

import hypothesis
import pytest
import torch

torch.set_num_threads(1)

hypothesis.settings.register_profile("default", deadline=None, max_examples=30)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=30, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests that share a fixture of their module run in one process, of ``--dist loadgroup``: another would make it again.

    Marked as each is found, before xdist asks for the groups. pytest 9.2 has node ids that xdist 3.8 cannot mark; it makes some
    fixtures twice.
    """
    info = getattr(item, "_fixtureinfo", None)
    found = [] if info is None else [each for all_ in info.name2fixturedefs.values() for each in all_]
    if any(fixture.scope == "module" for fixture in found):
        item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
