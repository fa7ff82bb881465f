"""`stop`, `status`, `continue` and `add` with several runs of a search."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_fuse2 import query
from aiida_fuse2.core.settings import MAX_SEED


@pytest.fixture
def make_runs(search):
    """A factory of runs whose searches have certain process states, as far as the graph can tell; ended afterwards."""
    made = []

    def make(*states, n_runs=3, state="waiting"):
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
    assert f"The runs {runs.pk} have ended, but searches of them go on" in text
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
    result = call("run", "Cu3Au", "--set", "settings.generator=fgen", *options, "--dry-run", code=2)
    assert message in " ".join(result.stderr.split())
