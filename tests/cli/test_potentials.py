"""``potential``: learning, importing, showing."""

from __future__ import annotations

import json

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_fuse2.core.potentials.pair import read_library
from tests.calculations.test_potential_jobs import LEARN_EMT
from tests.core.potentials.pair.libraries import mixed_text, spline_text


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "ours.lib"
    path.write_text(mixed_text())
    return path


def test_a_library_is_stored_and_shown(call, library):
    said = json.loads(call("potential", "import", library, "--json").stdout)
    node = orm.load_node(said["pk"])
    assert (said["pairs"], said["missing"]) == (6, [])
    assert read_library(node.get_content()) == read_library(mixed_text())
    assert node.base.extras.get("fuse2") == {"elements": ["Ca", "O", "Ti"], "pairs": 6}
    shown = call("potential", "show", node.pk).output
    assert "6 pairs of Ca, O, Ti" in shown
    assert "O-Ti   morse       0 to 6 Å" in shown
    assert call("potential", "show", node.pk, "--text").output == node.get_content()
    assert json.loads(call("potential", "show", node.pk, "--json").stdout)["report"] is None


def test_pairs_of_a_composition_are_chosen_and_missing_ones_named(call, library):
    said = json.loads(call("potential", "import", library, "--for", "CaO", "--json").stdout)
    assert read_library(orm.load_node(said["pk"]).get_content()).pairs == (("Ca", "Ca"), ("Ca", "O"), ("O", "O"))
    refused = call("potential", "import", library, "--for", "MgO", code=2)
    assert "no potential for Mg-Mg, Mg-O" in refused.output


def test_what_the_engine_does_otherwise_is_said(call, tmp_path):
    (tmp_path / "x.POT").write_text(spline_text(head="spline"))
    said = call("potential", "import", tmp_path / "x.POT").output
    assert "no potential for Ca-Ca, O-O" in said
    assert "rational functions" in said


@pytest.mark.parametrize("name", ["nothing.zip", "empty"])
def test_bad_files_are_refused_in_one_line(call, tmp_path, name):
    (tmp_path / "empty").mkdir()
    refused = call("potential", "import", tmp_path / name, code=2)
    assert refused.output.count("\n") == 1
    assert "potential = " in refused.output


def test_show_refuses_what_is_no_library(call):
    node = orm.Int(1).store()
    assert "is no library of pair potentials" in call("potential", "show", node.pk, code=2).output


SETTINGS = [f"settings.{key}={json.dumps(value)}" for key, value in LEARN_EMT["settings"].items()]
RELAX = [f"relax.{key}={value}" for key, value in LEARN_EMT["relax"].items()]
OPTIONS = ["--protocol", "fast", *(word for text in [*SETTINGS, *RELAX] for word in ("--set", text))]


def test_potentials_are_learned_and_shown(call, worker_code, daemon_up, monkeypatch):
    monkeypatch.setattr("aiida.engine.submit", lambda builder: run_get_node(builder)[1])
    said = call("potential", "learn", "CuAu", *OPTIONS, "--seed", 3).output
    assert "3 pairs of Au, Cu" in said
    assert "rank correlation" in said
    builder = orm.QueryBuilder().append(orm.CalcJobNode, filters={"process_type": {"like": "%learn_potential"}})
    node = builder.order_by({orm.CalcJobNode: {"id": "desc"}}).first(flat=True)
    assert node.inputs.settings["seed"] == 3
    assert "Learned from ase.calculators.emt.EMT" in call("potential", "show", node.pk).output
    report = json.loads(call("potential", "show", node.outputs.potential.pk, "--json").stdout)["report"]
    assert report["seed"] == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Xx2"], "Xx2"),
        (["CuAu", "--max-atoms", 1], "settings.max_atoms"),
        (["CuAu", "--set", "settings.cutof=5"], "settings.cutof"),
        (["CuAu", "--set", "relax.fmx=5"], "relax.settings.fmx"),
        (["PoO"], "CHGNet was not trained with Po"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_submitted(call, worker_code, daemon_up, arguments, words):
    jobs = orm.QueryBuilder().append(orm.CalcJobNode).count()
    assert words in call("potential", "learn", *arguments, code=2).output
    assert orm.QueryBuilder().append(orm.CalcJobNode).count() == jobs
