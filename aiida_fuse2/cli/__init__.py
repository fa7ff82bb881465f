"""The command ``aiida-fuse2``. Its modules import AiiDA's engine and the science only when a command runs."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from importlib import import_module
from pathlib import Path

if shutil.which("verdi") is None:
    # AiiDA looks for `verdi` on the path when it is imported, and starts its daemon with it: let it find
    # the one beside this interpreter, even if the environment was not activated.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Creating AiiDA configuration folder")
    from .registry import COMMANDS
    from .root import cmd_root

    for module in COMMANDS:
        import_module(f"{__name__}.commands.{module}")

__all__ = ["cmd_root"]
