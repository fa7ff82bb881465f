"""Keeps files safe from the ZeroMQ broker of AiiDA on a full disk.

When that broker starts it removes the folder of its sockets that the one before has left, and reads from a file which
folder that is. On a full disk this file can be written empty. An empty path is the working folder, so the next start
deletes everything in the folder that the daemon was started in (seen with AiiDA 2.9). So the daemon is started in a
folder where there is nothing, and such a file is removed as soon as it is seen.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
from aiida.brokers.zeromq.broker import ZeromqBroker
from aiida.brokers.zeromq.service import ZeromqBrokerService
from aiida.manage import configuration, get_manager

DAEMON_FOLDER = Path("daemon", "fuse2")
"""Where the daemon is started, below the folder of AiiDA's configuration; nothing is in it."""


def has_zeromq_broker() -> bool:
    """Return whether the loaded profile has the ZeroMQ broker."""
    return isinstance(get_manager().get_broker(), ZeromqBroker)


def broker_layout() -> ZeromqBrokerService.FilepathLayout:
    """Return where the files of the ZeroMQ broker of the loaded profile are."""
    paths = configuration.get_config().filepaths(get_manager().get_profile())
    return ZeromqBrokerService.FilepathLayout(paths["broker_service"]["dir"])


def harmless_folder() -> Path:
    """Return an empty folder that a daemon can be started in; made where it is not there and the disk is not full."""
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
    """Remove what makes the next start of the broker delete its working folder; return the file that it was."""
    path = empty_sockets_file()
    if path is not None:
        path.unlink(missing_ok=True)
    return path


def exposed_folder() -> Path | None:
    """Return the working folder of the broker, where it runs and there is anything in that folder to be lost."""
    broker = get_manager().get_broker()
    if not isinstance(broker, ZeromqBroker):
        return None
    try:
        folder = Path(psutil.Process(broker.probe_service_status().get("pid", 0)).cwd())
        return folder if any(folder.iterdir()) else None
    except (psutil.Error, OSError, ValueError):
        return None  # it has just ended, or is not ours to look at
