"""Inputs of a search that continues from a state of an earlier one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_fuse2.calculations.generate import needs_tier
from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.core.generators import get_generator
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.core.search.starts import pool_generators
from aiida_fuse2.core.search.watching import Watch
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.environment.codes import load_code
from aiida_fuse2.environment.prototypes import packaged_library_node
from aiida_fuse2.environment.trust import (
    UntrustedError,
    foreign_parts,
    options_part,
    own_code,
    parts_of,
)
from aiida_fuse2.parsers.memory import CODE, OPTIONS, WORKER, has_run
from aiida_fuse2.protocols import check_overrides, completed_settings, merge, protocol_inputs
from aiida_fuse2.query.chain import GenerationRecord, generation_records
from aiida_fuse2.query.links import EXPERIMENT, SECOND_LINK, TARGETS_LINK
from aiida_fuse2.query.ranking import energy_difference
from aiida_fuse2.query.tiers import options_of, tier_ports
from aiida_fuse2.tiers import RANKING, TierChoice, build_tiers, changes_of_tiers, tier_key
from aiida_fuse2.workchains.search import Fuse2WorkChain
from aiida_fuse2.workchains.search_builder import split_overrides, with_text_keys
from aiida_fuse2.workchains.second import second_text

from .adding import first_state, joined_files, waiting_files
from .inputs import Prepared, check_inputs
from .second import second_ports
from .targets import targets_of_files


def choose_state(search: orm.WorkChainNode, *, max_structures: int, generation: int | None = None) -> orm.Dict:
    """Return the state from which a search continues.

    By default the last one; but if its generation was cut short by a budget that is now larger,
    the one before, so that the search equals one with the larger budget from the beginning.

    Args:
        search: search that has ended, or that another one branches off.
        max_structures: budget of the continuing search.
        generation: first generation to be made again; by default the first missing one.

    Raises:
        InputError: if there is no such generation.
    """
    records = generation_records(search.pk)
    if generation is not None:
        if not 0 <= generation <= len(records):
            raise InputError("--generation", generation, f"the search has generations 0 to {len(records) - 1}")
        records = records[:generation]
    elif records and max_structures > int(records[-1].state_values["tried"]) and _is_cut(records[-1]):
        records = records[:-1]
    return orm.load_node(records[-1].state) if records else first_state(search)


def _is_cut(record: GenerationRecord) -> bool:
    """Return whether the budget was too small for all trials of a generation."""
    decide = orm.load_node(record.record).creator
    return bool(decide.inputs.proposal.get_dict().get("cut", False))


def prepare_continuation(
    search: orm.WorkChainNode,
    *,
    overrides: Mapping[str, Any] | None = None,
    generation: int | None = None,
    more: int | None = None,
    code: orm.AbstractCode | None = None,
    tiers: TierChoice | None = None,
    targets: Sequence[Path] = (),
    dropped: Sequence[str] = (),
    trust: bool = False,
) -> Prepared:
    """Return the inputs of a search that continues from a state of an earlier one, checked.

    Structures that were added to the earlier search and are not yet in its pool enter the pool. Codes and options of
    jobs that have not run in this profile are omitted: the code is then the worker of the profile.

    Args:
        search: earlier search.
        overrides: nested inputs that differ from those of the earlier search; inputs of tiers are below ``tiers``.
        generation: first generation to be made again; by default the first missing one.
        more: number of structures to try beyond those of the earlier search; sets ``max_structures``.
        code: worker, if it is another one.
        tiers: tiers through which trials go from now on. The last one must compute the same energies as before. Those
            that the earlier search had keep their settings, codes and library, unless others are given.
        targets: files of known structures to be found, in addition to those of the earlier search.
        dropped: names of targets of the earlier search that are no longer looked for.
        trust: whether to run what the earlier search names that has never run in this profile: a calculator,
            overrides of another plugin, a model, a library of potentials.

    Raises:
        UntrustedError: if there are such parts and ``trust`` is not given; it names all of them.
        InputError: for the first wrong input.
        RefusedInputsError: if AiiDA refuses an input.
        SetupError: if the profile has no code of the worker.
    """
    if generation is None and not search.is_terminated:
        expected = "is still running and continues by itself; to branch off from it, name a generation"
        raise InputError("search", search.pk, expected)
    foreign = foreign_parts(search)
    if foreign and not trust:
        raise UntrustedError(search.pk, foreign)
    changes, of_tiers, of_ranking = split_overrides(overrides)
    if of_ranking:
        raise InputError(RANKING, of_ranking, "stays as it was in a search that continues")
    check_overrides(changes)
    values = merge(_values_of(search), {key: value for key, value in changes.items() if key != "relax"})
    if more is not None:
        values["settings"]["max_structures"] = _tried(search, generation) + more
    settings = parse_settings(SearchSettings, values["settings"])
    check_search(settings)
    state = choose_state(search, max_structures=settings.max_structures, generation=generation)
    _check_room(state, settings)
    known = _targets_of(search, settings, targets, dropped)
    _check_targets_left(state, settings, known)
    elements = settings.unit.elements
    ports = _tiers(search, tiers, of_tiers, code=code, relax=changes.get("relax") or {}, elements=elements)
    try:
        builder = _builder(search, values, settings, code, ports)
    except ValueError as error:  # an option that does not exist, or is of the wrong type
        raise RefusedInputsError(f"AiiDA refuses an input: {' '.join(str(error).split())}") from error
    _take_over(search, builder, settings)
    if known:
        builder.targets = known
    builder.state = state
    builder.continues = orm.Str(search.uuid)
    waiting = waiting_files(search, state, is_last=generation is None)
    if waiting:
        builder.pool = joined_files(waiting)
    check_inputs(builder)
    left_out = tuple(_left_out(search, builder, is_code_given=code is not None))
    return Prepared(builder=builder, warnings=left_out, second=second_text(dict(builder.get(SECOND_LINK) or {})))


def _take_over(search: orm.WorkChainNode, builder: ProcessBuilder, settings: SearchSettings) -> None:
    """Take over the name of the experiment, and the potentials that order the answer and that rank pools, if any."""
    if EXPERIMENT in search.inputs:
        builder.experiment = search.inputs.experiment
    second = second_ports(search)
    if second:
        builder.second = second
    if RANKING in search.inputs and pool_generators(settings) and needs_tier(settings):
        builder.ranking = dict(search.inputs[RANKING])


def _left_out(search: orm.WorkChainNode, builder: ProcessBuilder, *, is_code_given: bool) -> Iterator[str]:
    """Yield warnings about codes and options of jobs that are not taken over, except those of the protocols."""
    usual = [protocol_inputs()["relax"]["metadata"]["options"]]
    for tier in protocol_inputs(name="tiers").values():
        usual += [tier["options"], merge(usual[0], tier["options"])]
    worker = worker_of(builder)
    for part in parts_of(search):
        is_left_out = not has_run(part) and part.value not in usual
        text = f"{part} of the earlier search has never run in this profile"
        if part.kind == OPTIONS and is_left_out:
            yield f"{text} and is not taken over; give yours with --set"
        if part.kind == CODE and is_left_out and not is_code_given and worker is not None:
            yield f"{text}: {worker.full_label} does its work"


def _values_of(search: orm.WorkChainNode) -> dict[str, Any]:
    """Return the inputs of a search as plain values, nested like overrides."""
    own = {
        "settings": completed_settings(search.inputs.settings.get_dict()),
        "clean_workdir": search.inputs.clean_workdir.value,
    }
    options = options_of(search, "generate")
    if has_run(options_part(options)):
        own["generate"] = {"metadata": {"options": options}}
    return merge(protocol_inputs(), own)


def _builder(
    search: orm.WorkChainNode,
    values: Mapping[str, Any],
    settings: SearchSettings,
    code: orm.AbstractCode | None,
    tiers: Mapping[str, Any],
) -> ProcessBuilder:
    """Return a builder; settings that stay the same stay the same node.

    Args:
        search: earlier search.
        values: all inputs as plain values.
        settings: settings of the search that continues.
        code: worker, if it is another one.
        tiers: inputs of its tiers.
    """
    builder: ProcessBuilder = Fuse2WorkChain.get_builder()
    earlier = search.inputs
    own = {"composition": settings.unit.formula, "starts": settings.starts}
    builder.settings = _node_of({**values["settings"], **own}, earlier.settings)
    builder.clean_workdir = orm.Bool(values["clean_workdir"])
    builder.tiers = dict(tiers)
    needs_library = any(get_generator(name).needs_library for name in settings.starts)
    library = earlier.prototypes if "prototypes" in earlier else packaged_library_node() if needs_library else None
    if library is not None:
        builder.prototypes = library
    if pool_generators(settings):
        known = own_code(earlier.generate.code, WORKER) if "generate" in earlier else None
        known = known or worker_of(builder)
        if code is None and known is None:
            raise InputError("--code", None, "the pool is filled by a job of the worker: name its code")
        builder.generate.code = code or known
        builder.generate.metadata.options = values["generate"]["metadata"]["options"]
        if "generate" in earlier and "weights" in earlier.generate:
            builder.generate.weights = earlier.generate.weights
    return builder


def _tiers(
    search: orm.WorkChainNode,
    choice: TierChoice | None,
    overrides: Mapping[str, Any],
    *,
    code: orm.AbstractCode | None,
    relax: Mapping[str, Any],
    elements: Collection[str],
) -> dict[str, dict[str, Any]]:
    """Return the tiers of a continuing search; if nothing in them changes, the nodes stay the same.

    Args:
        search: earlier search.
        choice: other tiers, or None.
        overrides: changes by name or key of the tier.
        code: worker, if it is another one.
        relax: changes of the only tier, and of the defaults of new ones.
        elements: elements of all structures.

    Raises:
        InputError: if the energies of the last one cannot be compared with those before, or an input is wrong.
    """
    known = tier_ports(search)
    if relax and len(known) > 1:
        expected = "the search has tiers: change their inputs, e.g. --set tiers.chgnet.settings.processes=2"
        raise InputError("relax", dict(relax), expected)
    if choice is None and not overrides and not relax and all(map(_is_own, known.values())):
        return _with_worker(known, code)
    earlier = [(known[key]["name"].value, _with_changes(known[key], relax)) for key in sorted(known)]
    given = TierChoice(names=[name for name, _ in earlier]) if choice is None else choice
    names = list(given.names)
    by_name = dict(earlier)  # if a tier comes twice the last counts, unless all are as before
    is_same = names == [name for name, _ in earlier]
    kept = [ports for _, ports in earlier] if is_same else [by_name.get(name, {}) for name in names]
    codes = {
        f"{name}.{program}": found
        for name, ports in zip(names, kept, strict=True)
        for program, found in ports.get("codes", {}).items()
        if name not in given.codes and not (program == WORKER and code is not None) and own_code(found, program)
    }
    library = next((ports["potential"] for ports in kept if "potential" in ports), None)
    pressure = earlier[-1][1]["settings"].get_dict().get("pressure", 0.0)
    base = merge(merge(protocol_inputs()["relax"], {"settings": {"pressure": pressure}}), relax)
    options = {"options": relax.get("metadata", {}).get("options", {})}
    plain = [merge(_plain_tier(ports), options) if ports else {} for ports in kept]
    changes = changes_of_tiers(overrides, names)
    workers = [found for _, ports in earlier if (found := own_code(ports["codes"].get(WORKER), WORKER))]
    if code is None and not workers and any(WORKER in ports["codes"] for _, ports in earlier):
        workers = [load_code()]
    tiers = build_tiers(
        TierChoice(names=names, codes={**codes, **given.codes}, potential=given.potential or library),
        worker=code or next(iter(workers), None),
        relax=base,
        overrides={tier_key(i): merge(plain[i], changes[i]) for i in range(len(names))},
        elements=elements,
    )
    _check_same_energies(search, tiers)
    return tiers


def _is_own(ports: Mapping[str, Any]) -> bool:
    """Return whether codes and options of a tier have run in this profile."""
    codes = [own_code(code, program) for program, code in ports["codes"].items()]
    return None not in codes and ("options" in _plain_tier(ports)) == ("options" in ports)


def _with_worker(tiers: Mapping[str, Mapping[str, Any]], code: orm.AbstractCode | None) -> dict[str, dict[str, Any]]:
    """Return tiers with another worker, if one is given."""
    found = {key: {**ports, "codes": dict(ports["codes"])} for key, ports in tiers.items()}
    for ports in found.values():
        if code is not None and WORKER in ports["codes"]:
            ports["codes"][WORKER] = code
    return found


def _with_changes(ports: dict[str, Any], relax: Mapping[str, Any]) -> dict[str, Any]:
    """Return the only tier of a search with changes of its settings."""
    if "settings" not in relax:
        return ports
    settings = merge(ports["settings"].get_dict(), relax["settings"])
    parse_settings(RelaxSettings, settings, where="relax.settings")
    return {**ports, "settings": orm.Dict(settings)}


def _check_same_energies(search: orm.WorkChainNode, tiers: Mapping[str, Any]) -> None:
    """Refuse tiers whose energies cannot be compared with those of a search."""
    changed = energy_difference(search.inputs, {"tiers": tiers})
    if changed is not None:
        name, before, now = changed
        expected = (
            f"the last tier gives the energies, and has to stay as it was: {name} was {before!r}, and is {now!r} now. "
            f"Other tiers for the best structures: `aiida-fuse2 refine {search.pk}`"
        )
        raise InputError("tiers", ",".join(tiers[key]["name"].value for key in sorted(tiers)), expected)


def _plain_tier(ports: Mapping[str, Any]) -> dict[str, Any]:
    """Return those values of an earlier tier that can be changed."""
    known = {"settings": ports["settings"].get_dict()} if "settings" in ports else {}
    if "options" in ports and has_run(options_part(ports["options"].get_dict())):
        known["options"] = ports["options"].get_dict()
    return {**known, "concurrent": ports["concurrent"].value} if "concurrent" in ports else known


def worker_of(builder: ProcessBuilder) -> orm.AbstractCode | None:
    """Return the worker that relaxes in a search, or None if none of its tiers has one."""
    codes = [builder.tiers[key]["codes"] for key in sorted(builder.tiers)]
    return next((found[WORKER] for found in codes if WORKER in found), None)


def _node_of(values: Mapping[str, Any], earlier: orm.Dict) -> orm.Dict:
    plain = with_text_keys(values)
    return earlier if plain == earlier.get_dict() else orm.Dict(plain)


def _tried(search: orm.WorkChainNode, generation: int | None) -> int:
    """Return the number of structures tried before a generation, or in all."""
    records = generation_records(search.pk)[:generation]
    return int(records[-1].state_values["tried"]) if records else 0


def _targets_of(
    search: orm.WorkChainNode, settings: SearchSettings, paths: Sequence[Path], dropped: Sequence[str]
) -> dict[str, orm.StructureData]:
    """Return the targets of a search that continues, by name."""
    earlier = dict(search.inputs.targets) if TARGETS_LINK in search.inputs else {}
    for name in dropped:
        if name not in earlier:
            present = f"there are {', '.join(sorted(earlier))}" if earlier else "there is none"
            raise InputError("--drop-target", name, f"the search has no such target; {present}")
    kept = {name: node for name, node in earlier.items() if name not in dropped}
    added = targets_of_files(paths, settings)
    for name in added:
        if name in kept:
            raise InputError("--target", name, f"the search has one of that name: add --drop-target {name}")
    return {**kept, **added}


def _check_targets_left(state: orm.Dict, settings: SearchSettings, targets: Mapping[str, orm.StructureData]) -> None:
    """Refuse to continue until a target is found that was found already."""
    found = sorted(name for name in state.get_dict().get("targets", {}) if name in targets and targets[name].is_stored)
    if settings.target.stop and found:
        instead = f"continue with --no-stop-at-target, or drop it with --drop-target {found[0]}"
        expected = f"{', '.join(found)} was found already: {instead}"
        raise InputError("settings.target.stop", settings.target.stop, expected)


def _check_room(state: orm.Dict, settings: SearchSettings) -> None:
    """Refuse to continue if a limit is reached already."""
    tried, since = state["tried"], state["since_best"]
    if tried >= settings.max_structures:
        expected = f"{tried} structures have been tried already: ask for more"
        raise InputError("settings.max_structures", settings.max_structures, expected)
    if since >= settings.rmax:
        expected = f"there was no new best in the last {since} structures: give a larger number"
        raise InputError("settings.rmax", settings.rmax, expected)
    if Watch.from_state(state.get_dict()).has_ended(settings):
        raise InputError("settings.stop_chance", settings.stop_chance, "is reached already: give a smaller chance")
    hours = state.get_dict().get("cpu_seconds", 0.0) / 3600
    if settings.max_cpu_hours is not None and hours >= settings.max_cpu_hours:
        expected = f"{hours:.2f} h have been spent already: give a larger number"
        raise InputError("settings.max_cpu_hours", settings.max_cpu_hours, expected)
