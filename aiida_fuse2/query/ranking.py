"""The unique structures that searches found, or refinements relaxed, lowest energy first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from aiida import orm
from aiida.common.exceptions import NotExistent

from aiida_fuse2.core.answer.candidates import worth_finishing
from aiida_fuse2.core.answer.settings import AnswerSettings
from aiida_fuse2.core.crystal.uniqueness import match_reduced, reduce_structure
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.search.runs import Key, merge_ranked
from aiida_fuse2.tiers import energy_identity

from .loading import is_runs, single_searches
from .refinements import is_refinement
from .results import Results, read_results
from .tiers import last_tier

if TYPE_CHECKING:
    from pymatgen.core import Structure


def ranked(search: orm.WorkChainNode) -> list[dict[str, Any]]:
    """Return the unique structures of a search or a refinement, lowest energy first.

    Args:
        search: search or refinement, running or ended; a refinement has none before its end.

    Returns:
        The rows of ``conversions.rank`` with the primary key (``pk``) and ``uuid`` of each structure. Those of a
        refinement also have ``search``, ``pk_before`` and ``uuid_before``: the search of the structure, and the
        structure there, whose label is ``parent``.

    Raises:
        NoSearchError: if the search of a refinement is not in this profile.
    """
    return read_results(search).ranked


def combined(searches: Sequence[orm.WorkChainNode], n: int | None = None) -> list[dict[str, Any]]:
    """Return the unique structures of several searches and refinements, lowest energy first.

    Structures of two searches are equal if their energies lie within the energy window of the first search
    and its matcher finds them equal. Only structures that have to be compared are loaded.

    Args:
        searches: running or ended searches, or refinements, for one composition and with one potential.
        n: number of structures to return; all if None.

    Returns:
        The rows of ``ranked``; ``core.runs.merge_ranked`` adds values on the runs that found each structure. A run
        is the index of a search in ``searches``.

    Raises:
        InputError: if their energies cannot be compared.
        NoSearchError: if the search of a refinement is not in this profile.
    """
    found = [read_results(search) for search in searches]
    if not found:
        return []
    _check_comparable(found)
    uniqueness = found[0].settings.uniqueness
    return merge_ranked(
        [results.ranked for results in found],
        lambda key: found[key[0]].fingerprint(key[1]),
        _comparison([results.known for results in found], uniqueness.stol),
        window=uniqueness.energy_window,
        limit=n,
    )


def best_of(node: orm.WorkChainNode, n: int) -> list[dict[str, Any]]:
    """Return the ``n`` best unique structures of a search, of all runs of one, or of a refinement.

    Args:
        node: search, several runs of one, or refinement.
        n: number of structures.
    """
    return combined(single_searches(node), n) if is_runs(node) else ranked(node)[:n]


def to_finish(rows: Sequence[Mapping[str, Any]], number: int, settings: AnswerSettings) -> list[dict[str, Any]]:
    """Return the rows whose structures are finished; see ``worth_finishing``.

    Args:
        rows: rows of ``combined``, lowest energy first; their structures are in this profile.
        number: largest number of rows before those of other known types are added.
        settings: settings of the answer.
    """
    return worth_finishing(rows, lambda row: orm.load_node(row["uuid"]).get_ase(), number, settings)


def _check_comparable(found: Sequence[Results]) -> None:
    """Check that the energies of searches and refinements can be compared with those of the first."""
    first = found[0]
    name = "refinement" if is_refinement(first.node) else "search"
    for other in found[1:]:
        formula = other.settings.unit.formula
        if formula != first.settings.unit.formula:
            expected = f"{name} {first.node.pk} is one for {first.settings.unit.formula}"
            raise InputError("composition", formula, expected)
        changed = energy_difference(first.node.inputs, other.node.inputs)
        if changed is not None:
            key, value, own = changed
            expected = f"{name} {first.node.pk} has {value!r}: energies cannot be compared"
            raise InputError(f"tiers.{key}", own, expected)


def _comparison(known: Sequence[Mapping[str, Mapping[str, Any]]], stol: float) -> Callable[[Key, Key], bool]:
    """Return the function that compares two structures of runs; each is loaded and reduced once."""

    @cache
    def reduced(key: Key) -> Structure:
        return reduce_structure(orm.load_node(known[key[0]][key[1]]["pk"]).get_ase())

    def same(a: Key, b: Key) -> bool:
        if not all(label in known[run] for run, label in (a, b)):
            return False  # missing in an imported archive
        return match_reduced(reduced(a), reduced(b), stol=stol)

    return same


def has_same_energies(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return whether energies of two searches can be compared; not if inputs are missing, as in an archive.

    Args:
        first: inputs of a search, a refinement or a finish.
        second: inputs of another one.
    """
    try:
        return energy_difference(first, second) is None
    except (KeyError, AttributeError, ValueError, NotExistent):
        return False


def energy_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return name and both values of the first input that makes energies of two searches incomparable, or None.

    Args:
        first: inputs of a search, a refinement or a finish.
        second: inputs of another one.
    """
    a, b = (energy_identity(*last_tier(inputs)) for inputs in (first, second))
    changed = next((name for name in {**a, **b} if a.get(name) != b.get(name)), None)
    return None if changed is None else (changed, a.get(changed), b.get(changed))
