"""Codes, computers and groups by label: which of several is taken, and labels that are numbers."""

from __future__ import annotations

import stat
from uuid import uuid4

import pytest
import yaml
from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.tools import delete_nodes

from aiida_fuse2.environment.codes import (
    CODE_LABEL,
    WORKER,
    ensure_code,
    is_made_here,
    load_code,
    load_tier_code,
)
from aiida_fuse2.environment.profile import SetupError
from aiida_fuse2.parsers.memory import code_part
from aiida_fuse2.query.nodes import load_group, load_node

RUN = ("run", "Cu3Au", "--protocol", "fast", "--dry-run", "--set", "relax.settings.calculator=ase.calculators.emt.EMT")


@pytest.fixture
def make_code(aiida_profile):
    """A factory of codes that are deleted afterwards."""
    made = []

    def make(computer, path, label=CODE_LABEL, **values):
        made.append(orm.InstalledCode(label=label, computer=computer, filepath_executable=str(path), **values).store())
        return made[-1]

    yield make
    delete_nodes([code.pk for code in made], dry_run=False)


@pytest.fixture
def imported(aiida_profile):
    """A computer as an archive brings it: with another label, and not configured for the user of this profile."""
    values = {"hostname": "localhost", "transport_type": "core.local", "scheduler_type": "core.direct"}
    label = "localhost_0"
    found = orm.QueryBuilder().append(orm.Computer, filters={"label": label}).first(flat=True)
    return found or orm.Computer(label=label, workdir="/scratch/somebody", **values).store()


@pytest.fixture
def program(tmp_path):
    path = tmp_path / WORKER
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def nothing_made_here(monkeypatch):
    """A profile in which `setup` has not been called."""
    monkeypatch.setattr("aiida_fuse2.parsers.memory.KEY", f"test.{uuid4()}.")


def code_of_run(call, *options):
    return yaml.safe_load(call(*RUN, *options).stdout)["tiers"]["t00"]["codes"]["worker"]


# --- codes ---


def test_a_code_that_came_with_an_archive_is_not_in_the_way(call, worker_code, imported, make_code, worker_path):
    theirs = make_code(imported, "/somewhere/else/aiida-fuse2-worker")
    assert theirs.pk > worker_code.pk
    assert code_of_run(call) == worker_code.full_label
    for identifier in ("fuse2-worker", worker_code.full_label, str(worker_code.pk), worker_code.uuid):
        assert load_code(identifier).uuid == worker_code.uuid
    refused = call(*RUN, "--code", theirs.full_label, code=1).stderr
    assert "the computer 'localhost_0' of code 'fuse2-worker@localhost_0' is not configured" in refused
    assert load_tier_code("fuse2-worker").uuid == worker_code.uuid
    for command in (("generate", "Cu3Au"), ("refine", "1", "--tiers", "chgnet"), ("potential", "learn", "Cu3Au")):
        assert "multiple" not in call(*command, code=None).output


@pytest.mark.usefixtures("nothing_made_here")
def test_of_codes_on_one_computer_that_of_setup_is_taken(call, worker_code, make_code, program, aiida_localhost):
    """An archive whose computer has the UUID of one of this profile brings codes that are configured here."""
    theirs = make_code(aiida_localhost, program, prepend_text="touch /tmp/was_here")
    refused = call(*RUN, code=1).stderr
    assert "several codes are 'fuse2-worker'" in refused
    for code in (theirs, worker_code):
        assert f"(PK {code.pk}): {code.filepath_executable}" in " ".join(refused.split())
    setup = call("setup", "-n", "--no-daemon", "--computer", aiida_localhost.label).stdout
    assert f"= code '{worker_code.full_label}' is there: {worker_code.filepath_executable}" in setup
    assert code_of_run(call) == worker_code.full_label
    assert load_code().uuid == worker_code.uuid
    assert load_code(worker_code.full_label).uuid == worker_code.uuid


def test_setup_does_not_trust_commands_that_came_with_its_own_path(
    worker_code, make_code, worker_path, nothing_made_here, aiida_localhost
):
    label = "with-commands"
    theirs = make_code(aiida_localhost, worker_path, label=label, prepend_text="touch /tmp/was_here")
    code, _ = ensure_code(label, computer=aiida_localhost.label)
    assert code.uuid == theirs.uuid  # it is left as it is
    assert not is_made_here(theirs)
    ours = make_code(aiida_localhost, worker_path, label=label)
    assert ensure_code(label, computer=aiida_localhost.label)[0].uuid == ours.uuid
    assert load_code(label).uuid == ours.uuid


def test_an_archive_cannot_say_that_setup_made_its_code(worker_code, make_code, program, aiida_localhost):
    theirs = make_code(aiida_localhost, program, label="extras")
    theirs.base.extras.set_many({code_part(theirs).key.replace(".", "|"): "code", "fuse2": {"made_here": True}})
    assert not is_made_here(theirs)


@pytest.mark.usefixtures("nothing_made_here", "worker_code")
def test_the_doctor_runs_no_commands_of_a_code_that_may_have_come_with_an_archive(
    make_code, program, aiida_localhost, tmp_path
):
    from aiida_fuse2.environment import diagnosis

    theirs = make_code(aiida_localhost, program, prepend_text=f"touch {tmp_path / 'was_here'}")
    found = [finding for finding in diagnosis.check_codes(connect=False) if "was not tried" in finding.text]
    assert sum(finding.command.endswith(f"code show {theirs.pk}") for finding in found) == 1
    assert not (tmp_path / "was_here").exists()


def test_a_hidden_code_is_not_in_the_way(worker_code, make_code, program, nothing_made_here, aiida_localhost):
    hidden = make_code(aiida_localhost, program)
    with pytest.raises(SetupError, match="several codes"):
        load_code()
    hidden.is_hidden = True
    assert load_code().uuid == worker_code.uuid


def test_label_of_a_code_comes_before_a_key(worker_code, make_code, program, aiida_localhost):
    code = make_code(aiida_localhost, program, label=str(worker_code.pk))
    assert load_code(str(worker_code.pk)).uuid == code.uuid
    assert load_code(str(code.pk)).uuid == code.uuid
    assert load_code(worker_code.uuid[:13]).uuid == worker_code.uuid
    with pytest.raises(SetupError, match="there is no code"):
        load_code("nothing")


# --- computers ---


def test_setup_leaves_a_computer_that_came_with_an_archive_alone(call, aiida_localhost, program, monkeypatch):
    configured = orm.Computer.is_configured
    monkeypatch.setattr(
        orm.Computer,
        "is_configured",
        property(lambda self: self.label != "localhost" and configured.fget(self)),
    )
    options = ("setup", "-n", "--no-daemon", "--code-label", "beside", "--worker", program)
    first = call(*options).stdout
    assert "+ made computer 'localhost-fuse2' (this machine)" in first
    assert "+ made code 'beside@localhost-fuse2'" in first
    assert load_code("beside").computer.label == "localhost-fuse2"
    assert "+" not in call(*options).stdout


# --- groups and nodes ---


def test_label_of_a_group_may_be_a_number(call, worker_code, perovskite):
    node = orm.StructureData(ase=perovskite).store()
    other = orm.Group(label="by-key").store()
    group, _ = orm.Group.collection.get_or_create(str(other.pk))
    group.add_nodes([node])
    result = call("run", "SrTiO3", "--group", group.label, "--dry-run")
    assert "1 starting structure, 0 skipped" in result.stderr
    assert load_group(str(other.pk)).pk == group.pk
    for identifier in (str(group.pk), group.uuid, group.uuid[:13], f"{group.label}!"):
        assert load_group(identifier).pk == group.pk
    assert "holds no structure" in call("run", "SrTiO3", "--group", other.uuid, "--dry-run", code=2).stderr
    for identifier in ("99999999", "9" * 30, "nothing"):
        assert "cannot be loaded" in call("run", "SrTiO3", "--group", identifier, "--dry-run", code=2).stderr


def test_beginning_of_the_uuid_of_a_group_without_letters(aiida_profile):
    group = orm.Group(label="digits")
    group.backend_entity.bare_model.uuid = "75694679-0000-4000-8000-000000000000"
    group.store()
    assert load_group("75694679").pk == group.pk


def test_label_of_a_node_may_be_a_number_and_comes_last(aiida_profile):
    first = orm.Int(1).store()
    node = orm.Int(2)
    node.label = str(first.pk)
    node.store()
    assert load_node(str(first.pk)).pk == first.pk
    assert load_node(f"{first.pk}!").pk == node.pk
    node.label = "20240229123"
    assert load_node("20240229123").pk == node.pk
    with pytest.raises(NotExistent):
        load_node("20240229124")


def test_search_with_a_number_for_a_label(call, search):
    before = search.label
    search.label = "202402291"
    try:
        assert f"search {search.pk}," in call("show", "202402291").stdout
    finally:
        search.label = before


# --- the doctor ---


def test_what_outlives_its_search_is_found(search, monkeypatch):
    from aiida.common.links import LinkType

    from aiida_fuse2 import query
    from aiida_fuse2.environment import findings, processes

    monkeypatch.setattr("aiida_fuse2.environment.processes.HANDED_OVER", 0)
    runs = orm.WorkChainNode(process_type=query.RUNS_PROCESS_TYPE)
    ended = orm.WorkChainNode(process_type=query.PROCESS_TYPE)
    alive = orm.WorkChainNode(process_type=query.PROCESS_TYPE)
    job, own, other = orm.CalcJobNode(), orm.CalcJobNode(), orm.CalcJobNode()
    links = [
        (ended, runs, "run_00", LinkType.CALL_WORK),
        (alive, runs, "run_01", LinkType.CALL_WORK),
        (job, ended, "relax", LinkType.CALL_CALC),
        (own, alive, "relax", LinkType.CALL_CALC),
    ]
    for called, caller, label, kind in links:
        called.base.links.add_incoming(caller, kind, label)
    for node, state in ((runs, "killed"), (ended, "excepted"), (alive, "waiting"), (job, "waiting"), (own, "running")):
        node.set_process_state(state)
        if state in {"waiting", "running"}:
            node.set_checkpoint("somewhere")
        node.set_process_label("RelaxCalculation" if node in (job, own) else "Fuse2WorkChain")
        node.store()
    stranger = orm.WorkChainNode(process_type="aiida.workflows:other")
    other.base.links.add_incoming(stranger, LinkType.CALL_CALC, "x")
    for node, state in ((stranger, "killed"), (other, "waiting")):
        node.set_process_state(state)
        node.set_checkpoint("somewhere")
        node.store()
    try:
        found = {(f.severity.value, f.text, f.command, f.search) for f in processes._outliving()}
    finally:
        for node in (alive, job, own, other):
            node.delete_checkpoint()
            node.set_process_state("killed")
    verdi = findings.verdi(f"process kill {job.pk}")
    assert found == {
        (
            "problem",
            f"RelaxCalculation {job.pk} waits or runs although its caller {ended.pk} has ended",
            verdi,
            ended.pk,
        ),
        (
            "note",
            f"search {alive.pk} still runs although runs {runs.pk} have ended",
            f"aiida-fuse2 stop {runs.pk}",
            None,
        ),
    }


def test_profile_without_a_broker_is_told_how_to_get_one(call, worker_code, aiida_profile, monkeypatch):
    monkeypatch.setattr(type(aiida_profile), "process_control_backend", None)
    name = aiida_profile.name
    command = f"verdi profile configure-broker core.zeromq -n {name} && aiida-fuse2 -p {name} setup -n"
    (line,) = [line for line in call("doctor", code=1).stdout.splitlines() if "has no broker" in line]
    assert line.startswith("problem  broker: ")
    assert command in call("doctor", code=1).stdout
    for refused in (("run", "Cu3Au"), ("setup", "-n"), ("generate", "Cu3Au")):
        assert f"`{command}`" in call(*refused, code=1).stderr
