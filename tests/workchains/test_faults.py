"""Jobs that die: what they had finished is kept, the rest is relaxed again, and the search is the same."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.orm.utils.serialize import deserialize_unsafe, serialize

from aiida_fuse2 import query
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.io.trials import trials_from_text
from aiida_fuse2.query.chain import generation_records
from aiida_fuse2.workchains.search import Fuse2WorkChain

from .comparing import comparable, rows_of

ROOT = Path(__file__).resolve().parents[2]


def faulty(builder, name, **arguments):
    """Let a builder use a potential of ``tests.faulty``."""
    tier = builder.tiers["t00"]["settings"].get_dict()
    builder.tiers["t00"]["settings"] = orm.Dict({**tier, "calculator": f"tests.faulty.{name}", "arguments": arguments})
    options = {**builder.tiers["t00"]["options"].get_dict(), "environment_variables": {"PYTHONPATH": str(ROOT)}}
    builder.tiers["t00"]["options"] = orm.Dict(options)
    return builder


def jobs_of(search):
    return [node for node in search.called_descendants if isinstance(node, orm.CalcJobNode)]


@pytest.fixture
def whole(finished):
    """A search that nothing disturbs."""
    return finished(max_structures=6)


def test_trials_of_a_dead_job_are_relaxed_again(emt_builder, finished, tmp_path):
    marker = tmp_path / "died"
    builder = faulty(emt_builder(max_structures=6), "DiesOnce", marker=str(marker), structure=2)
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    assert marker.exists()
    first, second, third = jobs_of(search)
    assert first.exit_status == 320
    assert len(first.outputs.results["by_label"]) == 2
    assert second.inputs.labels.get_list() == ["g00000_w000_t002", "g00000_w001_t003"]
    assert second.is_finished_ok
    assert third.is_finished_ok
    rows = [{**row, "potential": "ase.calculators.emt.EMT"} for row in rows_of(search)]
    assert comparable(rows) == comparable(rows_of(finished())[:6])


@pytest.mark.slow
def test_job_that_dies_before_any_result_is_repeated(emt_builder, tmp_path):
    marker = tmp_path / "died"
    builder = faulty(emt_builder(max_structures=4), "DiesOnce", marker=str(marker), structure=0)
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    assert [job.exit_status for job in jobs_of(search)] == [310, 0]
    assert SearchState.from_dict(search.outputs.state.get_dict()).explored == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DiesOfLargeCells", "EndsJobsOfLargeCells"])
def test_structure_that_kills_is_given_up_and_no_other(emt_builder, name):
    """Of the first four structures of this seed some have eight atoms and some four."""
    builder = faulty(emt_builder(max_structures=4, size_bias=0.0, job_attempts=1), name, limit=4)
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    rows = rows_of(search)
    status = {"DiesOfLargeCells": "process_died", "EndsJobsOfLargeCells": "job_ended_early"}[name]
    lost = [row["label"] for row in rows if row["status"] == status]
    assert len(rows) == 4
    assert 1 <= len(lost) <= 3
    sizes = sizes_of(search)
    assert {label: size > 4 for label, size in sizes.items()} == {label: label in lost for label in sizes}
    assert SearchState.from_dict(search.outputs.state.get_dict()).failures == {status: len(lost)}
    assert name != "DiesOfLargeCells" or not any(job.base.caching.is_valid_cache for job in jobs_of(search))


def sizes_of(search):
    """Return how many atoms each trial of a search had."""
    trials = [job.inputs.trials.get_content() for job in jobs_of(search)]
    return {trial.info.label: len(trial.atoms) for text in trials for trial in trials_from_text(text)}


@pytest.mark.slow
def test_a_killer_gives_the_same_records_whatever_the_number_of_processes(emt_builder):
    found = []
    for count in (1, 2):
        builder = faulty(emt_builder(max_structures=4, size_bias=0.0), "DiesOfLargeCells", limit=4)
        builder.tiers["t00"]["settings"] = orm.Dict({**builder.tiers["t00"]["settings"].get_dict(), "processes": count})
        _, search = run_get_node(builder)
        assert search.is_finished_ok, search.exit_message
        assert {job.exit_status for job in jobs_of(search)} == {0}
        found.append(comparable(rows_of(search)))
    assert found[0] == found[1]
    assert {row["status"] for row in found[0]} == {"converged", "process_died"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DiesOfLargeCells", "EndsJobsOfLargeCells"])
def test_a_search_of_one_trial_at_a_time_outlives_killers(emt_builder, name):
    """There is no other structure in the job that could show that it works."""
    given = {"max_structures": 2, "population_size": 1, "walkers": 1, "job_attempts": 1}
    _, search = run_get_node(faulty(emt_builder(**given), name, limit=0))
    assert search.exit_status == 401  # nothing was found, and all was tried
    assert len(rows_of(search)) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_jobs"), [("DiesOfLargeCells", 1), ("EndsJobsOfLargeCells", 3)])
def test_worker_that_always_dies_ends_the_search_and_loses_nothing(emt_builder, name, n_jobs):
    builder = faulty(emt_builder(max_structures=4, job_attempts=2), name, limit=0)
    _, search = run_get_node(builder)
    assert search.exit_status == 301
    assert len(jobs_of(search)) == n_jobs
    assert generation_records(search.pk) == []


@pytest.mark.slow
def test_what_hangs_is_given_up_when_the_wall_time_is_used_up(emt_builder):
    builder = faulty(emt_builder(max_structures=4, size_bias=0.0), "HangsOnLargeCells", limit=4)
    builder.tiers["t00"]["settings"] = orm.Dict({**builder.tiers["t00"]["settings"].get_dict(), "processes": 2})
    builder.tiers["t00"]["options"] = orm.Dict(
        {**builder.tiers["t00"]["options"].get_dict(), "max_wallclock_seconds": 60}
    )
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    sizes, rows = sizes_of(search), {row["label"]: row["status"] for row in rows_of(search)}
    assert rows == {label: "wall_time" if size > 4 else "converged" for label, size in sizes.items()}


STEPS = ("take_added", "propose_generation", "relax_trials", "inspect_relaxation", "decide_generation", "finalise")


def repeated(step):
    """Return a step that is made twice: its worker is killed when all is stored but that it has been made."""

    @functools.wraps(step)
    def twice(self):
        context = deserialize_unsafe(serialize(self.ctx))  # as it is stored: parts of it are changed in place
        step(self)
        for name in set(self.ctx) - set(context):
            del self.ctx[name]
        self.ctx.update(context)
        self._index = None  # the search comes back in another process
        return step(self)

    return twice


@pytest.mark.slow
def test_steps_that_are_made_twice_change_nothing(emt_builder, whole, monkeypatch):
    for name in STEPS:
        monkeypatch.setattr(Fuse2WorkChain, name, repeated(getattr(Fuse2WorkChain, name)))
    monkeypatch.delattr(Fuse2WorkChain, "_spec")  # its outline holds the steps as they were
    _, search = run_get_node(emt_builder(max_structures=6))
    assert search.is_finished_ok, search.exit_message
    assert len(jobs_of(search)) == 2 * len(jobs_of(whole))
    assert comparable(rows_of(search)) == comparable(rows_of(whole))
    assert query.ranked(search)[0]["label"] == query.ranked(whole)[0]["label"]
    last = generation_records(search.pk)[-1]
    assert last.state == search.outputs.state.uuid
    assert last.record in {node.uuid for node in search.outputs.history.creator.base.links.get_incoming().all_nodes()}
