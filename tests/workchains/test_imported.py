"""A search tells the same where it was imported, whatever primary keys, times and extras its nodes get there."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, is_dataclass
from pathlib import Path

import pandas as pd
import pytest
from aiida import orm
from aiida.common import log
from aiida.engine import run_get_node
from aiida.manage import get_manager
from aiida.tools.archive import import_archive
from ase.io import write
from click.testing import CliRunner
from sqlalchemy import text

from aiida_fuse2 import query
from aiida_fuse2.cli import cmd_root
from aiida_fuse2.export import archive
from aiida_fuse2.launch import adding, continuation, models
from aiida_fuse2.launch.starts import structures_of_group
from aiida_fuse2.query import refinements
from aiida_fuse2.query.pools import added_files
from aiida_fuse2.query.targets import search_targets
from aiida_fuse2.report.collect import search_figures
from aiida_fuse2.workchains.runs import Fuse2RunsWorkChain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # searches, and every command twice for each

KEY = re.compile(r"(?<![\w.])[1-9]\d{5}(?!\w|\.\d)")
"""A primary key in what a command prints: here all have six digits, and numbers of structures have fewer."""

FIRST_KEY = 500000

NO_QUESTIONS = {"ask_to_stop", "kill_jobs", "tiers_phase"}
"""Functions of ``query`` that do something, or are about what runs."""

COMMANDS = {
    "show": ["show", "{pk}"],
    "show as JSON": ["show", "{pk}", "--json"],
    "show the newest": ["show"],
    "status": ["status", "{pk}"],
    "status as JSON": ["status", "{pk}", "--json"],
    "watch": ["watch", "{pk}"],
    "watch as JSON": ["watch", "{pk}", "--json"],
    "structures": ["structures", "{pk}", "-n", "9", "-o", "structures", "--format", "extxyz"],
    "report": ["report", "{pk}", "-o", "report.html"],
    "export": ["export", "{pk}", "-o", "whole.aiida"],
    "export of the best": ["export", "{pk}", "-o", "best.aiida", "--best", "2"],
    "compare": ["compare", "{pk}"],
    "compare as JSON": ["compare", "{pk}", "--json"],
    "hull": ["hull", "{pk}", "--json"],
    "continue": ["continue", "{pk}", "--more", "3", "--dry-run", "--trust"],
}


def session():
    return get_manager().get_profile_storage().get_session()


def use_keys_of_six_digits():
    """Let the nodes that follow have primary keys that cannot be taken for other numbers."""
    if session().bind.dialect.name == "postgresql":
        session().execute(text(f"SELECT setval(pg_get_serial_sequence('db_dbnode', 'id'), {FIRST_KEY})"))
    else:
        pk = orm.Int(0).store().pk
        session().execute(text(f"UPDATE db_dbnode SET id = {FIRST_KEY} WHERE id = {pk}"))  # noqa: S608 - two numbers
    session().commit()


def shuffle():
    """Give the newest node the smallest primary key, and so on, and let all have been changed just now."""
    rows = orm.QueryBuilder().append(orm.Node, project=["id", "ctime"]).all()
    keys = {pk: FIRST_KEY + i for i, (pk, _) in enumerate(sorted(rows, key=lambda row: row[1], reverse=True))}
    places = [("db_dbnode", "id"), ("db_dblink", "input_id"), ("db_dblink", "output_id")]
    places += [(table, "dbnode_id") for table in ("db_dbgroup_dbnodes", "db_dblog", "db_dbcomment")]
    session().commit()
    session().execute(text("PRAGMA defer_foreign_keys = ON"))
    for table, column in places:
        statement = text(f"UPDATE {table} SET {column} = :new WHERE {column} = :old")  # noqa: S608 - names from above
        session().execute(statement, [{"old": old, "new": new} for old, new in keys.items()])
    session().execute(text("UPDATE db_dbnode SET mtime = datetime('now')"))
    session().commit()
    for model in list(session().identity_map.values()):  # known under their former keys
        if model.__tablename__ == "db_dbnode":
            session().expunge(model)


def with_uuids(shown):
    """Return a text with UUIDs in place of the primary keys."""
    uuids = dict(orm.QueryBuilder().append(orm.Node, project=["id", "uuid"]).all())
    return KEY.sub(lambda found: uuids.get(int(found[0]), found[0]), shown)


def plain(value):
    """Return what a function gives in values that can be compared."""
    if isinstance(value, orm.Node):
        return value.uuid
    if isinstance(value, pd.DataFrame):
        return value.to_dict("records")
    if is_dataclass(value):
        return asdict(value)
    return [plain(one) for one in value] if isinstance(value, list) else value


def answers_of_commands(node, folder):
    """Return what commands print and write about a search or runs of one."""
    os.chdir(folder)
    found = {}
    for name, arguments in COMMANDS.items():
        done = CliRunner().invoke(cmd_root, [one.format(pk=node.pk) for one in arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), (name, done.exception)
        found[name] = with_uuids(f"{done.exit_code}\n{done.stdout}{done.stderr}")
    files = [path for path in sorted(Path().rglob("*")) if path.is_file() and path.suffix != ".aiida"]
    return found | {str(path): with_uuids(path.read_text()) for path in files}


def answers_of_query(node, all_uuids):
    """Return what each function of ``query`` says of a search or runs of one."""
    searches = query.single_searches(node)
    own = {one.uuid for one in searches} | {node.uuid}
    known = query.searches()
    asked = {
        "active_searches": query.active_searches(node),
        "best": [query.best(search, 5, unique=unique) for search in searches for unique in (True, False)],
        "combined": query.combined(searches),
        "evidence": [query.evidence(search.pk) for search in searches],
        "explored": [query.explored(search) for search in searches],
        "is_refinement": query.is_refinement(node),
        "is_runs": query.is_runs(node),
        "lineage": [query.lineage(best) for search in searches for best in query.best(search, 5)],
        "listed": [[pk for pk in pks if orm.load_node(pk).uuid in all_uuids] for pks in query.listed()],
        "load_results": query.load_results(node.uuid),
        "load_search": [query.load_search(search.uuid) for search in searches],
        "load_search_or_runs": [query.load_search_or_runs(node.uuid), query.load_search_or_runs()],
        "phases": query.phases(node),
        "present_state": [query.present_state(search.pk) for search in searches],
        "progress": [query.progress(search.pk) for search in searches],
        "ranked": [query.ranked(search) for search in searches],
        "relaxed_to": [query.relaxed_to(search) for search in searches],
        "run_searches": query.run_searches(node),
        "runs_progress": query.runs_progress(node.pk) if query.is_runs(node) else None,
        "runs_settings": query.runs_settings(node).model_dump() if query.is_runs(node) else None,
        "search_settings": [query.search_settings(search).model_dump() for search in searches],
        "search_settings_of": [query.search_settings_of(search.pk).model_dump() for search in searches],
        "searches": known[known["uuid"].isin(own)],
        "single_searches": searches,
    }
    functions = {name for name in query.__all__ if callable(getattr(query, name)) and name.islower()}
    assert set(asked) == functions - NO_QUESTIONS
    others = {
        "figures": [search_figures(search) for search in searches],
        "targets": [search_targets(search) for search in searches],
        "group": [structures_of_group(f"fuse2/{search.uuid}") for search in searches],
        "added": [added_files(search.uuid) for search in searches],
    }
    return {name: with_uuids(repr(plain(value))) for name, value in (asked | others).items()}


def pool_to_go_on_with(node):
    """Return the structures that a search which goes on would put into its pool, in their order."""
    return continuation.prepare_continuation(node, more=2, trust=True).builder.pool.get_content()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    before = Path.cwd()
    yield tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("imported")
    os.chdir(before)
    log.CLI_ACTIVE = log.CLI_LOG_LEVEL = None  # a command keeps reports of searches from being stored
    log.configure_logging(with_orm=True)


def finished(builder):
    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    return node


@pytest.fixture
def searches(emt_builder, tmp_path):
    """A search of many generations, runs with a target, and a search that goes on and has structures to go on with."""
    use_keys_of_six_digits()
    small = {"population_size": 2, "walkers": 1, "seed": 7, "move_weights": {5: 1, 13: 1, 14: 1}}
    first = finished(emt_builder(**small, max_structures=4))
    frame = query.explored(first)
    known = frame[frame["duplicate_of"].isna() & (frame["number"] <= 3)].iloc[-1]
    builder = emt_builder(**small, max_structures=3)
    builder.targets = {"known": orm.StructureData(ase=orm.load_node(known.uuid).get_ase())}
    runs = finished(Fuse2RunsWorkChain.builder_of_search(builder, runs=2))
    files = [tmp_path / f"{i}.extxyz" for i in range(3)]
    for place, uuid in zip(files, frame["uuid"].iloc[-3:], strict=True):
        write(place, orm.load_node(uuid).get_ase())
    adding.add_structures(first, files[:1])
    longer = finished(continuation.prepare_continuation(first, more=2).builder)
    for place in files[1:]:
        adding.add_structures(longer, [place])
    return {"plain": first, "runs with a target": runs, "continued": longer}


def test_an_imported_search_says_the_same(searches, folders, monkeypatch, aiida_config_tmp, aiida_profile_factory):
    monkeypatch.setattr("aiida_fuse2.environment.profile.load_search_profile", lambda _: None)
    monkeypatch.setattr("aiida_fuse2.query.status.RATE_WINDOW", 2)  # generations of which the last ones are taken
    uuids = {kind: node.uuid for kind, node in searches.items()}
    source, target = folders

    def answers(folder):
        found = {}
        for kind, uuid in uuids.items():
            node = orm.load_node(uuid)
            (folder / kind).mkdir()
            found |= {(kind, name): told for name, told in answers_of_query(node, set(uuids.values())).items()}
            found |= {(kind, name): told for name, told in answers_of_commands(node, folder / kind).items()}
        return found | {("continued", "pool"): pool_to_go_on_with(orm.load_node(uuids["continued"]))}

    before = answers(source)
    archives = [archive.export(node, source / f"{kind}.aiida").archive for kind, node in searches.items()]
    assert "6 of 6 structures" in before["continued", "show"]
    assert "found by 2 of 2 runs, after" in before["runs with a target", "show"]
    with aiida_profile_factory(aiida_config_tmp):
        for path in archives:
            import_archive(path, import_new_extras=False)
        shuffle()
        orm.load_computer("localhost").configure()
        after = answers(target)
    assert after.keys() == before.keys()
    different = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
    assert not different


def test_the_newest_is_what_was_made_last(aiida_config_tmp, aiida_profile_factory):
    with aiida_profile_factory(aiida_config_tmp):
        weights = [orm.SinglefileData.from_string(str(i), filename="weights").store() for i in range(3)]
        orm.Group(label=models.GROUP).store().add_nodes(weights)
        refining = [orm.WorkChainNode(process_type=refinements.PROCESS_TYPE) for _ in range(3)]
        for node in refining:
            node.set_process_state("running")
            node.store()
        made = [[node.uuid for node in nodes] for nodes in (weights, refining)]
        shuffle()
        assert [model.node.uuid for model in models.installed_models()] == made[0][::-1]
        assert [model.node.uuid for model in models.all_models()] == made[0][::-1]
        assert [orm.load_node(pk).uuid for pk in refinements.under_way()] == made[1][::-1]
