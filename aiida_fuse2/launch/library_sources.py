"""Where structures for a library of prototypes come from: a group, an archive that is not imported, files."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.exceptions import AiidaException, CorruptStorage, IncompatibleStorageSchema, NotExistent
from aiida.tools.archive.abstract import ArchiveReaderAbstract, get_format

from aiida_fuse2.core.crystal.validity import Rejection
from aiida_fuse2.core.errors import BROKEN_ZIP, InputError, one_line, printable
from aiida_fuse2.core.prototypes.gathering import MAX_ATOMS_GIVEN, PARTIAL, UNREADABLE, Given
from aiida_fuse2.io.structures import digest_of, iter_structures
from aiida_fuse2.query.links import EARLIEST_FIRST
from aiida_fuse2.query.nodes import load_group

ARCHIVE_SUFFIX = ".aiida"
"""End of the names of archives."""

DATABASE = "db.sqlite3"
"""Name of the database in an archive."""

BATCH = 100
"""Number of nodes in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class LibrarySource:
    """Structures for a library of prototypes.

    Attributes:
        kind: ``group``, ``archive``, ``folder``, ``file`` or ``optimade``.
        where: label, path or address.
        sha256: SHA-256 of the file or files, or of the UUIDs of the structures of a group.
        number: number of structures; None if it is not known before they are read.
        structures: function that yields them.
        more: further plain values to store with the library.
    """

    kind: str
    where: str
    sha256: str
    number: int | None
    structures: Callable[[], Iterator[Given]]
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the library if the user gives none; that of no group or file."""
        return f"{self.kind} {Path(self.where).name if self.kind in {'archive', 'folder', 'file'} else self.where}"


def source_of(text: str, option: str) -> LibrarySource:
    """Return the structures that a user names: a file or a folder that exists, or a group.

    Args:
        text: path, or label, PK or UUID of a group.
        option: name of the option, for messages.

    Raises:
        InputError: if there are none.
    """
    path = Path(text)
    if text and exists(path):
        if not (path.is_file() or path.is_dir()):
            raise InputError(option, text, "is not a regular file")
        return _of_archive(path, option) if path.suffix.lower() == ARCHIVE_SUFFIX else _of_files(path, option)
    try:
        group = load_group(text)
    except (AiidaException, ValueError) as error:
        expected = "must be a library (`aiida-fuse2 prototypes list`), a group, or a file or folder of structures"
        raise InputError(option, text, f"{expected} ({one_line(error, 200)})") from error
    return _of_group(group, text, option)


def exists(path: Path) -> bool:
    """Return whether there is a file or a folder of this name."""
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds NUL
        return False


# --- groups and archives --------------------------------------------------------------------------


def _of_group(group: orm.Group, text: str, option: str) -> LibrarySource:
    def query(**options: Any) -> orm.QueryBuilder:
        builder = orm.QueryBuilder().append(orm.Group, filters={"id": group.pk}, tag="group")
        builder.append(orm.StructureData, with_group="group", tag="structure", **options)
        return builder.order_by({"structure": EARLIEST_FIRST})

    uuids = query(project="uuid").all(flat=True)
    if not uuids:
        raise InputError(option, text, "holds no structure")
    return LibrarySource(
        kind="group",
        where=group.label,
        sha256=hashlib.sha256("\n".join(sorted(uuids)).encode()).hexdigest(),
        number=len(uuids),
        structures=lambda: _of_nodes(query(project="*"), f"group {group.label!r}"),
    )


def _of_archive(path: Path, option: str) -> LibrarySource:
    with _opened(path, option) as reader:
        number = reader.querybuilder().append(orm.StructureData).count()
    if not number:
        raise InputError(option, str(path), "is an archive without a structure (StructureData)")

    def structures() -> Iterator[Given]:
        with _opened(path, option) as reader:
            builder = reader.querybuilder().append(orm.StructureData, tag="structure", project="*")
            yield from _of_nodes(builder.order_by({"structure": EARLIEST_FIRST}), f"archive {path.name!r}")

    return LibrarySource(kind="archive", where=str(path), sha256=digest_of(path), number=number, structures=structures)


@contextmanager
def _opened(path: Path, option: str) -> Iterator[ArchiveReaderAbstract]:
    """Yield an archive opened by AiiDA's reader: read-only, without a profile of its own, nothing is imported.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(DATABASE).file_size
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if size > free:
            raise InputError(option, str(path), f"its database takes {size} bytes, {free} are free for temporary files")
        with get_format().open(path, "r") as reader:
            yield reader
    except InputError:
        raise
    except IncompatibleStorageSchema as error:
        expected = f"is an archive of another version: `verdi archive migrate` makes one of this version ({error})"
        raise InputError(option, str(path), expected) from error
    except (CorruptStorage, NotExistent, KeyError, *BROKEN_ZIP) as error:
        raise InputError(option, str(path), f"is no archive of AiiDA, or a broken one ({one_line(error)})") from error
    except Exception as error:
        if type(error).__module__.startswith(("sqlalchemy", "sqlite3")):  # a broken database
            raise InputError(option, str(path), f"is a broken archive ({one_line(error, 200)})") from error
        raise


def _of_nodes(builder: orm.QueryBuilder, where: str) -> Iterator[Given]:
    """Yield the structures of a query, one batch of nodes after the other."""
    for (node,) in builder.iterall(batch_size=BATCH):
        label = f"{printable(node.label, 100)}, " if node.label else ""
        source = f"{label}structure {node.uuid} of {printable(where)}"
        yield _of_node(node, source)


def _of_node(node: orm.StructureData, source: str) -> Given:
    """Return a structure of the graph; what an archive holds may be broken in any way."""
    atoms, reason, detail = None, UNREADABLE, ""
    try:
        sites = len(node.base.attributes.get("sites"))
        if sites > MAX_ATOMS_GIVEN:
            reason, detail = Rejection.SIZE, f"has {sites} atoms; at most {MAX_ATOMS_GIVEN} are read"
        elif node.is_alloy or node.has_vacancies:
            reason, detail = PARTIAL, "has sites that are shared or not full"
        else:
            atoms = node.get_ase()
    except Exception as error:  # noqa: BLE001 - any content
        detail = f"cannot be read: {one_line(error, 200)}"
    return Given(key=node.uuid, source=source, atoms=atoms, reason=reason, detail=detail)


# --- files ----------------------------------------------------------------------------------------


def _of_files(path: Path, option: str) -> LibrarySource:
    try:
        digest, is_folder = digest_of(path), path.is_dir()
    except OSError as error:
        raise InputError(option, str(path), f"cannot be read: {one_line(error)}") from error
    return LibrarySource(
        kind="folder" if is_folder else "file",
        where=str(path),
        sha256=digest,
        number=None,
        structures=lambda: _read(path),
    )


def _read(path: Path) -> Iterator[Given]:
    for found in iter_structures([path]):
        name = found.path.name if found.index == 0 else f"{found.path.name}[{found.index}]"
        problem = found.problem or ""
        yield Given(
            key=name,
            source=f"file {printable(found.name)}",
            atoms=found.atoms,
            reason=PARTIAL if "occupanc" in problem else UNREADABLE,  # files tell their problems in words
            detail=problem,
        )
