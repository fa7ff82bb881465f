"""Take the pictures of the gallery from the pages that the tutorials have made.

    python docs/run_tutorials.py --keep FOLDER
    python docs/take_pictures.py FOLDER

Needs Chromium, playwright and Pillow.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
from pathlib import Path

GALLERY = Path(__file__).parent / "gallery"

WIDTH = 1240
"""Of the window, in pixels."""

COLOURS = 128
"""Of a picture, to keep it small."""

PICTURES = {
    "report": ("first_search", "SrTiO3.html", None, 1000),
    "answer": ("first_search", "SrTiO3.html", "#answer", 1000),
    "diffraction": ("own_structures", "MgO.html", "#diffraction", 1000),
    "compare": ("generators", "compare.html", None, 1150),
    "hull": ("phase_field", "hull.html", None, 960),
}
"""Of each picture: tutorial, page, the part of the page (the top of it if there is none), height of the window."""

SOFTWARE_GL = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def main() -> int:
    """Take all pictures; return the exit code."""
    parser = argparse.ArgumentParser(description="Take the pictures of the gallery.")
    parser.add_argument("folder", type=Path, help="where run_tutorials.py --keep has left its files")
    folder = parser.parse_args().folder.resolve()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("Chromium is not installed")
        return 1
    from playwright.sync_api import sync_playwright

    GALLERY.mkdir(exist_ok=True)
    environment: dict[str, str | float | bool] = {
        name: value for name, value in os.environ.items() if "proxy" not in name.lower()
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=SOFTWARE_GL, env=environment)
        for name, (tutorial, page, part, height) in PICTURES.items():
            view = browser.new_page(viewport={"width": WIDTH, "height": height})
            view.goto((folder / tutorial / "work" / page).as_uri())
            view.evaluate("typeof drawAll === 'function' && drawAll()")
            view.wait_for_timeout(2000)  # plots and crystals are drawn after the page has loaded
            seen = view.screenshot() if part is None else view.locator(part).screenshot()
            write_small(seen, GALLERY / f"{name}.png")
            view.close()
        browser.close()
    return 0


def write_small(png: bytes, path: Path) -> None:
    """Write a picture with few colours."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS)
    picture.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
