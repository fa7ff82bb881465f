"""Structures written to files: what is read from them is the crystal that was written."""

from __future__ import annotations

import io

import numpy as np
import pytest
from aiida import orm
from ase import Atoms
from ase.io import read
from ase.spacegroup import crystal
from pymatgen.io.cif import CifParser

from aiida_fuse2.core.crystal.symmetry import SymmetryError, find_symmetry, standard_cell
from aiida_fuse2.core.crystal.uniqueness import displacement
from aiida_fuse2.export import structures
from aiida_fuse2.export.structures import cif_text, to_text
from aiida_fuse2.io.structures import read_text
from tests.core.crystals import real_crystals

CELLS = (
    ((1, 2), (90, 80, 85)),
    ((15,), (90, 100, 90)),
    ((74,), (90, 90, 90)),
    ((142, 194), (90, 90, 120)),
    ((230,), (90, 90, 90)),
)
"""Last space groups of the crystal systems, and the angles of their cells."""

RELAXED = {
    # As they came out of relaxations. Written by pymatgen with symmetry they were other crystals (SrTi2O6, SiO3, SnS2)
    ("SrTiO3", 0.1): (
        [[4.21405, 0.32706, -0.01489], [-1.82164, 3.15062, 0.03943], [-0.02411, 0.08896, 9.42721]],
        [
            [-1.83721, 3.23111, 9.41732],
            [0.00117, 0.0891, 4.13603],
            [0.51951, 2.49599, 8.54868],
            [1.83542, 1.15461, 8.52815],
            [2.35966, 3.44728, 2.5333],
        ],
    ),
    ("SiO2", 0.01): (
        [[3.20151, -0.85655, -0.04889], [-2.34334, 4.05536, 0.1674], [-0.01342, 0.09924, 4.01023]],
        [[0.4217, 1.64965, 2.0552], [-0.00574, 0.04954, 1.99886], [2.02283, 1.22022, 2.05534]],
    ),
    ("Sn2S2", 0.01): (
        [[4.0575, -3.72503, 0.38703], [4.04482, 3.71158, 0.38706], [-0.34242, 0.00053, 3.77783]],
        [
            [3.91715, -1.90834, 0.37624],
            [3.91088, 1.91155, 0.3758],
            [1.98865, 1.84835, 2.0934],
            [1.99437, -1.8712, 2.09353],
        ],
    ),
}


def angles_of(number):
    return next(angles for lasts, angles in CELLS if number <= max(lasts))


def crystal_of(number):
    """A crystal of a space group: a general and a special position, none where others could be."""
    a, b, c = (5.0, 5.7, 6.3) if number < 75 else (6.0, 6.0, 6.0) if number >= 195 else (5.0, 5.0, 7.1)
    angles = angles_of(number) if not 75 <= number <= 142 else (90, 90, 90)
    sites = [(0.09, 0.31, 0.19), (0, 0, 0)]
    setting = 2 if number in {48, 50, 59, 68, 70, 85, 86, 88, 125, 126, 129, 130, 133, 134, 137, 138, 141, 142} else 1
    return crystal(["O", "Sr"], sites, spacegroup=number, setting=setting, cellpar=[a, b, c, *angles])


def assert_same_crystal(read_back: Atoms, atoms: Atoms, tolerance: float) -> None:
    volume = atoms.get_volume() / len(atoms)
    assert read_back.symbols.formula.reduce()[0].count() == atoms.symbols.formula.reduce()[0].count()
    assert read_back.get_volume() / len(read_back) == pytest.approx(volume, rel=0.05)
    assert displacement(read_back, atoms, stol=tolerance / volume ** (1 / 3)) is not None


def readings(text: str) -> list[Atoms]:
    """What three readers make of a CIF."""
    structure = CifParser.from_str(text).parse_structures(primitive=False)[0]
    [own] = read_text(text, "cif")
    assert own.problem is None
    return [own.atoms, read(io.StringIO(text), format="cif"), structure.to_ase_atoms(msonable=False)]


@pytest.mark.parametrize(("formula", "symprec"), RELAXED)
def test_cif_of_a_relaxed_structure_with_symmetry(formula, symprec):
    cell, positions = RELAXED[formula, symprec]
    atoms = Atoms(formula, positions=positions, cell=cell, pbc=True)
    for read_back in readings(cif_text(atoms, symprec=symprec)):
        assert_same_crystal(read_back, atoms, symprec)
        assert find_symmetry(read_back, 1e-4).number == find_symmetry(atoms, symprec).number


@pytest.mark.parametrize("number", range(1, 231, 6))
def test_cif_of_every_kind_of_space_group(number):
    atoms = crystal_of(number)
    found = find_symmetry(atoms, 0.01).number
    moved = atoms.copy()
    moved.positions += np.random.default_rng(number).uniform(-0.004, 0.004, moved.positions.shape)
    for read_back in readings(cif_text(moved, symprec=0.05)):
        assert len(read_back) == len(standard_cell(atoms, 0.05).atoms)
        assert_same_crystal(read_back, atoms, 0.05)
        assert find_symmetry(read_back, 1e-4).number == find_symmetry(moved, 0.05).number >= found


@pytest.mark.parametrize("name", real_crystals())
def test_a_cif_names_the_standard_setting_and_lists_its_operations(name):
    atoms = real_crystals()[name]
    text = cif_text(atoms, symprec=0.01)
    standard = standard_cell(atoms, 0.01)
    [block] = CifParser.from_str(text).as_dict().values()
    assert int(block["_space_group_IT_number"]) == find_symmetry(atoms, 0.01).number
    assert block["_space_group_name_H-M_alt"].replace(" ", "").endswith(":2") == (name in {"spinel", "diamond"})
    multiplicities = [int(m) for m in block["_atom_site_site_symmetry_multiplicity"]]
    assert sum(multiplicities) == len(standard.atoms)
    assert max(multiplicities) <= len(block["_space_group_symop_operation_xyz"])
    assert len(multiplicities) == len(standard.orbits)


def test_atoms_are_where_the_operations_demand():
    # NaCl of the NaTl type, faintly distorted: spglib's idealised places keep some of the distortion.
    sodium = [[0.62517, 0.1245, 0.62517], [0.62517] * 3, [0.1245, 0.62517, 0.62517], [0.62517, 0.62517, 0.1245]]
    chlorine = [[0.12494, 0.62518, 0.12494], [0.12494] * 3, [0.62518, 0.12494, 0.12494], [0.12494, 0.12494, 0.62518]]
    cell = [6.58911829] * 3 + [60] * 3
    atoms = Atoms("Na4Cl4", scaled_positions=sodium + chlorine, cell=cell, pbc=True)
    standard = standard_cell(atoms, 0.01)
    assert standard.number == 227
    assert find_symmetry(standard.atoms, 1e-6).number == 227
    assert sorted(map(len, standard.orbits)) == [16, 16]


@pytest.mark.parametrize("file_format", ["cif", "poscar", "extxyz"])
@pytest.mark.parametrize("symprec", [None, 0.001, 0.01, 0.1, 0.3])
def test_every_file_is_read_back(aiida_profile, file_format, symprec):
    cell, positions = RELAXED["SrTiO3", 0.1]
    atoms = Atoms("SrTiO3", positions=positions, cell=cell, pbc=True)
    text = to_text(row_of(atoms), file_format, symprec=symprec)
    [read_back] = read_text(text, structures._READ_AS[file_format])
    assert_same_crystal(read_back.atoms, atoms, symprec or 1e-3)


def row_of(atoms):
    groups = {f"spacegroup{part}{loose}": "P1" for part in ("", "_symbol") for loose in ("", "_loose")}
    uuid = orm.StructureData(ase=atoms).store().uuid
    return {"rank": 1, "energy": -8.4, "label": "g", "found": 1, "uuid": uuid, **groups}


@pytest.mark.parametrize("file_format", ["cif", "poscar", "extxyz"])
@pytest.mark.parametrize("change", ["element", "position", "cell", "atoms", "unreadable"])
def test_a_file_with_another_crystal_is_not_given(aiida_profile, monkeypatch, file_format, change):
    atoms = real_crystals()["quartz"]

    def misread(text, name):
        [found] = read_text(text, name)
        if change == "element":
            found.atoms.numbers[0] = 14 if found.atoms.numbers[0] == 8 else 8
        elif change == "position":
            found.atoms.positions[0] += 0.5
        elif change == "cell":
            found.atoms.set_cell(found.atoms.cell * 1.1, scale_atoms=True)
        elif change == "atoms":
            del found.atoms[0]
        return [found] if change != "unreadable" else []

    row = row_of(atoms)
    monkeypatch.setattr(structures, "read_text", misread)
    for symprec in (None, 0.01):
        with pytest.raises(SymmetryError, match="another crystal"):
            to_text(row, file_format, symprec=symprec)
