"""``generate`` and ``model`` on the command line."""

from __future__ import annotations

import hashlib
import json

import pytest
import yaml
from aiida.engine import run_get_node

from tests.core.potentials.megnet.models import CONFIG, HDF5

EMT_OPTIONS = ("--protocol", "fast", "--set", "relax.settings.calculator=ase.calculators.emt.EMT")
SMALL = ("--max-atoms", 4, "--trials-per-z", 10, "--pool-size", 3, "--seed", 2)


@pytest.fixture
def here(monkeypatch, daemon_up):
    """Run what a command submits in this process."""
    monkeypatch.setattr("aiida.engine.submit", lambda builder: run_get_node(builder)[1])


def test_pool_without_a_search(call, worker_code, here, tmp_path):
    path = tmp_path / "pool.extxyz"
    options = (*EMT_OPTIONS, *SMALL, "--ranking", "single", "--output", path)
    found = json.loads(call("generate", "Cu3Au", *options, "--json").stdout)
    assert found["summary"]["seed"] == 2
    assert found["summary"]["ranking"]["by"] == "single"
    assert path.read_text().count("Lattice=") == found["summary"]["kept"] > 0
    shown = call("run", "Cu3Au", "--max-atoms", 8, *EMT_OPTIONS, "--pool", found["pool"], "--dry-run").stdout
    assert yaml.safe_load(shown)["pool"] == "pool.extxyz"
    text = call("generate", "Cu3Au", *EMT_OPTIONS, *SMALL).stdout
    assert "Start from it with" in text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--network", "megnet", "--network-model", "nothing"), "model list"),
        (("--starts", "provided"), "makes no structures"),
        (("--space-groups", "500"), "1 to 230"),
        (("--set", "settings.gnoa.formula_units=[40,50]"), "no number of formula units"),
        (("--network-model", "x"), "needs no weights"),
    ],
)
def test_bad_input_is_said_in_one_line(call, worker_code, daemon_up, options, text):
    result = call("generate", "Cu3Au", *options, code=2)
    assert text in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_models_are_installed_and_listed(call, tmp_path):
    path = tmp_path / "mine.hdf5"
    path.write_bytes(HDF5)
    path.with_name("mine.hdf5.json").write_bytes(CONFIG)
    assert "--sha256" in call("model", "install", "megnet", "--from", path, code=2).stderr
    digest = hashlib.sha256(HDF5).hexdigest()
    installed = call("model", "install", "megnet", "--from", path.as_uri(), "--sha256", digest, "--name", "own").stdout
    assert "'own'" in installed
    assert "own" in call("model", "list").stdout
    assert "own" in {row["name"] for row in json.loads(call("model", "list", "--json").stdout)["networks"]}
