"""The unique structures that searches found, lowest energy first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from aiida import orm
from numpy.typing import NDArray

from aiida_fuse2.calculations.conversions import history_rows, rank
from aiida_fuse2.core.crystal.uniqueness import decode_fingerprint, match_reduced, reduce_structure
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.search.runs import Key, merge_ranked
from aiida_fuse2.core.settings import SearchSettings
from aiida_fuse2.tiers import energy_identity

from .chain import GenerationRecord, generation_records
from .loading import search_settings
from .structures import explored_structures
from .tiers import last_tier

if TYPE_CHECKING:
    from pymatgen.core import Structure


def ranked(search: orm.WorkChainNode) -> list[dict[str, Any]]:
    """Return the unique explored structures of a search, lowest energy first.

    Args:
        search: running or ended search.

    Returns:
        The rows of ``conversions.rank`` with the primary key (``pk``) and ``uuid`` of each structure.
    """
    rows = rank(history_rows(record.columns for record in generation_records(search.pk)), search_settings(search).unit)
    known = explored_structures(search.pk)
    return [{**row, **known.get(row["label"], {"pk": None, "uuid": None})} for row in rows]


def combined(searches: Sequence[orm.WorkChainNode], n: int | None = None) -> list[dict[str, Any]]:
    """Return the unique explored structures of several searches, lowest energy first.

    Structures of two searches are equal if their energies lie within the energy window of the first search
    and its matcher finds them equal. Only structures that have to be compared are loaded.

    Args:
        searches: running or ended searches for one composition and with one potential.
        n: number of structures to return; all if None.

    Returns:
        The rows of ``ranked``; ``core.runs.merge_ranked`` adds values on the runs that found each structure. A run
        is the index of a search in ``searches``.

    Raises:
        InputError: if the energies of the searches cannot be compared.
    """
    if not searches:
        return []
    settings = _comparable_settings(searches)
    records = [generation_records(search.pk) for search in searches]
    known = [explored_structures(search.pk) for search in searches]
    rows = merge_ranked(
        [rank(history_rows(record.columns for record in chain), settings.unit) for chain in records],
        _fingerprints(records),
        _comparison(known, settings.uniqueness.stol),
        window=settings.uniqueness.energy_window,
        limit=n,
    )
    return [{**row, **known[row["run"]].get(row["label"], {"pk": None, "uuid": None})} for row in rows]


def _comparable_settings(searches: Sequence[orm.WorkChainNode]) -> SearchSettings:
    """Return the settings of the first search, if its energies can be compared with those of the others."""
    settings = search_settings(searches[0])
    for search in searches[1:]:
        formula = search_settings(search).unit.formula
        if formula != settings.unit.formula:
            raise InputError("composition", formula, f"search {searches[0].pk} is one for {settings.unit.formula}")
        changed = energy_difference(searches[0].inputs, search.inputs)
        if changed is not None:
            name, first, own = changed
            expected = f"search {searches[0].pk} has {first!r}: energies cannot be compared"
            raise InputError(f"tiers.{name}", own, expected)
    return settings


def _fingerprints(records: Sequence[Sequence[GenerationRecord]]) -> Callable[[Key], NDArray[Any]]:
    """Return the function that reads the fingerprint of a structure from the records of its run."""
    texts = [
        dict(
            pair
            for record in chain
            for pair in zip(record.columns["label"], record.columns["fingerprint"], strict=True)
        )
        for chain in records
    ]
    return lambda key: decode_fingerprint(texts[key[0]][key[1]])


def _comparison(known: Sequence[dict[str, dict[str, Any]]], stol: float) -> Callable[[Key, Key], bool]:
    """Return the function that compares two structures of runs; each is loaded and reduced once."""

    @cache
    def reduced(key: Key) -> Structure:
        return reduce_structure(orm.load_node(known[key[0]][key[1]]["pk"]).get_ase())

    def same(a: Key, b: Key) -> bool:
        if not all(label in known[run] for run, label in (a, b)):
            return False  # missing in an imported archive
        return match_reduced(reduced(a), reduced(b), stol=stol)

    return same


def energy_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return name and both values of the first input that makes energies of two searches incomparable, or None.

    Args:
        first: inputs of a search.
        second: inputs of another search.
    """
    a, b = (energy_identity(*last_tier(inputs)) for inputs in (first, second))
    changed = next((name for name in {**a, **b} if a.get(name) != b.get(name)), None)
    return None if changed is None else (changed, a.get(changed), b.get(changed))
