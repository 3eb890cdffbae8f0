"""``python docs/screenshots.py [PAGE ...]``: pictures of the built pages in headless Chromium, wide and narrow, to be looked at.

Installs nothing: on Debian Chromium comes with ``apt-get install chromium``. Pages are named as in docs/_build/html, without
``.html``; without any, all of those below are taken. The pictures go to out/pages.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("index", "guide", "howto/methods", "howto/peers", "theory", "examples/index", "examples/first_steps/own_network")
PAGES += ("reference/index", "reference/inversion", "architecture", "experiments")
WIDTHS = {"wide": 1280, "narrow": 420}
FRAME = (
    '<html><body style="margin:0"><iframe src="{page}" style="border:0;width:{width}px;height:{height}px"></iframe></body></html>'
)


def browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        sys.exit("screenshots: no Chromium was found. Install it (Debian: apt-get install chromium) and run this again.")
    return found


def taken(page: Path, picture: Path, width: int, height: int) -> None:
    """The page in a frame of that width: no window of Chromium is narrower than some 500 pixels, but a frame is."""
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder) / "frame.html"
        frame.write_text(FRAME.format(page=page.resolve().as_uri(), width=width, height=height), "utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files"]
        options += [
            f"--user-data-dir={folder}/profile",
            f"--window-size={max(width, 520)},{height}",
            "--virtual-time-budget=5000",
        ]
        subprocess.run(
            [browser(), *options, f"--screenshot={picture.resolve()}", frame.as_uri()],
            check=True,
            capture_output=True,
            timeout=120,
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python docs/screenshots.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="*", default=[*PAGES], metavar="PAGE")
    parser.add_argument("--html", type=Path, default=ROOT / "docs/_build/html", help="the built pages")
    parser.add_argument("--out", type=Path, default=ROOT / "out/pages", help="where the pictures go")
    parser.add_argument("--height", type=int, default=1800)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.pages:
        page = given.html / f"{name}.html"
        if not page.is_file():
            sys.exit(f"screenshots: there is no page {page}. Build the pages first, with make docs.")
        for kind, width in WIDTHS.items():
            picture = given.out / f"{name.replace('/', '-')}-{kind}.png"
            taken(page, picture, width, given.height)
            print(picture)


if __name__ == "__main__":
    main()
