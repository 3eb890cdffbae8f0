"""kill -9 at random moments of an inversion, a study and a training: nothing is lost, and the answer has the same bits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kills import WORKS

ROOT = Path(__file__).parents[1]


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a process is forked and killed")


def killed(kills: int, folder: Path, *works: str) -> None:
    command = [sys.executable, "-m", "tests.kills", str(kills), str(folder), *works]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"{work}: {kills} kills, " in done.stdout for work in works)


def test_killed_again_and_again_they_end_with_the_same_bits(tmp_path: Path) -> None:
    killed(2, tmp_path, *WORKS)


@pytest.mark.slow
@pytest.mark.parametrize("work", WORKS)
def test_killed_at_fifty_moments_it_ends_with_the_same_bits(work: str, tmp_path: Path) -> None:
    killed(50, tmp_path, work)
