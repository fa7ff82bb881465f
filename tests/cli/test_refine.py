"""`run --tiers` and `refine`: inputs from options, errors in one line, the table of what was refined."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from aiida import orm
from aiida.common.datastructures import CalcJobState
from aiida.common.links import LinkType
from aiida.engine import run_get_node

from aiida_fuse2 import query
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.launch.refinement import prepare_refinement
from aiida_fuse2.query.refinements import PROCESS_TYPE, progress, refined
from aiida_fuse2.tiers import TierChoice
from tests.protocols.test_models import own

EMT = "ase.calculators.emt.EMT"
ROOT = Path(__file__).resolve().parents[2]


def ase(**settings):
    return {"tiers": {"ase": {"settings": {"calculator": EMT, "processes": 1, **settings}}}}


@pytest.fixture
def library(aiida_profile):
    lines = [f"{a} {b} 0.4 1.4 {r} 0.0 7.0" for a, b, r in (("Cu", "Cu", 2.87), ("Cu", "Au", 2.95), ("Au", "Au", 3.0))]
    return orm.SinglefileData.from_string("morse\n" + "\n".join(lines) + "\n", filename="CuAu.lib").store()


def test_dry_run_shows_the_tiers(call, worker_code, library, tmp_path):
    path = tmp_path / "tiers.yaml"
    path.write_text(
        "tiers:\n"
        f"  ase: {{settings: {{calculator: {EMT}}}, options: {{queue_name: long}}}}\n"
        "  pair: {settings: {fmax: 0.3}}\n"
        "relax: {metadata: {options: {max_wallclock_seconds: 600}}}\n"
    )
    options = ["--tiers", "pair,ase", "--pair-library", library.pk, "--overrides", path, "--pressure", 5]
    options += ["--tier-code", f"ase={worker_code.pk}", "--set", "tiers.ase.options.queue_name=short"]
    inputs = yaml.safe_load(call("run", "Cu3Au", "--protocol", "fast", "--dry-run", *options).output)
    pair, last = inputs["tiers"]["t00"], inputs["tiers"]["t01"]
    assert "relax" not in inputs
    assert (pair["name"], pair["settings"]["fmax"], pair["potential"]) == ("pair", 0.3, "CuAu.lib")
    assert (last["name"], last["settings"]["calculator"]) == ("ase", EMT)
    assert {pair["settings"]["pressure"], last["settings"]["pressure"]} == {5}
    assert last["settings"]["max_steps"] == 300  # of the protocol
    assert "potential" not in last
    assert (last["options"]["queue_name"], last["options"]["max_wallclock_seconds"]) == ("short", 600)
    assert "queue_name" not in pair["options"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tiers", "spp,chgnet"], "must be one of ase, chgnet, gulp, pair"),
        (["--tiers", "pair,chgnet"], "aiida-fuse2 potential learn COMPOSITION"),
        (["--tiers", "gulp"], "--tier-code gulp=LABEL"),
        (["--tiers", "chgnet", "--tier-code", "fuse2-worker"], "must be TIER=LABEL"),
        (["--tiers", "chgnet", "--tier-code", "vasp=fuse2-worker"], "the tiers are chgnet"),
        (["--tiers", "chgnet", "--tier-code", "chgnet=nothing"], "there is no code 'nothing'"),
        (["--tiers", "ase"], "import path of a class"),
        (["--tier-code", "chgnet=fuse2-worker"], "name the tiers"),
        (["--set", "tiers.pair.settings.fmax=1"], "must be one of chgnet"),
        (["--tiers", "chgnet", "--set", "tiers.pair.settings.fmax=1"], "must be one of chgnet"),
        (["--tiers", "ase", "--set", "tiers.ase.settings.calculator=no.such.Thing"], "not installed"),
    ],
)
def test_bad_tiers_are_one_line(call, worker_code, options, message):
    before = orm.QueryBuilder().append(orm.ProcessNode).count()
    result = call("run", "CuAu", "--dry-run", *options, code=None)
    assert result.exit_code in {1, 2}
    assert message in " ".join(result.output.split())
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before


def test_the_best_structures_go_through_a_tier_and_are_ranked(call, search, worker_code):
    builder = prepare_refinement(
        [search], TierChoice(names=["ase"]), code=worker_code, best=3, overrides=ase(fmax=0.01, pressure=20.0)
    )
    before = query.ranked(search)[:3]
    assert [row["label"] for row in builder.selection.get_dict().values()] == [row["label"] for row in before]
    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    rows = refined(node)
    assert {row["label_before"] for row in rows} == {row["label"] for row in before}
    done = [row for row in rows if row["status"] == "converged"]
    assert done[0]["rank"] == 1
    assert node.outputs.structure.pk == done[0]["pk"]
    assert [row["energy"] for row in done] == sorted(row["energy"] for row in done)
    assert all(row["energy"] != row["energy_before"] for row in done)  # now under pressure
    structure = orm.load_node(done[0]["uuid"])
    assert structure.creator.inputs.trials.creator.process_label == "trials_of_structures"
    assert {row["uuid"] for row in before} == {n.uuid for n in node.inputs.structures.values()}
    output = call("show", node.pk).output
    assert "E before" in output
    assert f"refinement {node.pk} by ase: finished" in output
    shown = json.loads(call("show", node.pk, "--json").stdout)
    assert shown["structures"] == rows
    assert shown["relaxed_to"].startswith("relaxed to 0.01 eV/Å with EMT; saddle points")
    assert f"\n{shown['relaxed_to']}\n" in output
    assert call("refine", search.pk, "--tiers", "chgnet,", "--dry-run", code=2)
    assert f"refinement {node.pk} by ase: finished" in call("watch", node.pk).output
    assert json.loads(call("watch", node.pk, "--json").stdout) == shown
    assert call("status", node.pk).output == f"refinement {node.pk} of 3 structures: finished\n"
    assert node.pk not in {row["pk"] for row in json.loads(call("status", "--json").stdout)["refinements"]}


def called(caller, label, kind=orm.WorkChainNode, *, inputs=(), **options):
    """A process that another one has called and that has not ended."""
    process = kind(**options)
    link = LinkType.CALL_CALC if kind is orm.CalcJobNode else LinkType.CALL_WORK
    for name, data in inputs:
        process.base.links.add_incoming(data, LinkType.INPUT_WORK, name)
    if caller is not None:
        process.base.links.add_incoming(caller, link, label)
    process.set_process_state("waiting")
    return process.store()


def test_a_refinement_under_way_is_listed_and_watched(call, search, daemon_up, monkeypatch):
    for check in ("check_daemon", "check_processes"):  # nothing of this is in the hands of a daemon
        monkeypatch.setattr(f"aiida_fuse2.environment.diagnosis.{check}", list)
    structures = [(f"structures__r{i:04d}", node) for i, node in enumerate(query.best(search, 2))]
    name = ("tiers__t00__name", orm.Str("vasp").store())
    node = called(None, "", inputs=[*structures, name], process_type=PROCESS_TYPE)
    assert progress(node.pk).phase == "starting"
    tiers = called(node, "relax_00", inputs=[name])
    job = called(tiers, "t00_r0000", orm.CalcJobNode, computer=search.inputs.tiers["t00"]["codes"]["worker"].computer)
    job.set_state(CalcJobState.WITHSCHEDULER)
    text = f"refinement {node.pk} of 2 structures: relaxing by vasp (job: submitted)"
    assert text in call("status").output
    (listed,) = json.loads(call("status", node.pk, "--json").stdout)["refinements"]
    assert (listed["pk"], listed["n_structures"], listed["phase"]) == (node.pk, 2, text.partition(": ")[2])

    def end(_):
        node.set_process_state("killed")

    monkeypatch.setattr("time.sleep", end)
    watched = call("watch", node.pk, code=1)
    assert watched.output.splitlines()[0] == text
    assert f"the refinement {node.pk} failed: killed" in watched.output


@pytest.mark.slow
def test_a_structure_that_kills_its_jobs_is_given_up(search, worker_code):
    changes = ase(calculator="tests.faulty.EndsJobsOfLargeCells", arguments={"limit": 4})
    changes["tiers"]["ase"]["options"] = {"environment_variables": {"PYTHONPATH": str(ROOT)}}
    changes["settings"] = {"job_attempts": 2}
    builder = prepare_refinement([search], TierChoice(names=["ase"]), code=worker_code, overrides=changes)
    sizes = {label: len(node.sites) for label, node in builder.structures.items()}
    _, node = run_get_node(builder)
    lost = [row["label"] for row in refined(node) if row["status"] == "job_ended_early"]
    assert set(lost) == {label for label, size in sizes.items() if size > 4}


def test_a_potential_by_name_needs_no_tiers(call, search, worker_code, tmp_path):
    path = own(tmp_path, elements=["Cu", "Au"])
    inputs = json.loads(call("refine", search.pk, "--model", path, "--best", 2, "--dry-run", "--json").stdout)
    settings = inputs["tiers"]["t00"]["settings"]
    assert (inputs["tiers"]["t00"]["name"], settings["calculator"], settings["model"]) == ("ase", EMT, "emt-plain")
    assert "was not trained with Au" in call("refine", search.pk, "--model", own(tmp_path), "--dry-run", code=2).output
    assert "name a potential or the tiers" in call("refine", search.pk, "--dry-run", code=2).output


def test_refinements_that_are_refused(call, search, worker_code, daemon_up):
    assert "name a potential or the tiers" in call("refine", search.pk, code=2).output
    assert "must be at least 1" in call("refine", search.pk, "--tiers", "chgnet", "--best", 0, code=2).output
    assert "no such input" in call("refine", search.pk, "--tiers", "chgnet", "--set", "nonsense=1", code=2).output
    with pytest.raises(InputError, match="must be a mapping"):
        prepare_refinement([search], TierChoice(names=["chgnet"]), code=worker_code, overrides=["a"])
