"""Space on the disks that a search writes to on this machine."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from aiida import orm
from aiida.manage import configuration, get_manager
from sqlalchemy.exc import SQLAlchemyError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of the system that mean a full disk, or a used-up quota."""

FULL_TEXTS = ("database or disk is full", "disk i/o error", "no space left on device", "disk quota exceeded")
"""Messages of SQLite (the second if it cannot make a file) and PostgreSQL on a full disk; SQLAlchemy repeats them."""


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error or its cause means that a disk is full."""
    if error is None:
        return False
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    if isinstance(error, SQLAlchemyError) and any(text in str(error).lower() for text in FULL_TEXTS):
        return True
    return is_disk_full(error.__cause__ or error.__context__)


def data_folders() -> dict[str, Path]:
    """Return the folders of this machine that AiiDA stores in, by purpose."""
    folders = {"AiiDA's data": configuration_folder()}
    config = get_manager().get_profile().storage_config
    if "filepath" in config:
        folders["the storage"] = Path(config["filepath"])
    elif "repository_uri" in config:
        folders["the repository"] = Path(url2pathname(urlparse(config["repository_uri"]).path))
    return folders


def job_folders() -> dict[str, Path]:
    """Return the folders that jobs of this machine run in, by purpose."""
    builder = orm.QueryBuilder().append(orm.Computer, filters={"transport_type": "core.local"}, project="*")
    return {
        f"jobs of {computer.label}": Path(computer.get_workdir().partition("{")[0])
        for computer in builder.all(flat=True)
    }


def existing(folder: Path) -> Path:
    """Return a folder, or the nearest existing one above it."""
    return next(path for path in [folder, *folder.parents] if path.exists())


def free_space(folder: Path) -> int:
    """Return the free space on the disk of a folder, bytes."""
    return shutil.disk_usage(existing(folder)).free


def least_free() -> tuple[int, Path]:
    """Return the least free space of the folders that AiiDA stores in, bytes, and this folder."""
    return min((free_space(folder), folder) for folder in data_folders().values())


def configuration_folder() -> Path:
    """Return the folder of AiiDA's configuration (``AIIDA_PATH``, or ``~/.aiida``)."""
    return Path(configuration.get_config(create=True).dirpath)
