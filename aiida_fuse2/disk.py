"""Space on the disks that a search writes to on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from aiida import orm
from aiida.manage import get_manager

from aiida_fuse2.environment import configuration_folder


def data_folders() -> dict[str, Path]:
    """Return the folders of this machine that AiiDA stores in, by what they are for."""
    folders = {"AiiDA's data": configuration_folder()}
    config = get_manager().get_profile().storage_config
    if "filepath" in config:
        folders["the storage"] = Path(config["filepath"])
    elif "repository_uri" in config:
        folders["the repository"] = Path(url2pathname(urlparse(config["repository_uri"]).path))
    return folders


def job_folders() -> dict[str, Path]:
    """Return the folders that jobs of this machine run in, by what they are for."""
    builder = orm.QueryBuilder().append(orm.Computer, filters={"transport_type": "core.local"}, project="*")
    return {
        f"jobs of {computer.label}": Path(computer.get_workdir().partition("{")[0])
        for computer in builder.all(flat=True)
    }


def existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that there is."""
    return next(path for path in [folder, *folder.parents] if path.exists())


def free_space(folder: Path) -> int:
    """Return how much can be written to the disk of a folder, bytes."""
    return shutil.disk_usage(existing(folder)).free


def least_free() -> tuple[int, Path]:
    """Return the least free space of the folders that AiiDA stores in, bytes, and which one it is."""
    return min((free_space(folder), folder) for folder in data_folders().values())
