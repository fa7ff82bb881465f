"""The folder of built kernels: whose they are, whether they are whole, and that one process at a time builds one.

A kernel is code that runs as the user. It is taken only from a folder and a file that belong to the user and that
nobody else may write to, and only as what was written: its SHA-256 stands behind it, in the same file. Both are looked
at through descriptors, so that nothing can be exchanged between the look and the reading.
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
"""Time between two looks at whether it still builds, s."""

_DIGEST_SIZE = hashlib.sha256().digest_size
_WRITTEN_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class CacheError(RuntimeError):
    """A folder or a file from which no code is taken; the message says why."""


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Yield a descriptor of a folder, which is made if need be.

    Raises:
        CacheError: where others can change what is in it.
        OSError: where it cannot be made or opened.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if (problem := _stranger(os.fstat(place))) is not None:
            raise CacheError(f"the folder {folder} {problem}")
        yield place
    finally:
        os.close(place)


def _stranger(status: os.stat_result) -> str | None:
    """Return how somebody else can change a file or folder."""
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}, not to user {os.geteuid()}, who runs this"
    return "can be written by others (chmod go-w)" if status.st_mode & _WRITTEN_BY_OTHERS else None


def read(place: int, name: str) -> bytes | None:
    """Return the library in a file, or None where there is no file.

    Args:
        place: descriptor of the folder.
        name: of the file.

    Raises:
        CacheError: where the file is damaged, or not the user's own.
    """
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            problem = _stranger(status) if stat.S_ISREG(status.st_mode) else "is no file"
            content = b"" if problem else file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CacheError(f"the kernel {name} cannot be read: {error}") from error
    library, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if problem is None and hashlib.sha256(library).digest() != digest:
        problem = "is damaged: its checksum is another one"
    if problem is not None:
        raise CacheError(f"the kernel {name} {problem}")
    return library


def write(place: int, name: str, library: bytes) -> None:
    """Write a library with its checksum; whoever reads meanwhile finds the old file or the new one.

    Args:
        place: descriptor of the folder.
        name: of the file.
        library: its content.

    Raises:
        OSError: where it cannot be written.
    """
    beginning = f".{name}."
    for left in os.listdir(place):
        if left.startswith(beginning):  # of a process that was killed
            os.unlink(left, dir_fd=place)
    unfinished = f"{beginning}{secrets.token_hex(8)}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=place)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(library + hashlib.sha256(library).digest())
            file.flush()
            os.fsync(descriptor)
        os.rename(unfinished, name, src_dir_fd=place, dst_dir_fd=place)
    except OSError:
        with suppress(OSError):
            os.unlink(unfinished, dir_fd=place)
        raise


@contextmanager
def alone(place: int) -> Iterator[None]:
    """Wait until no other process builds in a folder. The lock ends with the process that has it.

    Raises:
        CacheError: where another process has been building for too long.
    """
    until = time.monotonic() + LONGEST_WAIT
    while True:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                raise CacheError(f"another process has been building the kernel for {LONGEST_WAIT} s") from None
            time.sleep(LOOK_SECONDS)
        except OSError:  # a file system without locks: two processes may build the same, and either one is whole
            break
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(place, fcntl.LOCK_UN)
