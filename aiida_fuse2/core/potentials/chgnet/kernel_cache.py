"""The folder of built kernels and libraries: owner, integrity, and a lock so that one process at a time builds.

A kernel is code that runs as the user. It is loaded only from a folder and a file that belong to the user and that
nobody else may write to, and only if it is unchanged: its SHA-256 follows it in the same file. Both are checked through
descriptors, so that nothing can be exchanged between the check and the reading.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LONGEST_WAIT = 360
"""Longest time that a process waits for another one that builds, s; a compiler is given less."""

LOOK_SECONDS = 0.1
"""Time between two checks whether it still builds, s."""

_DIGEST_SIZE = hashlib.sha256().digest_size
_WRITTEN_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class CacheError(RuntimeError):
    """A folder or a file from which no code is loaded; the message says why."""


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Yield a descriptor of a folder, which is made if necessary.

    Raises:
        CacheError: if others can change what is in it.
        OSError: if it cannot be made or opened.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if (problem := _stranger(os.fstat(directory))) is not None:
            raise CacheError(f"the folder {folder} {problem}")
        yield directory
    finally:
        os.close(directory)


def _stranger(status: os.stat_result) -> str | None:
    """Return how somebody else can change a file or folder."""
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}, not to user {os.geteuid()}, who runs this"
    return "can be written by others (chmod go-w)" if status.st_mode & _WRITTEN_BY_OTHERS else None


def read(directory: int, name: str) -> bytes | None:
    """Return the library in a file, or None if there is no file.

    Args:
        directory: descriptor of the folder.
        name: name of the file.

    Raises:
        CacheError: if the file is damaged, or not the user's own.
    """
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            problem = _stranger(status) if stat.S_ISREG(status.st_mode) else "is not a file"
            content = b"" if problem else file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CacheError(f"the file {name} cannot be read: {error}") from error
    library, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if problem is None and hashlib.sha256(library).digest() != digest:
        problem = "is damaged: its checksum is different"
    if problem is not None:
        raise CacheError(f"the file {name} {problem}")
    return library


def write(directory: int, name: str, library: bytes) -> None:
    """Write a library with its checksum; a reader finds either the old file or the new one.

    Args:
        directory: descriptor of the folder.
        name: name of the file.
        library: content of the file.

    Raises:
        OSError: if it cannot be written.
    """
    beginning = f".{name}."
    for left in os.listdir(directory):
        if left.startswith(beginning):  # of a process that was killed
            os.unlink(left, dir_fd=directory)
    unfinished = f"{beginning}{secrets.token_hex(8)}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(library + hashlib.sha256(library).digest())
            file.flush()
            os.fsync(descriptor)
        os.rename(unfinished, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            os.unlink(unfinished, dir_fd=directory)
        raise


@contextmanager
def alone(directory: int) -> Iterator[None]:
    """Wait until no other process builds in a folder. The lock ends with the process that holds it.

    Raises:
        CacheError: if another process has been building for too long.
    """
    until = time.monotonic() + LONGEST_WAIT
    while True:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                raise CacheError(f"another process has been building for {LONGEST_WAIT} s") from None
            time.sleep(LOOK_SECONDS)
        except OSError:  # a file system without locks: two processes may build the same, and either one is whole
            break
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(directory, fcntl.LOCK_UN)
