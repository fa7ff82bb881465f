"""Reads libraries of pair potentials from a file, a folder or a zip: a folder for each pair with a ``.POT`` file.

The pair of a file is read from its content; names of folders are not trusted. A zip is never unpacked: its files
are read in memory, up to limits that do not depend on the sizes that its entries claim.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from aiida_fuse2.core.errors import BROKEN_ZIP, InputError, one_line, printable
from aiida_fuse2.core.potentials.pair import PairLibrary, merge_libraries, read_library

WHERE = "potential"
"""Name of the input in messages."""

SUFFIXES = (".pot", ".lib")
"""Endings of the file names of libraries, in lower case."""

MAX_FILES = 20_000
"""Largest number of files of a folder or a zip: a hundred elements make 5050 pairs."""

MAX_FILE_BYTES = 5_000_000
"""Largest library of one file: a table of a hundred thousand points."""

MAX_TOTAL_BYTES = 200_000_000
"""Largest total size that is read from a folder or a zip."""

MAX_DEPTH = 5
"""Largest depth of nested folders."""


def read_potentials(path: Path) -> PairLibrary:
    """Return the library of a file, a folder or a zip.

    Raises:
        InputError: if there is none, it is not understood, pairs contradict each other, or the zip is hostile.
    """
    texts = dict(_texts(path))
    if not texts:
        raise InputError(WHERE, str(path), f"holds no file that ends with {' or '.join(SUFFIXES)}")
    libraries = {name: read_library(text, where=f"{WHERE} {printable(name)}") for name, text in texts.items()}
    return merge_libraries(libraries, where=WHERE)


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of each library."""
    try:
        if path.is_dir():
            yield from _texts_of_folder(path)
        elif not path.is_file():
            what = "is neither a file nor a folder" if path.exists() else "there is no such file or folder"
            raise InputError(WHERE, str(path), what)
        elif zipfile.is_zipfile(path):
            yield from _texts_of_zip(path)
        elif path.suffix.lower() in SUFFIXES:
            with path.open("rb") as stream:
                yield path.name, _decoded(path.name, stream.read(MAX_FILE_BYTES + 1))
        else:
            expected = f"must be a folder, a zip, or a file that ends with {' or '.join(SUFFIXES)}"
            raise InputError(WHERE, str(path), expected)
    except OSError as error:
        raise InputError(WHERE, str(path), f"cannot be read ({one_line(error)})") from error


def _decoded(name: str, content: bytes) -> str:
    """Return the text of a file of bounded size."""
    if len(content) > MAX_FILE_BYTES:
        raise InputError(WHERE, name, f"is larger than {MAX_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(WHERE, name, "is not a text") from None


def _is_library(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and "__MACOSX" not in path.parts


class _Budget:
    """Counts files and bytes, and refuses more than the limits."""

    def __init__(self, path: Path) -> None:
        self._path, self._files, self._bytes = path, 0, 0

    def count(self, size: int) -> None:
        """Count a file that was read."""
        self._files += 1
        self._bytes += size
        if self._files > MAX_FILES or self._bytes > MAX_TOTAL_BYTES:
            expected = f"holds more than {MAX_FILES} files or {MAX_TOTAL_BYTES // 10**6} MB of libraries"
            raise InputError(WHERE, str(self._path), expected)


def _texts_of_folder(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the libraries below a folder by name; links to folders are not followed."""
    budget = _Budget(path)
    for root, folders, names in os.walk(path):
        folders.sort()
        if len(Path(root).relative_to(path).parts) >= MAX_DEPTH:
            folders.clear()
        for name in sorted(filter(_is_library, names)):
            file = Path(root) / name
            if not file.is_file():  # reading a pipe or a device may never end
                continue
            with file.open("rb") as stream:
                content = stream.read(MAX_FILE_BYTES + 1)
            budget.count(len(content))
            shown = str(file.relative_to(path))
            yield shown, _decoded(shown, content)


def _texts_of_zip(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the libraries of a zip by name."""
    budget = _Budget(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > 2 * MAX_FILES:
                raise InputError(WHERE, str(path), f"holds {len(entries)} entries; at most {2 * MAX_FILES} are read")
            for entry in sorted(entries, key=lambda found: found.filename):
                _check_entry(path, entry)
                if entry.is_dir() or not _is_library(entry.filename):
                    continue
                with archive.open(entry) as stream:  # the size that an entry claims is not trusted
                    content = stream.read(MAX_FILE_BYTES + 1)
                budget.count(len(content))
                yield entry.filename, _decoded(entry.filename, content)
    except BROKEN_ZIP as error:
        raise InputError(WHERE, str(path), f"is a zip that cannot be read ({one_line(error)})") from error


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    """Refuse an entry that would leave the folder of the zip, or is encrypted or a link.

    Nothing is unpacked, so such a name would do no harm, but it shows a bad intention.
    """
    parts = PurePosixPath(entry.filename.replace("\\", "/"))
    leaves = parts.is_absolute() or ".." in parts.parts or ":" in entry.filename
    is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
    if leaves or is_link:
        what = "is a link" if is_link else "points outside of the zip"
        raise InputError(WHERE, str(path), f"its entry {printable(entry.filename, 60)} {what}")
    if entry.flag_bits & 0x1:
        raise InputError(WHERE, str(path), "is encrypted")
