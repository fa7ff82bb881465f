"""The part of a search that handles its pool: filling it, adding structures, and failures of its jobs."""

from __future__ import annotations

from aiida import orm
from aiida.common.extendeddicts import AttributeDict
from aiida.engine import ToContext

from aiida_fuse2.calculations.conversions import pool_number
from aiida_fuse2.calculations.functions import add_to_pool, select_prototypes
from aiida_fuse2.calculations.generate import GenerateCalculation, needs_tier
from aiida_fuse2.core.search.starts import has_other_starts, pool_generators
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.environment.software import add_worker_software
from aiida_fuse2.query.chain import continued_search
from aiida_fuse2.query.pools import added_files, generators_before, pool_of_state

from .base import SearchPart
from .job_outputs import problem_of
from .relax import INPUT_REFUSED
from .search_inputs import ranking_inputs

EMPTY_POOL = 420
"""Exit status of a pool job after which another attempt is useless."""


class PoolPart(SearchPart):
    """Steps of a search that fill its pool.

    In the context, ``pool`` has ``node`` (UUID of the pool, or None), ``left`` (structures left in it; more than
    zero until the first draw), ``number`` (number of the next pool), ``made`` (names of the generators that have made
    one), ``failures`` (jobs in a row that gave none), ``checkpoint`` (UUID of the checkpoint of the last of them, or
    None), ``taken`` (UUIDs of the files of the user that were put into it), ``prototypes`` (UUID of the prototypes that
    the composition can adopt, or None) and ``job`` (job that fills it).
    """

    def begin_pool(self) -> None:
        """Begin with the pool that the search was given, if any."""
        given = self.inputs.pool.uuid if "pool" in self.inputs else None
        number = 0 if given is None else 1
        made = generators_before(self.inputs.pool) if "pool" in self.inputs else []
        self.ctx.pool = AttributeDict({"node": given, "left": number, "number": number, "made": made})
        library = self.inputs.get("prototypes")
        own = None if library is None else select_prototypes(settings=self.inputs.settings, library=library).uuid
        self.ctx.pool.update({"failures": 0, "checkpoint": None, "taken": [], "prototypes": own})

    def own_prototypes(self) -> dict[str, orm.SinglefileData]:
        """Return the prototypes that the composition can adopt as an input of a process; empty without a library."""
        found = self.ctx.pool.prototypes
        return {} if found is None else {"prototypes": orm.load_node(found)}

    def continue_pool(self, state: SearchState) -> None:
        """Take the pool of an earlier search, with the given structures before those left in it."""
        pool = self.ctx.pool
        earlier = pool_of_state(self.inputs.state.uuid, continued_search(self.node.pk))
        if earlier is None:
            pool.node, pool.left, pool.made = None, 0, []
            pool.number = state.pool_number + 1 if state.generation else 0
        else:
            number = pool_number(earlier)
            # whether nothing was drawn from it yet; a first pool can have the number that means no pool
            is_fresh = state.generation == 0 or number != state.pool_number or not state.pool_positions
            pool.node, pool.left = earlier.uuid, 1 if is_fresh else state.pool_remaining
            pool.number, pool.made = number + 1, generators_before(earlier)
        if "pool" in self.inputs:
            self._add_to_pool(self.inputs.pool)

    def take_added(self) -> None:
        """Put structures that the user added since the last generation into the pool."""
        for node in added_files(self.node.uuid):
            if node.uuid not in self.ctx.pool.taken:
                self._add_to_pool(node)
                self.ctx.pool.taken.append(node.uuid)

    def _add_to_pool(self, added: orm.SinglefileData) -> None:
        pool = self.ctx.pool
        outputs = add_to_pool(
            settings=self.inputs.settings,
            state=orm.load_node(self.ctx.state),
            added=added,
            pool_number=orm.Int(pool.number),
            software=self.software(),
            **({} if pool.node is None else {"pool": orm.load_node(pool.node)}),
        )
        pool.node = outputs["pool"].uuid
        pool.left = outputs["summary"]["kept"]
        pool.number += 1
        self.report(f"structures were added; {pool.left} wait in the pool")

    def should_fill_pool(self) -> bool:
        """Return whether the pool is empty and a job can fill it."""
        if self.ctx.failure is not None or self.ctx.pool.left > 0 or self.is_cut_short():
            return False
        can_be_filled = pool_generators(self.settings, self.ctx.pool.made) and "generate" in self.inputs
        return bool(can_be_filled) and self.ctx.pool.failures < self.settings.job_attempts

    def fill_pool(self) -> ToContext:
        """Submit the job that fills the pool."""
        inputs = self.exposed_inputs(GenerateCalculation, namespace="generate")
        inputs["settings"] = self.inputs.settings
        inputs["pool_number"] = orm.Int(self.ctx.pool.number)
        names = pool_generators(self.settings, self.ctx.pool.made)
        if set(names) != set(self.settings.starts):
            inputs["generators"] = orm.List(names)
        if needs_tier(self.settings):
            inputs |= ranking_inputs(self.inputs)
        inputs |= self.own_prototypes()
        if self.ctx.pool.checkpoint is not None:
            inputs["checkpoint"] = orm.load_node(self.ctx.pool.checkpoint)
        inputs["metadata"]["call_link_label"] = f"pool_{self.ctx.pool.number:03d}"
        add_worker_software(inputs, code=self.inputs.generate.code, tier={})
        return ToContext(**{"pool.job": self.submit(GenerateCalculation, **inputs)})

    def inspect_pool(self) -> None:
        """Take over the pool; without a pool a search that has begun continues with its random generator.

        So does a new one if its generators make no structure and it has other starts. Another job resumes a killed one.
        """
        pool, job = self.ctx.pool, self.ctx.pool.job
        pool.checkpoint = job.outputs.checkpoint.uuid if "checkpoint" in job.outputs else None
        if "pool" in job.outputs:
            summary = job.outputs.summary
            pool.node, pool.left, pool.failures = job.outputs.pool.uuid, summary["kept"], 0
            pool.number += 1
            pool.made = sorted(self.settings.starts)
            self.report(f"pool of {summary['kept']} structures from {summary['tried']} attempts")
            return
        if self.is_cut_short():
            return
        is_final = job.exit_status in {INPUT_REFUSED, EMPTY_POOL}
        pool.failures += self.settings.job_attempts if is_final else 1
        pool.node = None
        self.report(f"pool not filled: {problem_of(job)}")
        if self.search_state().generation > 0 or self.should_fill_pool():
            return
        if job.exit_status == EMPTY_POOL and has_other_starts(self.settings):
            self.report("the search begins without a pool")
        else:
            self.ctx.failure = ["ERROR_GENERATION_JOB_FAILED", problem_of(job)]
