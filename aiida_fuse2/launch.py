"""From what a user asks for to the inputs of a search, and their checks."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from aiida import orm
from aiida.common.exceptions import AiidaException
from aiida.engine import ProcessBuilder

from aiida_fuse2.calculations.generate import GenerateCalculation, needs_weights
from aiida_fuse2.calculations.train import TrainCalculation
from aiida_fuse2.core.errors import InputError, RefusedInputsError, one_line
from aiida_fuse2.core.generators import PROVIDED
from aiida_fuse2.core.relaxers.calculators import check_stress
from aiida_fuse2.core.settings import CHGNET, RelaxSettings, SearchSettings, TrainSettings, check_search, parse_settings
from aiida_fuse2.environment import load_node
from aiida_fuse2.models import find_model
from aiida_fuse2.starts import Starts, add_starts, load_group, name_of
from aiida_fuse2.targets import targets_of_files
from aiida_fuse2.workchains.protocols import check_extent, merge, protocol_inputs
from aiida_fuse2.workchains.runs import Fuse2RunsWorkChain, pruned
from aiida_fuse2.workchains.search import Fuse2WorkChain
from aiida_fuse2.workchains.search_builder import split_overrides
from aiida_fuse2.workchains.software import ask_worker
from aiida_fuse2.workchains.tiers import TierChoice
from aiida_fuse2.workchains.tiers.base import WORKER
from aiida_fuse2.worker.cores import usable_cores
from aiida_fuse2.worker.files import from_extxyz
from aiida_fuse2.worker.main import INPUT_ERROR
from aiida_fuse2.worker.training import read_training_set

MEMORY_PER_PROCESS = 1_500_000_000
"""Memory that a process which relaxes with CHGNet is given, bytes."""

LOCAL_TRANSPORT = "core.local"
DIRECT_SCHEDULER = "core.direct"
"""Of a computer whose jobs start on this machine at once, however many there are."""


CUDA = "cuda"
NO_DEVICE = "relax.settings.device"
"""The device that may not be there, and the field that the worker then names."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A search ready to be submitted.

    Attributes:
        builder: the inputs.
        kept: number of the user's structures that the search starts from.
        skipped: the user's structures that cannot be used, by name, with the reason.
        warnings: for people.
    """

    builder: ProcessBuilder
    kept: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def settings(self) -> SearchSettings:
        """The settings of the search; of several runs, those of run 0."""
        search = self.builder if self.runs is None else self.builder.search
        return parse_settings(SearchSettings, search.settings.get_dict())

    @property
    def runs(self) -> int | None:
        """How many runs of the search there are to be, or None for a single search."""
        return self.builder.runs.value if "runs" in self.builder else None


# --- several runs -------------------------------------------------------------------------------


def prepare_runs(prepared: Prepared, *, runs: int, concurrent: int | None = None) -> Prepared:
    """Return several runs of a search that is ready to be submitted.

    Args:
        prepared: the search; its seed is that of run 0.
        runs: how many.
        concurrent: how many of them may run at a time; by default as many as the machine can do.

    Raises:
        InputError: where a number is below 1.
        RefusedInputsError: where AiiDA refuses an input.
    """
    at_a_time = fitting_runs(prepared.builder, runs) if concurrent is None else concurrent
    _share_cores(prepared.builder, min(runs, at_a_time))
    builder = Fuse2RunsWorkChain.builder_of_search(prepared.builder, runs=runs, concurrent=at_a_time)
    check_inputs(builder)
    return replace(prepared, builder=builder)


def fitting_runs(builder: ProcessBuilder, runs: int) -> int:
    """Return how many runs of a search the cores and the free memory of this machine allow, at least one.

    All of them where the jobs go to another machine or through a scheduler, which do the counting there.

    Args:
        builder: of the search.
        runs: how many there are to be.
    """
    if not _starts_jobs_here(builder):
        return runs
    jobs = [ports["settings"].get_dict() for ports in _job_ports(builder)]
    processes = max(job.get("processes") or 1 for job in jobs) * builder.settings["relax_jobs"]
    by_cores = usable_cores() // (processes * max(job.get("threads") or 1 for job in jobs))
    by_memory = psutil.virtual_memory().available // (processes * MEMORY_PER_PROCESS)
    return int(max(1, min(runs, by_cores, by_memory)))


def _starts_jobs_here(builder: ProcessBuilder) -> bool:
    """Tell whether all jobs of a search run at once on this machine."""
    return all(_runs_here(code) for ports in _job_ports(builder) for code in _codes_of(ports))


def _runs_here(code: orm.AbstractCode) -> bool:
    computer = code.computer
    is_here = computer is not None and computer.transport_type == LOCAL_TRANSPORT
    return is_here and computer.scheduler_type == DIRECT_SCHEDULER


def _job_ports(builder: ProcessBuilder) -> list[Any]:
    """Return the inputs of each kind of job that relaxes: of the tiers, or of the only one."""
    tiers = builder.get("tiers") or {}
    return [tiers[key] for key in sorted(tiers)] or [builder.relax]


def worker_jobs(builder: ProcessBuilder) -> list[tuple[orm.AbstractCode, str]]:
    """Return the worker and the calculator of each kind of job that relaxes with one."""
    return [
        (ports["codes"][WORKER] if "codes" in ports else ports["code"], ports["settings"]["calculator"])
        for ports in _job_ports(builder)
        if "calculator" in ports["settings"].get_dict()
    ]


def check_calculators(builder: ProcessBuilder) -> None:
    """Refuse calculators that cannot do what they are to do, as far as that is known here.

    Args:
        builder: of a search, or of a refinement.

    Raises:
        InputError: for the first one.
    """
    for ports in _job_ports(builder):
        settings = ports["settings"].get_dict()
        if "calculator" in settings:
            check_stress(parse_settings(RelaxSettings, settings, where="relax.settings"))


def _codes_of(ports: Mapping[str, Any]) -> list[orm.AbstractCode]:
    return list(ports["codes"].values()) if "codes" in ports else [ports["code"]]


def _share_cores(builder: ProcessBuilder, searches: int) -> None:
    """Share the cores of this machine among the jobs that run at once, unless the inputs say how many each uses."""
    jobs = searches * builder.settings["relax_jobs"]
    for ports in _job_ports(builder):
        settings = ports["settings"].get_dict()
        is_here = all(_runs_here(code) for code in _codes_of(ports))
        if jobs > 1 and is_here and "processes" in settings and settings["processes"] is None:
            ports["settings"] = orm.Dict({**settings, "processes": max(1, usable_cores() // jobs)})


# --- inputs -------------------------------------------------------------------------------------


def prepare_search(
    composition: str,
    *,
    code: orm.AbstractCode,
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    paths: Sequence[Path] = (),
    group: str | None = None,
    pool: str | None = None,
    model: str | None = None,
    store: bool = True,
    tiers: TierChoice | None = None,
    targets: Sequence[Path] = (),
) -> Prepared:
    """Return the inputs of a search, checked.

    With starting structures the generator is ``provided`` unless the overrides name another: the
    structures that fit make the initial population, best first as they are given, filled up to its size
    by the random generator; the rest wait for moves 13 and 14.

    Args:
        composition: formula, e.g. ``SrTiO3``.
        code: the worker.
        protocol: by name; the default one where None.
        overrides: nested inputs that win over the protocol.
        paths: files or directories with starting structures.
        group: label of a group of starting structures.
        pool: a pool in the graph to start from, by PK or UUID.
        model: weights of a graph network, by name, PK or UUID, where the generator needs some; by default the newest
            that are installed.
        store: whether the graph may be written to; without, structures of a group become an unstored pool.
        tiers: through which trials go; by default there is one.
        targets: files of known structures.

    Raises:
        InputError: for the first thing that is wrong.
        RefusedInputsError: where AiiDA refuses an input.
    """
    if overrides is not None and not isinstance(overrides, Mapping):
        raise InputError("overrides", overrides, "must be a mapping, e.g. {'settings': {'max_atoms': 10}}")
    check_extent(overrides)
    changes = dict(overrides or {})
    if (bool(paths), group is not None, pool is not None).count(True) > 1:
        field, value = ("--pool", pool) if group is None else ("--group", group)
        raise InputError(field, value, "give starting structures by one of --structures, --group and --pool, not both")
    if paths or group is not None or pool is not None:
        changes = _with_provided(changes)
    nodes = [] if group is None else load_group(group)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        known = _read_targets(composition, protocol, changes, targets)
        builder = _builder(composition, code, protocol, changes, tiers=tiers, targets=known)
        starts = Starts.from_paths(paths) if paths else Starts.from_nodes(nodes)
    messages = tuple(dict.fromkeys(str(w.message) for w in caught if w.category is UserWarning))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept, skipped = add_starts(builder, starts)
        if pool is not None:
            builder.pool = load_pool(pool)
            kept = _count_fitting(builder)
        _add_weights(builder, model)
        if nodes and store:  # the same, with its provenance
            readable = {name for name, _ in starts.structures}
            usable = [node for node in nodes if name_of(node) in readable]
            builder = _builder(composition, code, protocol, changes, usable, tiers=tiers, targets=known)
            _add_weights(builder, model)
    _share_cores(builder, 1)
    check_inputs(builder)
    check_calculators(builder)
    return Prepared(builder=builder, kept=kept, skipped=skipped, warnings=messages)


def _read_targets(
    composition: str, protocol: str | None, changes: Mapping[str, Any], paths: Sequence[Path]
) -> dict[str, orm.StructureData]:
    """Return the targets in files by name."""
    if not paths:
        return {}
    inputs = protocol_inputs(protocol, split_overrides(changes, has_tiers=True)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the search says it
        settings = parse_settings(SearchSettings, {**inputs["settings"], "composition": composition})
        check_search(settings)
    return targets_of_files(paths, settings)


def load_pool(identifier: str) -> orm.SinglefileData:
    """Return a pool of the graph.

    Args:
        identifier: PK or UUID of the pool, or of the job that made it.

    Raises:
        InputError: where there is none.
    """
    try:
        node = load_node(identifier)
    except (AiidaException, ValueError) as error:
        raise InputError("--pool", identifier, f"cannot be loaded ({one_line(error)})") from error
    if isinstance(node, orm.CalcJobNode) and "pool" in node.outputs:
        node = node.outputs.pool
    if not isinstance(node, orm.SinglefileData):
        raise InputError("--pool", identifier, "is no pool: give the output `pool` of `aiida-fuse2 generate`")
    return node


def _count_fitting(builder: ProcessBuilder) -> int:
    """Return how many structures of a pool a search can use.

    Raises:
        RefusedInputsError: where none can be.
    """
    settings = parse_settings(SearchSettings, builder.settings.get_dict())
    try:
        structures = from_extxyz(builder.pool.get_content())
    except Exception as error:  # whatever ASE raises for what is no extended XYZ
        raise InputError("--pool", builder.pool.pk, f"cannot be read as extended XYZ ({one_line(error)})") from error
    fitting = [a for a in structures if settings.unit.z_of(a) is not None and len(a) <= settings.max_atoms]
    if not fitting:
        what = f"{settings.unit.formula} with at most {settings.max_atoms} atoms"
        raise RefusedInputsError(f"none of the {len(structures)} structures of the pool is {what}")
    return len(fitting)


def _add_weights(builder: ProcessBuilder, model: str | None) -> None:
    """Add the weights that the generator needs.

    Raises:
        InputError: where there are none, or a model is named and not needed.
    """
    needed = needs_weights(parse_settings(SearchSettings, builder.settings.get_dict()))
    if needed:
        builder.generate.weights = find_model(model)
    elif model is not None:
        expected = "the generator needs no weights; --model goes with --generator gnoa --network megnet"
        raise InputError("--model", model, expected)


def prepare_pool(
    composition: str,
    *,
    code: orm.AbstractCode,
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    model: str | None = None,
) -> ProcessBuilder:
    """Return the inputs of a job that makes a pool without a search, checked.

    Args:
        composition: formula, e.g. ``SrTiO3``.
        code: the worker.
        protocol: by name; the default one where None.
        overrides: nested inputs of a search that win over the protocol.
        model: weights of a graph network, as for ``prepare_search``.

    Raises:
        InputError: for the first thing that is wrong.
        RefusedInputsError: where AiiDA refuses an input.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        search = _builder(composition, code, protocol, dict(overrides or {}))
    settings = parse_settings(SearchSettings, search.settings.get_dict())
    if settings.generator == PROVIDED:
        raise InputError("settings.generator", PROVIDED, "makes no structures: name a generator")
    builder: ProcessBuilder = GenerateCalculation.get_builder()
    builder.code = code
    builder.settings = search.settings
    builder.pool_number = orm.Int(0)
    builder.metadata.options = protocol_inputs(protocol, overrides)["generate"]["metadata"]["options"]
    if settings.pool.ranking != "none":
        builder.tier = search.relax.settings
    if settings.pool.ranking == "relaxed":
        check_calculators(search)
    if needs_weights(settings):
        builder.weights = find_model(model)
    elif model is not None:
        _add_weights(search, model)  # which says that it is not needed
    check_inputs(builder)
    return builder


def _with_provided(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return overrides with the generator ``provided``, unless they name one."""
    settings = changes.get("settings", {})
    is_open = isinstance(settings, Mapping) and "generator" not in settings
    return merge(changes, {"settings": {"generator": PROVIDED}} if is_open else {})


def _builder(
    composition: str,
    code: orm.AbstractCode,
    protocol: str | None,
    overrides: Mapping[str, Any],
    structures: Sequence[orm.StructureData] = (),
    *,
    tiers: TierChoice | None = None,
    targets: Mapping[str, orm.StructureData] | None = None,
) -> ProcessBuilder:
    try:
        return Fuse2WorkChain.get_builder_from_protocol(
            composition, code, protocol, overrides, structures=structures, tiers=tiers, targets=targets
        )
    except InputError:
        raise
    except (ValueError, TypeError, AiidaException) as error:  # an input that does not exist, or is of the wrong type
        raise RefusedInputsError(f"AiiDA refuses an input: {error}") from error


def check_inputs(builder: ProcessBuilder) -> None:
    """Check inputs as AiiDA does when they are submitted, and devices where this can be done.

    Raises:
        RefusedInputsError: where they are wrong.
        InputError: where a device is not there.
    """
    ports = builder.process_class.spec().inputs
    try:
        problem = ports.validate(ports.pre_process(pruned(builder)))
        json.dumps(plain_inputs(builder), allow_nan=False)  # what the graph cannot hold fails when it is stored
    except (ValueError, TypeError, AttributeError, OverflowError, AiidaException) as error:
        raise RefusedInputsError(f"an input is of the wrong kind: {error}") from error
    if problem is not None:
        raise RefusedInputsError(f"{problem.port}: {problem.message}")
    check_devices(pruned(builder))


def check_devices(ports: Mapping[str, Any]) -> None:
    """Ask the worker for the GPU that inputs name, where jobs start on this machine; others tell when they begin.

    Raises:
        InputError: where it has none.
    """
    code = ports.get("code") or (ports.get("codes") or {}).get(WORKER)
    for name in ("settings", "relax", "tier"):
        node = ports.get(name)
        settings = node.get_dict() if isinstance(node, orm.Dict) else {}
        if (
            code is None
            or settings.get("device") != CUDA
            or settings.get("calculator") != CHGNET
            or not _runs_here(code)
        ):
            continue
        options = ports.get("options") or ports.get("metadata", {}).get("options")
        options = options.get_dict() if isinstance(options, orm.Dict) else options
        status, _, errors = ask_worker(code, ["--device", CUDA], options)
        if status == INPUT_ERROR and NO_DEVICE in errors:
            raise InputError(NO_DEVICE, CUDA, f"{code.full_label} finds no CUDA device on this machine; use 'cpu'")
    for inner in ports.values():
        if isinstance(inner, Mapping):
            check_devices(inner)


def plain_inputs(builder: ProcessBuilder) -> dict[str, Any]:
    """Return inputs as plain values, for people and for JSON."""
    plain: dict[str, Any] = _plain(pruned(builder))
    return plain


def _plain(value: Any) -> Any:
    match value:
        case orm.Dict():
            return value.get_dict()
        case orm.AbstractCode():
            return value.full_label
        case orm.SinglefileData():
            return value.filename
        case orm.Data():
            return value.uuid if isinstance(value, orm.StructureData) else value.value
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
    return value


def prepare_training(
    path: Path,
    *,
    code: orm.AbstractCode,
    name: str,
    changes: Mapping[str, Any] | None = None,
    model: str | None = None,
    from_nothing: bool = False,
) -> ProcessBuilder:
    """Return the inputs of a job that trains MEGNet, checked.

    Args:
        path: structures with energies; see ``worker.training.read_training_set``.
        code: the worker.
        name: of the new model.
        changes: settings that win over the protocol.
        model: the one to go on from, by name, PK or UUID; by default the newest installed.
        from_nothing: whether to begin with random weights instead.

    Raises:
        InputError: for the first thing that is wrong.
        RefusedInputsError: where AiiDA refuses an input.
    """
    inputs = protocol_inputs(None, {"settings": dict(changes or {})}, name="train")
    parse_settings(TrainSettings, inputs["settings"])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError("structures", str(path), f"cannot be read ({one_line(error)})") from error
    read_training_set(data)
    builder: ProcessBuilder = TrainCalculation.get_builder()
    builder.code = code
    builder.settings = orm.Dict(inputs["settings"])
    builder.structures = orm.SinglefileData(path.absolute(), filename=path.name)
    builder.metadata.options = inputs["metadata"]["options"]
    builder.metadata.label = name
    if not from_nothing:
        builder.weights = find_model(model)
    check_inputs(builder)
    return builder
