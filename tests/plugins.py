"""Packages with entry points, as other people install them, in a folder of the test."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path

from aiida_fuse2.core.generators.registry import GENERATORS
from aiida_fuse2.core.moves.registry import MOVES
from aiida_fuse2.environment.software import engine_software
from aiida_fuse2.tiers import registry as tiers


def forget():
    """Forget which entry points there are, as a new process does."""
    importlib.invalidate_caches()
    for registry in (GENERATORS, MOVES):
        registry.forget()
    for cache in (tiers._points, tiers._load, engine_software):
        cache.cache_clear()


def install(folder: Path, monkeypatch, modules: Mapping[str, str], groups: Mapping[str, Mapping[str, str]]) -> None:
    """Install a package here and in the processes that are started from here.

    Args:
        folder: new, of the package.
        modules: text by file name.
        groups: entry points: for each group, objects by name.
    """
    metadata = folder / "fuse2_extras-0.0.7.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fuse2-extras\nVersion: 0.0.7\n")
    lines = [
        line for group, points in groups.items() for line in (f"[{group}]", *(f"{n} = {v}" for n, v in points.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for name, text in modules.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))
    forget()
