"""Several independent runs of one search (``fuse2.runs``): the lowest of all is the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_fuse2.calculations.base import validator
from aiida_fuse2.calculations.finish_functions import ANSWER
from aiida_fuse2.calculations.run_functions import compare_runs, settings_of_run
from aiida_fuse2.core.errors import InputError, shown_value
from aiida_fuse2.core.settings import MAX_SEED
from aiida_fuse2.environment.software import software_node
from aiida_fuse2.query.loading import RUN_LINK, searches_of_runs
from aiida_fuse2.query.orphans import seal_orphans
from aiida_fuse2.query.stopping import STOP_EXTRA, stop_request

from .answering import finish_builder
from .search import Fuse2WorkChain

PAPER_RUNS = 3
"""Number of runs per experiment in the paper."""

MAX_RUNS = 1000
"""Largest number of runs; each is a search, and they are compared with one another."""


FOUND = ("structure", "ranked", "state")
"""Outputs of a search that are compared between runs."""

STOPPED = 700
"""Exit status of searches, and of runs, that were stopped on request."""


def _number_problem(number: int) -> str | None:
    """Return the problem of a number of runs, or None."""
    if number < 1:
        return "must be at least 1"
    return f"must be at most {MAX_RUNS}" if number > MAX_RUNS else None


def _validate_number(node: orm.Int, _: object) -> str | None:
    problem = _number_problem(node.value)
    return None if problem is None else f"{problem}, not {shown_value(node.value)}"


@validator
def _validate_seeds(inputs: Mapping[str, Any]) -> None:
    """Check the seeds of all runs."""
    if "runs" in inputs and "settings" in inputs.get("search", {}):  # otherwise a missing input is reported
        _check_seeds(inputs["search"]["settings"], inputs["runs"].value)


def _check_seeds(settings: orm.Dict, runs: int) -> None:
    """Refuse a seed that is too large for the last run."""
    seed = settings.get_dict().get("seed")
    if isinstance(seed, int) and seed + runs - 1 > MAX_SEED:  # the search reports other problems of it
        raise InputError("settings.seed", seed, f"run {runs - 1} has it plus {runs - 1}: at most {MAX_SEED - runs + 1}")


class Fuse2RunsWorkChain(WorkChain):
    """Makes several independent runs of one search and compares their results."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        spec.expose_inputs(
            Fuse2WorkChain,
            namespace="search",
            exclude=("state", "continues"),
            namespace_options={"help": "Inputs of each search. The seed is that of run 0; run i uses seed + i."},
        )
        spec.input(
            "runs",
            valid_type=orm.Int,
            serializer=orm.to_aiida_type,
            validator=_validate_number,
            help="Number of runs.",
        )
        spec.input(
            "concurrent",
            valid_type=orm.Int,
            required=False,
            serializer=orm.to_aiida_type,
            validator=_validate_number,
            help="Largest number of runs at a time; all if omitted.",
        )
        spec.inputs.validator = _validate_seeds
        spec.outline(while_(cls.should_continue)(cls.submit_searches), cls.finish_runs, cls.finalise)
        spec.output("structure", valid_type=orm.StructureData, required=False, help="The structure of lowest energy.")
        spec.output("energy", valid_type=orm.Float, required=False, help="Its energy (enthalpy), eV/atom.")
        spec.output(
            "summary",
            valid_type=orm.Dict,
            required=False,
            help="A row for each run; lowest, mean, spread and standard deviation of their lowest energies (eV/atom), "
            "and how many runs found the lowest crystal.",
        )
        spec.output(
            ANSWER,
            valid_type=orm.Dict,
            required=False,
            help="Phases among the best structures of all runs, see `fuse2.finish`.",
        )
        spec.exit_code(401, "ERROR_NO_STRUCTURE", message="No run has found a structure; {reason}")
        spec.exit_code(STOPPED, "STOPPED_ON_REQUEST", message="Stopped on request; {reason}")

    @classmethod
    def get_builder_from_protocol(
        cls,
        composition: str,
        code: orm.AbstractCode,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        *,
        runs: int = PAPER_RUNS,
        concurrent: int | None = None,
        structures: Sequence[orm.StructureData] | None = None,
        pool: orm.SinglefileData | None = None,
        options: Mapping[str, Any] | None = None,
        second: str | None = None,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        Args:
            composition: formula, e.g. ``SrTiO3``.
            code: installed command ``aiida-fuse2-worker``.
            protocol: ``fast``, ``balanced`` (default) or ``stringent``.
            overrides: nested inputs of the search that win over the protocol, e.g. ``{'settings': {'seed': 10}}``.
            runs: number of runs; run i has the seed of the settings plus i.
            concurrent: largest number of runs at a time; all if None.
            structures: explicit starting structures in the graph, for every run.
            pool: starting structures as a pool node (from files), for every run.
            options: options of all jobs, e.g. ``{'queue_name': 'short'}``.
            second: potential that orders the answers, as for a search.

        Raises:
            InputError: if a setting is wrong, no given structure fits, or ``second`` cannot be used.
            SetupError: if ``second`` is not installed.
        """
        search = Fuse2WorkChain.get_builder_from_protocol(
            composition,
            code,
            protocol,
            overrides,
            structures=structures,
            pool=pool,
            options=options,
            second=second,
        )
        return cls.builder_of_search(search, runs=runs, concurrent=concurrent)

    @classmethod
    def builder_of_search(
        cls, search: ProcessBuilder, *, runs: int = PAPER_RUNS, concurrent: int | None = None
    ) -> ProcessBuilder:
        """Return a builder of runs of a search.

        Args:
            search: builder of ``Fuse2WorkChain``.
            runs: number of runs.
            concurrent: largest number of runs at a time; all if None.

        Raises:
            InputError: if a number or the seed is out of range, or the search is to continue from a state.
        """
        for name, number in (("runs", runs), ("concurrent", concurrent)):
            problem = None if number is None else _number_problem(number)
            if problem is not None:
                raise InputError(name, number, problem)
        _check_seeds(search.settings, runs)
        if search.get("state") is not None:
            raise InputError("state", search.state.pk, "runs are independent and begin anew")
        builder: ProcessBuilder = cls.get_builder()
        for name, value in pruned(search).items():
            if name != "metadata":
                builder.search[name] = value
        builder.runs = orm.Int(runs)
        if concurrent is not None:
            builder.concurrent = orm.Int(concurrent)
        return builder

    # --- outline ------------------------------------------------------------------------------------

    def should_continue(self) -> bool:
        """Return whether a search still runs, or another one is to begin."""
        searches = searches_of_runs(self.node.pk)
        is_one_left = len(searches) < self.inputs.runs.value and stop_request(self.node.pk) is None
        return is_one_left or any(not search.has_ended for search in searches)

    def submit_searches(self) -> ToContext | None:
        """Begin as many searches as can run, and wait for the earliest of the running ones.

        When it has ended, others may have ended, too, and all are replaced. The begun searches are
        read from the graph: a step that runs twice, after a kill, begins nothing twice.
        """
        seal_orphans(self.node)
        searches = searches_of_runs(self.node.pk)
        active = [search.pk for search in searches if not search.has_ended]
        runs = self.inputs.runs.value
        concurrent = self.inputs.concurrent.value if "concurrent" in self.inputs else runs
        if stop_request(self.node.pk) is None:
            free = max(concurrent - len(active), 0)
            active += [self._submit_search(run) for run in range(len(searches), runs)[:free]]
        request = stop_request(self.node.pk)  # again: a request in between did not see the new searches
        for pk in active if request is not None else []:
            orm.load_node(pk).base.extras.set(STOP_EXTRA, request)
        return ToContext(waited=orm.load_node(active[0])) if active else None

    def _submit_search(self, run: int) -> int:
        inputs = self.exposed_inputs(Fuse2WorkChain, namespace="search")
        inputs["settings"] = settings_of_run(
            settings=self.inputs.search.settings, run=orm.Int(run), software=self._software()
        )
        inputs["metadata"]["call_link_label"] = f"{RUN_LINK}{run:02d}"
        node = self.submit(Fuse2WorkChain, **inputs)
        self.report(f"run {run}: search {node.pk} with seed {inputs['settings']['seed']}")
        return int(node.pk)

    def finish_runs(self) -> ToContext | None:
        """Submit the finish of the best structures of all runs together, if the worker computes their energies."""
        if stop_request(self.node.pk) is not None:
            return None
        searches = [orm.load_node(search.pk) for search in searches_of_runs(self.node.pk)]
        number = self.inputs.search.settings.get("finish", 0)  # 0 in one of an earlier version
        builder = finish_builder(searches, self.inputs.search, number) if len(searches) > 1 else None
        return None if builder is None else ToContext(finish=self.submit(builder))

    def finalise(self) -> ExitCode | None:
        """Compare the runs and attach the lowest; failed runs count with the structures that they found."""
        seal_orphans(self.node)
        searches = [orm.load_node(search.pk) for search in searches_of_runs(self.node.pk)]
        found = {
            f"{name}_{run:02d}": search.outputs[name]
            for run, search in enumerate(searches)
            for name in FOUND
            if name in search.outputs
        }
        for run, search in enumerate(searches):
            if not search.is_finished_ok:
                self.report(f"run {run}: {_ending(search)}")
        if not any(name.startswith("structure_") for name in found):
            reasons = [f"run {run}: {_ending(search)}" for run, search in enumerate(searches)]
            without = self.exit_codes.ERROR_NO_STRUCTURE.format(reason="; ".join(reasons) or "none has begun")
            return self._exit_code(searches) or without
        outputs = compare_runs(
            settings=self.inputs.search.settings, runs=self.inputs.runs, software=self._software(), **found
        )
        self.out_many(outputs)
        finish = self.ctx.get("finish")
        if finish is not None and ANSWER in finish.outputs:
            self.out(ANSWER, finish.outputs[ANSWER])
        summary = outputs["summary"]
        self.out("structure", found[f"structure_{summary['lowest']['run']:02d}"])
        self.report(
            f"lowest {summary['lowest']['energy']:.4f} eV/atom, the lowest of {summary['hits']} of "
            f"{summary['successful']} runs; spread {summary['spread']:.4f} eV/atom"
        )
        return self._exit_code(searches)

    def _exit_code(self, searches: Sequence[orm.WorkChainNode]) -> ExitCode | None:
        ended = sum(search.exit_status != STOPPED for search in searches)
        runs = self.inputs.runs.value
        if stop_request(self.node.pk) is None or ended == runs:
            return None
        return self.exit_codes.STOPPED_ON_REQUEST.format(reason=f"{ended} of {runs} runs had ended before.")

    def _software(self) -> orm.Dict:
        """Return the versions of the packages of this process, one node for all runs."""
        node = software_node(self.ctx.get("software"))
        self.ctx.software = node.uuid
        return node


def pruned(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested inputs without empty namespaces."""
    nested = {key: pruned(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    return {key: value for key, value in nested.items() if value is not None and value != {}}


def _ending(search: orm.WorkChainNode) -> str:
    """Return how a search ended, as text."""
    if search.is_finished_ok:
        return "finished"
    return str(search.exit_message or f"search {search.pk} is {search.process_state.value}")
