"""The data of a report, queried from the graph."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from aiida import orm
from ase import Atoms

from aiida_fuse2 import query
from aiida_fuse2.core.crystal.symmetry import SymmetryError, standard_cell
from aiida_fuse2.core.crystal.uniqueness import displacement
from aiida_fuse2.core.errors import InputError, printable
from aiida_fuse2.core.relaxers.tiers import TIERS
from aiida_fuse2.core.search.evidence import evidence_of_rows
from aiida_fuse2.core.search.policy import BANDIT, KINDS, Learned
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.settings import CHGNET, SearchSettings
from aiida_fuse2.export.structures import cif_text, file_name, phase_names, phase_text
from aiida_fuse2.launch.targets import read_target
from aiida_fuse2.query import finishes, refinements
from aiida_fuse2.query.chain import GenerationRecord, segments
from aiida_fuse2.query.conclusion import conclusion
from aiida_fuse2.query.finishes import newest_finish, with_phases
from aiida_fuse2.query.links import EXPERIMENT
from aiida_fuse2.query.refinements import RefinementProgress
from aiida_fuse2.query.results import Results, kind_of, read_results, refined_searches
from aiida_fuse2.query.software import software
from aiida_fuse2.query.targets import find_in_search, search_targets, target_nodes
from aiida_fuse2.query.tiers import UsedTier, last_tier, tiers_of_search
from aiida_fuse2.tiers import energy_identity

from .comparison import SearchFigures, figures_of_rows
from .data import ReportData, ShownStructure, TierFigures, WalkerTrace, labels_to_draw, phase_name, tier_figures
from .patterns import WAVELENGTH, Pattern, read_pattern, simulate
from .similarity import MeasuredPattern

DIGEST_LENGTH = 8
"""Number of characters of a digest, or of a UUID, that distinguish potentials."""

ASE_CALCULATORS = "ase.calculators."
"""Start of the import paths of calculators that are named by their class alone."""

PATTERNS = 3
"""Largest number of phases whose powder patterns are drawn."""

STATUS_LENGTH = 300
"""Longest text on the status of a search, characters."""


def collect(
    node: orm.WorkChainNode,
    *,
    number: int,
    xrd: Sequence[Path] = (),
    wavelength: float | str = WAVELENGTH,
    targets: Sequence[Path] = (),
) -> ReportData:
    """Return the data of a report on a search or a refinement.

    Args:
        node: running or ended search or refinement.
        number: number of best structures that are drawn and can be downloaded as CIF.
        xrd: files of measured patterns; structures that are drawn are compared with the first.
        wavelength: of all patterns, Å, or the name of a radiation in pymatgen.
        targets: files of known structures, in addition to the targets of the search.

    Raises:
        InputError: if a file is wrong.
        NoSearchError: if the search of a refinement is not in this profile.
    """
    results = read_results(node)
    settings, ranked, is_refinement = results.settings, results.ranked, query.is_refinement(node)
    reached = refinements.progress(node.pk) if is_refinement else query.progress(node.pk)
    given = {printable(path.name): read_target(path, settings) for path in targets}
    measured = [read_pattern(path) for path in xrd]
    own = {} if is_refinement else {name: target.get_ase() for name, target in target_nodes(node.pk).items()}
    looked_for = own | given
    finish = None if is_refinement else newest_finish(node)
    answer = [] if finish is None else finishes.phases(finish)
    structures = _structures(results, number=number, targets=looked_for)
    structures |= _phases(answer, settings, targets=looked_for)
    symprec = settings.symmetry.report_symprec[1]
    made: dict[str, Any] = {"symprec": symprec, "wavelength": wavelength}
    patterns = _patterns(ranked, answer, structures, made)
    patterns += [simulate(atoms, f"target {name}", **made) for name, atoms in looked_for.items()]
    found = [] if is_refinement else search_targets(node)
    found += [find_in_search(node, name, atoms) for name, atoms in given.items()]
    return ReportData(
        formula=settings.unit.formula,
        kind=kind_of(node),
        pk=node.pk,
        uuid=node.uuid,
        status=_status(node, reached),
        has_failed=reached.has_failed,
        created=node.ctime.isoformat(timespec="seconds"),
        elapsed=reached.elapsed,
        origin=_origin(results),
        settings=node.inputs.settings.get_dict(),
        tiers=[(name, settings) for name, settings, _ in tiers_of_search(node.inputs)],
        software=software(node.pk),
        rows=with_phases(_with_uuids(results), finish),
        ranked=with_phases(_compared(ranked, structures, measured, wavelength), finish),
        walkers=_walkers(results.records),
        rejections=results.records[-1].state_values["rejections"] if results.records else {},
        structures=structures,
        patterns=[*patterns, *measured],
        radiation=wavelength if isinstance(wavelength, str) else f"{wavelength:g} Å",
        tier_figures=_tier_figures(node.inputs, results.records),
        targets=[asdict(target) for target in found],
        relaxed_to=query.relaxed_to(node),
        answer="" if finish is None else f"finish {finish.pk}, {finishes.program(finish)}",
        phases=answer,
        order=None if finish is None else finishes.order(finish),
        conclusion=[] if is_refinement else _conclusion(results),
        learned=_learned(results),
    )


def _with_uuids(results: Results) -> list[dict[str, Any]]:
    """Return the rows of all trials with the UUID of the structure of each, or None."""
    return [row | {"uuid": results.known.get(row["label"], {}).get("uuid")} for row in results.rows]


def _conclusion(results: Results) -> list[tuple[str, str]]:
    """Return the end of a search in words; while it runs only what it says about lower structures."""
    if results.node.is_terminated:
        return conclusion(results.node, results.ranked).lines
    text = evidence_of_rows(results.rows, results.settings).text()
    return [("so far", " ".join(text.splitlines()))] if text else []


def _learned(results: Results) -> list[tuple[str, str, float, float, float | None]]:
    """Return what the policy has learned; nothing if it does not learn."""
    if results.settings.policy != BANDIT or not results.records:
        return []
    arms = Learned.from_dict(results.records[-1].state_values["learned"]).arms
    return [
        (kind, name or "pool", arm.trials, arm.successes, arm.successes / arm.cost if arm.cost else None)
        for kind in KINDS
        for name, arm in sorted(arms.get(kind, {}).items(), key=lambda item: (len(item[0]), item[0]))
    ]


def _origin(results: Results) -> str:
    """Return what a search or a refinement began with, as text."""
    if not query.is_refinement(results.node):
        settings = results.settings
        return f"{settings.starts_text} starts, seed {settings.seed}, at most {settings.max_atoms} atoms"
    searches = refined_searches(results.node)
    named = ", ".join(str(search.pk) for search in searches)
    return f"Structures of search {named}, which had energies of {potential_name(last_tier(searches[0].inputs))}"


def _tier_figures(inputs: Mapping[str, Any], records: Sequence[GenerationRecord]) -> list[TierFigures]:
    """Return the figures of each tier of a search; empty if it has only one kind of relaxation.

    If a search continues from one with other tiers, the trials of those tiers are omitted.
    """
    names = [name for name, _, _ in tiers_of_search(inputs)]
    each = [row for record in records for row in record.columns.get(TIERS, ()) if row]
    passed = [row for row in each if [tier["name"] for tier in row] == names[: len(row)]]
    if len(names) == 1:
        return []
    return tier_figures(names, passed)


def _status(node: orm.WorkChainNode, reached: query.Progress | RefinementProgress) -> str:
    """Return the status of a search or a refinement, and what a search continues from, as text."""
    if not reached.is_terminated:
        text = f"running, {reached.phase}"
    elif reached.exit_status in {0, None}:
        text = reached.process_state
    else:
        text = f"{reached.process_state} with exit status {reached.exit_status}"
    if reached.is_terminated and reached.exit_message:
        text += f" ({printable(reached.exit_message.strip().splitlines()[-1], STATUS_LENGTH)})"
    if query.is_refinement(node):
        return text
    earlier = [str(segment.search) for segment in segments(node.pk)[:-1]]
    return text + (f", continues from search {', '.join(earlier)}" if earlier else "")


def _walkers(records: Sequence[GenerationRecord]) -> list[WalkerTrace]:
    """Return the history of each walker; one that was added later begins later."""
    states = [SearchState.from_dict(record.state_values) for record in records]
    count = max((len(state.walkers) for state in states), default=0)
    traces = []
    for index in range(count):
        present = [(state.tried, state.walkers[index]) for state in states if index < len(state.walkers)]
        traces.append(
            WalkerTrace(
                tried=[tried for tried, _ in present],
                energy=[walker.energy for _, walker in present],
                temperature=[walker.thermostat.temperature for _, walker in present],
            )
        )
    return traces


def _structures(results: Results, *, number: int, targets: Mapping[str, Atoms]) -> dict[str, ShownStructure]:
    """Return the structures that are drawn, by label; those missing in an archive are omitted."""
    rows, ranked, known = results.rows, results.ranked, results.known
    labels = [label for label in labels_to_draw(rows, ranked, number) if label in known]
    if not labels:
        return {}
    pks = [known[label]["pk"] for label in labels]
    builder = orm.QueryBuilder()
    builder.append(orm.StructureData, filters={"id": {"in": pks}}, project=["id", "*"])
    nodes = dict(builder.all())
    by_label = {row["label"]: {**row, "rank": 0} for row in rows if row["label"] in set(labels)}
    by_label |= {row["label"]: dict(row) for row in ranked[:number]}
    return {
        label: _shown(nodes[known[label]["pk"]].get_ase(), by_label[label], results.settings, targets=targets)
        for label in labels
    }


def _shown(
    atoms: Atoms, row: Mapping[str, Any], settings: SearchSettings, *, targets: Mapping[str, Atoms]
) -> ShownStructure:
    formula = settings.unit.formula if row["rank"] else f"{settings.unit.formula}_{row['label']}"
    symprec = settings.symmetry.report_symprec[1]
    symmetrised = _cif(atoms, symprec)
    rms = {name: displacement(atoms, target, stol=settings.target.stol) for name, target in targets.items()}
    return ShownStructure(
        label=row["label"],
        atoms=atoms,
        cif=_cif(atoms, None),
        cif_symmetrised=symmetrised,
        file_name=file_name(formula, row, "cif"),
        conventional=None if symmetrised is None else standard_cell(atoms, symprec).atoms,
        targets={name: value for name, value in rms.items() if value is not None},
    )


def _cif(atoms: Atoms, symprec: float | None) -> str | None:
    """Return the CIF of a structure, or None if the CIF would be another crystal."""
    try:
        return cif_text(atoms, symprec=symprec)
    except SymmetryError:
        return None


def _phases(
    answer: Sequence[Mapping[str, Any]], settings: SearchSettings, *, targets: Mapping[str, Atoms]
) -> dict[str, ShownStructure]:
    """Return the phases that are drawn, by label; those missing in an archive are omitted."""
    shown = {}
    for row, name in zip(answer, phase_names(answer, "cif"), strict=True):
        if row["uuid"] is None:
            continue
        atoms = orm.load_node(row["uuid"]).get_ase()
        try:
            cif = phase_text(row, "cif")
        except SymmetryError:
            cif = None
        rms = {target: displacement(atoms, known, stol=settings.target.stol) for target, known in targets.items()}
        shown[row["label"]] = ShownStructure(
            label=row["label"],
            atoms=atoms,
            cif=cif,
            cif_symmetrised=cif,
            file_name=name,
            conventional=atoms,
            targets={target: value for target, value in rms.items() if value is not None},
        )
    return shown


def _patterns(
    ranked: Sequence[Mapping[str, Any]],
    answer: Sequence[Mapping[str, Any]],
    structures: Mapping[str, ShownStructure],
    made: Mapping[str, Any],
) -> list[Pattern]:
    """Return the patterns of the lowest phases, as far as known; without an answer that of the best structure."""
    if answer:
        shown = [row for row in answer if row["label"] in structures][:PATTERNS]
        return [simulate(structures[row["label"]].atoms, phase_name(row), **made) for row in shown]
    best = structures.get(ranked[0]["label"]) if ranked else None
    return [] if best is None else [simulate(best.atoms, "best structure", **made)]


def _compared(
    ranked: Sequence[Mapping[str, Any]],
    structures: Mapping[str, ShownStructure],
    measured: Sequence[Pattern],
    wavelength: float | str,
) -> list[dict[str, Any]]:
    """Return rows, those of structures that are drawn with their match to the first measured pattern."""
    rows = [dict(row) for row in ranked]
    try:
        pattern = MeasuredPattern(measured[0], wavelength) if measured else None
    except InputError:  # a few points, which are drawn all the same
        return rows
    for row in rows:
        if pattern is not None and row["label"] in structures:
            row["pattern"] = asdict(pattern.match(structures[row["label"]].atoms))
    return rows


def search_figures(node: orm.WorkChainNode) -> SearchFigures:
    """Return the costs and results of a search or a refinement, for a comparison.

    Args:
        node: running or ended search or refinement.

    Raises:
        NoSearchError: if the search of a refinement is not in this profile.
    """
    results = read_results(node)
    settings = results.settings
    *before, last = tiers_of_search(node.inputs)
    starts, is_refinement = settings.starts_text, query.is_refinement(node)
    if is_refinement:
        starts += f", refined from {potential_name(last_tier(refined_searches(node)[0].inputs))}"
    return figures_of_rows(
        results.rows,
        pk=node.pk,
        kind=kind_of(node),
        formula=settings.unit.formula,
        starts=starts,
        potential=potential_name(last),
        tiers_before=tuple(potential_name(tier) for tier in before),
        seed=None if is_refinement else settings.seed,
        name=node.inputs[EXPERIMENT].value if EXPERIMENT in node.inputs else "",
    )


def second_figures(figures: SearchFigures, finish: orm.WorkChainNode | None) -> SearchFigures | None:
    """Return the figures of a search with potential and lowest energy of the second potential of its answer.

    None unless that one orders the answer.

    Args:
        figures: those of the search.
        finish: its answer, or None.
    """
    found = None if finish is None else finishes.lowest_of_second(finish)
    if found is None:
        return None
    tier, energy = found
    return replace(figures, potential=potential_name(tier), energy=energy)


def potential_name(tier: UsedTier) -> str:
    """Return the name of the potential of a tier; tiers with the same name have comparable energies.

    Args:
        tier: name, settings and library of the tier.
    """
    name, _, library = tier
    identity = energy_identity(*tier)
    pressure = f", {identity['pressure']:g} GPa" if identity.get("pressure") else ""
    if "calculator" not in identity:  # too many settings to name
        rest = {key: value for key, value in identity.items() if key != "pressure"}
        digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
        return f"{name} {digest[:DIGEST_LENGTH]}{pressure}"
    calculator = str(identity["calculator"])
    weights = identity.get("weights")
    if weights is not None:  # a potential by name
        known = [weights["version"] or "unknown version", (weights["sha256"] or "unknown weights")[:DIGEST_LENGTH]]
        return f"{identity['model']} {' '.join(known)}{pressure}"
    if calculator.startswith(ASE_CALCULATORS):  # other packages may have classes of the same name
        calculator = calculator.rpartition(".")[2]
    version = f" {identity['model']}" if calculator == CHGNET else ""
    arguments = f" {json.dumps(identity['arguments'], sort_keys=True)}" if identity.get("arguments") else ""
    of_library = "" if library is None else f" {library.uuid[:DIGEST_LENGTH]}"
    return f"{calculator}{version}{arguments}{of_library}{pressure}"
