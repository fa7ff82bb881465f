"""Jobs that die: what they had finished is kept, the rest is relaxed again, and the search is the same."""

from __future__ import annotations

from pathlib import Path

from aiida import orm
from aiida.engine import run_get_node

from aiida_fuse2.core.state import SearchState
from aiida_fuse2.workchains.records import generation_records
from tests.workchains.comparing import comparable, rows_of

ROOT = Path(__file__).resolve().parents[2]


def faulty(builder, name, **arguments):
    """Let a builder use a potential of ``tests.faulty``."""
    tier = builder.relax.settings.get_dict()
    builder.relax.settings = orm.Dict({**tier, "calculator": f"tests.faulty.{name}", "arguments": arguments})
    options = {**builder.relax.metadata.options, "environment_variables": {"PYTHONPATH": str(ROOT)}}
    builder.relax.metadata.options = options
    return builder


def jobs_of(search):
    return [node for node in search.called if isinstance(node, orm.CalcJobNode)]


def test_trials_of_a_dead_job_are_relaxed_again(emt_builder, tmp_path):
    _, whole = run_get_node(emt_builder(max_structures=6))
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
