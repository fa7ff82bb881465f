"""`stop`, `status`, `continue` and `add` with several runs of a search."""

from __future__ import annotations

import json

import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_fuse2 import query
from aiida_fuse2.cli.views.runs import target_lines
from aiida_fuse2.core.settings import MAX_SEED
from aiida_fuse2.environment import diagnosis
from aiida_fuse2.query.links import TARGETS_LINK
from aiida_fuse2.query.targets import Target


@pytest.fixture
def make_runs(search):
    """A factory of runs whose searches have certain process states, as far as the graph can tell; ended afterwards."""
    made = []

    def make(*states, n_runs=3, state="waiting", target=None):
        runs = orm.WorkChainNode(process_type=query.RUNS_PROCESS_TYPE)
        runs.base.links.add_incoming(orm.Int(n_runs).store(), LinkType.INPUT_WORK, "runs")
        runs.base.links.add_incoming(search.inputs.settings, LinkType.INPUT_WORK, "search__settings")
        runs.set_process_label("Fuse2RunsWorkChain")
        runs.set_process_state(state)
        made.append(runs.store())
        for number, state_of_run in enumerate(states):
            one = orm.WorkChainNode(process_type=query.PROCESS_TYPE)
            one.base.links.add_incoming(runs, LinkType.CALL_WORK, f"run_{number:02d}")
            one.base.links.add_incoming(search.inputs.settings, LinkType.INPUT_WORK, "settings")
            one.base.links.add_incoming(search.outputs.state, LinkType.INPUT_WORK, "state")
            one.base.links.add_incoming(search.inputs.tiers.t00.settings, LinkType.INPUT_WORK, "tiers__t00__settings")
            one.base.links.add_incoming(search.inputs.tiers.t00.name, LinkType.INPUT_WORK, "tiers__t00__name")
            if target is not None:
                one.base.links.add_incoming(target, LinkType.INPUT_WORK, f"{TARGETS_LINK}__known")
            one.set_process_label("Fuse2WorkChain")
            one.set_process_state(state_of_run)
            made.append(one.store())
        return runs, made[-len(states) :] if states else []

    yield make
    for node in made:
        node.set_process_state("killed")


# --- stop ---


@pytest.mark.parametrize("now", [False, True])
def test_stop_reaches_searches_of_runs_that_have_ended(call, make_runs, now):
    runs, (ended, active) = make_runs("finished", "waiting", state="excepted")
    text = call("stop", runs.pk, *(["--now"] if now else [])).stdout
    assert f"The runs {runs.pk} have ended, but searches of them still run" in text
    assert text.strip().endswith(str(active.pk))
    assert active.base.extras.get("fuse2_stop") == ("now" if now else True)
    assert "fuse2_stop" not in ended.base.extras.all


def test_stop_of_runs_that_have_all_ended(call, make_runs):
    runs, _ = make_runs("finished", "killed", state="killed")
    assert "have ended already" in call("stop", runs.pk, code=1).stderr


# --- numbers ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--runs", 3, "--seed", MAX_SEED - 1), "run 2 has it plus 2"),
        (("--runs", 1001), "runs = 1001: must be at most 1000"),
        (("--runs", 3, "--concurrent", "9" * 30), "must be at most 1000"),
    ],
)
def test_numbers_out_of_range(call, worker_code, options, message):
    result = call("run", "Cu3Au", "--set", "settings.starts=fgen", *options, "--dry-run", code=2)
    assert message in " ".join(result.stderr.split())


# --- status ---


@pytest.fixture
def quiet(monkeypatch):
    """Pretend that the daemon is fine."""
    monkeypatch.setattr(diagnosis, "check_daemon", list)
    monkeypatch.setattr("aiida_fuse2.environment.processes._without_task", list)


def test_runs_have_a_row_and_their_searches(call, search, make_runs, quiet):
    runs, (ended, active) = make_runs("finished", "waiting")
    listed = json.loads(call("status", runs.pk, "--json").stdout)
    (row,) = listed["runs"]
    assert (row["pk"], row["n_runs"], row["process_state"]) == (runs.pk, 3, "waiting")
    assert (row["structures_tried"], row["max_structures"]) == (16, 24)
    assert row["best"]["energy"] == search.outputs.energy.value
    assert [(s["pk"], s["runs"]) for s in listed["searches"]] == [(ended.pk, runs.pk), (active.pk, runs.pk)]
    text = call("status", runs.pk).stdout
    assert "Cu3Au x 3" in text
    assert "16/24" in text
    assert "1 of 3 runs under way, 1 ended" in " ".join(text.split())


def test_of_running_runs_the_list_has_what_is_under_way(call, make_runs, quiet):
    runs, (ended, active) = make_runs("finished", "waiting")
    outlived, (left_over,) = make_runs("waiting", state="excepted")
    listed = json.loads(call("status", "-n", 0, "--json").stdout)
    assert {runs.pk, outlived.pk} <= {row["pk"] for row in listed["runs"]}
    pks = [row["pk"] for row in listed["searches"]]
    assert {active.pk, left_over.pk} <= set(pks)
    assert ended.pk not in pks
    assert len(pks) == len(set(pks))


def test_runs_that_wait_to_begin_are_listed_with_what_holds_them_up(call, make_runs, monkeypatch):
    monkeypatch.setattr(diagnosis, "daemon_problem", lambda: "the daemon is not running; start it with `x`")
    monkeypatch.setattr("aiida_fuse2.environment.processes.get_process_tasks", lambda _: [])
    runs, _ = make_runs(state="created")
    text = " ".join(call("status", runs.pk).stdout.split())
    assert "0 of 3 runs under way, 0 ended" in text
    assert "the daemon is not running" in text
    assert f"Fuse2RunsWorkChain {runs.pk} is not in the queue of the broker" in text


def test_problem_of_other_runs_is_not_shown(call, search, make_runs, quiet):
    runs, _ = make_runs(state="waiting")
    other, _ = make_runs(state="waiting")
    other.pause()
    try:
        assert f"{other.pk} is paused" not in call("status", runs.pk).stdout
        assert f"{other.pk} is paused" in call("status", other.pk).stdout
    finally:
        other.unpause()


# --- continue and add ---


@pytest.mark.parametrize("command", [("continue",), ("add", "some.cif")])
def test_one_of_the_runs_has_to_be_named(call, make_runs, command):
    runs, (first, second) = make_runs("finished", "finished", state="finished")
    verb, *rest = command
    message = call(verb, runs.pk, *rest, code=1).stderr
    assert f"is not one search but several runs; name one of them: {first.pk}, {second.pk}" in message


# --- targets ---


def test_targets_of_runs_are_counted():
    found = [Target(name="rutile", pk=1, structure_number=4), Target(name="anatase", pk=2)]
    also = [Target(name="rutile", pk=1, structure_number=17), Target(name="anatase", pk=2)]
    assert list(target_lines([found, also, [Target(name="rutile", pk=1)]])) == [
        "target rutile: found by 2 of 3 runs, after 4, 17 structures",
        "target anatase: found by 0 of 2 runs",
    ]
    missed = [Target(name="spinel", pk=1, above_best=-0.0495), Target(name="spinel", pk=1, above_best=-0.03)]
    assert list(target_lines([[target] for target in missed])) == [
        "target spinel: found by 0 of 2 runs; lies 30.0 meV/atom below your best: all runs missed it"
    ]
    assert list(target_lines([[], []])) == []


def test_show_tells_the_targets_of_each_run(call, make_runs, search):
    runs, _ = make_runs("finished", "finished", target=search.outputs.structure)
    targets = json.loads(call("show", runs.pk, "--json").stdout)["targets"]
    assert [(target["run"], target["name"], target["found"]) for target in targets] == [
        (0, "known", None),
        (1, "known", None),
    ]
    assert "target known: found by 0 of 2 runs\n" in call("show", runs.pk).stdout
