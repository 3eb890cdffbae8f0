"""A session in a real terminal: what is typed into a shell on a pseudo-terminal, and what it shows."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import netinverse as ni

pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
ROOT = Path(__file__).parents[2]
PATIENCE = 120.0  # seconds for one answer: the machine may be busy


class Terminal:
    """A shell on a pseudo-terminal. ``expect`` reads until a pattern is there, and returns what was shown up to it."""

    def __init__(self, folder: Path) -> None:
        self.seen = ""
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            kept = {
                "PATH": path,
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                "HOME": str(folder),
                "TERM": "xterm",
                "PS1": "$ ",
            }
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], kept)

    def type(self, text: str) -> None:
        os.write(self.screen, text.encode())

    def expect(self, pattern: str) -> str:
        end = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.seen)) is None:
            ready, _, _ = select.select([self.screen], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{pattern!r} is not in {self.seen!r}"
            self.seen += os.read(self.screen, 65536).decode(errors="replace")
        shown, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return shown

    def close(self) -> None:
        os.close(self.screen)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal")
    network, draw = ni.mlp((12, 10, 8), dtype=torch.float64), torch.Generator().manual_seed(0)
    truth = torch.rand(2, 12, generator=draw, dtype=torch.float64)
    torch.export.save(torch.export.export(network, (truth,)), folder / "encoder.pt2")
    np.save(folder / "codes.npy", network(truth).detach().numpy() + 0.01)
    return folder


@pytest.fixture
def terminal(files: Path) -> Iterator[Terminal]:
    if shutil.which("bash") is None or shutil.which("netinverse", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("no bash, or netinverse is not installed")
    opened = Terminal(files)
    yield opened
    opened.close()


@pytest.mark.slow
def test_a_session(terminal: Terminal, files: Path) -> None:
    """The shell completes, a bar moves, an answer is written, Ctrl-C and a wrong path have their exit codes."""
    terminal.type('eval "$(netinverse --show-completion)"; echo read$?\n')
    terminal.expect(r"read0\r\n")
    terminal.type("netinverse invert enc\t")
    terminal.expect(r"netinverse invert encoder\.pt2 ")
    terminal.type("codes.npy -o out.npz --noise-level 0.05 --tolerance 1e-2; echo code$?\n")
    shown = terminal.expect(r"code\d+\r\n")
    assert shown.endswith("code0\r\n") and "2 reconstruction(s) of shape (12,)" in shown
    assert re.search(r"\rinverting 2 samples: +\d+solve", shown), "a bar is drawn again on its own line"
    assert ni.Reconstruction.load(files / "out.npz").x.shape == (2, 12)
    terminal.type("netinverse inspect nowhere.pt2; echo code$?\n")
    assert re.search(
        r"[\r\n]netinverse: MODEL nowhere\.pt2 is not a file\. Check the path\.\r\ncode2", terminal.expect(r"code\d+\r\n")
    )
    terminal.type("netinverse invert encoder.pt2 codes.npy -o never.npz --rule l-curve --tolerance 1e-14; echo code$?\n")
    terminal.expect("inverting 2 samples")
    terminal.type("\x03")
    shown = terminal.expect(r"code\d+\r\n")
    assert shown.endswith("code130\r\n") and "netinverse: interrupted." in shown and "Traceback" not in shown
    assert not (files / "never.npz").exists()
