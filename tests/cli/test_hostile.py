"""Every command on an archive that somebody sent who means harm: nothing of it runs, and every command ends."""

from __future__ import annotations

import json
import signal
from uuid import uuid4

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.tools import delete_nodes
from aiida.tools.archive import import_archive

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.environment.trust import UntrustedError, foreign_parts, own_code, parts_of
from aiida_fuse2.launch import models
from aiida_fuse2.launch.continuation import prepare_continuation, worker_of
from aiida_fuse2.launch.search import prepare_search
from aiida_fuse2.launch.training import prepare_training
from aiida_fuse2.parsers.memory import has_run, remember
from tests.conftest import emt_overrides
from tests.core.potentials.megnet.models import looks_right
from tests.hostile import EDITS, hostile_archive

LONGEST = 120
"""After this a command is taken for endless, s; each takes a second or two."""


@pytest.fixture(scope="module")
def archives():
    """What was imported in this module, by what was planted; removed at its end, since others share the profile."""
    imported: dict[tuple[str, ...], tuple[str, object, orm.Group]] = {}
    yield imported
    for _, _, group in imported.values():
        delete_nodes([node.pk for node in group.nodes], dry_run=False)
        orm.Group.collection.delete(group.pk)


@pytest.fixture
def hostile(search, archives, tmp_path_factory):
    """A factory: the search of an imported archive, and the file that exists once anything planted has run."""

    def make(*plants):
        if plants not in archives:
            folder = tmp_path_factory.mktemp("hostile")
            path, marker = folder / "hostile.aiida", folder / "has_run"
            weights = looks_right().to_bytes()
            uuid = hostile_archive(search, path, marker=marker, plants=plants, weights=weights)
            archives[plants] = (uuid, marker, orm.load_group(import_archive(path)))
        uuid, marker, _ = archives[plants]
        return orm.load_node(uuid), marker

    return make


@pytest.fixture
def forgetful(monkeypatch):
    """What is trusted in this test is not in others."""
    monkeypatch.setattr("aiida_fuse2.parsers.memory.KEY", f"test.{uuid4()}.")


@pytest.fixture
def in_time():
    """Nothing is endless."""

    def stop(*_):
        raise TimeoutError("the command does not end")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def submitted(search, daemon_up, monkeypatch, in_time):
    """What a command submits, which is not done."""
    builders = []
    monkeypatch.setattr("aiida.engine.submit", lambda builder: builders.append(builder) or search)
    return builders


COMMANDS = [
    ("show", "PK"),
    ("show", "PK", "--json"),
    ("status", "-a"),
    ("status", "PK", "--json"),
    ("structures", "PK", "-o", "FOLDER/structures"),
    ("report", "PK", "-o", "FOLDER/report.html"),
    ("compare", "PK", "-o", "FOLDER/compare.html"),
    ("hull", "PK"),
    ("export", "PK", "-o", "FOLDER/export"),
    ("watch", "PK"),
    ("stop", "PK", "--now"),
    ("continue", "PK", "--more", 2, "--no-wait"),
    ("continue", "PK", "--more", 2, "--code", "CODE", "--dry-run"),
    ("continue", "PK", "--more", 2, "--code", "CODE", "--dry-run", "--trust"),
    ("refine", "PK", "--tiers", "chgnet", "--code", "CODE", "--dry-run"),
    ("finish", "PK", "--code", "CODE", "--dry-run"),
    ("run", "Cu3Au", "--pool", "POOL", "--code", "CODE", "--dry-run"),
    (
        "run",
        "Cu3Au",
        "--starts",
        "gnoa",
        "--network",
        "megnet",
        "--network-model",
        "MODEL",
        "--code",
        "CODE",
        "--dry-run",
    ),
    ("generate", "Cu3Au", "--network", "megnet", "--network-model", "MODEL", "--code", "CODE", "--no-wait"),
    ("model", "list"),
    ("model", "list", "--json"),
    ("doctor",),
    ("doctor", "--json"),
]


def spelled(command):
    return " ".join(map(str, command))


@pytest.fixture
def words(hostile, worker_code, tmp_path):
    """What stands in the commands for a node or a folder, and the marker."""
    hostile("model")
    imported, marker = hostile(*EDITS)
    nodes = {"PK": imported.pk, "CODE": worker_code.pk, "POOL": imported.outputs.structure.pk}
    return {**nodes, "MODEL": models.PUBLISHED_NAME, "FOLDER": tmp_path, "MARKER": marker}


@pytest.mark.parametrize("command", COMMANDS, ids=spelled)
def test_nothing_runs_and_every_command_ends(call, words, submitted, command):
    given = [words.get(word, str(word).replace("FOLDER", str(words["FOLDER"]))) for word in command]
    result = call(*given, code=None)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert not submitted
    assert not words["MARKER"].exists()
    assert "\x1b" not in result.output


@pytest.fixture
def words_of_a_circle(hostile, worker_code, tmp_path):
    """The same for a search that continues from itself."""
    imported, _ = hostile("cycle")
    return {"PK": imported.pk, "CODE": worker_code.pk, "FOLDER": tmp_path}


@pytest.mark.parametrize("command", [c for c in COMMANDS if "PK" in c or "-a" in c], ids=spelled)
def test_no_command_follows_a_circle(call, words_of_a_circle, submitted, command):
    given = [words_of_a_circle.get(w, str(w).replace("FOLDER", str(words_of_a_circle["FOLDER"]))) for w in command]
    result = call(*given, code=None)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert not submitted


# --- what goes on ---------------------------------------------------------------------------------


def test_planted_options_and_codes_do_not_run(hostile, worker_code):
    imported, marker = hostile("options", "code")
    assert imported.inputs.tiers["t00"]["codes"]["worker"].prepend_text
    prepared = prepare_continuation(imported, more=1, code=worker_code)
    (warning,) = prepared.warnings
    assert str(marker) in warning
    planted, taken = (inputs.tiers["t00"]["options"].get_dict() for inputs in (imported.inputs, prepared.builder))
    assert set(planted) & set(taken) == {"resources", "max_wallclock_seconds"}
    _, node = run_get_node(prepared.builder)
    assert node.is_finished_ok
    assert not marker.exists()


def test_code_of_an_archive_is_replaced_by_that_of_the_profile(hostile, worker_code, monkeypatch):
    imported, _ = hostile("options", "code")
    assert own_code(imported.inputs.tiers["t00"]["codes"]["worker"], "worker") is None
    assert own_code(worker_code, "worker") == worker_code
    monkeypatch.setattr("aiida_fuse2.launch.continuation.load_code", lambda: worker_code)
    prepared = prepare_continuation(imported, more=1)
    assert prepared.builder.tiers["t00"]["codes"]["worker"].uuid == worker_code.uuid
    assert f"{worker_code.full_label} does its work" in prepared.warnings[-1]


def test_calculator_of_an_archive_is_shown_and_asked_for(call, hostile, worker_code):
    imported, marker = hostile("calculator")
    with pytest.raises(UntrustedError, match="--trust") as caught:
        prepare_continuation(imported, more=1, code=worker_code)
    (part,) = caught.value.parts
    assert part.value == {"calculator": "subprocess.getoutput", "arguments": {"cmd": f"touch {marker}"}}
    command = ("continue", imported.pk, "--more", 1, "--code", worker_code.pk, "--dry-run")
    refused = call(*command, code=2)
    assert "subprocess.getoutput" in refused.stderr
    assert str(marker) in refused.stderr
    trusted = call(*command, "--trust", "--json")
    assert json.loads(trusted.stdout)["tiers"]["t00"]["settings"]["calculator"] == "subprocess.getoutput"
    assert foreign_parts(imported)  # a dry run makes nothing known


def test_what_has_run_here_is_taken_over(search, hostile, forgetful):
    remember(parts_of(search))
    prepared = prepare_continuation(search, more=1)
    assert worker_of(prepared.builder).uuid == search.inputs.tiers.t00.codes.worker.uuid
    imported, marker = hostile("options", "code")
    assert prepare_continuation(imported, more=1, code=search.inputs.tiers.t00.codes.worker).warnings
    remember(parts_of(imported))
    prepared = prepare_continuation(imported, more=1)
    assert worker_of(prepared.builder).uuid == imported.inputs.tiers.t00.codes.worker.uuid
    assert prepared.builder.tiers["t00"]["options"].get_dict()["prepend_text"] == f"touch {marker}"
    assert prepared.warnings == ()


def test_submitted_search_is_remembered(search):
    assert all(has_run(part) for part in parts_of(search))


def test_harmless_search_of_an_archive_goes_on_without_a_question(hostile):
    imported, _ = hostile("model")
    assert foreign_parts(imported) == ()


# --- models -----------------------------------------------------------------------------------------


def test_model_of_an_archive_is_no_default_and_has_no_name(hostile, worker_code, tmp_path, forgetful):
    hostile("model")
    planted = next(m for m in models.installed_models() if m.name == models.PUBLISHED_NAME)
    overrides = emt_overrides(starts="gnoa", gnoa={"network": "megnet"})
    for name in (None, models.PUBLISHED_NAME):
        with pytest.raises(InputError, match="model trust"):
            prepare_search("Cu3Au", code=worker_code, overrides=overrides, network_model=name)
    path = tmp_path / "set.extxyz"
    path.write_text('1\nLattice="3 0 0 0 3 0 0 0 3" energy=1 pbc="T T T"\nCu 0 0 0\n')
    with pytest.raises(InputError, match="model trust"):
        prepare_training(path, code=worker_code, name="x")
    given = prepare_search("Cu3Au", code=worker_code, overrides=overrides, network_model=str(planted.node.pk))
    assert given.builder.generate.weights.pk == planted.node.pk  # named by its key, it is meant


def test_label_of_a_node_is_no_name_of_a_model(aiida_profile):
    node = orm.SinglefileData.from_bytes(looks_right().to_bytes(), filename="w.zip", label="weights of an archive")
    node.store()
    with pytest.raises(InputError, match="model"):
        models.find_model(node.label)
    assert models.find_model(str(node.pk)).pk == models.find_model(node.uuid[:13]).pk == node.pk


def test_model_of_an_archive_is_a_default_once_the_user_says_so(call, hostile, forgetful):
    hostile("model")
    planted = next(m for m in models.installed_models() if not m.is_own)
    assert f"model trust {planted.node.pk}" in call("model", "list").stdout
    call("model", "trust", planted.node.pk)
    assert models.find_model(None).pk == models.find_model(models.PUBLISHED_NAME).pk == planted.node.pk
