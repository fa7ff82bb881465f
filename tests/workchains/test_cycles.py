"""Links that lead back to where they came from, as an archive of somebody else may have them: every walk ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiida import orm
from aiida.common import log
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from click.testing import CliRunner

from aiida_fuse2 import query
from aiida_fuse2.cli import cmd_root
from aiida_fuse2.core.search.state import Best, SearchState
from aiida_fuse2.environment.processes import check_processes
from aiida_fuse2.export import archive
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.query import refinements
from aiida_fuse2.query.chain import CyclicSearchError, generation_records, segments, state_maker
from aiida_fuse2.query.links import CONTINUED_LINK
from aiida_fuse2.query.loading import searches_of_runs
from aiida_fuse2.query.orphans import orphans_below
from aiida_fuse2.query.pools import pool_of_state, taken_files
from aiida_fuse2.report.data import ancestors

pytestmark = pytest.mark.timeout(60)  # a walk that does not end

LABEL = "g00000_w000_t000"


def link(source, target, kind, label):
    """Link two nodes as no process could: AiiDA does not look here."""
    target.backend_entity.add_incoming(source.backend_entity, kind, label)


@pytest.fixture(autouse=True)
def profile(aiida_config_tmp, aiida_profile_factory, monkeypatch):
    """A profile of its own, which other tests need not see."""
    monkeypatch.setattr("aiida_fuse2.environment.profile.load_search_profile", lambda _: None)
    with aiida_profile_factory(aiida_config_tmp) as loaded:
        yield loaded
    log.CLI_ACTIVE = log.CLI_LOG_LEVEL = None  # a command keeps reports of searches from being stored
    log.configure_logging(with_orm=True)


def ended(process_type=query.PROCESS_TYPE):
    node = orm.WorkChainNode(process_type=process_type)
    node.set_process_label("Fuse2WorkChain")
    node.set_process_state(ProcessState.FINISHED)
    node.set_exit_status(0)
    node.store().seal()
    return node


def make_search():
    node = ended()
    inputs = protocol_inputs("fast")
    link(orm.Dict({**inputs["settings"], "composition": "Cu3Au"}).store(), node, LinkType.INPUT_WORK, "settings")
    link(orm.Dict(inputs["relax"]["settings"]).store(), node, LinkType.INPUT_WORK, "tiers__t00__settings")
    link(orm.Str("chgnet").store(), node, LinkType.INPUT_WORK, "tiers__t00__name")
    link(orm.Bool(False).store(), node, LinkType.INPUT_WORK, "clean_workdir")
    return node


def make_state(generation):
    state = SearchState.initial(1, 0.02)
    best = Best(label=LABEL, energy=-1.0, structure_number=1)
    return orm.Dict(replace(state, generation=generation, tried=generation, best=best).to_dict()).store()


def make_step(search, label, given, made, *others):
    """A calcfunction of a search that has made a state from another one."""
    step = orm.CalcFunctionNode()
    step.set_process_label(label)
    step.set_process_state(ProcessState.FINISHED)
    step.store().seal()
    link(search, step, LinkType.CALL_CALC, label)
    link(given, step, LinkType.INPUT_CALC, "state")
    link(step, made, LinkType.CREATE, "state")
    for node, name in others:
        link(step, node, LinkType.CREATE, name)
    return step


def decide(search, given, made):
    return make_step(search, "decide", given, made, (orm.Dict({"label": []}).store(), "record"))


def from_itself():
    search, first, second = make_search(), make_state(1), make_state(2)
    decide(search, first, second)
    link(second, search, LinkType.INPUT_WORK, "state")
    return search


def from_each_other():
    one, two, first, second = make_search(), make_search(), make_state(1), make_state(2)
    decide(one, first, second)
    decide(two, second, first)
    link(first, one, LinkType.INPUT_WORK, "state")
    link(second, two, LinkType.INPUT_WORK, "state")
    return one


def made_fit_in_a_circle():
    search, first, second = make_search(), make_state(1), make_state(1)
    make_step(search, "resume", first, second)
    make_step(search, "resume", second, first)
    link(first, search, LinkType.INPUT_WORK, "state")
    with pytest.raises(CyclicSearchError):
        state_maker(first.uuid)
    return search


@pytest.mark.parametrize("make", [from_itself, from_each_other, made_fit_in_a_circle])
def test_search_that_goes_on_from_itself_is_named(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad, good = make(), make_search()
    for ask in (segments, generation_records, query.progress):
        with pytest.raises(CyclicSearchError, match="continues from itself"):
            ask(bad.pk)
    for command in ("show", "status", "watch", "structures", "report", "export", "compare", "hull", "continue"):
        done = CliRunner().invoke(cmd_root, [command, str(bad.pk)])
        assert (done.exit_code, "continues from itself" in done.stderr) == (1, True), (command, done.output)
    done = CliRunner().invoke(cmd_root, ["status", "--all"])
    assert done.exit_code == 0, done.output
    assert f"{bad.pk} cannot be shown: search" in done.stdout
    assert f"{good.pk}  Cu3Au" in done.stdout
    assert set(query.searches()["pk"]) >= {bad.pk, good.pk}
    assert sorted(query.listed()[1]) == sorted(query.searches()["pk"])


def test_pool_of_a_search_that_continues_itself():
    search, state = make_search(), make_state(0)
    make_step(make_search(), "begin", search.inputs.settings, state)
    link(state, search, LinkType.INPUT_WORK, "state")
    link(orm.Str(search.uuid).store(), search, LinkType.INPUT_WORK, CONTINUED_LINK)
    with pytest.raises(CyclicSearchError, match=f"search {search.pk} continues from itself"):
        pool_of_state(state.uuid, search.pk)


def test_pool_that_was_put_into_itself():
    search, state = make_search(), make_state(0)
    pool, added = (orm.SinglefileData.from_string("").store() for _ in range(2))
    step = make_step(search, "add_to_pool", state, orm.Dict().store(), (pool, "pool"))
    link(pool, step, LinkType.INPUT_CALC, "pool")
    link(added, step, LinkType.INPUT_CALC, "added")
    assert taken_files(search.pk, state.uuid, pool) == {added.uuid}


def test_states_in_a_circle():
    search, first, second = make_search(), make_state(1), make_state(2)
    decide(search, first, second)
    decide(search, second, first)
    assert [record.state for record in generation_records(search.pk)] == [first.uuid, second.uuid]


def test_processes_that_call_each_other():
    """Runs call themselves beside a search, which calls the runs; a step without an end is below all of them."""
    runs, search = ended(query.RUNS_PROCESS_TYPE), make_search()
    link(search.inputs.settings, runs, LinkType.INPUT_WORK, "search__settings")
    link(orm.Int(2).store(), runs, LinkType.INPUT_WORK, "runs")
    link(runs, runs, LinkType.CALL_WORK, "run_00")
    link(runs, search, LinkType.CALL_WORK, "run_01")
    link(search, runs, LinkType.CALL_WORK, "run_02")
    step = orm.CalcFunctionNode().store()
    link(search, step, LinkType.CALL_CALC, "propose")
    assert [one.pk for one in searches_of_runs(runs.pk)] == [search.pk]
    assert query.listed() == ([], [runs.pk])
    assert query.runs_progress(runs.pk).searches[0].pk == search.pk
    assert [orphan.pk for orphan in orphans_below({"id": runs.pk})] == [step.pk]
    assert {row["pk"] for row in archive.processes_below([runs.pk])} == {search.pk, step.pk}
    assert any(finding.search == search.pk for finding in check_processes())
    for command in (["show", str(runs.pk)], ["status", "--all"]):
        done = CliRunner().invoke(cmd_root, command)
        assert done.exit_code == 0, done.output


def test_structure_and_refinement_below_themselves():
    loop, structure = (
        ended("aiida.workflows:fuse2.refine"),
        orm.StructureData(cell=[[3, 0, 0], [0, 3, 0], [0, 0, 3]]).store(),
    )
    link(loop, loop, LinkType.CALL_WORK, "tiers")
    job = orm.CalcFunctionNode().store()
    link(loop, job, LinkType.CALL_CALC, "join_tiers")
    link(job, structure, LinkType.CREATE, "structure")
    link(structure, loop, LinkType.INPUT_WORK, "structures__a")
    with pytest.raises(query.NoSearchError, match="is not in this profile"):
        query.lineage(structure)
    assert refinements.progress(loop.pk).n_structures == 1


def test_parents_of_each_other():
    rows = [{"label": "a", "parent": "b"}, {"label": "b", "parent": "a"}, {"label": "c", "parent": "c"}]
    assert [row["label"] for row in ancestors(rows, "a")] == ["b", "a"]
    assert [row["label"] for row in ancestors(rows, "c")] == ["c"]
