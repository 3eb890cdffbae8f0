"""What all tests share: one thread, so that sums come out in one order, and property tests without a clock."""

from __future__ import annotations

import os

import hypothesis
import torch

torch.set_num_threads(1)

hypothesis.settings.register_profile("default", deadline=None, max_examples=30)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=30, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")
