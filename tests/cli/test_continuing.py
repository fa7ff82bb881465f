"""`continue`, `add` and `stop --now`."""

from __future__ import annotations

import json

import pytest
import yaml
from aiida import orm
from ase.build import bulk
from ase.io import write

from aiida_fuse2.query.pools import added_files


def test_continue_shows_what_changes(call, search):
    result = call("continue", search.pk, "--more", 4, "--walkers", 3, "--dry-run")
    inputs = yaml.safe_load(result.stdout)
    assert (inputs["settings"]["max_structures"], inputs["settings"]["walkers"]) == (12, 3)
    assert inputs["settings"]["seed"] == 3
    assert inputs["state"] == search.outputs.state.get_dict()


def test_continue_submits(call, search, daemon_up, monkeypatch):
    submitted = []
    monkeypatch.setattr("aiida.engine.submit", lambda builder: submitted.append(builder) or search)
    result = call("continue", search.pk, "--max-structures", 9, "--no-wait", "--json")
    assert json.loads(result.stdout) == {"pk": search.pk, "uuid": search.uuid}
    (builder,) = submitted
    assert builder.state.uuid == search.outputs.state.uuid
    assert builder.tiers["t00"]["settings"].uuid == search.inputs.tiers["t00"]["settings"].uuid


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "8 structures have been tried already"),
        (("--more", 3, "--max-structures", 20), "give one of them"),
        (("--more", 3, "--generation", 9), "--generation = 9"),
        (("--max-structures", 20, "--set", "relax.settings.pressure=5"), "has to stay as it was"),
        (("--max-structures", 20, "--set", "settings.composition=SrO"), "no such input"),
        (("--max-structures", 20, "--set", "relax.settings.fmax=-1"), "relax.settings.fmax = -1"),
        (("--max-structures", 20, "--set", "relax.metadata.options.nope=1"), "nope"),
        (("--more", 3, "--tiers", "chgnet"), "the last tier gives the energies, and has to stay as it was"),
        (("--more", 3, "--set", "tiers.pair.settings.fmax=0.1"), "must be one of ase"),
    ],
)
def test_continue_refuses(call, search, options, message):
    result = call("continue", search.pk, *options, "--dry-run", code=2)
    assert message in " ".join(result.stderr.split())


def test_add(call, search, tmp_path):
    ordered = bulk("Cu", "fcc", a=3.75, cubic=True)
    ordered.numbers[0] = 79
    write(tmp_path / "a.cif", ordered)
    (tmp_path / "b.cif").write_text("broken")
    before = (tmp_path / "b.cif").read_bytes()
    result = call("add", search.pk, tmp_path)
    assert f"1 structure added to search {search.pk}" in result.stdout
    assert f"continue {search.pk}" in result.stdout
    assert "b.cif" in result.stderr
    assert (tmp_path / "b.cif").read_bytes() == before
    again = json.loads(call("add", search.pk, tmp_path / "a.cif", "--json").stdout)
    assert (again["added"], again["skipped"]) == (1, [])
    added = added_files(search.uuid)
    inputs = yaml.safe_load(call("continue", search.pk, "--more", 4, "--dry-run").stdout)
    assert len(added) == 2
    assert inputs["pool"] == "pool.extxyz"
    orm.Group.collection.delete(orm.load_group(f"fuse2/{search.uuid}/added").pk)


def test_add_nothing_that_fits(call, search, tmp_path):
    write(tmp_path / "a.cif", bulk("Cu", "fcc", a=3.75, cubic=True))
    result = call("add", search.pk, tmp_path, code=2)
    assert "wrong_composition" in result.stderr


def test_stop_now_kills_the_jobs(call, search, monkeypatch):
    from aiida.common.links import LinkType

    running = orm.WorkChainNode(process_type=search.process_type)
    running.base.links.add_incoming(search.inputs.settings, LinkType.INPUT_WORK, "settings")
    running.store()
    job = orm.CalcJobNode(computer=search.inputs.tiers["t00"]["codes"]["worker"].computer)
    job.base.links.add_incoming(running, LinkType.CALL_CALC, "relax_00000_00")
    job.set_process_state("waiting")
    job.store()
    killed = []
    monkeypatch.setattr(
        "aiida.engine.processes.control.kill_processes", lambda nodes, **_: killed.extend(node.pk for node in nodes)
    )
    result = call("stop", running.pk, "--now")
    assert killed == [job.pk]
    assert "1 running job killed" in result.stdout
    assert running.base.extras.get("fuse2_stop") == "now"


def test_continue_with_targets(call, search, tmp_path):
    write(tmp_path / "known.cif", search.outputs.structure.get_ase())
    result = call(
        "continue", search.pk, "--more", 4, "--target", tmp_path / "known.cif", "--stop-at-target", "--dry-run"
    )
    inputs = yaml.safe_load(result.stdout)
    assert list(inputs["targets"]) == ["known"]
    assert inputs["settings"]["target"]["stop"] is True
    result = call("continue", search.pk, "--more", 4, "--drop-target", "known", "--dry-run", code=2)
    assert "--drop-target = 'known': the search has no such target" in result.stderr
