"""Several runs of one search: seeds, outputs, failures, stopping, and what they have found together."""

from __future__ import annotations

from functools import cache
from statistics import fmean, stdev

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from ase.build import bulk

from aiida_fuse2 import query
from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.core.settings import MAX_SEED, SearchSettings, parse_settings
from aiida_fuse2.launch.inputs import check_inputs
from aiida_fuse2.query.loading import searches_of_runs
from aiida_fuse2.query.stopping import STOP_EXTRA, STOP_NOW
from aiida_fuse2.workchains.runs import PAPER_RUNS, Fuse2RunsWorkChain
from aiida_fuse2.workchains.search import Fuse2WorkChain

from .comparing import comparable, rows_of
from .test_faults import faulty

SEED = 5
_FINISHED: dict[str, int] = {}


@cache
def ordered():
    """Cu3Au as L1_2: every run starts with it, so that there is a crystal that all have found."""
    atoms = bulk("Cu", "fcc", a=3.75, cubic=True)
    atoms.numbers[0] = 79
    return orm.StructureData(ase=atoms).store()


@pytest.fixture
def runs_builder(emt_builder):
    """A factory of builders of runs of about five structures each."""

    def build(*, runs=3, concurrent=None, **settings):
        search = emt_builder(**{"max_structures": 5, "seed": SEED, "structures": [ordered()], **settings})
        return Fuse2RunsWorkChain.builder_of_search(search, runs=runs, concurrent=concurrent)

    return build


PROVIDED = {"starts": "provided", "max_structures": 4, "population_size": 2, "symmetry": {"max_followups": 2}}


@cache
def starts():
    """The ordered crystal, and a structure that does not fit."""
    return [ordered(), orm.StructureData(ase=bulk("Cu", "fcc", a=3.6, cubic=True)).store()]


@pytest.fixture
def finished(runs_builder):
    """Finished runs of two generations from given structures; made once for several tests."""

    def make(*, runs=2, **arguments):
        key = repr((runs, sorted(arguments.items())))
        if key not in _FINISHED:
            _, node = run_get_node(runs_builder(runs=runs, structures=starts(), **PROVIDED, **arguments))
            _FINISHED[key] = node.pk
        return orm.load_node(_FINISHED[key])

    return make


def searches(runs):
    return [orm.load_node(search.pk) for search in searches_of_runs(runs.pk)]


def test_outputs(finished):
    runs = finished()
    assert runs.is_finished_ok, runs.exit_message
    assert set(runs.outputs) == {"structure", "energy", "summary"}
    energies = [search.outputs.energy.value for search in searches(runs)]
    summary = runs.outputs.summary.get_dict()
    assert len(energies) == 2
    assert runs.outputs.energy.value == min(energies) == summary["lowest"]["energy"]
    first = summary["lowest"]["run"]
    assert runs.outputs.structure.uuid == searches(runs)[first].outputs.structure.uuid
    assert summary["mean"] == pytest.approx(fmean(energies))
    assert summary["spread"] == pytest.approx(max(energies) - min(energies))
    assert summary["standard_deviation"] == pytest.approx(stdev(energies))
    assert [row["energy"] for row in summary["runs"]] == energies
    assert [row["difference"] for row in summary["runs"]] == pytest.approx([e - min(energies) for e in energies])
    for row, search in zip(summary["runs"], searches(runs), strict=True):
        state = search.outputs.state.get_dict()
        best = search.outputs.ranked["structures"][0]
        assert row["seed"] == SEED + row["run"] == search.inputs.settings["seed"]
        assert (row["tried"], row["explored"], row["unique"]) == (4, state["explored"], state["unique"])
        assert row["structure_number"] == state["best"]["structure_number"]
        assert (row["label"], row["spacegroup_symbol_loose"]) == (best["label"], best["spacegroup_symbol_loose"])


def test_hits_are_runs_with_the_lowest_crystal(finished):
    runs = finished()
    lowest = runs.outputs.structure.get_ase()
    for row, search in zip(runs.outputs.summary["runs"], searches(runs), strict=True):
        near = row["difference"] <= 0.005
        assert row["is_lowest_crystal"] == (near and are_equal(lowest, search.outputs.structure.get_ase(), stol=0.1))
    assert runs.outputs.summary["hits"] == sum(row["is_lowest_crystal"] for row in runs.outputs.summary["runs"])


def test_settings_of_a_run_have_their_provenance(finished):
    runs = finished()
    for number, search in enumerate(searches(runs)):
        maker = search.inputs.settings.creator
        assert maker.process_label == "settings_of_run"
        assert maker.inputs.settings.uuid == runs.inputs.search.settings.uuid
        assert maker.inputs.run.value == number
        assert "aiida-fuse2" in maker.inputs.software.get_dict()
    compared = runs.outputs.summary.creator
    assert compared.inputs.structure_01.uuid == searches(runs)[1].outputs.structure.uuid


def test_provided_structures_start_every_run(finished):
    runs = finished()
    pool = runs.inputs.search.pool
    summary = pool.creator.outputs.summary
    assert summary["kept"] == 1
    assert summary["rejected"] == [["s00001", "wrong_composition"]]
    assert pool.creator.inputs.s00000.uuid == starts()[0].uuid
    for search in searches(runs):
        assert search.is_finished_ok, search.exit_message
        rows = rows_of(search)
        assert [row["origin"] for row in rows[:2]] == ["provided", "symmetric"]
        assert rows[0]["spacegroup_symbol"] == "Pm-3m"
        assert {row["move"] for row in rows[2:]} <= {"", *map(str, range(1, 15))}
        assert "rattle" in {row["origin"] for row in rows[2:]}  # the symmetric start is rattled


@pytest.mark.slow
def test_run_equals_the_single_search_with_its_seed(finished, emt_builder):
    _, single = run_get_node(emt_builder(seed=SEED + 1, structures=starts(), **PROVIDED))
    second = searches(finished())[1]
    assert comparable(rows_of(second)) == comparable(rows_of(single))
    assert second.inputs.settings.get_dict() == single.inputs.settings.get_dict()


@pytest.mark.slow
def test_number_at_a_time_changes_nothing(finished):
    together, in_turn = finished(runs=3), finished(runs=3, concurrent=1)
    assert in_turn.outputs.summary.get_dict() == together.outputs.summary.get_dict()
    for a, b in zip(searches(together), searches(in_turn), strict=True):
        assert comparable(rows_of(a)) == comparable(rows_of(b))


def life(search):
    return search.ctime, search.mtime


@pytest.mark.slow
def test_at_most_as_many_at_a_time(finished):
    first, second, third = searches(finished(runs=3, concurrent=1))
    assert life(first)[1] < life(second)[0]
    assert life(second)[1] < life(third)[0]
    begun = [search.ctime for search in searches(finished(runs=3))]
    assert max(begun) < min(search.mtime for search in searches(finished(runs=3)))


@pytest.mark.slow
def test_next_run_begins_when_one_has_ended(runs_builder):
    """Two at a time, of three: the third waits for the first and runs beside the second, if that takes longer."""
    _, runs = run_get_node(runs_builder(concurrent=2, max_structures=4))
    first, second, third = searches(runs)
    assert second.ctime < life(first)[1]
    assert third.ctime > life(first)[1]
    assert runs.is_finished_ok


@pytest.mark.slow
def test_one_run(finished):
    runs = finished(runs=1)
    assert runs.is_finished_ok
    summary = runs.outputs.summary.get_dict()
    assert (summary["spread"], summary["standard_deviation"], summary["hits"]) == (0, None, 1)


# --- failures ---


@pytest.mark.slow
def test_failed_run_does_not_end_the_others(runs_builder, monkeypatch):
    submit = Fuse2RunsWorkChain._submit_search

    def with_a_failing_run(self, run):
        if run == 1:
            computer = self.inputs.search.tiers["t00"]["codes"]["worker"].computer
            code = orm.InstalledCode(computer=computer, filepath_executable="/bin/false", label="no worker").store()
            given = self.exposed_inputs
            monkeypatch.setattr(self, "exposed_inputs", lambda *a, **k: with_code(given(*a, **k), code))
            try:
                return submit(self, run)
            finally:
                monkeypatch.setattr(self, "exposed_inputs", given)
        return submit(self, run)

    def with_code(inputs, code):
        tier = {**inputs["tiers"]["t00"], "codes": {"worker": code}}
        return {**inputs, "tiers": {"t00": tier}}

    monkeypatch.setattr(Fuse2RunsWorkChain, "_submit_search", with_a_failing_run)
    _, runs = run_get_node(runs_builder(job_attempts=1, max_structures=4))
    assert runs.is_finished_ok, runs.exit_message
    assert [search.exit_status for search in searches(runs)] == [0, 301, 0]
    summary = runs.outputs.summary.get_dict()
    assert [row["energy"] is None for row in summary["runs"]] == [False, True, False]
    assert summary["runs"][1]["seed"] == SEED + 1
    assert summary["successful"] == 2
    assert [row["runs"] for row in query.combined(searches(runs))]
    assert all(1 not in row["runs"] for row in query.combined(searches(runs)))


@pytest.mark.slow
def test_no_run_gives_a_structure(runs_builder):
    builder = faulty(runs_builder(runs=2).search, "DiesOfLargeCells", limit=0)
    wrapped = runs_builder(runs=2)
    wrapped.search.tiers = builder.tiers
    settings = {**wrapped.search.settings.get_dict(), "job_attempts": 1}
    wrapped.search.settings = orm.Dict(settings)
    _, runs = run_get_node(wrapped)
    assert runs.exit_status == 401
    assert "run 0" in runs.exit_message
    assert "run 1" in runs.exit_message
    assert "summary" not in runs.outputs


@pytest.mark.slow
def test_search_that_a_kill_left_as_it_was_made(runs_builder, monkeypatch):
    """The step that was cut off begins the run again, and waits for that one."""
    submit = Fuse2RunsWorkChain._submit_search
    dead = []

    def with_a_kill(self, run):
        if not dead:
            node = orm.WorkChainNode(process_type=query.PROCESS_TYPE)
            node.base.links.add_incoming(self.node, LinkType.CALL_WORK, "run_00")
            dead.append(node.store())
        return submit(self, run)

    monkeypatch.setattr(Fuse2RunsWorkChain, "_submit_search", with_a_kill)
    _, runs = run_get_node(runs_builder(runs=2, concurrent=1, max_structures=4))
    assert runs.is_finished_ok, runs.exit_message
    assert len(searches(runs)) == 2
    assert dead[0].pk not in {search.pk for search in searches(runs)}
    assert all(orm.load_node(node.pk).is_sealed for node in runs.called)


# --- stopping ---


@pytest.mark.slow
@pytest.mark.parametrize("now", [False, True])
def test_stop(runs_builder, monkeypatch, now):
    """Asked while run 0 is under way: it ends with what it has, and no other one begins."""
    take_over = Fuse2WorkChain._take_over

    def ask(self, *arguments):
        take_over(self, *arguments)
        query.ask_to_stop(self.node.caller, now=now)

    monkeypatch.setattr(Fuse2WorkChain, "_take_over", ask)
    _, runs = run_get_node(runs_builder(concurrent=1))
    assert runs.exit_status == 700
    (only,) = searches(runs)
    assert only.exit_status == 700
    assert only.base.extras.get(STOP_EXTRA) == (STOP_NOW if now else True)
    assert runs.outputs.energy.value == only.outputs.energy.value
    assert [row["tried"] for row in runs.outputs.summary["runs"]] == [4, 0, 0]


@pytest.mark.slow
def test_stop_reaches_a_search_that_begins_meanwhile(runs_builder, monkeypatch):
    submit = Fuse2RunsWorkChain._submit_search

    def ask_in_between(self, run):
        self.node.base.extras.set(STOP_EXTRA, True)  # as by somebody who does not see the new search yet
        return submit(self, run)

    monkeypatch.setattr(Fuse2RunsWorkChain, "_submit_search", ask_in_between)
    _, runs = run_get_node(runs_builder(runs=2))
    assert [search.base.extras.get(STOP_EXTRA) for search in searches(runs)] == [True, True]
    assert runs.exit_status == 700  # stopped before any structure, as a search would be


@pytest.mark.slow
def test_stop_after_the_end_of_all_changes_nothing(runs_builder, monkeypatch):
    original = Fuse2RunsWorkChain._exit_code

    def ask_late(self, searches):
        self.node.base.extras.set(STOP_EXTRA, True)
        return original(self, searches)

    monkeypatch.setattr(Fuse2RunsWorkChain, "_exit_code", ask_late)
    _, runs = run_get_node(runs_builder(runs=1, max_structures=4))
    assert runs.is_finished_ok


# --- what they found together ---


def test_combined(finished):
    found = searches(finished())
    rows = query.combined(found)
    ranked = [query.ranked(search) for search in found]
    assert [row["energy"] for row in rows] == sorted(row["energy"] for row in rows)
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert sum(row["found"] for row in rows) == sum(row["found"] for one in ranked for row in one)
    assert all(row["found"] == sum(row["found_by_run"].values()) for row in rows)
    assert any(len(row["runs"]) > 1 for row in rows)
    assert len(rows) < sum(len(one) for one in ranked)
    for row in rows:
        original = next(r for r in ranked[row["run"]] if r["label"] == row["label"])
        assert (row["pk"], row["energy"]) == (original["pk"], original["energy"])
        assert row["delta"] == row["energy"] - rows[0]["energy"]
        assert row["run"] in row["runs"] == sorted(row["found_by_run"])
    assert rows[0]["pk"] == finished().outputs.structure.pk


def test_combined_crystals_differ_between_runs(finished):
    found = searches(finished())
    window = parse_settings(SearchSettings, found[0].inputs.settings.get_dict()).uniqueness.energy_window
    rows = query.combined(found)
    for i, a in enumerate(rows):
        for b in rows[i + 1 :]:
            if a["run"] != b["run"] and b["energy"] - a["energy"] <= window:
                assert not are_equal(orm.load_node(a["pk"]).get_ase(), orm.load_node(b["pk"]).get_ase(), stol=0.1)


def test_first_rows_are_those_of_the_whole(finished):
    found = searches(finished())
    whole = query.combined(found)
    for n in range(1, len(whole) + 1):
        assert query.combined(found, n) == whole[:n]


def test_combined_loads_only_what_it_compares(finished, monkeypatch):
    (found, *_) = searches(finished())
    monkeypatch.setattr(orm, "load_node", lambda *_: pytest.fail("a structure was loaded"))
    assert [row["pk"] for row in query.combined([found])] == [row["pk"] for row in query.ranked(found)]


def test_combined_refuses_what_cannot_be_compared(finished, emt_builder):
    from aiida.engine.utils import instantiate_process
    from aiida.manage import get_manager

    def other(*arguments, **options):
        return instantiate_process(get_manager().get_runner(), emt_builder(*arguments, **options)).node

    first = searches(finished())[0]
    with pytest.raises(InputError, match="composition"):
        query.combined([first, other("CuAu")])
    with pytest.raises(InputError, match="pressure"):
        query.combined([first, other(relax={"pressure": 5.0})])
    assert len(query.combined([first, other()])) == len(query.ranked(first))  # nothing found yet


# --- inputs ---


def test_builder_from_protocol(worker_code):
    builder = Fuse2RunsWorkChain.get_builder_from_protocol(
        "Cu3Au", worker_code, "fast", {"settings": {"seed": 9, "starts": "fgen"}}, concurrent=2
    )
    assert (builder.runs.value, builder.concurrent.value) == (PAPER_RUNS, 2)
    assert builder.search.settings["seed"] == 9
    assert builder.search.tiers["t00"]["codes"]["worker"].uuid == worker_code.uuid


def test_bad_numbers(emt_builder):
    with pytest.raises(InputError, match="runs = 0"):
        Fuse2RunsWorkChain.builder_of_search(emt_builder(), runs=0)
    with pytest.raises(InputError, match="concurrent = 0"):
        Fuse2RunsWorkChain.builder_of_search(emt_builder(), concurrent=0)
    builder = Fuse2RunsWorkChain.builder_of_search(emt_builder())
    with pytest.raises(ValueError, match="at least 1"):
        builder.runs = orm.Int(0)
    with pytest.raises(InputError, match="runs = 1001: must be at most 1000"):
        Fuse2RunsWorkChain.builder_of_search(emt_builder(), runs=1001)
    with pytest.raises(ValueError, match="at most 1000"):
        builder.runs = orm.Int(10**30)


def test_every_seed_must_fit(emt_builder):
    with pytest.raises(InputError, match=f"settings.seed = {MAX_SEED - 1}: run 2 has it plus 2"):
        Fuse2RunsWorkChain.builder_of_search(emt_builder(seed=MAX_SEED - 1), runs=3)
    builder = Fuse2RunsWorkChain.builder_of_search(emt_builder(seed=MAX_SEED - 1), runs=2)
    check_inputs(builder)
    builder.runs = orm.Int(3)
    with pytest.raises(RefusedInputsError, match="run 2 has it plus 2"):
        check_inputs(builder)


def test_settings_are_checked_before_anything_runs(emt_builder):
    builder = Fuse2RunsWorkChain.builder_of_search(emt_builder())
    with pytest.raises(ValueError, match="max_atoms"):
        builder.search.settings = orm.Dict({**builder.search.settings.get_dict(), "max_atoms": -1})
