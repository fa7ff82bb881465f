"""Workers whose results contradict themselves: failures with a name, and never the best of a search."""

from __future__ import annotations

import sys

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.query.chain import generation_records

from .comparing import comparable, rows_of

WORKER = """#!{python}
import json, pathlib, subprocess, sys
code = subprocess.run(["{worker}", *sys.argv[1:]]).returncode
path = pathlib.Path("results.jsonl")
rows = [json.loads(line) for line in path.read_text().splitlines()]
{lie}
path.write_text("".join(json.dumps(row) + chr(10) for row in rows))
sys.exit(code)
"""

HOLE = "row.update(energy=-1e9, potential_energy=-1e9)"


@pytest.fixture
def lying(emt_builder, worker_path, aiida_localhost, tmp_path):
    """A function that returns the builder of a search whose worker lies, by a line of Python about `rows`."""

    def build(lie, **settings):
        program = tmp_path / "liar"
        program.write_text(WORKER.format(python=sys.executable, worker=worker_path, lie=lie))
        program.chmod(0o755)
        builder = emt_builder(max_structures=4, **settings)
        builder.tiers["t00"]["codes"] = {
            "worker": orm.InstalledCode(
                computer=aiida_localhost, filepath_executable=str(program), label=f"liar-{tmp_path.name}"
            ).store()
        }
        return builder

    return build


@pytest.fixture
def honest(finished):
    """Records of the same structures with a worker that does not lie."""
    return comparable(rows_of(finished())[:4])


def jobs_of(search):
    return [node for node in search.called_descendants if isinstance(node, orm.CalcJobNode)]


def test_bad_results_are_counted_and_change_nothing_else(honest, lying):
    """A hole would be the best structure, text in place of energy and a key with a dot would end the search."""
    lie = "rows[0].update(energy=-1e9, potential_energy=-1e9); rows[1]['energy'] = 'low'; rows[2]['a.b'] = 1"
    _, search = run_get_node(lying(lie))
    assert search.is_finished_ok, search.exit_message
    (job,) = jobs_of(search)
    assert job.exit_status == 322
    rows = rows_of(search)
    assert [row["status"] for row in rows] == ["bad_result"] * 3 + ["converged"]
    state = SearchState.from_dict(search.outputs.state.get_dict())
    assert (state.failures, state.explored, state.best.label) == ({"bad_result": 3}, 1, rows[3]["label"])
    last = comparable(rows)[3]
    assert {**last, "outcome": honest[3]["outcome"]} == honest[3]  # the others decide whether it is the lowest


@pytest.mark.slow
def test_a_job_without_one_good_result_is_repeated(honest, lying, tmp_path):
    marker = tmp_path / "lied"
    lie = f"""
if not pathlib.Path("{marker}").exists():
    pathlib.Path("{marker}").touch()
    for row in rows:
        {HOLE}
"""
    _, search = run_get_node(lying(lie))
    assert search.is_finished_ok, search.exit_message
    assert [job.exit_status for job in jobs_of(search)] == [322, 0]
    assert comparable(rows_of(search)) == honest


@pytest.mark.slow
def test_a_structure_without_a_good_result_is_named_after_its_jobs(lying):
    lie = f"""
for row in rows:
    if row["label"].endswith("t003"):
        {HOLE}
"""
    _, search = run_get_node(lying(lie, relax_jobs=4, job_seconds=0, job_attempts=2))
    assert search.is_finished_ok, search.exit_message
    assert [job.exit_status for job in jobs_of(search)] == [0, 0, 0, 322, 322, 322]
    assert [row["status"] for row in rows_of(search)] == ["converged"] * 3 + ["bad_result"]
    assert "energy_impossible" in rows_of(search)[3]["detail"]


@pytest.mark.slow  # `test_search_steps.py` has jobs made by hand
def test_a_worker_that_always_lies_ends_the_search_by_name(lying):
    _, search = run_get_node(lying(f"for row in rows: {HOLE}", job_attempts=1))
    assert search.exit_status == 301
    assert "g00000_w001_t001: energy_impossible" in search.exit_message
    assert generation_records(search.pk) == []
