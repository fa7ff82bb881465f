"""``model``: showing weights, and training on formation energies in the form of MatBench."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest
from aiida import orm
from aiida.engine import run_get_node
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor

from tests.core.potentials.megnet.models import CONFIG, HDF5, needs_tensorflow


def matbench_file(folder, count):
    """Write crystals of NaCl with energies that have a minimum, as MatBench has them; return the path."""
    crystals = [bulk("NaCl", "rocksalt", a=5.0 + 0.1 * i) for i in range(count)]
    energies = [-2.0 + (5.7 - (4 * atoms.get_volume()) ** (1 / 3)) ** 2 for atoms in crystals]
    structures = [AseAtomsAdaptor.get_structure(atoms).as_dict() for atoms in crystals]
    values = {
        "columns": ["structure", "e_form"],
        "index": [f"mb-mp-e-form-{i:06d}" for i in range(count)],
        "data": [list(row) for row in zip(structures, energies, strict=True)],
    }
    path = folder / "matbench_mp_e_form.json.gz"
    path.write_bytes(gzip.compress(json.dumps(values).encode()))
    return path


def test_an_installed_model_is_shown(call, tmp_path):
    path = tmp_path / "mine.hdf5"
    path.write_bytes(HDF5)
    path.with_name("mine.hdf5.json").write_bytes(CONFIG)
    options = ("--from", path, "--sha256", hashlib.sha256(HDF5).hexdigest(), "--name", "to show")
    pk = json.loads(call("model", "install", "megnet", *options, "--json").stdout)["pk"]
    shown = json.loads(call("model", "show", "to show", "--json").stdout)
    assert (shown["pk"], shown["origin"], shown["job"], shown["summary"]) == (pk, "installed", None, {})
    assert {"Na", "Cl", "U"} <= set(shown["elements"])
    assert f"to show  (installed, PK {pk})" in call("model", "show", pk).stdout
    assert "model list" in call("model", "show", "nothing", code=2).stderr


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--structures", 5), r"settings.structures = 5"),
        (("--protocol", "papers"), "must be one of balanced, paper"),
        (("--set", "settings.epoch=3"), "epoch"),
        (("--from-nothing", "--model", "x"), "give one of them"),
    ],
)
@pytest.mark.usefixtures("daemon_up", "worker_code")
def test_bad_training_is_refused(call, tmp_path, options, text):
    base = ("model", "train", matbench_file(tmp_path, 12), "--name", "x")
    before = orm.QueryBuilder().append(orm.ProcessNode).count()
    refused = call(*base, *({"--from-nothing"} - set(options)), *options, code=2).stderr
    assert text in refused
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.usefixtures("daemon_up", "worker_code")
def test_a_model_is_trained_on_a_part_of_matbench_and_shown(call, tmp_path, monkeypatch):
    monkeypatch.setattr("aiida.engine.submit", lambda builder: run_get_node(builder)[1])
    small = ("--structures", 15, "--epochs", 3, "--batch-size", 4, "--seed", 7)
    path = matbench_file(tmp_path, 18)
    said = call("model", "train", path, "--name", "salt", "--from-nothing", "--protocol", "paper", *small).stdout
    shown = json.loads(call("model", "show", "salt", "--json").stdout)
    summary = shown["summary"]
    assert (shown["origin"], shown["data"], shown["elements"]) == ("trained", path.name, ["Cl", "Na"])
    assert summary["structures"] == {"learnt": 11, "validation": 2, "test": 2}
    assert (summary["in_file"], summary["format"], len(summary["mae_by_epoch"])) == (18, "matbench", 3)
    assert summary["epoch"] in {0, 1, 2, 3}
    best = min(summary["mae_by_epoch"])
    assert summary["epoch"] == 0 or summary["mae_by_epoch"][summary["epoch"] - 1] == best == summary["mae_validation"]
    assert orm.load_node(shown["job"]).outputs.summary["mae"] == summary["mae"]
    assert f"-> {summary['mae']:.4f}; of validation: {summary['mae_validation']:.4f} eV/atom" in said
    assert "The paper, all of matbench_mp_e_form, validation: 0.0348 eV/atom" in said
    assert f"MAE {summary['mae']:.4f} eV/atom" in call("model", "list").stdout
    assert "learning rate 0.001, seed 7" in call("model", "show", shown["pk"]).stdout
