"""Keeps files safe from the ZeroMQ broker of AiiDA on a full disk.

When this broker starts it removes the folder of sockets of the broker before, and reads from a file which
folder that is. On a full disk this file can be written empty. An empty path is the working folder, so the next start
deletes everything in the folder that the daemon was started in (seen with AiiDA 2.9). So the daemon is started in an
empty folder, and such a file is removed as soon as it is seen.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
from aiida.brokers.zeromq.broker import ZeromqBroker
from aiida.brokers.zeromq.service import ZeromqBrokerService
from aiida.manage import configuration, get_manager

DAEMON_FOLDER = Path("daemon", "fuse2")
"""Empty folder in which the daemon is started, below the folder of AiiDA's configuration."""


def has_zeromq_broker() -> bool:
    """Return whether the loaded profile has the ZeroMQ broker."""
    return isinstance(get_manager().get_broker(), ZeromqBroker)


def broker_layout() -> ZeromqBrokerService.FilepathLayout:
    """Return the folder of the files of the ZeroMQ broker of the loaded profile."""
    paths = configuration.get_config().filepaths(get_manager().get_profile())
    return ZeromqBrokerService.FilepathLayout(paths["broker_service"]["dir"])


def harmless_folder() -> Path:
    """Return an empty folder to start the daemon in; it is made if it does not exist and the disk is not full."""
    folder = Path(configuration.get_config().dirpath) / DAEMON_FOLDER
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def empty_sockets_file() -> Path | None:
    """Return the file that makes the next start of the broker delete its working folder, or None."""
    if not has_zeromq_broker():
        return None
    path = Path(broker_layout().sockets_file)
    return path if is_empty(path) else None


def is_empty(path: Path) -> bool:
    """Return whether there is a file that names no folder."""
    try:
        return not path.read_text().strip()
    except (OSError, ValueError):
        return False


def remove_empty_sockets_file() -> Path | None:
    """Remove and return the file that makes the next start of the broker delete its working folder, or None."""
    path = empty_sockets_file()
    if path is not None:
        path.unlink(missing_ok=True)
    return path


def exposed_folder() -> Path | None:
    """Return the working folder of the broker, if it runs and files in this folder can be lost."""
    broker = get_manager().get_broker()
    if not isinstance(broker, ZeromqBroker):
        return None
    try:
        folder = Path(psutil.Process(broker.probe_service_status().get("pid", 0)).cwd())
        return folder if any(folder.iterdir()) else None
    except (psutil.Error, OSError, ValueError):
        return None  # it has just ended, or may not be read by this user
