"""Archives of searches to be published with a paper."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiida
import yaml
from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.tools.archive.create import EXPORT_LOGGER, create_archive

from aiida_fuse2 import __version__, query
from aiida_fuse2.core.answer.second import Order, energies_under
from aiida_fuse2.core.errors import Fuse2Error
from aiida_fuse2.core.settings import CHGNET as CHGNET_NAME
from aiida_fuse2.environment.prototypes import citation_of
from aiida_fuse2.environment.software import engine_software
from aiida_fuse2.query import finishes
from aiida_fuse2.query.chain import segments
from aiida_fuse2.query.finishes import newest_finish, with_phases
from aiida_fuse2.query.links import GROUP_PREFIX
from aiida_fuse2.query.loading import PROCESS_TYPE
from aiida_fuse2.query.orphans import ENDED
from aiida_fuse2.query.ranking import best_of
from aiida_fuse2.query.results import kind_of, read_results, refined_searches, settings_of
from aiida_fuse2.query.tiers import UsedTier, ranking_of_search, second_of_search, tiers_of_search

from .citations import citations

BEST_SUFFIX = "/best"
"""End of the label of the group of the best structures of a search."""

GROUP_SIZE = 20
"""Number of structures in the group of the best if the whole search is exported."""

SHOWN_PROCESSES = 5
"""Largest number of processes that a message names."""


class NotExportableError(Fuse2Error):
    """The search cannot be exported as it is; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Files of an export.

    Attributes:
        archive: archive of AiiDA.
        readme: description in Markdown.
        optimade: configuration of optimade-maker for the group of the best structures.
        group: label of that group.
    """

    archive: Path
    readme: Path
    optimade: Path
    group: str


def paths_of(archive: Path) -> tuple[Path, Path, Path]:
    """Return the files that an export writes: archive, description, configuration for OPTIMADE."""
    return archive, archive.with_suffix(".README.md"), archive.with_suffix(".optimade.yaml")


def processes_below(pks: Iterable[int]) -> list[dict[str, Any]]:
    """Return all processes that some processes have called, directly or through others.

    Links are followed once, wherever they lead.

    Args:
        pks: primary keys of the callers, which are omitted themselves.

    Returns:
        ``pk``, ``process_type``, ``process_state`` and ``sealed`` of each; one query per level.
    """
    found: list[dict[str, Any]] = []
    level = list(pks)
    seen = set(level)
    names = ("pk", "process_type", "process_state", "sealed")
    while level:
        builder = orm.QueryBuilder().append(orm.ProcessNode, filters={"id": {"in": level}}, tag="caller")
        project = ["id", "process_type", "attributes.process_state", "attributes.sealed"]
        builder.append(orm.ProcessNode, with_incoming="caller", project=project, tag="called")
        rows = [dict(zip(names, row, strict=True)) for row in builder.all()]
        fresh = {row["pk"]: row for row in rows if row["pk"] not in seen}
        found += fresh.values()
        seen |= fresh.keys()
        level = list(fresh)
    return found


def check_exportable(node: orm.WorkChainNode) -> list[dict[str, Any]]:
    """Return the processes below a search, or runs of one, all of which have ended and are sealed.

    Raises:
        NotExportableError: if one is not; the message has the commands that seal it.
    """
    chain = _chain(node)
    for pk in chain:
        state = orm.load_node(pk).process_state
        if state is None or state.value not in ENDED:
            raise NotExportableError(
                f"{kind_of(orm.load_node(pk))} {pk} has not ended; wait for it, or end it with `{_end(pk)}` and export "
                "it then"
            )
    below = processes_below(chain)
    loose = sorted(row["pk"] for row in below if not row["sealed"])
    loose += [pk for pk in chain if not orm.load_node(pk).is_sealed]
    if loose:
        named = ", ".join(str(pk) for pk in loose[:SHOWN_PROCESSES]) + (", ..." if len(loose) > SHOWN_PROCESSES else "")
        raise NotExportableError(
            f"processes without an end were left behind by a kill: {named}; seal them with `aiida-fuse2 doctor --mend` "
            "and export again. If they are still named then, `verdi daemon stop; verdi process repair; verdi daemon "
            "start` lets the daemon end them"
        )
    return below


def _end(pk: int) -> str:
    """Return the command that ends a search or a refinement."""
    return f"verdi process kill {pk}" if query.is_refinement(orm.load_node(pk)) else f"aiida-fuse2 stop {pk}"


def _chain(node: orm.WorkChainNode) -> list[int]:
    """Return the primary keys of a node, of its runs or refined searches, and of those that these continue from."""
    chains = [segment.search for search in _searches(node) for segment in segments(search.pk)]
    return list(dict.fromkeys([node.pk, *chains]))


def _searches(node: orm.WorkChainNode) -> list[orm.WorkChainNode]:
    """Return the searches of a node: itself, its runs, or those whose structures a refinement has."""
    return refined_searches(node) if query.is_refinement(node) else query.single_searches(node)


def export(node: orm.WorkChainNode, archive: Path, *, best: int | None = None, overwrite: bool = False) -> Exported:
    """Write a search, all runs of one, or a refinement with its searches, as an archive with a description.

    Its best structures are put into the group ``fuse2/UUID/best``, which goes into the archive too.

    Args:
        node: search, runs or refinement, ended.
        archive: file to be written; its folder must exist.
        best: number of best structures to export, with everything that led to them. By default everything that
            the search, or the refinement and its searches, have made.
        overwrite: whether existing files are replaced.

    Raises:
        NotExportableError: if processes have not ended, or nothing was found.
    """
    check_exportable(node)
    ranked = best_of(node, best or GROUP_SIZE)
    known = [row for row in ranked if row["pk"] is not None]
    if not known:
        raise NotExportableError(f"{kind_of(node)} {node.pk} has no structure; there is nothing to export")
    group = _group_of_best(node, [row["pk"] for row in known])
    archive, readme, optimade = paths_of(archive)
    _write_archive(node, group, archive, only_best=best is not None, overwrite=overwrite)
    readme.write_text(_readme(node, ranked=known, archive=archive, group=group, best=best), encoding="utf-8")
    optimade.write_text(_optimade(node, archive, group), encoding="utf-8")
    return Exported(archive=archive, readme=readme, optimade=optimade, group=group.label)


def _write_archive(
    node: orm.WorkChainNode, group: orm.Group, archive: Path, *, only_best: bool, overwrite: bool
) -> None:
    level = EXPORT_LOGGER.level
    EXPORT_LOGGER.setLevel(logging.WARNING)  # its summary is not for users of this command
    try:
        if only_best:  # the searches would include everything that they have called
            rules = {"call_calc_backward": False, "call_work_backward": False}
            create_archive([group], filename=archive, overwrite=overwrite, **rules)
        else:
            finish = newest_finish(node)
            found = [] if finish is None else [finish]
            create_archive([node, group, *found, *_groups(node)], filename=archive, overwrite=overwrite)
    finally:
        EXPORT_LOGGER.setLevel(level)


def _group_of_best(node: orm.WorkChainNode, pks: Sequence[int]) -> orm.Group:
    """Return the group of the best structures with exactly these structures."""
    group, _ = orm.Group.collection.get_or_create(f"{GROUP_PREFIX}{node.uuid}{BEST_SUFFIX}")
    group.clear()
    group.add_nodes([orm.load_node(pk) for pk in pks])
    group.description = f"The best structures of {kind_of(node)} {node.uuid}, each once"
    return group


def _groups(node: orm.WorkChainNode) -> list[orm.Group]:
    """Return the groups that searches have made for themselves."""
    uuids = [orm.load_node(pk).uuid for pk in _chain(node)]
    conditions: list[dict[str, Any]] = [{"label": {"like": f"{GROUP_PREFIX}{uuid}%"}} for uuid in uuids]
    builder = orm.QueryBuilder().append(orm.Group, filters={"or": conditions}, project="*")
    return [group for group in builder.all(flat=True) if not group.label.endswith(BEST_SUFFIX)]


def _readme(
    node: orm.WorkChainNode,
    *,
    ranked: Sequence[Mapping[str, Any]],
    archive: Path,
    group: orm.Group,
    best: int | None,
) -> str:
    searches = _searches(node)
    settings = query.search_settings(searches[0])
    tiers = tiers_of_search(searches[0].inputs)
    finish = newest_finish(node)
    count = f"{len(searches)} searches" if query.is_refinement(node) else f"{len(searches)} runs of the search"
    content = _WHOLE if best is None else _BEST_ONLY.format(number=len(ranked))
    parts = [
        f"# Crystal structure prediction of {settings.unit.formula}",
        f"`{archive.name}` is an archive of AiiDA {aiida.__version__}, written by aiida-fuse2 {__version__}. {content}",
        "## The search" if len(searches) == 1 else f"## {count[:1].upper()}{count[1:]}",
        _table(_NUMBERS, [_numbers(search) for search in searches]),
        (
            f"Starting structures: {settings.starts_text}; at most {settings.max_atoms} atoms in a cell; energies from "
            f"{_potentials(tiers)}. All settings are in the node `settings` of the search."
        ),
        *([_refinement_text(node)] if query.is_refinement(node) else []),
        *_answer_parts(finish),
        f"## The best structures\n\nThey are in the group `{group.label}`; {query.relaxed_to(node)}.",
        _table(_BEST, [_best_row(row) for row in with_phases(ranked, finish)]),
        "## Software\n\n" + _software_text([node, *searches]),
        "## How to look at it\n\n" + _how(node, archive, group, best),
        "## Please cite\n\n" + "\n".join(f"- {text}" for text in works_to_cite(node)),
    ]
    return "\n\n".join(parts) + "\n"


def _answer_parts(finish: orm.WorkChainNode | None) -> list[str]:
    """Return heading and table of the phases of the answer; nothing without an answer."""
    phases = [] if finish is None else finishes.phases(finish)
    if finish is None or not phases:
        return []
    text = (
        f"## The answer\n\nPhases among the best structures, relaxed tightly and symmetrised (finish `{finish.uuid}`)."
    )
    order = finishes.order(finish)
    if order is None:
        return [text, _table(_PHASES, [_phase_row(row) for row in phases])]
    other = order.name(order.other)
    titles = (*_PHASES, f"energy with {other} (eV/atom)", f"ΔE with {other} (meV/atom)")
    rows = [(*_phase_row(row), *_other_energies(row, order)) for row in phases]
    return [f"{text} Energies of {order.name(order.by)}; {order.statement}.", _table(titles, rows)]


def _other_energies(row: Mapping[str, Any], order: Order) -> tuple[str, str]:
    """Return the energies of a phase under the potential that does not order; empty if it has none."""
    found = energies_under(row, order.other)
    return ("", "") if found is None else (f"{found[0]:.5f}", f"{1000 * found[1]:.2f}")


def _phase_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    group = f"{row['spacegroup_symbol']} ({row['spacegroup']})"
    numbers = (f"{row['energy']:.5f}", f"{1000 * row['delta']:.2f}", group, row["type"], str(row["n_atoms"]))
    return (str(row["rank"]), *numbers, f"{row['density']:.2f}", "" if row["uuid"] is None else f"`{row['uuid']}`")


def _refinement_text(node: orm.WorkChainNode) -> str:
    """Return what a refinement did with the structures of its searches."""
    tried = len(read_results(node).rows)
    return (
        f"## The refinement\n\n`{node.uuid}` relaxed the {tried} best structures of the search further; energies and "
        f"ranks below are from {_potentials(tiers_of_search(node.inputs))}. Energies of the search are those of  "
        "another potential, or of other limits: do not compare the two."
    )


def works_to_cite(node: orm.WorkChainNode) -> list[str]:
    """Return the works to cite for a search, runs of one or a refinement, and the searches that they begin with."""
    settings: list[dict[str, Any]] = []
    tiers: list[UsedTier] = []
    libraries: list[str] = []
    for search in map(orm.load_node, _chain(node)):
        if search.process_type == PROCESS_TYPE:
            with suppress(KeyError, NotExistent):  # missing in an archive
                settings.append(search.inputs.settings.get_dict())
                tiers += tiers_of_search(search.inputs) + ranking_of_search(search.inputs)
                tiers += filter(None, [second_of_search(search.inputs)])
        elif query.is_refinement(search):
            tiers += tiers_of_search(search.inputs)
        if "prototypes" in search.inputs:
            libraries.append(citation_of(search.inputs.prototypes))
    finish = newest_finish(node)
    if finish is not None:
        with suppress(KeyError, NotExistent):
            tiers += filter(None, [second_of_search(finish.inputs)])
    return list(dict.fromkeys([*citations(settings, tiers), *filter(None, libraries)]))


_WHOLE = "It holds every structure, energy and decision of the search with its provenance."

_BEST_ONLY = (
    "It holds the {number} best structures and everything that they were made from: the jobs that relaxed them, the "
    "trials, their parents, and so on back to the settings. The other structures of the search are omitted."
)

_NUMBERS = ("search", "seed", "structures tried", "explored", "unique", "CPU time (h)", "lowest energy (eV/atom)")

_PHASES = ("phase", "energy (eV/atom)", "ΔE (meV/atom)", "space group", "type", "atoms", "density (g/cm³)", "UUID")

_BEST = ("rank", "phase", *_PHASES[1:6], "volume (Å³/atom)", "UUID")


def _numbers(search: orm.WorkChainNode) -> tuple[str, ...]:
    frame = query.explored(search)
    state = query.progress(search.pk).state
    tried = 0 if state is None else state.tried
    hours = 0.0 if state is None else state.cpu_seconds / 3600
    unique = 0 if state is None else state.unique
    energy = "" if frame.empty else f"{frame['energy'].min():.5f}"
    seed = search.inputs.settings["seed"]
    return (f"`{search.uuid}`", str(seed), str(tried), str(len(frame)), str(unique), f"{hours:.3f}", energy)


def _best_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    group = f"{row['spacegroup_symbol_loose'] or '?'} ({row['spacegroup_loose']})"
    volume = f"{row['volume'] / row['n_atoms']:.3f}"
    numbers = (
        f"{row['energy']:.5f}",
        f"{1000 * row['delta']:.2f}",
        group,
        row.get("type") or "",
        str(row["n_atoms"]),
        volume,
    )
    return (str(row["rank"]), str(row["phase"] or ""), *numbers, f"`{row['uuid']}`")


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _potentials(tiers: Sequence[UsedTier]) -> str:
    """Return the potentials: that of the energies, and those of the tiers before."""
    *before, last = [_potential(name, settings) for name, settings, _ in tiers]
    return last + (f", after relaxing with {', then '.join(before)}" if before else "")


def _potential(name: str, settings: Mapping[str, Any]) -> str:
    if settings.get("calculator") == CHGNET_NAME:
        return f"CHGNet {settings.get('model')}"
    return f"`{settings.get('calculator', name)}`"


def _software_text(searches: Sequence[orm.WorkChainNode]) -> str:
    from aiida_fuse2.query.software import software

    versions = engine_software() | next((found for search in searches if (found := software(search.pk))), {})
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _how(node: orm.WorkChainNode, archive: Path, group: orm.Group, best: int | None) -> str:
    commands = "With aiida-fuse2 installed, and a profile (`aiida-fuse2 setup` makes one):\n\n```console\n"
    commands += f"$ verdi archive import {archive.name}\n"
    if best is None:
        commands += f"$ aiida-fuse2 show {node.uuid}\n$ aiida-fuse2 report {node.uuid} -o report.html\n"
    lines = [
        "from aiida import load_profile, orm",
        "",
        "load_profile()",
        f'group = orm.load_group("{group.label}")',
        "# a group has no order of its own",
        'for structure in sorted(group.nodes, key=lambda node: node.base.extras.get("fuse2")["energy"]):',
        '    known = structure.base.extras.get("fuse2")',
        '    print(known["energy"], known["spacegroup_symbol_loose"], structure.get_formula())',
        "    print(structure.creator)  # the job that relaxed it",
    ]
    if best is None:
        lines += ["", "from aiida_fuse2 import query", "", f'print(query.explored("{node.uuid}"))']
    return commands + "```\n\nor in Python:\n\n```python\n" + "\n".join(lines) + "\n```"


def _optimade(node: orm.WorkChainNode, archive: Path, group: orm.Group) -> str:
    """Return the configuration with which optimade-maker serves the group of the best structures."""
    formula = settings_of(node).unit.formula
    values = {
        "config_version": "0.1.1",
        "database_description": f"The best structures of {formula} found with aiida-fuse2",
        "entries": [
            {
                "entry_type": "structures",
                "entry_paths": {"aiida_file": archive.name, "aiida_group": group.label},
                "property_definitions": [
                    _property("energy_per_atom", "float", "energy", "Energy (enthalpy) per atom", "eV"),
                    _property(
                        "space_group_number", "integer", "spacegroup_loose", "Space group at the loose tolerance"
                    ),
                ],
            }
        ],
    }
    return yaml.safe_dump(values, sort_keys=False)


def _property(name: str, kind: str, extra: str, title: str, unit: str | None = None) -> dict[str, Any]:
    query_items = [{"project": f"extras.fuse2.{extra}"}]
    values = {"name": name, "title": title, "description": title, "type": kind, "aiida_query": query_items}
    return values if unit is None else {**values, "unit": unit}
