"""Known structures that a search is to find, and whether it found them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiida import orm
from ase import Atoms

from aiida_fuse2 import query
from aiida_fuse2.calculations.conversions import explored_of_records
from aiida_fuse2.core.answer.second import SECOND
from aiida_fuse2.core.crystal.symmetry import find_symmetry
from aiida_fuse2.core.errors import ReasonedError
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.search.state import FoundTarget
from aiida_fuse2.core.search.targets import TARGET_PREFIX, TargetFinder

from .chain import GenerationRecord, generation_records
from .finishes import newest_finish, order, phases
from .links import NEWEST_FIRST, STRUCTURE_LINK, TARGETS_LINK
from .results import Results, read_results
from .structures import explored_structures, given_targets


def find_earlier(search: int, targets: Mapping[str, str], stol: float) -> dict[str, FoundTarget]:
    """Return the targets that equal a structure of the earlier searches of a continuing one, by name.

    Args:
        search: primary key of the continuing search.
        targets: UUIDs by name.
        stol: see ``TargetFinder``.
    """
    if not targets:
        return {}
    known = explored_structures(search)
    explored = explored_of_records(record.columns for record in generation_records(search))

    def geometry(label: str) -> Any:
        return orm.load_node(known[label]["pk"]).get_ase()

    loaded = {name: orm.load_node(uuid).get_ase() for name, uuid in targets.items()}
    return TargetFinder(loaded, geometry, stol).add_found(
        {},
        (structure for structure in explored if structure.label in known),  # an archive may lack some
    )


def group_text(row: Mapping[str, Any]) -> str:
    """Return the space group of a row of results at the loose tolerance, as symbol and number."""
    return f"{row.get('spacegroup_symbol_loose') or '?'} ({row.get('spacegroup_loose') or '?'})"


def found_text(name: str, found: FoundTarget, group: str, known: Mapping[str, Any] | None, best: float | None) -> str:
    """Return a text on a target that was found.

    Args:
        name: name of the target.
        found: the structure that equals it.
        group: space group of that structure.
        known: row of results of the target as it was relaxed, or None.
        best: lowest energy of the search, eV/atom, or None.
    """
    parts = [f"target {name} found: structure {found.structure_number} ({found.label}), rms {found.rms:.3f} Å"]
    parts.append(f"{found.energy:.4f} eV/atom")
    if known is not None:
        parts.append(f"{1000 * (found.energy - known['energy']):+.1f} meV/atom from the target's own")
    if best is not None:
        parts.append(f"{1000 * (found.energy - best):+.1f} meV/atom from the lowest")
    parts.append(f"space group {group}" + ("" if known is None else f", target's {group_text(known)}"))
    return "; ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A known structure, and the structure of a search that equals it.

    Attributes:
        name: name of the target.
        pk: primary key of the structure as it was given; None if it comes from a file and is not in the graph.
        energy: energy of the structure as the search's potential relaxes it, eV/atom; None if it was not relaxed.
        spacegroup: number at the loose tolerance, relaxed if it could be; None if there is none.
        spacegroup_symbol: its symbol, or empty.
        found: label of the first explored structure that equals it, or None.
        found_pk: primary key of this structure.
        structure_number: number of structures tried until it was found.
        generation: generation in which it was found; None in a refinement.
        rms: root-mean-square displacement of the atoms between the two, Å.
        found_energy: energy of the structure that was found, eV/atom.
        found_spacegroup: number at the loose tolerance.
        found_spacegroup_symbol: its symbol.
        delta_target: energy of the structure that was found above that of the target, eV/atom.
        delta_best: energy of the structure that was found above the lowest of the search, eV/atom.
        above_best: energy of the target itself above the lowest of the search, eV/atom; None if it was not relaxed.
        second: name of the second potential, if it orders the answer of the search; else empty.
        second_energy: energy of the target as that one relaxes it, eV/atom, or None.
        second_above: that energy above the lowest phase of the answer, eV/atom, or None.
        second_phase: rank of the phase that the target is there, or None.
    """

    name: str
    pk: int | None
    energy: float | None = None
    spacegroup: int | None = None
    spacegroup_symbol: str = ""
    found: str | None = None
    found_pk: int | None = None
    structure_number: int | None = None
    generation: int | None = None
    rms: float | None = None
    found_energy: float | None = None
    found_spacegroup: int | None = None
    found_spacegroup_symbol: str = ""
    delta_target: float | None = None
    delta_best: float | None = None
    above_best: float | None = None
    second: str = ""
    second_energy: float | None = None
    second_above: float | None = None
    second_phase: int | None = None

    @property
    def above(self) -> float | None:
        """Energy of the target above the lowest, eV/atom, under the potential that orders the answer."""
        return self.second_above if self.second else self.above_best

    @property
    def second_text(self) -> str:
        """The target under the second potential, as the end of a sentence; empty unless that orders the answer."""
        if not self.second:
            return ""
        if self.second_energy is None or self.second_above is None:
            return f"; could not be relaxed with {self.second}"
        phase = "" if self.second_phase is None else f"phase {self.second_phase}, "
        above = f"{round(1000 * self.second_above, 1) + 0.0:+.1f} meV/atom from the lowest phase"  # no -0.0
        return f"; under {self.second} {phase}{self.second_energy:.4f} eV/atom, {above}"


def target_nodes(search: int) -> dict[str, orm.StructureData]:
    """Return the targets of a search in the geometries used for comparison: relaxed if possible.

    Args:
        search: primary key of the search.
    """
    given = {name: node for name, (node,) in _given(search, project=["*"]).items()}
    return {**given, **{name: node for name, node in _relaxed(search).items() if name in given}}


def search_targets(search: orm.WorkChainNode) -> list[Target]:
    """Return the targets of a search with their values, by name.

    Args:
        search: running or ended search.
    """
    given = _given(search.pk, project=["id"])
    if not given:
        return []
    results = read_results(search)
    state = query.present_state(search.pk)
    found = {} if state is None else state.targets
    rows, symprec = _rows_of_targets(search.pk), results.settings.symmetry.report_symprec[1]
    lowest = None if state is None or state.best is None else state.best.energy
    under_second = _under_second(search)
    targets = []
    for name, (pk,) in given.items():
        row = rows.get(TARGET_PREFIX + name, {})
        is_relaxed = row.get("status") == CONVERGED
        own = row if is_relaxed else space_group_values(orm.load_node(pk).get_ase(), symprec)
        target = Target(
            name=name,
            pk=pk,
            energy=row["energy"] if is_relaxed else None,
            above_best=row["energy"] - lowest if is_relaxed and lowest is not None else None,
            spacegroup=own["spacegroup_loose"],
            spacegroup_symbol=own["spacegroup_symbol_loose"] or "",
            **({} if name not in found else _found_values(found[name], results, lowest)),
            **under_second.get(name, {}),
        )
        targets.append(with_difference(target))
    return targets


def _under_second(search: orm.WorkChainNode) -> dict[str, dict[str, Any]]:
    """Return the values of targets under the second potential, by name; none unless it orders the answer."""
    finish = newest_finish(search)
    ordered = None if finish is None else order(finish)
    if finish is None or ordered is None or ordered.by != SECOND:
        return {}
    ranks = {row["label"]: row["rank"] for row in phases(finish)}
    return {
        name: {
            "second": ordered.second,
            "second_energy": target.get("energy"),
            "second_above": target.get("delta"),
            "second_phase": ranks.get(target.get("phase")),
        }
        for name, target in ordered.targets.items()
    }


def find_in_search(node: orm.WorkChainNode, name: str, atoms: Atoms) -> Target:
    """Return a target for a structure that need not be among the targets of the search.

    The explored structures of the search, or those of the refinement, are compared with it as given.

    Args:
        node: running or ended search or refinement.
        name: name of the structure, for people.
        atoms: the structure.
    """
    results = read_results(node)
    settings, known, explored = results.settings, results.known, results.explored

    def geometry(label: str) -> Atoms:
        return orm.load_node(known[label]["pk"]).get_ase()

    found = TargetFinder({name: atoms}, geometry, settings.target.stol).first(name, explored)
    lowest = min((structure.energy for structure in explored), default=None)
    own = space_group_values(atoms, settings.symmetry.report_symprec[1])
    return Target(
        name=name,
        pk=None,
        spacegroup=own["spacegroup_loose"],
        spacegroup_symbol=own["spacegroup_symbol_loose"],
        **({} if found is None else _found_values(found, results, lowest)),
    )


def with_difference(target: Target) -> Target:
    """Return a target with the difference of its energy to that of the structure that equals it."""
    if target.energy is None or target.found_energy is None:
        return target
    return Target(**{**vars(target), "delta_target": target.found_energy - target.energy})


def marked_rows(ranked: Sequence[Mapping[str, Any]], targets: Sequence[Target], search: int) -> list[dict[str, Any]]:
    """Return the rows of a ranking with ``targets``, the names of the targets that each equals.

    Args:
        ranked: result of ``query.ranked``: of structures that equal each other, the lowest.
        targets: targets of the search.
        search: primary key of the search.
    """
    found = {target.name: target.found for target in targets if target.found is not None}
    first = _first_equals(generation_records(search)) if found else {}
    marks: dict[str | None, list[str]] = {}
    for name, label in found.items():
        marks.setdefault(first.get(label), []).append(name)
    return [{**row, "targets": marks.get(first.get(row["label"]), [])} for row in ranked]


def _first_equals(records: Sequence[GenerationRecord]) -> dict[str, str]:
    """Return the first structure that equals each one, by label."""
    return {
        label: duplicate or label
        for record in records
        for label, duplicate in zip(record.columns["label"], record.columns["duplicate_of"], strict=True)
    }


def _found_values(found: FoundTarget, results: Results, lowest: float | None) -> dict[str, Any]:
    row: Mapping[str, Any] = next((row for row in results.rows if row["label"] == found.label), {})
    return {
        "found": found.label,
        "found_pk": results.known.get(found.label, {}).get("pk"),
        "structure_number": found.structure_number,
        "generation": row.get("generation"),
        "rms": found.rms,
        "found_energy": found.energy,
        "found_spacegroup": row.get("spacegroup_loose"),
        "found_spacegroup_symbol": row.get("spacegroup_symbol_loose") or "",
        "delta_best": None if lowest is None else found.energy - lowest,
    }


def space_group_values(atoms: Atoms, symprec: float) -> dict[str, Any]:
    """Return the space group of a structure in the form of rows of results.

    Args:
        atoms: the structure.
        symprec: tolerance, Å.
    """
    try:
        found = find_symmetry(atoms, symprec)
    except ReasonedError:
        return {"spacegroup_loose": None, "spacegroup_symbol_loose": ""}
    return {"spacegroup_loose": found.number, "spacegroup_symbol_loose": found.symbol}


def _given(search: int, *, project: Sequence[str]) -> dict[str, list[Any]]:
    """Return projections of the targets that a search was given, by name."""
    return {name: values for name, *values in given_targets(search, project=project)}


def _relaxed(search: int) -> dict[str, orm.StructureData]:
    """Return the targets that a search has relaxed, by name."""
    builder = _target_job(search)
    edge = {"label": {"like": f"{STRUCTURE_LINK}{TARGET_PREFIX}%"}}
    builder.append(orm.StructureData, with_incoming="job", edge_filters=edge, edge_project="label", project="*")
    start = STRUCTURE_LINK + TARGET_PREFIX
    newest_last = reversed(builder.all())
    return {label.removeprefix(start): node for node, label in newest_last}


def _rows_of_targets(search: int) -> dict[str, dict[str, Any]]:
    """Return the results of relaxing the targets of a search, by label; empty before they were relaxed."""
    builder = _target_job(search)
    builder.append(orm.Dict, with_incoming="job", edge_filters={"label": "results"}, project="attributes.by_label")
    found: dict[str, dict[str, Any]] | None = builder.first(flat=True)
    return found or {}


def _target_job(search: int) -> orm.QueryBuilder:
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
    builder.append(orm.ProcessNode, with_incoming="search", edge_filters={"label": TARGETS_LINK}, tag="job")
    return builder.order_by({"job": NEWEST_FIRST})
