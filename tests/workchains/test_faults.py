"""Jobs that die: what they had finished is kept, the rest is relaxed again, and the search is the same."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_fuse2 import query
from aiida_fuse2.core.state import SearchState
from aiida_fuse2.workchains.records import generation_records
from aiida_fuse2.workchains.search import Fuse2WorkChain
from tests.workchains.comparing import comparable, rows_of

ROOT = Path(__file__).resolve().parents[2]

_WHOLE: dict[str, int] = {}


def faulty(builder, name, **arguments):
    """Let a builder use a potential of ``tests.faulty``."""
    tier = builder.relax.settings.get_dict()
    builder.relax.settings = orm.Dict({**tier, "calculator": f"tests.faulty.{name}", "arguments": arguments})
    options = {**builder.relax.metadata.options, "environment_variables": {"PYTHONPATH": str(ROOT)}}
    builder.relax.metadata.options = options
    return builder


def jobs_of(search):
    return [node for node in search.called if isinstance(node, orm.CalcJobNode)]


@pytest.fixture
def whole(emt_builder):
    """A search that nothing disturbs; made once for several tests."""
    if "pk" not in _WHOLE:
        _, node = run_get_node(emt_builder(max_structures=6))
        _WHOLE["pk"] = node.pk
    return orm.load_node(_WHOLE["pk"])


def test_trials_of_a_dead_job_are_relaxed_again(emt_builder, whole, tmp_path):
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
    assert comparable(rows) == comparable(rows_of(whole))


def test_job_that_dies_before_any_result_is_repeated(emt_builder, tmp_path):
    marker = tmp_path / "died"
    builder = faulty(emt_builder(max_structures=4), "DiesOnce", marker=str(marker), structure=0)
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    assert [job.exit_status for job in jobs_of(search)] == [310, 0]
    assert SearchState.from_dict(search.outputs.state.get_dict()).explored == 4


def test_structure_that_kills_its_jobs_is_given_up(emt_builder):
    """Of the first four structures of this seed some have eight atoms and some four."""
    builder = faulty(emt_builder(max_structures=4, job_attempts=1), "DiesOfLargeCells", limit=4)
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    rows = rows_of(search)
    lost = [row["label"] for row in rows if row["status"] == "job_ended_early"]
    assert len(rows) == 4
    assert 1 <= len(lost) <= 3
    assert all(row["n_atoms"] == 4 for row in rows if row["label"] not in lost)
    assert SearchState.from_dict(search.outputs.state.get_dict()).failures == {"job_ended_early": len(lost)}


def test_worker_that_always_dies_ends_the_search_and_loses_nothing(emt_builder):
    builder = faulty(emt_builder(max_structures=4, job_attempts=2), "DiesOfLargeCells", limit=0)
    _, search = run_get_node(builder)
    assert search.exit_status == 301
    assert len(jobs_of(search)) == 3
    assert generation_records(search.pk) == []


STEPS = ("take_added", "propose_generation", "relax_trials", "inspect_relaxation", "decide_generation", "finalise")


def repeated(step):
    """Return a step that is made twice: its worker is killed when all is stored but that it has been made."""

    @functools.wraps(step)
    def twice(self):
        context = dict(self.ctx)
        step(self)
        for name in set(self.ctx) - set(context):
            del self.ctx[name]
        self.ctx.update(context)
        self._index = None  # the search comes back in another process
        return step(self)

    return twice


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
