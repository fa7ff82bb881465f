"""Structures that a search starts from, in files or in a group of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiida import orm
from aiida.common.exceptions import AiidaException
from aiida.engine import ProcessBuilder
from ase import Atoms

from aiida_fuse2.calculations.conversions import POOL_FILE, provided_pool
from aiida_fuse2.core.errors import InputError, RefusedInputsError, one_line, printable
from aiida_fuse2.core.settings import SearchSettings
from aiida_fuse2.io.structures import read_structures, warn_of
from aiida_fuse2.query.links import EARLIEST_FIRST
from aiida_fuse2.query.nodes import load_group

SKIPPED_IN_ERROR = 3
"""Number of structures named in the message if none can be used."""


def structures_of_group(label: str) -> list[orm.StructureData]:
    """Return the structures of a group, by label, primary key or UUID, in the order in which they were stored.

    Raises:
        InputError: if there is no such group, or it holds no structure.
    """
    try:
        group = load_group(label)
    except (AiidaException, ValueError) as error:
        raise InputError("--group", label, f"cannot be loaded ({error})") from error
    builder = orm.QueryBuilder().append(orm.Group, filters={"id": group.pk}, tag="group")
    builder.append(orm.StructureData, with_group="group", tag="structure").order_by({"structure": EARLIEST_FIRST})
    found: list[orm.StructureData] = builder.all(flat=True)
    if not found:
        raise InputError("--group", label, "holds no structure")
    return found


@dataclass(frozen=True)
class Starts:
    """Named starting structures, and those that could not be read.

    Attributes:
        structures: names and structures.
        problems: names of the others, with the reasons.
    """

    structures: list[tuple[str, Atoms]]
    problems: list[tuple[str, str]]

    @classmethod
    def from_paths(cls, paths: Sequence[Path]) -> Starts:
        """Read them from files and directories, each named by its path; warns how some were understood."""
        structures, problems = [], []
        read = read_structures(paths)
        warn_of(read)
        for found in read:
            if found.atoms is None:
                problems.append((found.name, str(found.problem)))
            else:
                structures.append((found.name, found.atoms))
        return cls(structures, problems)

    @classmethod
    def from_nodes(cls, nodes: Sequence[orm.StructureData]) -> Starts:
        """Take them from the graph, each named by its primary key."""
        structures, problems = [], []
        for node in nodes:
            try:
                structures.append((name_of(node), node.get_ase()))
            except ValueError as error:  # sites that are shared or not full
                problems.append((name_of(node), one_line(error)))
        return cls(structures, problems)


def name_of(node: orm.StructureData) -> str:
    """Return the name of a structure of the graph in messages."""
    return f"structure {node.pk}"


def add_starts(
    builder: ProcessBuilder, settings: SearchSettings, starts: Starts
) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Add the structures that fit as the pool; return their number, and why others were skipped."""
    if not starts.structures and not starts.problems:
        return 0, ()
    text, kept, skipped = _screen(settings, starts)
    builder.pool = orm.SinglefileData.from_string(text, filename=POOL_FILE)
    return kept, skipped


def screen_starts(settings: SearchSettings, paths: Sequence[Path]) -> tuple[str, int, tuple[tuple[str, str], ...]]:
    """Read structures from files and keep those that fit a search.

    Args:
        settings: settings of the search.
        paths: files or directories, best first.

    Returns:
        The structures that fit as extended XYZ, their number, and the reasons why others do not fit, by name.

    Raises:
        RefusedInputsError: if none fits.
    """
    return _screen(settings, Starts.from_paths(paths))


def _screen(settings: SearchSettings, starts: Starts) -> tuple[str, int, tuple[tuple[str, str], ...]]:
    text, summary = provided_pool(settings, starts.structures)
    skipped = (*starts.problems, *((name, reason) for name, reason in summary["rejected"]))
    kept = int(summary["kept"])
    if not kept:
        shown = "; ".join(f"{printable(name)}: {reason}" for name, reason in skipped[:SKIPPED_IN_ERROR])
        many = len(skipped) > 1
        tried = f"none of {len(skipped)} starting structures can" if many else "the starting structure cannot"
        raise RefusedInputsError(f"{tried} be used for {settings.unit.formula}: {shown}")
    return text, kept, skipped
