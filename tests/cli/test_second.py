"""An answer ordered by a second potential: `finish --second`, `run --second`, and everything that shows it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.tools import delete_nodes
from aiida.tools.archive import import_archive

from aiida_fuse2 import query
from aiida_fuse2.cli.commands import hull
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.installed import installed_version
from aiida_fuse2.environment.models import Installed
from aiida_fuse2.launch.continuation import prepare_continuation
from aiida_fuse2.launch.finishing import prepare_finish
from aiida_fuse2.launch.search import prepare_search
from aiida_fuse2.query import finishes
from aiida_fuse2.query.targets import search_targets
from aiida_fuse2.report.collect import collect
from aiida_fuse2.report.comparison import SearchFigures
from aiida_fuse2.report.page import payload
from aiida_fuse2.workchains.runs import Fuse2RunsWorkChain
from aiida_fuse2.workchains.search import Fuse2WorkChain
from tests.conftest import emt_overrides

MODEL = {
    "title": "Upside down",
    "calculator": "tests.upside_down.UpsideDown",
    "package": "ase",
    "requirements": ["ase"],
    "licence": "LGPL-2.1-or-later",
    "citation": "K. W. Jacobsen et al., Surf. Sci. 366, 394 (1996)",
    "elements": ["Cu", "Au"],
    "models": {"plain": {"functional": "none", "tested": "here", "energy": None, "weights": None}},
}
NAME = "upside-plain"

ROOT = Path(__file__).resolve().parents[2]

RUN = ("run", "SrTiO3", "--protocol", "fast", "--dry-run", "--json")


@pytest.fixture(autouse=True)
def potential_of_the_tests(monkeypatch):
    """Let jobs import the potential of ``tests.upside_down``."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))


@pytest.fixture
def model(tmp_path, worker_code):
    """A factory of files with a potential that the environment of the worker has."""

    def make(**changes):
        path = tmp_path / "upside.yaml"
        path.write_text(yaml.safe_dump({**MODEL, **changes}))
        return path

    return make


@pytest.fixture
def search(finished):
    """A search of its own: others expect theirs to have no answer."""
    return finished(seed=19, max_structures=6)


@pytest.fixture
def finish(search, model):
    """The answer of a search under two potentials; it is made once in this process."""
    known = finishes.newest_finish(search)
    if known is not None and finishes.order(known) is not None:
        return known
    builder = prepare_finish([search], best=4, overrides={"window": 1.0}, second=str(model()))
    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    return node


def test_the_second_orders_what_the_first_has_found(search, finish):
    rows, order = finishes.phases(finish), finishes.order(finish)
    assert len(rows) >= 3
    assert (order.first, order.second, order.by) == ("EMT", NAME, "second")
    first = [row["first"]["energy"] for row in rows]
    assert first == sorted(first, reverse=True)
    assert [row["energy"] for row in rows] == pytest.approx([-energy for energy in first], abs=1e-5)
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    stored = finish.outputs.answer["order"]
    assert stored["tau"] == pytest.approx(-1)
    assert stored["failures"] == {}
    assert stored["false_minima"] == [
        row["label"] for row in sorted(rows, key=lambda row: row["first"]["energy"]) if row["delta"] > 0.001
    ]
    assert finish.outputs.structure.uuid == rows[0]["uuid"]
    lowest = orm.load_node(rows[0]["uuid"])
    assert lowest.base.extras.get("fuse2_phase")["energy"] == rows[0]["energy"]


def test_the_second_job_is_in_the_graph(finish):
    called = finish.base.links.get_outgoing(link_type=LinkType.CALL_WORK, link_label_filter="second_%").all()
    (link,) = called
    assert link.node.inputs.tiers["t00"]["settings"]["model"] == NAME
    assert link.node.inputs.tiers["t00"]["settings"]["keep_symmetry"] is True
    relaxed = link.node.base.links.get_outgoing(node_class=orm.StructureData).all()
    sizes = {one.link_label.removeprefix("structures__"): len(one.node.sites) for one in relaxed}
    assert sizes == {row["label"]: row["n_atoms"] for row in finishes.phases(finish)}  # primitive cells
    assert any(row["n_atoms"] < row["n_atoms_conventional"] for row in finishes.phases(finish))
    assert all("fuse2" not in one.node.base.extras.all for one in relaxed)  # they are not explored structures
    assert "second" in finish.inputs


def test_everything_shows_both_energies(call, search, finish, tmp_path):
    rows, order = finishes.phases(finish), finishes.order(finish)
    output = call("show", search.pk).output
    assert f"energies of {NAME}, the second potential; first: EMT" in output
    assert output.count(order.statement) == 2  # below the table and in the conclusion
    assert f"false minimum of EMT: {1000 * rows[-1]['delta']:.1f} meV/atom above the lowest under {NAME}" in output
    assert f"{rows[0]['energy']:.4f}" in output
    assert f"{rows[0]['first']['energy']:.4f}" in output
    assert f"finish {finish.pk} with EMT, then {NAME}: finished" in call("show", finish.pk).output
    shown = json.loads(call("show", search.pk, "--json").stdout)
    assert shown["answer"]["order"]["by"] == "second"
    assert order.statement in shown["conclusion"]["found"]
    assert order.statement in call("watch", search.pk).output
    status = call("status", search.pk).output
    assert f"best phase  {rows[0]['energy']:.4f} eV/atom ({NAME})" in status
    frame = query.phases(search)
    assert frame["energy_second"].tolist() == frame["energy"].tolist()
    assert frame["rank_first"].tolist() == [row["first"]["rank"] for row in rows]
    assert "energy_first" in frame.to_csv()
    written = json.loads(call("structures", search.pk, "--format", "extxyz", "-o", tmp_path, "--json").stdout)
    assert f"potential={NAME}" in Path(written[0]["path"]).read_text()


def test_the_report_has_both_energies(search, finish):
    values, rows = payload(collect(search, number=2)), finishes.phases(finish)
    assert values["order"] == {"by": NAME, "other": "EMT", "statement": finishes.order(finish).statement}
    assert [row["other"][0] for row in values["answer"]] == [row["first"]["energy"] for row in rows]
    assert values["summary"]["best"]["energy"] == rows[0]["energy"]


def test_an_archive_brings_the_order_back(call, search, finish, tmp_path):
    call("export", search.pk, "-o", tmp_path / "whole.aiida")
    text = (tmp_path / "whole.README.md").read_text()
    assert f"Energies of {NAME}; {finishes.order(finish).statement}." in text
    assert "ΔE with EMT (meV/atom)" in text
    uuid, before = finish.uuid, finishes.phases(finish)
    delete_nodes([finish.pk], dry_run=False)
    assert finishes.newest_finish(search) is None
    import_archive(tmp_path / "whole.aiida")
    again = finishes.newest_finish(search)
    assert again.uuid == uuid
    assert [{**row, "pk": None} for row in finishes.phases(again)] == [{**row, "pk": None} for row in before]
    assert finishes.order(again).by == "second"
    assert NAME in call("show", search.pk).output


def test_one_failure_leaves_the_order_to_the_first(call, search, finish, model):
    highest = max(row["first"]["energy"] for row in finishes.phases(finish))
    path = model(arguments={"fails_above": highest - 1e-4})
    _, node = run_get_node(prepare_finish([search], best=4, overrides={"window": 1.0}, second=str(path)))
    assert node.is_finished_ok, node.exit_message
    rows, order = finishes.phases(node), finishes.order(node)
    try:
        assert order.by == "first"
        assert [row["rank"] for row in rows] == [row["first"]["rank"] for row in rows]
        assert [row["second"]["energy"] is None for row in rows] == [False] * (len(rows) - 1) + [True]
        assert f"ordered by EMT, since {NAME} gave no energy of 1 of {len(rows)} phases" in order.statement
        assert order.statement in call("show", search.pk).output
    finally:
        delete_nodes([node.pk], dry_run=False)


def test_a_dry_run_says_who_orders(call, search, model):
    path = model()
    result = call("finish", search.pk, "--second", path, "--dry-run", "--json")
    assert f"Answer: ordered by {NAME} (fuse2-worker@localhost)" in result.stderr
    inputs = json.loads(result.stdout)
    assert inputs["second"]["t00"]["settings"]["calculator"] == MODEL["calculator"]
    assert inputs["second"]["t00"]["codes"]["worker"] == "fuse2-worker@localhost"
    result = call("finish", search.pk, "--second", "none", "--dry-run", "--json")
    assert "second" not in json.loads(result.stdout)
    assert "Answer: ordered by EMT; another one with --second" in result.stderr
    for wrong, text in (("nonsense", "must be one of"), (model(elements=["Cu"]), "was not trained with Au")):
        assert text in call("finish", search.pk, "--second", wrong, "--dry-run", code=2).output


@pytest.fixture
def installed(worker_code, default_second, monkeypatch):
    """Pretend that the default second potential is installed."""

    def found(model, *_):
        return Installed(model=model, code=worker_code, version="0.13.0", sha256=None)

    monkeypatch.setattr("aiida_fuse2.workchains.second.find_installed", found)
    monkeypatch.setattr("aiida_fuse2.environment.codes.calculator_problem", lambda *_: None)


def test_a_missing_default_is_named(call, worker_code, default_second, monkeypatch):
    monkeypatch.setattr("aiida_fuse2.environment.models._found_here", lambda _: None)
    without = call(*RUN)
    missing = "the potential sevennet-l3i5 is not installed: `aiida-fuse2 model install sevennet-l3i5`"
    assert f"Answer: ordered by CHGNet 0.3.0; {missing}" in without.stderr
    assert "second" not in json.loads(without.stdout)
    assert missing in call(*RUN, "--second", "sevennet-l3i5", code=1).output


def test_the_default_is_used_where_it_is_installed(call, installed):
    """After CHGNet alone: other potentials may be better than it."""
    found = call(*RUN)
    assert "Answer: ordered by sevennet-l3i5 (fuse2-worker@localhost)" in found.stderr
    settings = json.loads(found.stdout)["second"]["t00"]["settings"]
    assert (settings["arguments"]["model"], settings["weights"]["version"]) == ("7net-l3i5", "0.13.0")
    assert (settings["fmax"], settings["keep_symmetry"]) == (0.01, True)
    paper = ("--experiment", "fgen-chgnet", "--tiers", "chgnet")
    for more in (("--second", "none"), ("--set", "settings.finish=0"), paper):
        inputs = json.loads(call(*RUN, *more).stdout)
        assert "second" not in inputs.get("search", inputs), more
    emt = call("run", "Cu3Au", "--set", "relax.settings.calculator=ase.calculators.emt.EMT", "--dry-run")
    assert "Answer" not in emt.stderr


def test_a_builder_chooses_as_the_command_does(worker_code, installed):
    build = Fuse2WorkChain.get_builder_from_protocol
    builder = build("SrTiO3", worker_code, "fast")
    (second,) = builder.second.values()
    assert second["settings"]["model"] == "sevennet-l3i5"
    assert not build("SrTiO3", worker_code, "fast", second="none").get("second")
    assert not build("SrTiO3", worker_code, "fast", {"settings": {"finish": 0}}).get("second")
    runs = Fuse2RunsWorkChain.get_builder_from_protocol("SrTiO3", worker_code, "fast", runs=2)
    assert runs.search.second["t00"]["settings"]["model"] == "sevennet-l3i5"
    with pytest.raises(InputError, match="must be one of"):
        build("SrTiO3", worker_code, "fast", second="nonsense")


def test_jobs_on_another_computer_have_its_options(worker_code, installed, aiida_computer_local):
    """A queue of the computer of the search means nothing where the second potential is."""
    cluster = orm.InstalledCode(
        computer=aiida_computer_local(label="elsewhere"), filepath_executable="/bin/true", label="fuse2-there"
    ).store()
    options = {"queue_name": "short"}
    for code, queue in ((worker_code, "short"), (cluster, None)):
        builder = Fuse2WorkChain.get_builder_from_protocol("SrTiO3", code, "fast", options=options)
        assert builder.tiers["t00"]["options"]["queue_name"] == "short"
        assert builder.second["t00"]["options"].get_dict().get("queue_name") == queue


@pytest.mark.slow
@pytest.mark.skipif(installed_version("sevenn") is None, reason="SevenNet is not installed")
def test_sevennet_orders_the_answer_of_a_search_with_chgnet(call, worker_code, default_second):
    """All of it for real, with the default settings."""
    prepared = prepare_search(
        "SrTiO3",
        code=worker_code,
        protocol="fast",
        overrides={"settings": {"max_atoms": 5, "max_structures": 10, "population_size": 10, "starts": "symmetric"}},
    )
    assert prepared.second == "Answer: ordered by sevennet-l3i5 (fuse2-worker@localhost)"
    _, node = run_get_node(prepared.builder)
    assert node.is_finished_ok, node.exit_message
    answer = node.outputs.answer.get_dict()
    assert answer["order"]["by"] == "second"
    lowest = answer["phases"][0]
    assert lowest["spacegroup"] == 221
    assert lowest["energy"] == pytest.approx(-7.96, abs=0.2)
    assert lowest["first"]["energy"] == pytest.approx(-8.42, abs=0.05)
    assert "energies of sevennet-l3i5, the second potential; first: CHGNet 0.3.0" in call("show", node.pk).output


def test_a_search_keeps_its_second_and_judges_its_targets_by_it(call, model, worker_code, finish):
    path = model().with_name("known.xyz")
    orm.load_node(finishes.phases(finish)[0]["uuid"]).get_ase().write(path, format="extxyz")
    prepared = prepare_search(
        "Cu3Au",
        code=worker_code,
        protocol="fast",
        overrides=emt_overrides(seed=19, max_structures=6, finish=3),
        targets=[path],
        second=str(model()),
    )
    assert prepared.second == f"Answer: ordered by {NAME} (fuse2-worker@localhost)"
    _, node = run_get_node(prepared.builder)
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.answer["order"]["by"] == "second"
    (target,) = search_targets(node)
    assert target.second == NAME
    assert target.above == target.second_above
    lowest = node.outputs.answer["phases"][0]["energy"]
    assert target.second_above == pytest.approx(target.second_energy - lowest)
    assert f"; under {NAME} " in call("show", node.pk).output
    again = prepare_continuation(node, more=4)
    assert again.second == prepared.second
    assert again.builder.second["t00"]["settings"].uuid == node.inputs.second["t00"]["settings"].uuid
    wide = {"window": 1.0}
    assert dict(prepare_finish([node], overrides=wide).second["t00"])["name"].value == "ase"
    assert not prepare_finish([node], overrides=wide, second="none").second


def figures(pk, formula, energy):
    return SearchFigures(
        pk=pk,
        formula=formula,
        starts="",
        potential="CHGNet 0.3.0",
        seed=1,
        tried=1,
        cpu_seconds=1.0,
        start_energy=None,
        energy=energy,
        steps=(),
    )


def test_a_hull_takes_the_second_where_all_have_it(monkeypatch):
    found = [figures(1, "SrO", -6.0), figures(2, "TiO2", -8.8), figures(3, "SrTiO3", -8.0), figures(4, "SrO", None)]
    places = {one.pk: (one.pk, one.pk) for one in found}
    energies = {1: -6.5, 2: -9.0, 3: -8.5}

    def second(one, finish):
        return replace(one, potential=NAME, energy=energies[finish]) if finish in energies else None

    monkeypatch.setattr("aiida_fuse2.query.finishes.newest_finish", lambda node: node)
    monkeypatch.setattr("aiida_fuse2.report.collect.second_figures", second)
    taken, potential, told = hull._by_second(found, places)
    assert {one.pk: one.energy for one in taken} == {**energies, 4: None}
    assert (potential, told) == (NAME, [f"Energies: {NAME}, which orders the answer of each search"])
    taken, potential, told = hull._by_second([*found, figures(5, "SrO", -5.0)], {**places, 5: (5, 5)})
    assert told[1:] == [f"Left out: search 5 (SrO), no energy of {NAME}"]
    del energies[2]
    taken, potential, told = hull._by_second(found, places)
    assert (taken, potential) == (found, "CHGNet 0.3.0")
    assert told == [f"Energies: CHGNet 0.3.0; {NAME}, which orders answers, has none of TiO2: see `finish --second`"]
    energies.clear()
    assert hull._by_second(found, places)[1:] == ("CHGNet 0.3.0", [])
