"""Work on a batch of structures that is repeated for those that have no result yet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine import Process, ToContext, WorkChain
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_fuse2.calculations.refine_functions import trials_of_structures

from .job_outputs import results_of
from .relax import INPUT_REFUSED

MAX_GIVEN_UP = 3
"""Number of structures given up one by one, without any result, that shows a fault of the worker."""


class AttemptsPart(WorkChain):
    """Base of WorkChains that take the best structures of searches through a process.

    They have the inputs ``settings`` (with ``job_attempts``), ``selection`` and ``structures``. In the context,
    ``trials`` is the UUID of the structures, ``total`` their number, ``link`` the beginning of the labels of the links
    to the processes, ``done`` are the UUIDs of processes with results, ``waiting`` the labels without, and ``failure``
    is the reason why another attempt is useless, or None.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define the structures, and the exit code where a process refuses its input."""
        super().define(spec)
        spec.input(
            "selection",
            valid_type=orm.Dict,
            help="Row of each structure in the ranking that it comes from, by label: its rank, energy, ...",
        )
        spec.input_namespace(
            "structures", dynamic=True, valid_type=orm.StructureData, help="Explored structures by the same labels."
        )
        spec.exit_code(INPUT_REFUSED, "ERROR_INPUT_REFUSED", message="{reason}")

    @abstractmethod
    def attempt(self, inputs: dict[str, Any]) -> tuple[type[Process], dict[str, Any]]:
        """Return the process of an attempt and its inputs.

        Args:
            inputs: ``trials``, ``metadata`` and, if not all structures are asked for, ``labels``.
        """

    def setup(self) -> None:
        """Make trials of the structures."""
        self.begin(self.inputs.selection, dict(self.inputs.structures), "relax")

    def begin(self, selection: orm.Dict, structures: Mapping[str, orm.StructureData], link: str) -> None:
        """Make trials of structures, none of which has a result.

        Args:
            selection: ``label`` of each in its search, by label.
            structures: structures by the same labels.
            link: beginning of the labels of the links to the processes.
        """
        self.ctx.trials = trials_of_structures(selection=selection, **structures).uuid
        self.ctx.link = link
        self.ctx.total = len(structures)
        self.ctx.waiting = sorted(structures)
        self.ctx.done = []
        self.ctx.attempts = 0
        self.ctx.failure = None

    def should_try(self) -> bool:
        """Return whether a structure has no result yet."""
        is_hopeless = not self.ctx.done and self.ctx.attempts >= self._attempts() + MAX_GIVEN_UP
        return bool(self.ctx.waiting) and not is_hopeless and self.ctx.failure is None

    def try_structures(self) -> ToContext:
        """Submit structures without a result; in the end one by one, since jobs may have died on others."""
        self.ctx.asked = self.ctx.waiting[:1] if self.ctx.attempts >= max(self._attempts() - 1, 1) else self.ctx.waiting
        inputs: dict[str, Any] = {"trials": orm.load_node(self.ctx.trials)}
        if len(self.ctx.asked) < self.ctx.total:
            inputs["labels"] = orm.List(self.ctx.asked)
        inputs["metadata"] = {"call_link_label": f"{self.ctx.link}_{self.ctx.attempts:02d}"}
        process, inputs = self.attempt(inputs)
        return ToContext(process=self.submit(process, **inputs))

    def inspect_attempt(self) -> None:
        """Store which have their result; jobs died on the others, and these are tried again."""
        process = self.ctx.process
        self.ctx.attempts += 1
        if not process.is_finished_ok:
            self.report(f"{process.process_label} {process.pk}: {process.exit_message or process.process_state}")
        if process.exit_status == INPUT_REFUSED:
            self.ctx.failure = process.exit_message
        if "results" in process.outputs:
            done = results_of(process)
            self.ctx.done = [*self.ctx.done, process.uuid]
            self.ctx.waiting = [label for label in self.ctx.waiting if label not in done]
        if self.ctx.attempts >= self._attempts() and self.ctx.waiting[:1] == self.ctx.asked:
            self.report(f"{self.ctx.waiting[0]} is given up: {self.ctx.attempts} jobs have died on it")
            self.ctx.waiting = self.ctx.waiting[1:]

    def finished(self) -> list[orm.ProcessNode]:
        """Return the processes that have results, in their order."""
        return [orm.load_node(uuid) for uuid in self.ctx.done]

    def _attempts(self) -> int:
        return int(self.inputs.settings["job_attempts"])
