"""The data of a report, queried from the graph."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiida import orm
from ase import Atoms

from aiida_fuse2 import query
from aiida_fuse2.calculations.conversions import history_rows, rank
from aiida_fuse2.core.crystal.symmetry import SymmetryError
from aiida_fuse2.core.crystal.uniqueness import displacement
from aiida_fuse2.core.errors import printable
from aiida_fuse2.core.relaxers.tiers import TIERS
from aiida_fuse2.core.search.evidence import evidence_of_rows
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.settings import CHGNET, SearchSettings
from aiida_fuse2.export.structures import cif_text, file_name
from aiida_fuse2.launch.targets import read_target
from aiida_fuse2.query.chain import GenerationRecord, generation_records, segments
from aiida_fuse2.query.links import EXPERIMENT
from aiida_fuse2.query.software import software
from aiida_fuse2.query.structures import explored_structures
from aiida_fuse2.query.targets import find_in_search, search_targets, target_nodes
from aiida_fuse2.query.tiers import UsedTier, tiers_of_search
from aiida_fuse2.tiers import energy_identity

from .comparison import SearchFigures, figures_of_rows
from .data import ReportData, ShownStructure, TierFigures, WalkerTrace, labels_to_draw, tier_figures
from .patterns import Pattern, read_pattern, simulate

DIGEST_LENGTH = 8
"""Number of characters of a digest, or of a UUID, that distinguish potentials."""

ASE_CALCULATORS = "ase.calculators."
"""Start of the import paths of calculators that are named by their class alone."""

STATUS_LENGTH = 300
"""Longest text on the status of a search, characters."""


def collect(
    search: orm.WorkChainNode, *, number: int, xrd: Sequence[Path] = (), targets: Sequence[Path] = ()
) -> ReportData:
    """Return the data of a report on a search.

    Args:
        search: running or ended search.
        number: number of best structures that are drawn and can be downloaded as CIF.
        xrd: files of measured patterns.
        targets: files of known structures, in addition to the targets of the search.

    Raises:
        InputError: if a file is wrong.
    """
    settings = query.search_settings(search)
    reached = query.progress(search.pk)
    given = {printable(path.name): read_target(path, settings) for path in targets}
    measured = [read_pattern(path) for path in xrd]
    records = generation_records(search.pk)
    rows = history_rows(record.columns for record in records)
    known = explored_structures(search.pk)
    ranked = [row | known.get(row["label"], {"pk": None, "uuid": None}) for row in rank(rows, settings.unit)]
    looked_for = {name: node.get_ase() for name, node in target_nodes(search.pk).items()} | given
    structures = _structures(rows, ranked, known, settings, number=number, targets=looked_for)
    symprec = settings.symmetry.report_symprec[1]
    patterns = _patterns(ranked, structures, symprec)
    patterns += [simulate(atoms, f"target {name}", symprec=symprec) for name, atoms in looked_for.items()]
    found = search_targets(search) + [find_in_search(search, name, atoms) for name, atoms in given.items()]
    return ReportData(
        formula=settings.unit.formula,
        pk=search.pk,
        uuid=search.uuid,
        status=_status(search, reached),
        has_failed=reached.has_failed,
        created=search.ctime.isoformat(timespec="seconds"),
        elapsed=reached.elapsed,
        starts=settings.starts_text,
        settings=search.inputs.settings.get_dict(),
        tiers=[(name, settings) for name, settings, _ in tiers_of_search(search.inputs)],
        software=software(search.pk),
        rows=rows,
        ranked=ranked,
        walkers=_walkers(records),
        rejections=records[-1].state_values["rejections"] if records else {},
        structures=structures,
        patterns=[*patterns, *measured],
        tier_figures=_tier_figures(search.inputs, records),
        targets=[asdict(target) for target in found],
        relaxed_to=query.relaxed_to(search),
        evidence=evidence_of_rows(rows, settings).text().splitlines(),
    )


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


def _status(search: orm.WorkChainNode, reached: query.Progress) -> str:
    """Return the status of a search, and what it continues from, as text."""
    if not reached.is_terminated:
        text = f"running, {reached.phase}"
    elif reached.exit_status in {0, None}:
        text = reached.process_state
    else:
        text = f"{reached.process_state} with exit status {reached.exit_status}"
    if reached.is_terminated and reached.exit_message:
        text += f" ({printable(reached.exit_message.strip().splitlines()[-1], STATUS_LENGTH)})"
    earlier = [str(segment.search) for segment in segments(search.pk)[:-1]]
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


def _structures(
    rows: Sequence[Mapping[str, Any]],
    ranked: Sequence[Mapping[str, Any]],
    known: Mapping[str, Mapping[str, Any]],
    settings: SearchSettings,
    *,
    number: int,
    targets: Mapping[str, Atoms],
) -> dict[str, ShownStructure]:
    """Return the structures that are drawn, by label; those missing in an archive are omitted."""
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
        label: _shown(nodes[known[label]["pk"]].get_ase(), by_label[label], settings, targets=targets)
        for label in labels
    }


def _shown(
    atoms: Atoms, row: Mapping[str, Any], settings: SearchSettings, *, targets: Mapping[str, Atoms]
) -> ShownStructure:
    formula = settings.unit.formula if row["rank"] else f"{settings.unit.formula}_{row['label']}"
    rms = {name: displacement(atoms, target, stol=settings.target.stol) for name, target in targets.items()}
    return ShownStructure(
        label=row["label"],
        atoms=atoms,
        cif=_cif(atoms, None),
        cif_symmetrised=_cif(atoms, settings.symmetry.report_symprec[1]),
        file_name=file_name(formula, row, "cif"),
        targets={name: value for name, value in rms.items() if value is not None},
    )


def _cif(atoms: Atoms, symprec: float | None) -> str | None:
    """Return the CIF of a structure, or None if the CIF would be another crystal."""
    try:
        return cif_text(atoms, symprec=symprec)
    except SymmetryError:
        return None


def _patterns(
    ranked: Sequence[Mapping[str, Any]], structures: Mapping[str, ShownStructure], symprec: float
) -> list[Pattern]:
    """Return the pattern of the best structure, if it is known."""
    best = structures.get(ranked[0]["label"]) if ranked else None
    return [] if best is None else [simulate(best.atoms, "best structure", symprec=symprec)]


def search_figures(search: orm.WorkChainNode) -> SearchFigures:
    """Return the costs and results of a search, for a comparison.

    Args:
        search: running or ended search.
    """
    settings = query.search_settings(search)
    *before, last = tiers_of_search(search.inputs)
    return figures_of_rows(
        history_rows(record.columns for record in generation_records(search.pk)),
        pk=search.pk,
        formula=settings.unit.formula,
        starts=settings.starts_text,
        potential=potential_name(last),
        tiers_before=tuple(potential_name(tier) for tier in before),
        seed=settings.seed,
        name=search.inputs[EXPERIMENT].value if EXPERIMENT in search.inputs else "",
    )


def potential_name(tier: UsedTier) -> str:
    """Return the name of the potential of a tier; tiers with the same name have comparable energies.

    Args:
        tier: name, settings and library of the tier.
    """
    name, settings, library = tier
    pressure = f", {settings['pressure']:g} GPa" if settings.get("pressure") else ""
    if "calculator" not in settings:  # too many settings to name
        identity = {key: value for key, value in energy_identity(*tier).items() if key != "pressure"}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return f"{name} {digest[:DIGEST_LENGTH]}{pressure}"
    calculator = str(settings["calculator"])
    if calculator.startswith(ASE_CALCULATORS):  # other packages may have classes of the same name
        calculator = calculator.rpartition(".")[2]
    version = f" {settings.get('model')}" if calculator == CHGNET else ""
    arguments = f" {json.dumps(settings['arguments'], sort_keys=True)}" if settings.get("arguments") else ""
    of_library = "" if library is None else f" {library.uuid[:DIGEST_LENGTH]}"
    return f"{calculator}{version}{arguments}{of_library}{pressure}"
