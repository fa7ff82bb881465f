"""Searches of earlier versions can still be shown, reported, exported and continued."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage import get_manager
from aiida.tools.archive import import_archive

from aiida_fuse2 import query
from aiida_fuse2.core.search.trials import NO_MOVES
from aiida_fuse2.core.settings import stored_starts
from aiida_fuse2.core.settings.migration import migrated
from aiida_fuse2.launch.continuation import prepare_continuation
from aiida_fuse2.launch.finishing import prepare_finish
from aiida_fuse2.query import finishes
from tests.archives.answers import OF_THE_PROFILE, REFINEMENT, answers, call, found_later
from tests.archives.make_archives import MORE, worker_code

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FOLDER = Path(__file__).parent
ARCHIVES = sorted(FOLDER.glob("*/*.aiida"))
SEARCHES = [path for path in ARCHIVES if path.stem != "refined"]


def name_of(archive):
    return f"{archive.parent.name}-{archive.stem}"


def told(archive):
    """What the version that made an archive says of it."""
    return json.loads(archive.with_suffix(".json").read_text())


def in_words_of_now(value, key=""):
    """Return what an earlier version said in the words of the present one.

    Since 0.2.0 moves have names, the generators of the starting structures shares, and ``fgen`` is ``fgen_paper``. What
    is stored keeps its words, so that this is for both sides.
    """
    if isinstance(value, dict):
        if "process_state" in value and "generator" in value:
            value = {**value, "starts": {value["generator"]: 1.0}}
            del value["generator"]
        if key == "starts":
            value = {"fgen_paper" if name == "fgen" else name: share for name, share in value.items()}
        kept = {k: v for k, v in value.items() if key != "moves" or k not in NO_MOVES}
        return {k: in_words_of_now(v, k) for k, v in kept.items()}
    if isinstance(value, list):
        return [in_words_of_now(v, key) for v in value]
    if key == "origin" and value == "fgen":
        return "fgen_paper"
    return ("" if str(value) in NO_MOVES else str(value)) if key == "move" else value


def differences(before, now, where=""):
    """Yield where what an earlier version said is not said any more; more may be said now."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key, value in before.items():
            if key in now:
                yield from differences(value, now[key], f"{where}.{key}")
            else:
                yield f"{where}.{key} is missing"
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from differences(one, other, f"{where}[{i}]")
    elif before != now:
        yield f"{where}: {before!r} is {now!r} now"


@pytest.fixture
def imported(request, tmp_path, aiida_config_tmp, aiida_profile_factory):
    """What a version said of an archive, and its process, imported into a profile that has nothing else."""
    values = told(request.param)
    with aiida_profile_factory(aiida_config_tmp) as profile:
        profile.set_option("runner.poll.interval", 1)
        import_archive(request.param)
        yield values, orm.load_node(values["uuid"])


@pytest.fixture
def worker(imported, tmp_path):
    """The worker as a code on a computer that the archive knows nothing of."""
    return worker_code("here", tmp_path)


def all_of(archives):
    return pytest.mark.parametrize("imported", archives, ids=name_of, indirect=True)


def test_there_are_archives():
    assert {path.stem for path in ARCHIVES} == {"continued", "plain", "refined", "runs", "tiers"}
    assert OF_THE_PROFILE.isdisjoint(told(ARCHIVES[0])["show"])  # else a comparison would look at primary keys


@all_of(ARCHIVES)
def test_an_earlier_search_says_the_same(imported):
    values, node = imported
    now = in_words_of_now(json.loads(json.dumps(answers(node))))
    said = in_words_of_now({key: value for key, value in values.items() if key != "continuation"})
    assert list(differences(said, now)) == []


@all_of(SEARCHES)
def test_commands_know_an_earlier_search(imported, tmp_path):
    values, node = imported
    best = values["combined"][0]
    assert f"{best['energy']:.4f}" in call("show", node.uuid)
    assert "finished" in call("status", node.uuid)
    call("structures", node.uuid, "-n", 2, "-o", tmp_path / "found", "--format", "extxyz")
    assert len(list((tmp_path / "found").iterdir())) >= min(2, len(values["combined"]))
    for uuid, search in values["searches"].items():
        call("report", uuid, "-o", tmp_path / f"{uuid}.html")
        page = (tmp_path / f"{uuid}.html").read_text()
        assert uuid in page
        assert "Best found by" in page
        assert [label for label in search["lineage"] if label not in page] == []
    composition = next(iter(values["searches"].values()))["settings"]["composition"]
    (row,) = json.loads(call("hull", node.uuid, "--end", composition, "--json"))
    assert row["energy"] == best["energy"]
    call("export", node.uuid, "-o", tmp_path / "again.aiida")
    exported = orm.load_group(f"fuse2/{node.uuid}/best")
    assert {one.uuid for one in exported.nodes} == {row["uuid"] for row in values["combined"]}
    assert (tmp_path / "again.aiida").is_file()


@all_of([path for path in ARCHIVES if path.stem == "refined"])
def test_commands_know_an_earlier_refinement(imported, tmp_path):
    values, node = imported
    best = values["show"]["structures"][0]
    call("structures", node.uuid, "-n", 2, "-o", tmp_path / "found", "--format", "extxyz")
    assert f"{best['energy']:.4f}" in min(path.name for path in (tmp_path / "found").iterdir())
    call("report", node.uuid, "-o", tmp_path / "page.html")
    assert best["label_before"] in (tmp_path / "page.html").read_text()
    (row,) = json.loads(call("hull", node.uuid, "--end", "Cu3Au", "--json"))
    assert row["energy"] == best["energy"]
    (row,) = json.loads(call("compare", node.uuid, "--json"))["searches"]
    assert (row["kind"], row["energy"]) == ("refinement", best["energy"])
    assert len(query.lineage(query.best(node)[0])) > 1
    call("export", node.uuid, "-o", tmp_path / "again.aiida")
    exported = orm.load_group(f"fuse2/{node.uuid}/best")
    assert {one.uuid for one in exported.nodes} == {row["uuid"] for row in query.ranked(node)}


@all_of(SEARCHES)
def test_an_earlier_search_could_be_continued(imported, worker):
    values, _ = imported
    for uuid, search in values["searches"].items():
        options = ("--more", 3, "--code", worker.label, "--dry-run", "--trust", "--json")
        settings = json.loads(call("continue", uuid, *options))["settings"]
        earlier = migrated(search["settings"])
        changed = {key for key in earlier if key in settings and settings[key] != earlier[key]}
        assert changed == {"max_structures"}
        assert settings["random_generator"] == "fgen_paper"
        assert settings["max_structures"] == search["state"]["tried"] + 3


@all_of([path for path in ARCHIVES if "continuation" in told(path)])
def test_an_earlier_search_goes_on(imported, worker):
    """Its walk is that of this version, so its trials are others than they would have been, with the same settings."""
    values, node = imported
    before = query.ranked(node)[0]
    _, later = run_get_node(prepare_continuation(node, more=MORE, code=worker, trust=True).builder)
    assert later.is_finished_ok, later.exit_message
    found, expected = (in_words_of_now(rows) for rows in (found_later(later, node), values["continuation"]))
    assert len(found) == len(expected) == MORE
    assert found[0]["generation"] == expected[0]["generation"]
    starts = {name for search in values["searches"].values() for name in stored_starts(search["settings"])}
    assert {row["origin"] for row in found} <= {"move", "rattle", "fgen_paper"} | starts
    assert query.ranked(later)[0]["energy"] <= before["energy"]


@all_of(ARCHIVES)
def test_an_earlier_search_is_finished_and_its_answer_travels(
    imported, worker, tmp_path, aiida_config_tmp, aiida_profile_factory
):
    _, node = imported
    uuid, profile = node.uuid, get_manager().get_profile().name
    builder = prepare_finish([node], code=worker, best=3, overrides={"window": 1.0}, trust=True)
    _, finish = run_get_node(builder)
    assert finish.is_finished_ok, finish.exit_message
    answer = finish.uuid  # a node is of no use in another profile
    told = query.phases(node).drop(columns="pk").to_dict("records")
    assert 1 <= len(told) <= 3
    assert sum(len(phase["members"]) for phase in told) == len(builder.structures)
    shown = call("show", uuid)
    assert all(f"{phase['rank']}. {phase['statement']}" in shown for phase in told)
    call("export", uuid, "-o", tmp_path / "finished.aiida")
    with aiida_profile_factory(aiida_config_tmp) as other:
        assert other.name != profile
        import_archive(tmp_path / "finished.aiida")
        again = orm.load_node(uuid)
        assert query.phases(again).drop(columns="pk").to_dict("records") == told
        assert finishes.newest_finish(again).uuid == answer
        shown = call("show", uuid)
        assert all(f"{phase['rank']}. {phase['statement']}" in shown for phase in told)
        written = json.loads(call("structures", uuid, "-o", tmp_path / "again", "--json"))
        assert [row["uuid"] for row in written] == [phase["uuid"] for phase in told]


def test_a_difference_is_noticed():
    before = {"rows": [{"label": "a", "energy": 1.0}], "kind": "search"}
    assert list(differences(before, {"rows": [{"label": "a", "energy": 1.0, "more": 2}], "kind": "search"})) == []
    assert list(differences(before, {"rows": [{"label": "a", "energy": 2.0}]})) == [
        ".rows[0].energy: 1.0 is 2.0 now",
        ".kind is missing",
    ]
    assert REFINEMENT in {told(path)["process_type"] for path in ARCHIVES}
