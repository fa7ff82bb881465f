"""The search WorkChain, run in this process with EMT: outputs, provenance, repeatability."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from aiida import orm
from aiida.cmdline.utils.common import get_workchain_report
from aiida.common.links import LinkType
from aiida.engine import run_get_node

from aiida_fuse2 import query
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.io.trials import to_extxyz, trials_from_text
from aiida_fuse2.parsers.relax import EXTRAS_KEY
from aiida_fuse2.query.chain import generation_records
from aiida_fuse2.query.links import GROUP_PREFIX
from aiida_fuse2.query.structures import find_structures

from .comparing import comparable, rows_of


def test_outputs(finished):
    search = finished()
    assert search.is_finished_ok, search.exit_message
    assert set(search.outputs) == {"structure", "energy", "ranked", "history", "state"}
    state = SearchState.from_dict(search.outputs.state.get_dict())
    assert (state.tried, state.generation) == (8, 3)
    ranked = search.outputs.ranked["structures"]
    assert ranked[0]["energy"] == search.outputs.energy.value == state.best.energy
    assert [r["energy"] for r in ranked] == sorted(r["energy"] for r in ranked)
    assert sum(r["found"] for r in ranked) == state.explored
    assert len(ranked) == state.unique
    assert search.outputs.structure.label == state.best.label == ranked[0]["label"]
    history = search.outputs.history
    assert history.get_array("number").tolist() == list(range(1, 9))
    best = history.get_array("best_energy")
    assert np.all(np.diff(best) <= 0)
    assert best[-1] == search.outputs.energy.value
    assert all(r["found"] >= 1 and r["z"] * 4 == r["n_atoms"] for r in ranked)
    found = query.evidence(search.pk)
    assert (found.new_bests, found.random_since_best) == (state.watch.new_bests, state.watch.random_since_best)
    assert state.watch.new_bests > 0
    assert sum(state.watch.sizes.values()) == state.explored


def test_report_is_one_line_per_generation(finished):
    lines = get_workchain_report(finished(), "REPORT").splitlines()
    assert sum("generation" in line for line in lines) == 3


def test_every_explored_structure_can_be_walked(finished):
    search = finished()
    rows = {row["label"]: row for row in rows_of(search)}
    explored = {label: row for label, row in rows.items() if row["status"] == "converged"}
    uuids = find_structures(search.pk, list(rows))
    assert set(uuids) == set(explored)
    group = orm.Group.collection.get(label=GROUP_PREFIX + search.uuid)
    assert {node.uuid for node in group.nodes} == set(uuids.values())
    for label, row in explored.items():
        structure = orm.load_node(uuids[label])
        extras = structure.base.extras.get(EXTRAS_KEY)
        assert (extras["label"], extras["energy"]) == (label, row["energy"])
        assert extras["duplicate_of"] == (row["duplicate_of"] or "")
        job = structure.creator
        assert job.process_class.__name__ == "RelaxCalculation"
        assert job.outputs.results["by_label"][label]["energy"] == row["energy"]
        trials = {t.info.label: t for t in trials_from_text(job.inputs.trials.get_content())}
        assert label in trials
        parent = row["parent"]
        proposal = job.inputs.trials.creator
        links = proposal.base.links.get_incoming(link_type=LinkType.INPUT_CALC).all_link_labels()
        if parent:
            assert parent in links
            assert proposal.inputs[parent].uuid == uuids[parent]


def test_state_follows_from_state(finished):
    records = generation_records(finished().pk)
    assert [r.next_generation for r in records] == [1, 2, 3]
    for earlier, later in pairwise(records):
        assert orm.load_node(later.state).creator.inputs.state.uuid == earlier.state


@pytest.mark.slow  # `test_targets.py` compares two of a seed too
def test_same_seed_same_search(finished):
    again = finished(max_structures=6)
    assert comparable(rows_of(again)) == comparable(rows_of(finished())[:6])


@pytest.mark.slow
def test_number_of_jobs_changes_nothing(finished):
    shared = finished(relax_jobs=2, job_seconds=0.0, max_structures=6)
    jobs = [c for c in shared.called_descendants if isinstance(c, orm.CalcJobNode)]
    assert len(jobs) == 4
    assert comparable(rows_of(shared)) == comparable(rows_of(finished())[:6])


@pytest.mark.slow
def test_a_trial_that_was_relaxed_before_is_not_relaxed_again(emt_builder, finished):
    """Structures of an earlier search come back from the pool when it goes on."""
    earlier = finished()
    explored = find_structures(earlier.pk, [r["label"] for r in earlier.outputs.ranked["structures"]])
    again = to_extxyz((orm.load_node(uuid).get_ase(), {"origin": "provided"}) for uuid in explored.values())

    def go_on(skip_known):
        pool = orm.SinglefileData.from_string(again, filename="pool.extxyz")
        builder = emt_builder(
            pool_node=pool, max_structures=12, move_weights={14: 1.0}, uniqueness={"skip_known": skip_known}
        )
        builder.state = earlier.outputs.state
        _, node = run_get_node(builder)
        assert node.is_finished_ok, node.exit_message
        return node

    search = go_on(skip_known=True)
    rows = {row["label"]: row for row in rows_of(search)}
    known = {label: row for label, row in rows.items() if row["status"] == "known"}
    assert known
    relaxed = {
        x for job in search.called_descendants if "results" in job.outputs for x in job.outputs.results["by_label"]
    }
    assert not relaxed & set(known)
    sources = [c.outputs.result["by_label"] for c in search.called if c.process_label == "recognise"]
    assert {label for found in sources for label in found} == set(known)
    for row in known.values():
        assert rows[row["duplicate_of"]]["status"] == "converged"
    assert search.outputs.state["tried"] == 12 == search.outputs.state["explored"] + len(known)
    assert any("known before" in line for line in get_workchain_report(search, "REPORT").splitlines())
    every = rows_of(go_on(skip_known=False))
    assert "known" not in {row["status"] for row in every}
    assert [row["duplicate_of"] for row in every if row["label"] in known]


@pytest.mark.slow
def test_other_seed_other_search(finished):
    other = finished(seed=2, max_structures=4)
    assert not {r["energy"] for r in rows_of(other)} & {r["energy"] for r in rows_of(finished())[:4]}


def test_work_folders_are_removed(finished):
    for job in finished().called_descendants:
        if isinstance(job, orm.CalcJobNode):
            assert job.outputs.remote_folder.is_empty
