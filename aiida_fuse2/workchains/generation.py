"""The part of a search that relaxes a generation, with jobs that may die before their end."""

from __future__ import annotations

from collections.abc import Sequence

from aiida import orm
from aiida.common.extendeddicts import AttributeDict
from aiida.engine import ToContext

from aiida_fuse2.calculations.conversions import candidates_to_dict, recognised
from aiida_fuse2.calculations.functions import recognise
from aiida_fuse2.core.relaxers.failures import Failure
from aiida_fuse2.core.search.batches import number_of_jobs
from aiida_fuse2.core.search.recognition import ExploredIndex, known_candidates
from aiida_fuse2.io.trials import trials_from_text
from aiida_fuse2.query.structures import find_structures

from .base import SearchPart
from .job_outputs import problem_of, results_of
from .relax import INPUT_REFUSED

MAX_GIVEN_UP = 3
"""Number of structures given up in a row, without any result in between, that shows a fault of the worker."""

MAX_DIED = 10
"""Number of structures in a row that killed their processes that shows a fault of a worker that worked before."""


class GenerationPart(SearchPart):
    """Steps of a search that relax the trials of a generation.

    In the context, ``generation`` has ``trials``, ``proposal`` and ``known`` (UUIDs), ``size`` (number of trials),
    ``waiting`` (labels without a result), ``asked`` (those of the current jobs), ``jobs`` and ``refused`` (UUIDs of
    jobs with and without a result that can be used), ``n_submitted`` and ``fruitless`` (rounds in a row without any
    result); ``batch`` are the current jobs, and ``counts`` what is counted beyond a generation: ``barren`` (generations
    in a row without a trial) and ``died`` (structures in a row that killed their process).
    """

    def begin_generation(self, trials: orm.SinglefileData, proposal: orm.Dict, index: ExploredIndex) -> None:
        """Take the trials of a generation; those that equal a relaxed structure need not be relaxed.

        Args:
            trials: trials of the generation.
            proposal: counts of the proposal.
            index: explored structures.
        """
        labels = proposal["labels"]
        known = self._known(trials, index)
        left = labels if known is None else [label for label in labels if label not in known["by_label"]]
        self.ctx.generation = AttributeDict(
            {
                "trials": trials.uuid,
                "proposal": proposal.uuid,
                "known": None if known is None else known.uuid,
                "size": len(labels),
                "waiting": left,
                "asked": [],
                "jobs": [],
                "refused": [],
                "n_submitted": 0,
                "fruitless": 0,
            }
        )
        self.ctx.counts.barren = 0 if labels else self.ctx.counts.barren + 1

    def _known(self, trials: orm.SinglefileData, index: ExploredIndex) -> orm.Dict | None:
        """Return which trials equal a relaxed structure, or None if none does.

        Each link of a calcfunction costs more than a comparison, so it gets only the structures found here.
        """
        if not self.settings.uniqueness.skip_known:
            return None
        near = known_candidates(trials_from_text(trials.get_content()), index.relaxed)
        if not near:
            return None
        uuids = find_structures(self.node.pk, sorted({known.label for found in near.values() for known in found}))
        structures = {label: orm.load_node(uuid) for label, uuid in uuids.items()}
        found = recognised(trials, near, structures, self.settings.uniqueness.stol)
        if not found:
            return None
        known: orm.Dict = recognise(
            settings=self.inputs.settings,
            trials=trials,
            candidates=orm.Dict(candidates_to_dict({label: [equal] for label, equal in found.items()})),
            software=self.software(),
            **{equal.label: structures[equal.label] for equal in found.values()},
        )
        return known

    def should_relax(self) -> bool:
        """Return whether trials of the generation still have to be relaxed."""
        # nothing waits yet if the search was cut short while its first pool was filled
        return self.ctx.failure is None and not self.is_cut_short() and bool(self.ctx.generation.waiting)

    def relax_trials(self) -> ToContext:
        """Submit the trials that have no result yet, in one job or a few."""
        present, settings, state = self.ctx.generation, self.settings, self.search_state()
        # a structure on which enough jobs have died is tried alone before it is given up: another one may be the cause
        is_last = present.fruitless % settings.job_attempts == settings.job_attempts - 1
        present.asked = present.waiting[:1] if present.fruitless and is_last else present.waiting
        number = number_of_jobs(len(present.asked), state, most=settings.relax_jobs, least_seconds=settings.job_seconds)
        self.ctx.batch = AttributeDict()
        jobs = {}
        for position, share in enumerate(_shares(present.asked, number)):
            link = f"relax_{state.generation:05d}_{present.n_submitted:02d}"
            labels = share if len(share) < present.size else None
            jobs[f"batch.job_{position:05d}"] = self.submit_relaxation(orm.load_node(present.trials), link, labels)
            present.n_submitted += 1
        return ToContext(**jobs)

    def inspect_relaxation(self) -> None:
        """Store which trials have their result; the others go into another job, since theirs died."""
        present, jobs = self.ctx.generation, [job for _, job in sorted(self.ctx.batch.items())]
        results = {job.uuid: results_of(job) for job in jobs}
        done = {label: row for rows in results.values() for label, row in rows.items()}
        present.jobs += [job.uuid for job in jobs if results[job.uuid]]
        present.refused += [job.uuid for job in jobs if not results[job.uuid] and "results" in job.outputs]
        present.waiting = [label for label in present.waiting if label not in done]
        present.fruitless = 0 if done else present.fruitless + 1
        self._count_died([row["status"] for row in done.values()])
        if not present.waiting or self.ctx.failure is not None:
            return
        shares = zip(jobs, _shares(present.asked, len(jobs)), strict=True)
        died = [job for job, share in shares if not done.keys() >= set(share)]
        if self.is_cut_short() or not died:
            return
        refused = [job for job in died if job.exit_status == INPUT_REFUSED]
        if refused:
            self.ctx.failure = ["ERROR_RELAXATION_JOB_FAILED", problem_of(refused[0])]
            return
        self.report(f"{len(present.waiting)} trials have no result ({problem_of(died[0])})")
        self._give_up(problem_of(died[0]))

    def _count_died(self, statuses: Sequence[str]) -> None:
        """Count the structures in a row that killed their processes, and end the search if these are too many."""
        counts = self.ctx.counts
        if any(status != Failure.DIED for status in statuses):
            counts.died = 0
            return
        counts.died += len(statuses)
        if counts.died >= (MAX_DIED if self.search_state().explored else MAX_GIVEN_UP):
            reason = f"each of the last {counts.died} structures killed its process"
            self.ctx.failure = ["ERROR_RELAXATION_JOB_FAILED", reason]

    def _give_up(self, problem: str) -> None:
        """Give up the first trial in line once enough jobs have died on it, and the search if that does not help."""
        present, attempts = self.ctx.generation, self.settings.job_attempts
        has_worked = bool(present.jobs) or self.search_state().explored > 0
        limit = max(attempts, 2) * MAX_GIVEN_UP if has_worked else max(attempts, 2) + 1
        if present.fruitless >= limit:
            self.ctx.failure = ["ERROR_RELAXATION_JOB_FAILED", problem]
        elif present.fruitless and present.fruitless % attempts == 0 and len(present.asked) == 1:
            self.report(f"{present.waiting[0]} is given up: {attempts} jobs have died on it")
            present.waiting = present.waiting[1:]
            self._count_died([Failure.DIED])

    def jobs_of_generation(self) -> list[orm.ProcessNode]:
        """Return the processes with results of the generation.

        Processes without a good result come first: they name the failures of trials for which no job had one.
        """
        return [orm.load_node(uuid) for uuid in [*self.ctx.generation.refused, *self.ctx.generation.jobs]]


def _shares(labels: list[str], number: int) -> list[list[str]]:
    """Return labels in as many shares as there are jobs."""
    return [labels[start::number] for start in range(number)]
