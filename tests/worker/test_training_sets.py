"""Sets of structures with energies: extended XYZ, and the formation energies of MatBench."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.worker import training_sets
from aiida_fuse2.worker.training_sets import read_training_set


def matbench(**changes):
    """Return a set of one structure as MatBench has it, with other values of the structure."""
    site = {"species": [{"element": "Cu", "occu": 1}], "abc": [0, 0, 0], "xyz": [0, 0, 0], "label": "Cu"}
    lattice = {"matrix": np.eye(3).tolist()}
    structure = {"@module": "pymatgen.core.structure", "@class": "Structure", "lattice": lattice, "sites": [site]}
    return json.dumps({"columns": ["structure", "e_form"], "data": [[{**structure, **changes}, -0.5]]}).encode()


def test_set_of_matbench_is_read_as_pymatgen_reads_it():
    from pymatgen.core import Structure
    from pymatgen.io.ase import AseAtomsAdaptor

    crystal = bulk("NaCl", "rocksalt", a=5.64)
    structure = AseAtomsAdaptor.get_structure(crystal).as_dict()
    ((atoms, energy),), _ = read_training_set(gzip.compress(json.dumps({"data": [[structure, -1.5]]}).encode()))
    theirs = AseAtomsAdaptor.get_atoms(Structure.from_dict(structure))
    assert energy == -1.5
    assert atoms.numbers.tolist() == theirs.numbers.tolist()
    np.testing.assert_allclose(atoms.positions, theirs.positions)
    np.testing.assert_allclose(atoms.cell.array, theirs.cell.array)


def test_set_of_matbench_imports_nothing(tmp_path, monkeypatch):
    marker = tmp_path / "has_run"
    (tmp_path / "planted_module.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Thing: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    planted = {"@module": "planted_module", "@class": "Thing"}
    site = {"species": [{"element": "Cu", "occu": 1}], "abc": [0, 0, 0], "properties": {"magmom": planted}}
    assert len(read_training_set(matbench(sites=[site], properties={"x": planted}))[0]) == 1
    assert not marker.exists()
    shared = {"species": [{"element": "Cu", "occu": 0.5}], "abc": [0, 0, 0]}
    with pytest.raises(InputError, match="shared"):
        read_training_set(matbench(sites=[shared]))


def test_set_that_is_a_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(training_sets, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="holds more than"):
        read_training_set(gzip.compress(b" " * 10_000))


COPPER = json.loads(matbench())["data"][0][0]


def table(**changes):
    """Return a table as pandas writes it, with other members."""
    values = {"columns": ["structure", "e_form"], "index": ["mb-1", "mb-2"], "data": [[COPPER, -0.5], [COPPER, 0.25]]}
    return json.dumps({**values, **changes}, indent=1).encode()


@pytest.mark.parametrize(
    "data",
    [
        table(),
        gzip.compress(table()),
        table(columns=["e_form", "structure"], data=[[-0.5, COPPER], [0.25, COPPER]]),
        json.dumps({"data": [[COPPER, -0.5], [COPPER, 0.25]], "index": [1, 2]}).encode(),
    ],
)
def test_rows_are_read_in_the_order_of_the_columns(data):
    found, form = read_training_set(data)
    assert form == "matbench"
    assert [(atoms.get_chemical_formula(), energy) for atoms, energy in found] == [("Cu", -0.5), ("Cu", 0.25)]
    assert all(atoms.pbc.all() and atoms.get_volume() == pytest.approx(1.0) for atoms, _ in found)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            table(columns=["structure", "gap pbe"]),
            "columns = .*gap pbe.*needed are 'structure' and 'e_form'",
        ),
        (table(columns="e_form"), "needed are 'structure' and 'e_form'"),
        (table(data=[]), r"structures.data = \[\]: .*rows"),
        (table(data={}), r"Expecting '\['"),
        (table(data=[[COPPER, -0.5], [COPPER]]), "structures.data = 1: this structure .* cannot be read"),
        (table(data=[[COPPER, None]]), "structures.data = 0: .* cannot be read"),
        (table(data=[[COPPER, "-0.5 eV"]]), "structures.data = 0: .* cannot be read"),
        (table(data=[[{**COPPER, "sites": [{"abc": [0, 0, 0]}]}, -0.5]]), "structures.data = 0: .*species"),
        (table(data=[[COPPER, float("nan")]]), "structures = 0: .*not a number"),
        (table()[:-20], "must be extended XYZ, or a set of MatBench as JSON"),
        (b"{}", r"structures.data = \[\]: .*rows"),
        (b"{", "must be extended XYZ, or a set of MatBench as JSON"),
        (gzip.compress(table())[:-30], "must be extended XYZ, or a set of MatBench as JSON"),
        (b"\xff\xfe", "must be extended XYZ, or a set of MatBench as JSON"),
    ],
)
def test_bad_tables_are_refused_with_the_place(data, text):
    with pytest.raises(InputError, match=text):
        read_training_set(data)


def test_extended_xyz_has_energies_of_cells_or_of_atoms():
    cell, atom = bulk("Cu", cubic=True), bulk("Cu")
    cell.info["energy"], atom.info["energy_per_atom"] = -14.0, -3.4
    buffer = io.StringIO()
    write(buffer, [cell, atom], format="extxyz")
    found, form = read_training_set(buffer.getvalue().encode())
    assert form == "extxyz"
    assert [(len(atoms), energy) for atoms, energy in found] == [(4, -3.5), (1, -3.4)]
