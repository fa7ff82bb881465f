"""What is printed of a structure: the numbers are those of the literature."""

from __future__ import annotations

import pytest
from ase.build import bulk

from aiida_fuse2.core.answer import description
from aiida_fuse2.core.answer.description import describe_phase
from tests.core.crystals import garnet, perovskite, spinel


def sites(values):
    return [(s["element"], f"{s['multiplicity']}{s['letter']}", s["coordination"]) for s in values["sites"]]


def test_perovskite():
    found = describe_phase(perovskite())
    assert (found.values["formula"], found.values["z"], found.values["n_atoms"]) == ("SrTiO3", 1, 5)
    assert (found.values["spacegroup"], found.values["spacegroup_symbol"]) == (221, "Pm-3m")
    assert found.values["density"] == pytest.approx(5.117, abs=0.002)  # of crystals at room temperature: 5.11
    assert {row[0]: row[2] for row in sites(found.values)} == {"O": "2 Ti", "Sr": "12 O", "Ti": "6 O"}
    assert sites(found.values)[0][1] in {"3c", "3d"}
    assert sites(found.values)[0][2] == "2 Ti"


def test_spinel_and_garnet():
    values = describe_phase(spinel()).values
    assert sites(values) == [("Al", "16d", "6 O"), ("Mg", "8a", "4 O"), ("O", "32e", "3 Al, 1 Mg")]
    assert (values["z"], values["n_atoms"], values["n_atoms_conventional"]) == (8, 14, 56)
    assert values["sites"][1]["coordinates"] == [0.125] * 3
    values = describe_phase(garnet()).values
    assert [(s[0], s[1]) for s in sites(values)] == [("Al", "16a"), ("Ca", "24c"), ("O", "96h"), ("Si", "24d")]


def test_cells_are_those_of_the_standard_setting():
    cell = bulk("NaCl", "rocksalt", a=5.64)
    cell.rotate(30, (1, 1, 0), rotate_cell=True)
    found = describe_phase(cell.repeat((1, 2, 1)))
    assert (len(found.primitive), len(found.conventional)) == (2, 8)
    assert found.conventional.cell.cellpar() == pytest.approx([5.64] * 3 + [90] * 3)
    assert found.values["a"] == pytest.approx(5.64)
    assert found.values["volume"] == pytest.approx(5.64**3 / 4)


def test_coordination_that_cannot_be_found_is_said_so(monkeypatch):
    class Failing:
        def get_cn_dict(self, *_):
            raise ValueError

    monkeypatch.setattr("pymatgen.analysis.local_env.CrystalNN", Failing)
    values = describe_phase(perovskite()).values
    assert {site["coordination"] for site in values["sites"]} == {description.NO_COORDINATION}
