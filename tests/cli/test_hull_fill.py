"""`hull --fill`: the phases that compete are searched with the potential of the user's search, or taken."""

from __future__ import annotations

import json

import pytest
from aiida.engine import run_get_node

from aiida_fuse2 import query
from aiida_fuse2.cli.utils import filling
from aiida_fuse2.environment.prototypes import store_library
from aiida_fuse2.io.prototypes import library_to_text
from aiida_fuse2.query.ranking import energy_difference
from tests.core.generators.test_prototypes import LIBRARY, SOURCE

SMALL = ("--set", "settings.max_structures=3", "--set", "settings.population_size=3", "--set", "settings.max_atoms=4")
START = ("--set", "settings.starts={fgen: 1}")


@pytest.fixture
def search(finished):
    """A search under a pressure that no other test uses: what those have found does not compete."""
    return finished(seed=3, relax={"pressure": 0.5})


@pytest.fixture
def submitted(monkeypatch, daemon_up):
    """Run searches at once instead of submitting them; the nodes."""
    nodes = []

    def run(builder):
        nodes.append(run_get_node(builder)[1])
        return nodes[-1]

    monkeypatch.setattr(filling, "submit_inputs", run)
    return nodes


@pytest.fixture(autouse=True)
def library(aiida_profile):
    """A library with CuAu and Cu3Au."""
    return store_library(library_to_text(LIBRARY), SOURCE)


@pytest.mark.timeout(300)
def test_what_competes_is_searched_once_with_the_same_potential(call, search, submitted):
    planned = call("hull", search.pk, "--fill", "--dry-run").stdout.splitlines()
    assert "Competing phases of Cu-Au" in planned
    assert [line for line in planned if line.startswith("To be searched")] == [
        "To be searched: Cu (element)",
        "To be searched: Au (element)",
        "To be searched: CuAu (compound of alloys)",
    ]
    assert "Cost: at most 90 structures, the cost of ase is not estimated" in planned
    as_json = json.loads(call("hull", search.pk, "--fill", "--dry-run", "--json").stdout)
    assert [one["formula"] for one in as_json["wanted"]] == ["Cu", "Au", "CuAu"]
    assert as_json["cost"]["structures"] == 90
    assert submitted == []

    text = call("hull", search.pk, "--fill", *SMALL, *START).stdout
    assert [node.inputs.settings["composition"] for node in submitted] == ["Cu", "Au", "CuAu"]
    assert {node.label for node in submitted} == {"competing phase of Cu-Au"}
    assert all(energy_difference(search.inputs, node.inputs) is None for node in submitted)
    assert "End members: Au, Cu" in text
    best = {node.inputs.settings["composition"]: query.ranked(node)[0]["energy"] for node in submitted}
    sentence = text.splitlines()[-1]
    assert sentence.startswith("Cu3Au is ")

    again = call("hull", search.pk, "--fill", "--json")
    assert len(submitted) == 3
    rows = {row["formula"]: row for row in json.loads(again.stdout)}
    assert set(rows) == {"Cu3Au", "Cu", "Au", "CuAu"}
    assert rows["Cu"]["energy"] == best["Cu"]
    own = rows["Cu3Au"]["energy"]  # other searches of the profile may have gone lower
    assert own <= query.ranked(search)[0]["energy"]
    mixture = min(0.75 * best["Cu"] + 0.25 * best["Au"], (best["Cu"] + best["CuAu"]) / 2)
    assert f"{1000 * abs(own - mixture):.0f} meV/atom {'below' if own < mixture else 'above'}" in sentence
    assert "There with this potential: " in again.stderr
    assert "To be searched" not in again.stderr


def test_searches_of_another_potential_do_not_count(call, search, finished):
    pressed = finished("Cu", seed=3, relax={"pressure": 20.0}, max_structures=2, population_size=2)
    assert pressed.is_finished_ok
    planned = json.loads(call("hull", search.pk, "--fill", "--dry-run", "--json").stdout)
    assert search.pk in planned["there"]
    assert pressed.pk not in planned["there"]
    other = json.loads(call("hull", pressed.pk, "--fill", "--dry-run", "--json").stdout)
    assert (other["there"], other["wanted"]) == ([pressed.pk], [])
    refused = call("hull", search.pk, pressed.pk, "--fill", code=1).stderr
    assert "different potentials" in refused


def test_options_that_need_fill(call, search):
    assert "need --fill" in call("hull", search.pk, "--dry-run", code=2).stderr
    assert "there is no such input" in call("hull", search.pk, "--fill", "--set", "compound=3", code=2).stderr
