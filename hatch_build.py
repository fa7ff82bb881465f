"""Puts the native kernels of CHGNet and the needs of the worker into a wheel.

Without a compiler the wheel has no kernels, and suits any machine.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CHGNET = "aiida_fuse2/core/potentials/chgnet"
"""Folder of the sources, of the program that builds them, and of the kernels in the wheel."""


REQUIREMENTS = "requirements-worker.txt"
"""Needs of the worker, which `aiida-fuse2 model install` installs."""


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]
    """The hook; an editable installation builds its kernel where it is first needed, like a checkout."""

    scratch: str | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the kernels, and give the wheel the tag of this platform.

        Args:
            version: kind of wheel, ``standard`` or ``editable``.
            build_data: what hatchling puts into the wheel; files and tag are added.
        """
        if version == "editable":
            return
        build_data["force_include"][str(Path(self.root) / REQUIREMENTS)] = "aiida_fuse2/worker/requirements.txt"
        if sys.platform != "linux":
            return
        sys.path.insert(0, self.root)
        try:
            build = import_module(f"{CHGNET.replace('/', '.')}.build")
        finally:
            sys.path.remove(self.root)
        self.scratch = tempfile.mkdtemp()
        try:
            kernels: list[Path] = build.build_packaged(Path(self.scratch))
        except build.BuildError as error:
            self.app.display_warning(f"the wheel has no native kernel, which is built at first use: {error}")
            return
        build_data["force_include"] |= {str(path): f"{CHGNET}/{build.PACKAGED}/{path.name}" for path in kernels}
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was compiled; the wheel has it."""
        if self.scratch is not None:
            shutil.rmtree(self.scratch)
