"""CIFs in the settings of the space groups: read as the crystal that they were made of, or refused.

Some settings are tried by default. All 530 are, in a few minutes, with::

    FUSE2_FUZZ=1 pytest tests/io/test_cif_settings.py
"""

import os

import gemmi
import numpy as np
import pytest
import spglib
from ase.cell import Cell

from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.io.structures import read_text

SETTINGS = range(1, 531, 1 if os.environ.get("FUSE2_FUZZ") else 17)
"""Numbers of spglib."""

TWICE = 316
"""A setting whose full name is, in spglib's table, that of another one, too."""

SITES = {"Sr": (0.084, 0.8326, 0.7871), "O": (0.0, 0.0, 0.0)}
"""A place without symmetry, and one that has some in most settings."""


def operations_of(setting):
    found = spglib.get_symmetry_from_database(setting)
    return found["rotations"], found["translations"]


def cell_of(rotations):
    """A cell with no more symmetry than the rotations leave it, shape (3, 3)."""
    rough = Cell.fromcellpar([8.0, 9.1, 10.3, 83.0, 99.0, 104.0]).array
    metric = np.mean([r.T @ rough @ rough.T @ r for r in rotations], axis=0)
    lengths = np.sqrt(np.diag(metric))
    cosines = [metric[i, j] / lengths[i] / lengths[j] for i, j in ((1, 2), (0, 2), (0, 1))]
    return Cell.fromcellpar([*lengths, *np.degrees(np.arccos(cosines))])


def cif_of(setting, lines):
    """A CIF of a crystal in a setting; ``lines`` tell its symmetry."""
    cell = cell_of(operations_of(setting)[0])
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    text = "data_x\n" + "".join(f"_cell_{n} {v:.5f}\n" for n, v in zip(names, cell.cellpar(), strict=True)) + lines
    text += "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
    return text + "".join(f"{symbol}1 {x} {y} {z}\n" for symbol, (x, y, z) in SITES.items())


def places_of(setting):
    """Element and place of the atoms of a crystal in a setting."""
    rotations, translations = operations_of(setting)
    return {
        (symbol, *(np.round(image, 4) % 1).tolist())
        for symbol, site in SITES.items()
        for image in rotations @ np.array(site) + translations
    }


def is_right(found, setting):
    """Whether a structure that was read is the crystal in a setting."""
    places = np.round(found.atoms.get_scaled_positions(), 4) % 1
    read = {(symbol, *place) for symbol, place in zip(found.atoms.symbols, places.tolist(), strict=True)}
    if len(found.atoms) == len(places_of(setting)) and read == places_of(setting):
        return True
    (listed,) = read_text(cif_of(setting, listed_lines(setting)), "cif")
    return len(found.atoms) == len(listed.atoms) and are_equal(found.atoms, listed.atoms, stol=0.02)


def listed_lines(setting):
    rows = []
    for rotation, translation in zip(*operations_of(setting), strict=True):
        operation = gemmi.Op()
        operation.rot = (rotation * gemmi.Op.DEN).tolist()
        operation.tran = np.rint(translation * gemmi.Op.DEN).astype(int).tolist()
        rows.append(f"'{operation.triplet()}'\n")
    return "loop_\n_space_group_symop_operation_xyz\n" + "".join(rows)


def hall_lines(setting):
    return f"_space_group_name_Hall\n;{spglib.get_spacegroup_type(setting).hall_symbol}\n;\n"


def name_line(name):
    return f"_space_group_name_H-M_alt '{name}'\n"


def full_name(setting):
    kind = spglib.get_spacegroup_type(setting)
    return name_line(f"{kind.international_full}:{kind.choice}".rstrip(":"))


def short_name(setting):
    kind = spglib.get_spacegroup_type(setting)
    return name_line(f"{kind.international_short}:{kind.choice}".rstrip(":"))


def gemmi_name(setting):
    group = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(spglib.get_spacegroup_type(setting).hall_symbol))
    return name_line(group.xhm())


def name_and_code(setting):
    kind = spglib.get_spacegroup_type(setting)
    code = f"_space_group_IT_coordinate_system_code '{kind.choice or 'abc'}'\n"
    return name_line(kind.international.split("=")[-1].strip()) + code


def bare_name(setting):
    return name_line(spglib.get_spacegroup_type(setting).international_full)


def number(setting):
    return f"_space_group_IT_number {spglib.get_spacegroup_type(setting).number}\n"


CERTAIN = (listed_lines, hall_lines, full_name, gemmi_name, name_and_code)
"""What tells the setting, so that every CIF has to be read."""

UNCERTAIN = (short_name, bare_name, number)
"""What leaves some settings open."""


@pytest.mark.parametrize("symmetry", [*CERTAIN, *UNCERTAIN], ids=lambda f: f.__name__)
def test_settings(symmetry):
    wrong, n_read = [], 0
    for setting in SETTINGS:
        (found,) = read_text(cif_of(setting, symmetry(setting)), "cif")
        n_read += found.problem is None
        if found.problem is None:
            is_good = is_right(found, setting)
        elif symmetry in CERTAIN and setting != TWICE:
            is_good = False
        else:
            is_good = "ambiguous" in found.problem or "contradicts" in found.problem
        if not is_good:
            wrong.append((setting, symmetry(setting), found))
    assert wrong == []
    assert n_read > len(SETTINGS) / 5
