"""Explanations of errors of the database and of the system for the user, in one line each."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import TYPE_CHECKING

from aiida_fuse2.core.errors import one_line

if TYPE_CHECKING:
    from sqlalchemy.exc import SQLAlchemyError

MAKE_ROOM = (
    "nothing that was stored is lost: make room, then do what `aiida-fuse2 doctor` says; a search that has ended "
    "continues with `aiida-fuse2 continue`"
)
"""What to do about a full disk."""

WAIT = "another program holds it (a backup, a copy, a browser of databases): call the command again when that has ended"
RESTORE = (
    "stop the daemon, and restore a backup (`verdi storage backup` makes them), or copy the file and repair the copy"
)

DATABASE = {
    "is locked": f"is locked: {WAIT}; searches keep running",
    "malformed": f"is damaged: {RESTORE}",
    "is not a database": f"is damaged: {RESTORE}",
    "unable to open": "cannot be opened: has it been moved, and may you read and write it and its folder?",
    "readonly": "cannot be written: may you write it and its folder, and is the disk mounted for writing?",
}
"""Messages of SQLite, and what they mean."""

OF_SYSTEM = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE})
"""Errors of the system that are due to this machine, not to this package."""


def trouble_text(error: BaseException) -> str | None:
    """Return the problem and what to do; None if an error may be a fault of this package.

    Args:
        error: error that ended a command.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from aiida_fuse2.storage.disk import is_disk_full

    if is_disk_full(error):
        place = (error.filename if isinstance(error, OSError) else None) or "of the profile"
        return f"no space is left on the disk ({place}); {MAKE_ROOM}"
    if isinstance(error, SQLAlchemyError):
        return _database_text(error)
    if isinstance(error, OSError) and error.filename is not None:
        missing = error.errno == errno.ENOENT and _is_of_profile(error.filename)
        if missing or error.errno in OF_SYSTEM:
            return f"cannot use {error.filename}: {error.strerror}"
    return _configuration_text()


def _database_text(error: SQLAlchemyError) -> str | None:
    """Return the problem of the database; None if the query was wrong."""
    from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError

    said = str(getattr(error, "orig", None) or error)
    known = next((text for words, text in DATABASE.items() if words in said.lower()), None)
    if known is None and not isinstance(error, OperationalError | InterfaceError) and type(error) is not DatabaseError:
        return None
    return f"the database of the profile {known or f'cannot be used: {one_line(said)}'} ({_place()})"


def _place() -> str:
    """Return the location of the database of the loaded profile."""
    from aiida.manage import get_manager

    profile = get_manager().get_profile()
    config = {} if profile is None else profile.storage_config
    if "filepath" in config:
        return str(config["filepath"])
    return ", ".join(f"{config[key]}" for key in ("database_hostname", "database_name") if config.get(key)) or "?"


def _is_of_profile(path: object) -> bool:
    from aiida.manage import get_manager

    from aiida_fuse2.storage.disk import data_folders

    if get_manager().get_profile() is None:
        return False
    return any(Path(str(path)).is_relative_to(folder) for folder in data_folders().values())


def _configuration_text() -> str | None:
    """Return the problem of AiiDA's configuration if AiiDA itself does not report it."""
    from aiida.manage.configuration.settings import AiiDAConfigDir

    path = AiiDAConfigDir.get() / "config.json"
    try:
        is_sound = isinstance(json.loads(path.read_bytes()), dict)
    except OSError:
        return None
    except ValueError:
        is_sound = False
    return None if is_sound else f"the configuration {path} is not what AiiDA writes: repair it by hand"
