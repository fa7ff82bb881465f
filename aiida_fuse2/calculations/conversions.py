"""Conversions between nodes and the plain values of the core, for the calcfunctions and the readers of records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from aiida import orm
from ase import Atoms

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.crystal.protostructure import protostructure_label
from aiida_fuse2.core.crystal.uniqueness import decode_fingerprint, fingerprint, match_reduced, reduce_structure
from aiida_fuse2.core.crystal.validity import check_validity
from aiida_fuse2.core.generators.provided import screen_provided
from aiida_fuse2.core.prototypes.library import Prototype
from aiida_fuse2.core.prototypes.naming import TypeIndex
from aiida_fuse2.core.relaxers.driver import DESCRIBED
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.relaxers.tiers import TIERS, tier_columns
from aiida_fuse2.core.search.deciding import Comparison, KnownStructure, Relaxation
from aiida_fuse2.core.search.pool import ORIGIN, POOL_NUMBER, PoolReader
from aiida_fuse2.core.search.proposing import Proposal
from aiida_fuse2.core.search.recognition import recognise
from aiida_fuse2.core.search.state import FoundTarget, SearchState
from aiida_fuse2.core.search.targets import TARGET_PREFIX, ExploredStructure, TargetFinder
from aiida_fuse2.core.search.trials import TrialInfo, move_of
from aiida_fuse2.core.settings import SearchSettings
from aiida_fuse2.io.names import POOL_FILE
from aiida_fuse2.io.trials import from_extxyz, to_extxyz, trials_from_text, trials_to_text

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = [
    "POOL_FILE",
    "Generation",
    "candidates_from_node",
    "candidates_to_dict",
    "columns_to_rows",
    "confirmed_targets",
    "explored_of_records",
    "history_rows",
    "known_from_node",
    "known_to_dict",
    "merged_pool",
    "namer",
    "pool_number",
    "pool_of_proposal",
    "pool_reader",
    "proposal_to_dict",
    "proposal_to_text",
    "provided_pool",
    "rank",
    "recognised",
    "rows_to_array",
    "rows_to_columns",
]

LOST = "job_ended_early"
"""Reason of a trial for which its job wrote no result."""

PROVIDED = "provided"
"""Origin of structures that the user provides."""

RESULTS_PREFIX = "results_"
RELAXED_PREFIX = "relaxed_"

NOT_SHOWN = frozenset({"fingerprint", "detail", TIERS})
"""Columns of a record that the history omits; it has the results of each tier as separate columns."""

RANKED_COLUMNS = (
    "label",
    *DESCRIBED,
    "protostructure",
    "type",
    "prototype",
    "origin",
    "move",
    "generation",
    "walker",
    "parent",
)


# --- proposing --------------------------------------------------------------------------------------


def pool_reader(settings: SearchSettings, state: SearchState, node: orm.SinglefileData | None) -> PoolReader | None:
    """Return the reader that draws from a pool node at the position of a state."""
    if node is None:
        return None
    return PoolReader(
        settings.unit,
        lambda: from_extxyz(node.get_content()),
        dict(state.pool_positions),
        state.pool_number,
        settings.seed,
    )


def numbers_of_atoms(structures: Mapping[str, orm.StructureData]) -> dict[str, int]:
    """Return the numbers of atoms of structures, by label."""
    return {label: len(node.base.attributes.get("sites")) for label, node in structures.items()}


def proposal_to_text(proposal: Proposal) -> str:
    """Return the trials of a proposal as extended XYZ."""
    return trials_to_text(proposal.trials)


def proposal_to_dict(proposal: Proposal, before: SearchState) -> dict[str, Any]:
    """Return labels of the trials, counts and pool positions of a proposal as plain values."""
    pool = proposal.pool
    remaining = 0 if pool is None else pool.remaining  # this reads a new pool
    return {
        "labels": [trial.info.label for trial in proposal.trials],
        "cut": proposal.cut,
        "rejections": dict(sorted(proposal.rejections.items())),
        "pool_number": before.pool_number if pool is None else pool.number,
        "pool_positions": {} if pool is None else {str(z): n for z, n in sorted(pool.positions.items())},
        "pool_remaining": remaining,
    }


def pool_of_proposal(values: Mapping[str, Any]) -> tuple[int, dict[int, int], int]:
    """Return number, positions by Z and remainder of the pool after a proposal."""
    positions = {int(z): int(n) for z, n in values["pool_positions"].items()}
    return int(values["pool_number"]), positions, int(values["pool_remaining"])


def provided_pool(settings: SearchSettings, structures: Sequence[tuple[str, Atoms]]) -> tuple[str, dict[str, Any]]:
    """Return the user's structures that fit a search as a pool, and a summary of the others.

    Args:
        settings: settings of the search.
        structures: name (of a file, or a key) and structure, best first.
    """
    unit, radii = settings.unit, settings.resolved_radii

    def refusal(atoms: Atoms) -> str | None:
        reason = check_validity(atoms, unit=unit, radii=radii, max_atoms=settings.max_atoms, settings=settings.validity)
        return None if reason is None else str(reason)

    screened = screen_provided(
        [atoms for _, atoms in structures], unit=unit, max_atoms=settings.max_atoms, check=refusal
    )
    text = to_extxyz(
        (atoms, {ORIGIN: PROVIDED, POOL_NUMBER: 0, "rank": rank}) for rank, atoms in enumerate(screened.kept)
    )
    rejected = [[structures[index][0], str(reason)] for index, reason in screened.rejected]
    return text, {"starts": {PROVIDED: 1.0}, "kept": len(screened.kept), "rejected": rejected}


def misfit(settings: SearchSettings, atoms: Atoms) -> str | None:
    """Return why a search cannot start from a structure or find it, as ``provided_pool`` does; None if it can.

    Args:
        settings: of the search.
        atoms: the structure, in any cell.
    """
    rejected = provided_pool(settings, [("", atoms)])[1]["rejected"]
    return str(rejected[0][1]) if rejected else None


def pool_number(node: orm.SinglefileData) -> int:
    """Return the number of a pool: how many pools the search had before."""
    with node.open(mode="r") as handle:
        head = [handle.readline() for _ in range(2)]
    found = re.search(rf"\b{POOL_NUMBER}=(\d+)", head[1])
    return int(found[1]) if found else 0


def merged_pool(reader: PoolReader | None, added: orm.SinglefileData, number: int) -> tuple[str, int]:
    """Return a pool of added structures, followed by the rest of the current one, and its size.

    Args:
        reader: reader of the current pool, or None.
        added: structures as extended XYZ, best first.
        number: number of the new pool.
    """
    left = [] if reader is None else reader.left()
    frames = [
        (atoms, {ORIGIN: atoms.info.get(ORIGIN, PROVIDED), POOL_NUMBER: number, "rank": rank})
        for rank, atoms in enumerate([*from_extxyz(added.get_content()), *left])
    ]
    return to_extxyz(frames), len(frames)


# --- recognising ------------------------------------------------------------------------------------


def known_to_dict(found: Mapping[str, KnownStructure]) -> dict[str, Any]:
    """Return the structures that trials equal as plain values."""
    return {"by_label": {label: [known.label, known.energy] for label, known in found.items()}}


def candidates_to_dict(near: Mapping[str, Sequence[KnownStructure]]) -> dict[str, Any]:
    """Return the structures that trials may be equal to as plain values."""
    return {"by_label": {label: [[known.label, known.energy] for known in found] for label, found in near.items()}}


def candidates_from_node(node: orm.Dict) -> dict[str, list[KnownStructure]]:
    """Return the structures that trials may be equal to, by label of the trial."""
    return {label: [KnownStructure(*pair) for pair in pairs] for label, pairs in node["by_label"].items()}


def known_from_node(node: orm.Dict | None) -> dict[str, KnownStructure]:
    """Return the structures that trials equal, by label of the trial."""
    return {} if node is None else {label: KnownStructure(*pair) for label, pair in node["by_label"].items()}


def recognised(
    trials: orm.SinglefileData,
    candidates: Mapping[str, Sequence[KnownStructure]],
    structures: Mapping[str, orm.StructureData],
    stol: float,
) -> dict[str, KnownStructure]:
    """Return the trials that equal a relaxed structure, by label.

    Args:
        trials: trials of the generation.
        candidates: structures that each may equal, by label of the trial.
        structures: structures by label.
        stol: see ``match_structures``.
    """
    geometries = {trial.info.label: trial.atoms for trial in trials_from_text(trials.get_content())}
    geometries |= {label: node.get_ase() for label, node in structures.items()}
    return recognise(candidates, _comparison(geometries, stol))


# --- deciding ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Generation:
    """The relaxed trials of a generation, read from nodes.

    Attributes:
        trials: in the order they were proposed.
        n_atoms: number of atoms of each trial, by label.
        relaxations: by label; a trial without a result has failed.
        geometries: relaxed structures, those they may equal, and targets, by label.
        candidates: for each label, the earlier structures that it may equal.
    """

    trials: list[TrialInfo]
    n_atoms: dict[str, int]
    relaxations: dict[str, Relaxation]
    geometries: dict[str, Atoms]
    candidates: dict[str, list[str]]

    @classmethod
    def from_nodes(
        cls, trials: orm.SinglefileData, candidates: orm.Dict | None, others: Mapping[str, orm.Data]
    ) -> Self:
        """Read the inputs of ``decide``."""
        proposed = trials_from_text(trials.get_content())
        infos = [trial.info for trial in proposed]
        n_atoms = {trial.info.label: len(trial.atoms) for trial in proposed}
        results: dict[str, dict[str, Any]] = {}
        geometries: dict[str, Atoms] = {}
        for name, node in sorted(others.items()):
            if name.startswith(RESULTS_PREFIX):
                results |= node["by_label"]
            elif name.startswith(RELAXED_PREFIX):
                geometries |= {str(f.info["label"]): f for f in from_extxyz(node.get_content())}
            else:
                geometries[name] = node.get_ase()
        relaxations = {info.label: _relaxation(results.get(info.label)) for info in infos}
        return cls(infos, n_atoms, relaxations, geometries, {} if candidates is None else candidates["by_label"])

    def comparison(self, stol: float) -> Comparison:
        """Return the function that compares two structures by label."""
        return _comparison(self.geometries, stol)

    def target_finder(self, stol: float) -> TargetFinder | None:
        """Return the finder of targets among the relaxed structures, or None if all targets are found."""
        targets = targets_of(self.geometries)
        return TargetFinder(targets, self.geometries.__getitem__, stol) if targets else None


def namer(
    structures: Mapping[str, Atoms], library: Sequence[Prototype] | None, symprec: float
) -> Callable[[str], dict[str, str]]:
    """Return the function that names a structure by its label: its protostructure, and with a library its type.

    Args:
        structures: relaxed structures by label.
        library: prototypes, or None.
        symprec: tolerance for the protostructure, Å.
    """
    index = None if library is None else TypeIndex(library)

    def names(label: str) -> dict[str, str]:
        atoms = structures[label]
        found = {"protostructure": protostructure_label(atoms, symprec) or ""}
        return found if index is None else found | {"type": index.name(atoms).text}

    return names


def targets_of(structures: Mapping[str, Atoms]) -> dict[str, Atoms]:
    """Return the targets among structures, by name."""
    return {
        label.removeprefix(TARGET_PREFIX): atoms
        for label, atoms in structures.items()
        if label.startswith(TARGET_PREFIX)
    }


def confirmed_targets(
    matches: Mapping[str, Sequence[Any]], structures: Mapping[str, orm.StructureData], stol: float
) -> dict[str, FoundTarget]:
    """Return the targets that equal an earlier structure, by name.

    Args:
        matches: label, number and energy (eV/atom) of the structure, by name of the target.
        structures: these structures and the targets.
        stol: see ``TargetFinder``.
    """
    geometries = {label: node.get_ase() for label, node in structures.items()}
    targets = targets_of(geometries)
    finder = TargetFinder(targets, geometries.__getitem__, stol)
    found = {}
    for name, (label, number, energy) in sorted(matches.items()):
        vector = fingerprint(targets[name])  # the target's own: the fingerprints of `matches` were compared before
        match = finder.first(name, [ExploredStructure(label, number, energy, vector)])
        if match is not None:
            found[name] = match
    return found


def explored_of_records(records: Iterable[Mapping[str, Sequence[Any]]]) -> list[ExploredStructure]:
    """Return the explored structures of the records of successive generations, in the order they were tried."""
    rows = [row for columns in records for row in columns_to_rows(columns)]
    return [
        ExploredStructure(row["label"], number, row["energy"], decode_fingerprint(row["fingerprint"]))
        for number, row in enumerate(rows, start=1)
        if row["status"] == CONVERGED and row["fingerprint"]
    ]


def _comparison(geometries: Mapping[str, Atoms], stol: float) -> Comparison:
    """Return the function that compares two structures by label; each is reduced once."""

    @cache
    def reduced(label: str) -> Structure:
        return reduce_structure(geometries[label])

    return lambda a, b: match_reduced(reduced(a), reduced(b), stol=stol)


def _relaxation(row: dict[str, Any] | None) -> Relaxation:
    if row is None:
        return Relaxation(LOST, {}, None)
    values = {key: value for key, value in row.items() if key not in {"status", "fingerprint"}}
    vector = row.get("fingerprint")
    return Relaxation(row["status"], values, None if vector is None else decode_fingerprint(vector))


# --- records ----------------------------------------------------------------------------------------


def rows_to_columns(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return rows as columns of equal length; a value that a row does not have is None."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    return {name: [row.get(name) for row in rows.values()] for name in names}


def columns_to_rows(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the rows of columns."""
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def history_rows(records: Iterable[Mapping[str, Sequence[Any]]]) -> list[dict[str, Any]]:
    """Return one row per trial of the records of successive generations, numbered from 1.

    ``best_energy`` is the lowest energy (eV/atom) of the search up to and including the row.
    """
    rows: list[dict[str, Any]] = []
    best: float | None = None
    for columns in records:
        for row in columns_to_rows(columns):
            if row["status"] == CONVERGED:
                best = row["energy"] if best is None else min(best, row["energy"])
            shown = {key: value for key, value in row.items() if key not in NOT_SHOWN} | {"move": move_of(row["move"])}
            rows.append({"number": len(rows) + 1, **shown, **tier_columns(row), "best_energy": best})
    return rows


def _energy_then_label(row: Mapping[str, Any]) -> tuple[float, str]:
    return row["energy"], row["label"]


def rank(rows: Iterable[dict[str, Any]], unit: FormulaUnit) -> list[dict[str, Any]]:
    """Return the unique explored structures, lowest energy first; of equal ones that of lowest energy.

    Args:
        rows: rows of the history.
        unit: the composition.

    Returns:
        For each its energy (eV/atom), ``delta`` (eV/atom above the lowest), space groups at both
        tolerances, atoms, ``z``, volume (Å³), origin, and ``found``: number of structures that equal it,
        itself included.
    """
    equal: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["status"] == CONVERGED:
            equal.setdefault(row["duplicate_of"] or row["label"], []).append(row)
    unique = sorted(
        (min(group, key=_energy_then_label) | {"found": len(group)} for group in equal.values()), key=_energy_then_label
    )
    return [
        {
            "rank": number,
            **{name: row[name] for name in RANKED_COLUMNS if name in row},
            "delta": row["energy"] - unique[0]["energy"],
            "z": row["n_atoms"] // unit.n_atoms,
            "found": row["found"],
        }
        for number, row in enumerate(unique, start=1)
    ]


def rows_to_array(rows: Sequence[Mapping[str, Any]]) -> orm.ArrayData:
    """Return rows as an ArrayData with one array per column; a missing number is NaN, a missing text empty."""
    node = orm.ArrayData()
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        values = [row.get(name) for row in rows]
        if any(isinstance(value, str) for value in values):
            column = np.array(["" if value is None else str(value) for value in values])
        elif any(value is None or isinstance(value, float) for value in values):
            column = np.array([np.nan if value is None else value for value in values], dtype=float)
        else:
            column = np.array(values)
        node.set_array(name, column)
    return node
