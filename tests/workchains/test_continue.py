"""Going on from a state of an earlier search: equal to the search that was not interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.cmdline.utils.common import get_workchain_report
from aiida.engine import run_get_node
from ase.build import bulk
from ase.io import write

from aiida_fuse2 import query
from aiida_fuse2.calculations.functions import begin
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.search.watching import Watch
from aiida_fuse2.launch import adding, continuation
from aiida_fuse2.query.chain import generation_records, segments
from aiida_fuse2.query.links import GROUP_PREFIX
from aiida_fuse2.query.pools import added_files
from aiida_fuse2.query.stopping import STOP_EXTRA, STOP_NOW
from aiida_fuse2.workchains.search import Fuse2WorkChain

from .comparing import comparable, rows_of

_FINISHED: dict[str, int] = {}


SYMMETRIC = {"starts": "symmetric", "pool": {"size": 3}, "population_size": 3, "max_structures": 5}

POOLS = {**SYMMETRIC, "seed": 3, "max_structures": 7, "move_weights": {14: 1.0}, "symmetry": {"max_followups": 0}} | {
    "random_generator": "fgen"
}
"""What is not in the first generation is drawn from pools."""


def made_once(key, make):
    """Return a search that several tests look at; ``make`` runs it if that has not been done yet."""
    if key not in _FINISHED:
        _FINISHED[key] = make().pk
    return orm.load_node(_FINISHED[key])


def after_generation(patch, number, act):
    """Let a search do something when it has taken over a generation; ``number`` counts them from one."""
    original = Fuse2WorkChain._take_over

    def take_over(self, *values):
        original(self, *values)
        if self.search_state().generation == number:
            act(self)

    patch.setattr(Fuse2WorkChain, "_take_over", take_over)


def ask_to_stop(search):
    search.node.base.extras.set(STOP_EXTRA, True)


def go_on(search, **arguments):
    _, node = run_get_node(continuation.prepare_continuation(search, **arguments).builder)
    assert node.is_finished_ok, node.exit_message
    return node


def state_of(search):
    return SearchState.from_dict(search.outputs.state.get_dict())


@pytest.fixture
def stopped(emt_builder):
    """A search that was asked to stop after a generation."""

    def make():
        with pytest.MonkeyPatch.context() as patch:
            after_generation(patch, 1, ask_to_stop)
            return run_get_node(emt_builder(max_structures=6))[1]

    return made_once("stopped", make)


def test_stop_request_keeps_results(stopped, finished):
    assert stopped.exit_status == 700
    assert len(generation_records(stopped.pk)) == 1
    assert stopped.outputs.energy.value == stopped.outputs.ranked["structures"][0]["energy"]
    assert comparable(rows_of(stopped)) == comparable(rows_of(finished())[:4])


def check_extended(longer, whole, searches):
    """Check that a search that was continued equals the one that was not interrupted."""
    assert comparable(rows_of(longer)) == comparable(rows_of(whole))
    assert longer.outputs.energy.value == whole.outputs.energy.value
    assert [r["label"] for r in query.ranked(longer)] == [r["label"] for r in query.ranked(whole)]
    assert longer.outputs.history.get_array("number").tolist() == list(range(1, 9))
    assert [s.search for s in segments(longer.pk)] == [*searches, longer.pk]
    group = orm.Group.collection.get(label=GROUP_PREFIX + longer.uuid)
    labels = {row["label"] for row in rows_of(longer) if row["status"] == "converged"}
    assert len(group.nodes) == len(labels)
    assert {node.label for node in group.nodes} == labels


@pytest.mark.slow  # the next test continues twice
@pytest.mark.parametrize("budget", [6, 5])  # of 4 + 2 + 2: 4 + 2, and 4 + 1 of 2
def test_extended_search_equals_the_longer_one(finished, budget):
    whole, short = finished(), finished(max_structures=budget)
    longer = go_on(short, overrides={"settings": {"max_structures": 8}})
    check_extended(longer, whole, [short.pk])


def test_crashed_search_goes_on(stopped, finished, monkeypatch):
    """It is a longer one itself, so that the last one is the third."""
    prepared = continuation.prepare_continuation(stopped, overrides={"settings": {"max_structures": 8}})
    original = Fuse2WorkChain._take_over

    def take_over(self, *values):
        if self.search_state().generation == 1:
            raise RuntimeError("out of order")
        original(self, *values)

    with monkeypatch.context() as patch:
        patch.setattr(Fuse2WorkChain, "_take_over", take_over)
        with pytest.raises(RuntimeError, match="out of order"):
            run_get_node(prepared.builder)
    crashed = query.load_search()
    assert crashed.is_excepted
    check_extended(go_on(crashed), finished(), [stopped.pk, crashed.pk])


@pytest.mark.slow
def test_any_generation_is_a_beginning(finished):
    whole = finished()
    for generation in (0, 2):
        again = go_on(whole, generation=generation)
        assert comparable(rows_of(again)) == comparable(rows_of(whole))
        made = generation_records(again.pk)[generation:]
        assert orm.load_node(made[0].record).creator.caller.pk == again.pk


@pytest.mark.slow
def test_twice_interrupted(finished):
    first = finished(max_structures=5)
    second = go_on(first, more=1)
    third = go_on(second, more=2)
    assert comparable(rows_of(third)) == comparable(rows_of(finished()))
    assert len(segments(third.pk)) == 3
    assert query.progress(third.pk).state.tried == 8


@pytest.mark.slow
def test_pools_go_on(emt_builder, monkeypatch):
    _, whole = run_get_node(emt_builder(**POOLS))
    with monkeypatch.context() as patch:
        after_generation(patch, 2, ask_to_stop)
        _, stopped = run_get_node(emt_builder(**POOLS))
    assert stopped.exit_status == 700
    assert comparable(rows_of(go_on(stopped))) == comparable(rows_of(whole))


@pytest.mark.slow
def test_other_settings(finished):
    short = finished(max_structures=6)
    wider = go_on(short, overrides={"settings": {"max_structures": 9, "walkers": 3, "seed": 9}})
    state = state_of(wider)
    assert (state.tried, len(state.walkers)) == (9, 3)
    assert {row["walker"] for row in rows_of(wider)[6:]} == {0, 1, 2}
    assert rows_of(wider)[:6] == rows_of(short)
    fewer = go_on(short, overrides={"settings": {"max_structures": 7, "walkers": 1}})
    before, after = state_of(short), state_of(fewer)
    assert len(after.walkers) == 1
    assert {row["walker"] for row in rows_of(fewer)[6:]} == {0}
    start = orm.load_node(generation_records(fewer.pk)[-1].before).get_dict()
    assert min(w.energy for w in before.walkers if w.energy is not None) == start["walkers"][0]["energy"]


@pytest.mark.slow
def test_smaller_limit_of_atoms(finished):
    """Walkers on structures that are too large begin with new ones; what was found before stays."""
    short = finished(max_structures=6, size_bias=0.0)
    before = [walker.current for walker in state_of(short).walkers if walker.current is not None]
    sizes = {row["label"]: row["n_atoms"] for row in rows_of(short)}
    large = [label for label in before if sizes[label] > 4]
    assert large  # else this tests nothing: choose another seed
    smaller = go_on(short, overrides={"settings": {"max_structures": 8, "max_atoms": 4}})
    assert rows_of(smaller)[:6] == rows_of(short)
    assert {row["n_atoms"] for row in rows_of(smaller)[6:] if row["n_atoms"] is not None} == {4}  # some may fall apart
    start = orm.load_node(generation_records(smaller.pk)[-1].before)
    resumed = start.creator
    assert resumed.process_label == "resume"
    assert set(large) <= set(resumed.inputs)
    assert f"more than 4 atoms, so their walkers begin anew: {', '.join(sorted(large))}" in get_workchain_report(
        smaller, "REPORT"
    )
    currents = [walker["current"] for walker in start["walkers"]]
    assert currents == [None if label in large else label for label in before]
    assert smaller.outputs.energy.value <= short.outputs.energy.value


def test_what_cannot_be_continued_is_refused(finished):
    search = finished()
    with pytest.raises(InputError, match="8 structures have been tried"):
        continuation.prepare_continuation(search)
    with pytest.raises(InputError, match="generations 0 to 2"):
        continuation.prepare_continuation(search, generation=6)
    with pytest.raises(InputError, match="no such input"):
        continuation.prepare_continuation(search, more=2, overrides={"settings": {"sed": 1}})
    with pytest.raises(ValueError, match="has to stay as it was"):
        continuation.prepare_continuation(search, more=2, overrides={"relax": {"settings": {"pressure": 5.0}}})


def test_state_of_another_composition_is_refused(emt_builder, finished):
    builder = emt_builder("CuAu")
    builder.state = finished().outputs.state
    with pytest.raises(ValueError, match="belongs to a search for Cu3Au"):
        run_get_node(builder)


def test_state_must_be_one(emt_builder):
    builder = emt_builder()
    builder.state = orm.Dict({"generation": 3}).store()
    with pytest.raises(ValueError, match="must be a state"):
        run_get_node(builder)


def test_running_search_is_not_continued_by_mistake(finished):
    from aiida.common.links import LinkType

    search = finished()
    running = orm.WorkChainNode(process_type=search.process_type)
    running.base.links.add_incoming(search.inputs.settings, LinkType.INPUT_WORK, "settings")
    running.store()
    with pytest.raises(InputError, match="still running"):
        continuation.prepare_continuation(running)


# --- pools, and structures that are added ---


@pytest.fixture
def ordered_file(tmp_path):
    """A folder with Cu3Au as D0_22, which these searches do not find by themselves, and a file that does not fit."""
    ordered = bulk("Cu", "fcc", a=3.75, cubic=True).repeat((1, 1, 2))
    ordered.numbers[[0, 7]] = 79
    path = tmp_path / "ordered.cif"
    write(path, ordered)
    wrong = tmp_path / "wrong.cif"
    write(wrong, bulk("Cu", "fcc", a=3.6, cubic=True))
    return tmp_path


@pytest.fixture
def pooled(emt_builder, ordered_file):
    """A search that draws from pools of symmetric structures, to which one was added after its first generation."""

    def add(search):
        added = adding.add_structures(search.node, [ordered_file])
        assert added.kept == 1
        assert [reason for _, reason in added.skipped] == ["wrong_composition"]
        assert added.is_drawn

    def make():
        with pytest.MonkeyPatch.context() as patch:
            after_generation(patch, 1, add)
            return run_get_node(emt_builder(**POOLS))[1]

    return made_once("pooled", make)


def test_symmetric_starts_fill_a_pool_and_refill_it(pooled):
    assert pooled.is_finished_ok, pooled.exit_message
    pools = [c for c in pooled.called_descendants if isinstance(c, orm.CalcJobNode) and "pool" in c.outputs]
    assert len(pools) >= 2
    assert {"symmetric", "fgen"} <= set(origins(pooled))
    added = [c for c in pooled.called if c.process_label == "add_to_pool"]
    numbers = [node.inputs.pool_number.value for node in sorted([*pools, *added], key=lambda node: node.pk)]
    assert numbers == list(range(len(pools) + 1))


def test_added_structures_enter_a_running_search(pooled):
    provided = [row for row in rows_of(pooled) if row["origin"] == "provided"]
    assert [row["spacegroup_symbol"] for row in provided] == ["I4/mmm"]
    (file,) = added_files(pooled.uuid)
    (call,) = [node for node in pooled.called if node.process_label == "add_to_pool"]
    assert call.inputs.added.uuid == file.uuid
    assert adding.added_and_waiting(pooled) == []


def test_added_structures_wait_for_the_continuation(pooled, tmp_path):
    cubic = bulk("Cu", "fcc", a=3.75, cubic=True)
    cubic.numbers[0] = 79
    write(tmp_path / "cubic.cif", cubic)
    before = added_files(pooled.uuid)
    assert adding.add_structures(pooled, [tmp_path / "cubic.cif"]).kept == 1
    (waiting,) = adding.added_and_waiting(pooled)
    assert waiting.uuid not in {node.uuid for node in before}
    longer = go_on(pooled, more=2)
    orm.Group.collection.get(label=f"{GROUP_PREFIX}{pooled.uuid}/added").remove_nodes([waiting])
    assert rows_of(longer)[:7] == rows_of(pooled)
    provided = [row for row in rows_of(longer)[7:] if row["origin"] == "provided"]
    assert [row["spacegroup_symbol"] for row in provided] == ["Pm-3m"]
    assert np.isclose(longer.outputs.energy.value, min(r["energy"] for r in query.ranked(longer)))


def test_structures_that_do_not_fit_are_refused(finished, ordered_file):
    search = finished()
    with pytest.raises(ValueError, match="wrong_composition"):
        adding.add_structures(search, [ordered_file / "wrong.cif"])
    assert added_files(search.uuid) == []


@pytest.fixture
def lent(finished):
    """A factory of finished searches; what a test adds to them is taken away afterwards."""
    made = []

    def make(**settings):
        search = finished(**settings)
        assert added_files(search.uuid) == []
        made.append(search)
        return search

    yield make
    labels = [f"{GROUP_PREFIX}{search.uuid}/added" for search in made]
    for group in orm.QueryBuilder().append(orm.Group, filters={"label": {"in": labels}}).all(flat=True):
        orm.Group.collection.delete(group.pk)


def test_two_add_at_once(lent, ordered_file, monkeypatch):
    """Both find nothing added yet before either writes."""
    search = lent()
    collection = type(orm.Group.collection)
    find = collection.get_or_create

    def add_in_between(self, label):
        monkeypatch.setattr(collection, "get_or_create", find)
        adding.add_structures(search, [ordered_file / "ordered.cif"])
        return self.entity_type(label).store(), True  # as if none had been found

    monkeypatch.setattr(collection, "get_or_create", add_in_between)
    adding.add_structures(search, [ordered_file / "ordered.cif"])
    assert len(adding.added_and_waiting(search)) == 2


# --- branches ---

POOL_ONLY = {"starts": "fgen", "move_weights": {14: 1.0}, "max_structures": 6}


@pytest.fixture
def first(lent):
    """A search that draws from the pool only."""
    return lent(**POOL_ONLY)


def gone_on(search, *, is_added, walkers=2):
    """Return a search that has gone on to 8 structures; made once for several tests."""
    overrides = {"settings": {"max_structures": 8, "walkers": walkers}}
    return made_once(f"gone on, {is_added}, {walkers}", lambda: go_on(search, overrides=overrides))


def origins(search):
    return [row["origin"] for row in rows_of(search)]


@pytest.mark.slow
def test_branch_has_its_own_pool(first, ordered_file):
    """What another search that went on from the same state has added to its pool is not seen."""
    before = gone_on(first, is_added=False)
    adding.add_structures(first, [ordered_file / "ordered.cif"])
    with_added = gone_on(first, is_added=True)
    after = go_on(first, generation=2, more=2)
    assert "provided" in origins(with_added)
    assert "provided" not in origins(after)
    assert comparable(rows_of(after)) == comparable(rows_of(before))
    again = go_on(with_added, generation=2, overrides={"settings": {"max_structures": 8}})
    assert comparable(rows_of(again)) == comparable(rows_of(with_added))


@pytest.mark.slow
def test_bare_state_has_the_pool_of_the_search_that_made_it(emt_builder, first, ordered_file):
    before = gone_on(first, is_added=False)
    adding.add_structures(first, [ordered_file / "ordered.cif"])
    gone_on(first, is_added=True)
    builder = emt_builder(**{**POOL_ONLY, "max_structures": 8})
    builder.state = first.outputs.state
    _, bare = run_get_node(builder)
    assert comparable(rows_of(bare)) == comparable(rows_of(before))


def test_continued_search_must_be_one(emt_builder, finished):
    builder = emt_builder()
    builder.state = finished().outputs.state
    with pytest.raises(ValueError, match="UUID of a search"):
        builder.continues = orm.Str("no such search")


class CutError(Exception):
    """Ends a search like a crash."""


def crash(builder):
    with pytest.raises(CutError):
        run_get_node(builder)
    crashed = query.load_search()
    assert crashed.is_excepted
    return crashed


MODULE = {"find_structures": "search", "propose": "search", "add_to_pool": "pool"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "walkers"),
    [("find_structures", 2), ("add_to_pool", 3), ("propose", 2), ("propose", 3)],  # with 3 the state is made fit first
)
def test_added_structures_outlive_a_continuation_that_dies_early(first, ordered_file, monkeypatch, step, walkers):
    """It dies before it takes them, or after and before its first proposal."""
    adding.add_structures(first, [ordered_file / "ordered.cif"])
    changes = {"settings": {"walkers": walkers, "max_structures": 8}}
    prepared = continuation.prepare_continuation(first, overrides=changes)

    def die(*_, **__):
        raise CutError

    with monkeypatch.context() as patch:
        patch.setattr(f"aiida_fuse2.workchains.{MODULE[step]}.{step}", die)
        dead = crash(prepared.builder)
    twice = continuation.prepare_continuation(dead)
    with monkeypatch.context() as patch:
        patch.setattr(f"aiida_fuse2.workchains.{MODULE[step]}.{step}", die)
        dead_again = crash(twice.builder)
    again, whole = go_on(dead_again), gone_on(first, is_added=True, walkers=walkers)
    assert "provided" in origins(whole)
    assert comparable(rows_of(again)) == comparable(rows_of(whole))
    assert adding.added_and_waiting(again) == []


@pytest.mark.slow
def test_added_before_the_first_proposal_of_a_new_search(emt_builder, ordered_file, monkeypatch):
    """It has taken what was added and dies before it proposes: its own pool goes on, not that of its inputs."""

    def begin_and_add(**inputs):
        adding.add_structures(query.load_search(), [ordered_file / "ordered.cif"])
        return begin(**inputs)

    def die(*_, **__):
        raise CutError

    monkeypatch.setattr("aiida_fuse2.workchains.search.begin", begin_and_add)
    _, whole = run_get_node(emt_builder(**POOL_ONLY))
    with monkeypatch.context() as patch:
        patch.setattr("aiida_fuse2.workchains.search.propose", die)
        dead = crash(emt_builder(**POOL_ONLY))
    assert "provided" in origins(whole)
    assert comparable(rows_of(go_on(dead))) == comparable(rows_of(whole))


@pytest.mark.slow
def test_file_of_a_call_that_was_cut_off_still_waits(first, ordered_file, monkeypatch):
    """A call of ``add_to_pool`` that was cut off has no outputs."""
    adding.add_structures(first, [ordered_file / "ordered.cif"])
    prepared = continuation.prepare_continuation(first, more=6)

    def die(*_):
        raise CutError

    with monkeypatch.context() as patch:
        patch.setattr("aiida_fuse2.calculations.conversions.merged_pool", die)
        dead = crash(prepared.builder)
    assert [call.process_label for call in dead.called] == ["add_to_pool"]
    (file,) = added_files(first.uuid)
    assert continuation.prepare_continuation(dead).builder.pool.uuid == file.uuid


# --- budgets ---


def test_budgets_of_time(emt_builder):
    """The second search continues the first, which had no time for anything, and ends by its own budget."""
    _, search = run_get_node(emt_builder(max_wall_hours=1e-6))
    assert search.exit_status == 701
    assert search.exit_message == "max_wall_hours = 1e-06 was reached before any structure had been relaxed."
    assert not query.progress(search.pk).has_failed
    assert generation_records(search.pk) == []
    longer = go_on(search, overrides={"settings": {"max_wall_hours": 1.0, "max_cpu_hours": 1e-9}})
    state = state_of(longer)
    assert (state.generation, state.tried) == (1, 4)
    assert state.cpu_seconds == pytest.approx(sum(row["cpu_seconds"] for row in rows_of(longer)), abs=0.01)


def test_chance_that_is_reached_already_is_refused(search_settings):
    state = SearchState.initial(2, 0.02).to_dict()
    settings = search_settings("Cu3Au", max_atoms=8, stop_chance=0.5)
    continuation._check_room(orm.Dict({**state, "watch": Watch(1, 7, {1: 3, 2: 3}).to_dict()}), settings)
    with pytest.raises(InputError, match="is reached already: give a smaller chance"):
        continuation._check_room(orm.Dict({**state, "watch": Watch(1, 8, {1: 3, 2: 3}).to_dict()}), settings)


@pytest.mark.slow
def test_little_space_ends_a_search_that_goes_on_later(emt_builder, finished, monkeypatch):
    space = iter([1e9, 1e9, 0.15e9])
    monkeypatch.setattr("aiida_fuse2.workchains.search.least_free", lambda: (next(space), Path("/data")))
    _, search = run_get_node(emt_builder())
    assert search.exit_status == 303
    assert search.exit_message == (
        "0.15 GB free in /data, less than settings.min_free_disk = 0.2; make room, then continue"
    )
    assert search.is_sealed
    assert state_of(search).tried == 6
    assert len(query.ranked(search)) > 0
    monkeypatch.undo()
    assert comparable(rows_of(go_on(search))) == comparable(rows_of(finished()))


# --- stopped before the first result ---


def stop_in_generation_0(builder, monkeypatch, *, request, submit):
    """Run a search that is asked to stop when it submits its first job; at once, the job gives no results."""
    original = getattr(Fuse2WorkChain, submit)

    def ask(self, *arguments, **inputs):
        self.node.base.extras.set(STOP_EXTRA, request)
        return original(self, *arguments, **inputs)

    with monkeypatch.context() as patch:
        patch.setattr(Fuse2WorkChain, submit, ask)
        if request == STOP_NOW:
            patch.setattr("aiida_fuse2.workchains.generation.results_of", lambda _: {})  # as of a killed job
        _, search = run_get_node(builder)
    return search


@pytest.mark.slow
@pytest.mark.parametrize(("request_", "tried"), [(True, 4), (STOP_NOW, 0)])
def test_stop_in_the_first_generation(emt_builder, finished, monkeypatch, request_, tried):
    builder = emt_builder(max_structures=6)
    search = stop_in_generation_0(builder, monkeypatch, request=request_, submit="submit_relaxation")
    assert (search.exit_status, search.exit_message) == (700, f"Stopped on request after {tried} structures.")
    assert comparable(rows_of(go_on(search))) == comparable(rows_of(finished(max_structures=6)))


@pytest.mark.slow
@pytest.mark.parametrize("request_", [True, STOP_NOW])
def test_stop_while_the_first_pool_is_filled(emt_builder, finished, monkeypatch, request_):
    search = stop_in_generation_0(emt_builder(**SYMMETRIC), monkeypatch, request=request_, submit="submit")
    assert search.exit_status == 700
    assert comparable(rows_of(go_on(search))) == comparable(rows_of(finished(**SYMMETRIC)))


@pytest.mark.slow
def test_stop_at_once_kills_the_job_of_the_first_pool(emt_builder, worker_code, monkeypatch):
    builder = emt_builder(**SYMMETRIC)
    builder.generate.code = orm.InstalledCode(
        computer=worker_code.computer, filepath_executable="/bin/false", label="no-worker"
    )  # gives no pool, as a killed job
    search = stop_in_generation_0(builder, monkeypatch, request=STOP_NOW, submit="submit")
    assert (search.exit_status, search.exit_message) == (700, "Stopped on request after 0 structures.")
    assert [call.process_label for call in search.called] == ["begin", "GenerateCalculation"]
    assert state_of(go_on(search, code=worker_code)).tried == 5
