"""What ruff says of a text, with the rules of this package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def complaints(text: str, path: str, *, ignore: str = "RUF100") -> str:
    """Return what ruff finds in a text, its form included; empty if nothing.

    Args:
        text: of a file.
        path: of the file in this repository.
        ignore: rules that are not looked at.
    """
    found = ""
    for command in (["check", "--quiet", "--extend-ignore", ignore], ["format", "--diff"]):
        arguments = [sys.executable, "-m", "ruff", *command, "--stdin-filename", path, "-"]
        done = subprocess.run(arguments, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            found += done.stdout + done.stderr
    return found
