"""Trials that equal a structure relaxed before: the result of their relaxation is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.uniqueness import (
    FINGERPRINT_TOLERANCE,
    UniqueIndex,
    decode_fingerprint,
    fingerprint,
    fingerprint_distance,
)
from aiida_fuse2.core.moves import find_move
from aiida_fuse2.core.relaxers.failures import CONVERGED

from .deciding import Comparison, KnownStructure
from .trials import RATTLE, Trial

MAX_KNOWN_CANDIDATES = 2
"""Largest number of relaxed structures that a trial is compared with."""


@dataclass(frozen=True)
class _Entry:
    known: KnownStructure
    fingerprint: NDArray[np.float64]


class RelaxedIndex:
    """The unique structures of a search that a trial may be equal to, by fingerprint.

    One that was relaxed only with the symmetry of its start is omitted: it may lie on a saddle point, from
    which a rattled trial would relax further.
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._held: set[str] = set()
        self._vectors: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def add_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add the structures of a record that a trial may be equal to."""
        for row in rows:
            representative = row["duplicate_of"] or row["label"]
            if row["status"] == CONVERGED and not row["symmetric_start"] and representative not in self._held:
                known = KnownStructure(representative, row["energy"])
                self._entries.append(_Entry(known, decode_fingerprint(row["fingerprint"])))
                self._held.add(representative)
                self._vectors = None

    def near(self, vector: NDArray[np.float64]) -> list[KnownStructure]:
        """Return the structures whose fingerprints are near one, shape (36,), nearest first."""
        if not self._entries:
            return []
        if self._vectors is None:
            self._vectors = np.array([entry.fingerprint for entry in self._entries])
        distances = fingerprint_distance(self._vectors, vector)
        order = np.argsort(distances, kind="stable")[:MAX_KNOWN_CANDIDATES]
        return [self._entries[i].known for i in order if distances[i] <= FINGERPRINT_TOLERANCE]


class ExploredIndex:
    """The indices of the explored structures of a search.

    Attributes:
        unique: index of the structures that a relaxed structure may equal.
        relaxed: index of the structures that a trial may equal before it is relaxed.
    """

    def __init__(self) -> None:
        self.unique = UniqueIndex()
        self.relaxed = RelaxedIndex()

    def add_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the structures of a record."""
        self.relaxed.add_rows(rows)
        for row in rows:
            if row["status"] == CONVERGED and not row["duplicate_of"]:
                self.unique.add(row["label"], row["energy"], decode_fingerprint(row["fingerprint"]))


def known_candidates(trials: Sequence[Trial], index: RelaxedIndex) -> dict[str, list[KnownStructure]]:
    """Return for each trial, by label, the relaxed structures that it may be equal to, if there are any.

    Rattled copies are omitted, and repeats in a multiple cell: they equal the structure that they were made from, and
    may relax to a lower one because they were rattled, or because of their larger cell.
    """
    if not len(index):
        return {}
    found = {t.info.label: index.near(fingerprint(t.atoms)) for t in trials if not _is_meant_to_be_equal(t)}
    return {label: near for label, near in found.items() if near}


def _is_meant_to_be_equal(trial: Trial) -> bool:
    move = find_move(trial.info.move)
    return trial.info.origin == RATTLE or (move is not None and move.keeps_lattice)


def recognise(candidates: Mapping[str, Sequence[KnownStructure]], same: Comparison) -> dict[str, KnownStructure]:
    """Return the trials that equal a relaxed structure, by label.

    Args:
        candidates: from ``known_candidates``.
        same: returns whether a trial equals a relaxed structure, by label.
    """
    found = {}
    for label, near in candidates.items():
        equal = next((known for known in near if same(label, known.label)), None)
        if equal is not None:
            found[label] = equal
    return found
