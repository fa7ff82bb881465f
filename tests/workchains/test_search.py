"""The search WorkChain, run in this process with EMT: outputs, provenance, failures, repeatability."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from aiida import orm
from aiida.cmdline.utils.common import get_workchain_report
from aiida.common.links import LinkType
from aiida.engine import run_get_node

from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.io.trials import to_extxyz, trials_from_text
from aiida_fuse2.parsers.relax import EXTRAS_KEY
from aiida_fuse2.query.chain import generation_records
from aiida_fuse2.query.links import GROUP_PREFIX
from aiida_fuse2.query.stopping import STOP_EXTRA, STOP_NOW
from aiida_fuse2.query.structures import find_structures
from aiida_fuse2.workchains.search import Fuse2WorkChain

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


def test_symmetric_starts_fill_a_pool_and_refill_it(finished):
    search = finished(starts="symmetric", pool={"size": 3}, population_size=3, move_weights={14: 1.0})
    assert search.is_finished_ok, search.exit_message
    pools = [c for c in search.called_descendants if isinstance(c, orm.CalcJobNode) and "pool" in c.outputs]
    assert len(pools) >= 2
    assert [p.inputs.pool_number.value for p in pools] == list(range(len(pools)))
    origins = {row["origin"] for row in rows_of(search)}
    assert {"symmetric", "fgen"} <= origins


def test_provided_structures_start_the_search(emt_builder):
    from ase.build import bulk

    ordered = bulk("Cu", "fcc", a=3.7, cubic=True)
    ordered.numbers[0] = 79
    wrong = bulk("Cu", "fcc", a=3.6, cubic=True)
    structures = [orm.StructureData(ase=ordered).store(), orm.StructureData(ase=wrong).store()]
    builder = emt_builder(structures=structures, starts="provided", max_structures=4, population_size=2)
    summary = builder.pool.creator.outputs.summary
    assert summary["kept"] == 1
    assert summary["rejected"] == [["s00001", "wrong_composition"]]
    assert builder.pool.creator.inputs.s00000.uuid == structures[0].uuid
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    rows = rows_of(search)
    assert [row["origin"] for row in rows[:2]] == ["provided", "fgen"]
    assert rows[0]["spacegroup_symbol"] == "Pm-3m"
    assert {row["move"] for row in rows[2:]} <= {"", *map(str, range(1, 15))}
    assert "rattle" in {row["origin"] for row in rows[2:]}  # the symmetric start is rattled


def test_stop_request_keeps_results(emt_builder, monkeypatch):
    asked = {"n": 0}
    original = Fuse2WorkChain._take_over

    def take_over(self, *arguments):
        original(self, *arguments)
        asked["n"] += 1
        if asked["n"] == 2:
            self.node.base.extras.set(STOP_EXTRA, True)

    monkeypatch.setattr(Fuse2WorkChain, "_take_over", take_over)
    _, search = run_get_node(emt_builder())
    assert search.exit_status == 700
    assert len(generation_records(search.pk)) == 2
    assert search.outputs.energy.value == search.outputs.ranked["structures"][0]["energy"]


def test_stop_at_once_leaves_the_generation_out(emt_builder, monkeypatch):
    original = Fuse2WorkChain.submit_relaxation
    stopped = []

    def submit(self, *arguments):
        state = self.search_state()
        if state.generation > 0:  # not each has a structure to relax: all may be known before
            stopped.append(state)
            self.node.base.extras.set(STOP_EXTRA, STOP_NOW)
            monkeypatch.setattr("aiida_fuse2.workchains.generation.results_of", lambda _: {})  # as of a killed job
        return original(self, *arguments)

    monkeypatch.setattr(Fuse2WorkChain, "submit_relaxation", submit)
    _, search = run_get_node(emt_builder())
    assert search.exit_status == 700
    assert len(generation_records(search.pk)) == stopped[0].generation
    assert SearchState.from_dict(search.outputs.state.get_dict()) == stopped[0]


def test_failed_relaxations_are_counted_not_fatal(emt_builder):
    _, search = run_get_node(emt_builder(relax={"max_steps": 1, "fmax": 1e-9}, max_structures=4))
    assert search.exit_status == 401
    assert SearchState.from_dict(search.outputs.state.get_dict()).failures == {"step_limit": 4}
    assert search.outputs.ranked["structures"] == []
    assert "structure" not in search.outputs


def test_broken_worker_ends_the_search_with_its_words(emt_builder):
    _, search = run_get_node(emt_builder(relax={"calculator": "no.such.Thing"}))
    assert search.exit_status == 301
    assert "no.such" in search.exit_message
    assert "no such module" in search.exit_message
