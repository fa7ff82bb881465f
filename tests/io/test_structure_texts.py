"""What single CIFs, POSCARs and XYZ files are read as, or why they are skipped."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from matscipy.neighbours import neighbour_list

from aiida_fuse2.core.crystal.symmetry import find_symmetry
from aiida_fuse2.io.structures import read_structures, read_text

EDGES = (
    ("length_a", 3.905),
    ("length_b", 3.905),
    ("length_c", 3.905),
    *((f"angle_{a}", 90) for a in ("alpha", "beta", "gamma")),
)
PM3M = "_symmetry_space_group_name_H-M 'P m -3 m'\n"
COLUMNS = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")
ROWS = ("Sr1 Sr 0 0 0 1", "Ti1 Ti 0.5 0.5 0.5 1", "O1 O 0.5 0.5 0 1")


def cif(symmetry=PM3M, rows=ROWS, columns=COLUMNS, name="a", **edges):
    """A CIF; of the cubic perovskite, where nothing else is said."""
    cell = "".join(f"_cell_{edge} {edges.get(edge, value)}\n" for edge, value in EDGES)
    loop = "loop_\n" + "".join(f"_atom_site_{column}\n" for column in columns)
    return f"data_{name}\n{cell}{symmetry}{loop}" + "".join(f"{row}\n" for row in rows)


def listed(*operations, tag="_symmetry_equiv_pos_as_xyz"):
    return f"loop_\n{tag}\n" + "".join(f"'{operation}'\n" for operation in operations)


def only(text, file_format="cif"):
    (found,) = read_text(text, file_format)
    assert (found.atoms is None) == bool(found.problem)
    return found


def shortest(atoms):
    return neighbour_list("d", atoms, 4.0).min()


def is_perovskite(found):
    atoms = found.atoms
    assert found.problem is None
    return (
        atoms.get_chemical_formula() == "O3SrTi"
        and abs(atoms.get_volume() - 3.905**3) < 1e-6
        and find_symmetry(atoms, 1e-3).number == 221
        and abs(shortest(atoms) - 3.905 / 2) < 1e-6
    )


# --- symmetry -----------------------------------------------------------------------------------

SILICON = {f"length_{edge}": 5.43 for edge in "abc"}
AT_ZERO, AT_EIGHTH = ("Si1 Si 0 0 0 1",), ("Si1 Si 0.125 0.125 0.125 1",)
CENTRED = "_space_group_name_Hall '-F 4vw 2vw 3'\n"


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("F d -3 m :1", AT_ZERO),
        ("F d -3 m :2", AT_EIGHTH),
        ("Fd-3m:2", AT_EIGHTH),
        ("F d -3 m S", AT_ZERO),
        ("F d -3 m Z", AT_EIGHTH),
        ("F d 3 m :2", AT_EIGHTH),
        ("F d -3 m (origin choice 2)", AT_EIGHTH),
        ("F 41/d -3 2/m :2", AT_EIGHTH),
    ],
)
def test_origin_choices_of_a_name(name, rows):
    atoms = only(cif(f"_space_group_name_H-M_alt '{name}'\n", rows, **SILICON)).atoms
    assert (len(atoms), find_symmetry(atoms, 1e-3).number) == (8, 227)
    assert shortest(atoms) == pytest.approx(5.43 * np.sqrt(3) / 4)


@pytest.mark.parametrize("symmetry", ["_space_group_name_H-M_alt 'F d -3 m'\n", "_space_group_IT_number 227\n"])
@pytest.mark.parametrize("rows", [AT_ZERO, AT_EIGHTH])
def test_a_choice_that_is_left_open_is_refused_unless_all_make_one_crystal(symmetry, rows):
    assert "ambiguous" in only(cif(symmetry, rows, **SILICON)).problem
    both = cif(symmetry, ["Si1 Si 0 0 0 1", "Si2 Si .5 .5 .5 1"], **SILICON)
    assert "ambiguous" in only(both).problem
    assert is_perovskite(only(cif("_space_group_IT_number 221\n")))


def test_hall_symbol_alone():
    atoms = only(cif("_symmetry_space_group_name_Hall '-P 4 2 3'\n")).atoms
    assert find_symmetry(atoms, 1e-3).number == 221
    assert len(only(cif(CENTRED, AT_EIGHTH, **SILICON)).atoms) == 8


MONOCLINIC = {"length_a": 5.2, "length_b": 6.1, "length_c": 7.3}
GENERAL = ("Si1 Si 0.11 0.22 0.33 1",)


@pytest.mark.parametrize(
    ("name", "angle", "image"),
    [
        ("P 21/c", "angle_beta", (-0.11, 0.72, 0.17)),
        ("P 21/n", "angle_beta", (0.39, 0.72, 0.17)),
        ("P 1 21/a 1", "angle_beta", (0.39, 0.72, -0.33)),
        ("P 1 1 21/b", "angle_gamma", (-0.11, 0.28, 0.83)),
        ("P 21/b", "angle_gamma", (-0.11, 0.28, 0.83)),
        ("P 21/c 1 1", "angle_alpha", (0.61, -0.22, 0.17)),
    ],
)
def test_monoclinic_settings(name, angle, image):
    found = only(cif(f"_symmetry_space_group_name_H-M '{name}'\n", GENERAL, **MONOCLINIC, **{angle: 101}))
    assert found.problem is None
    assert len(found.atoms) == 4
    away = found.atoms.get_scaled_positions() - np.array(image)
    assert np.abs(away - np.round(away)).max(axis=1).min() < 1e-6


def test_a_cell_that_contradicts_the_symmetry_is_refused():
    for angle in ("angle_alpha", "angle_gamma"):
        text = cif("_symmetry_space_group_name_H-M 'P 1 21/c 1'\n", GENERAL, **MONOCLINIC, **{angle: 101})
        assert "cell that contradicts the space group" in only(text).problem
    assert "contradicts the listed" in only(cif(listed("x,y,z", "y,x,z"), GENERAL, **MONOCLINIC)).problem


@pytest.mark.parametrize("name", ["R -3 m", "R-3m:H", "R -3 m :R", "R-3mR", "R -3 m H"])
def test_rhombohedral_and_hexagonal_axes_are_told_by_the_cell(name):
    hexagonal = {"length_a": 4.5, "length_b": 4.5, "length_c": 11.9, "angle_gamma": 120}
    rhombohedral = {**SILICON, **{f"angle_{angle}": 57 for angle in ("alpha", "beta", "gamma")}}
    line, rows = f"_symmetry_space_group_name_H-M '{name}'\n", ("Bi1 Bi 0 0 0.234 1",)
    along = ("Bi1 Bi 0.234 0.234 0.234 1",)
    found = [only(cif(line, rows, **hexagonal)), only(cif(line, along, **rhombohedral))]
    numbers = [None if f.atoms is None else (len(f.atoms), find_symmetry(f.atoms, 1e-3).number) for f in found]
    assert numbers == [None if name[-1] == "R" else (6, 166), None if name[-1] == "H" else (2, 166)]


def test_listed_operations_count_and_a_contradiction_is_told():
    rows = [*ROWS, "O2 O 0.5 0 0.5 1", "O3 O 0 0.5 0.5 1"]
    for tag in ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz", "_space_group_symop.operation_xyz"):
        operations = listed("X, Y, Z", "-x,-y,-z", tag=tag)
        found = only(cif(operations + "_symmetry_space_group_name_H-M 'P-1_strange'\n", rows))
        assert is_perovskite(found)
        assert found.warnings == ()
    found = only(cif(operations + "_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_Int_Tables_number 225\n", rows))
    assert is_perovskite(found)
    assert found.warnings == ("the listed operations are taken; its name and number would mean others",)


@pytest.mark.parametrize(
    ("symmetry", "words"),
    [
        ("", "has no symmetry"),
        ("_symmetry_space_group_name_H-M ?\n_symmetry_Int_Tables_number .\n", "has no symmetry"),
        ("_symmetry_space_group_name_H-M 'Q 2 x'\n", "not understood: space group 'Q 2 x'"),
        ("_symmetry_space_group_name_Hall 'rubbish'\n", "not understood: Hall symbol 'rubbish'"),
        ("_symmetry_Int_Tables_number 231\n", "not understood"),
        (PM3M + "_symmetry_Int_Tables_number 225\n", "contradicts itself"),
        (PM3M + "_space_group_name_Hall '-F 4 2 3'\n", "contradicts itself"),
        ("_space_group_name_H-M_alt \"P m' -3' m'\"\n_space_group_IT_number 221\n", "magnetic"),
        (PM3M + "loop_\n_space_group_symop_magn_operation.xyz\nx,y,z,+1\n", "magnetic"),
        (PM3M + "_space_group_magn.number_BNS 221.92\n", "magnetic"),
        (PM3M + "_cell_modulation_dimension 1\n", "modulated"),
        (listed("x,y,z", "-x,-y,z", "-x,y,-z"), "not a group: 3 of the 4"),
        (listed("x,y,z", "x+1/5,y,z"), "cannot be read: 'x+1/5,y,z'"),
        (listed("x,y,z", "x,x,z"), "cannot be read: 'x,x,z'"),
        (listed("x,y,z", "?"), "some are unknown"),
        (listed("x,y,z") + listed("x,y,z", "-x,-y,-z", tag="_space_group_symop_operation_xyz"), "two different sets"),
        (PM3M + "_symmetry_space_group_name_H-M 'F m -3 m'\n", "more than once"),
    ],
)
def test_symmetry_that_is_refused(symmetry, words):
    assert words in only(cif(symmetry)).problem


def test_what_is_not_understood_is_told_where_the_rest_is_enough():
    found = only(cif("_symmetry_space_group_name_H-M 'Q 2 x'\n_symmetry_Int_Tables_number 221\n"))
    assert is_perovskite(found)
    assert found.warnings == ("its space group 'Q 2 x' is not understood",)


def test_moments_are_left_out_with_a_warning():
    text = cif() + "loop_\n_atom_site_moment.label\n_atom_site_moment.crystalaxis_x\nTi1 1.0\n"
    found = only(text)
    assert is_perovskite(found)
    assert found.warnings == ("its magnetic moments are ignored",)


WURTZITE = {"length_a": 3.25, "length_b": 3.25, "length_c": 5.207, "angle_gamma": 120}


@pytest.mark.parametrize(("third", "two_thirds"), [("0.333", "0.667"), ("0.33", "0.67"), ("0.3333", "0.6666")])
def test_thirds_with_few_digits(third, two_thirds):
    rows = (f"Zn1 Zn {third} {two_thirds} 0 1", f"O1 O {third} {two_thirds} 0.382 1")
    atoms = only(cif("_symmetry_space_group_name_H-M 'P 63 m c'\n", rows, **WURTZITE)).atoms
    assert len(atoms) == 4
    assert find_symmetry(atoms, 1e-4).number == 186
    assert shortest(atoms) == pytest.approx(1.9736, abs=1e-3)


def test_images_that_overlap_are_refused():
    found = only(
        cif(
            "_symmetry_space_group_name_H-M 'P 63 m c'\n",
            ("Zn1 Zn 0.333 0.667 0 1", "O1 O 0.37 0.68 0.4 1"),
            **WURTZITE,
        )
    )
    assert "images of O1 that overlap" in found.problem


# --- sites --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        ("Sr1 Sr2+ 0 0 0 1", "Ti1 Ti4+ .5 .5 .5 1", "O1 O2- .5 .5 0 1"),
        ("SR1 SR 0 0 0 1", "TI1 TI .5 .5 .5 1", "O1 O .5 .5 0 1"),
        ("Sr1 ? 0 0 0 ?", "Ti1 . .5 .5 .5 .", "O2a ? .5 .5 0 1"),
        ("Sr1 Sr 0.0(2) 0 0 1.0(2)", "Ti1 Ti 0.500(3) +.5 5e-1 1", ROWS[2]),
        ("Sr1 Sr2+ 0 0 0 0.25", "Sr2 Sr3+ 0 0 0 0.75", *ROWS[1:]),
    ],
)
def test_elements_and_occupancies_as_they_are_written(rows):
    assert is_perovskite(only(cif(rows=rows)))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (("Sr1 Sr ? ? ? 1", *ROWS[1:]), "no coordinates for 'Sr1'"),
        (("Sr1 Sr . 0 0 1", *ROWS[1:]), "no coordinates for 'Sr1'"),
        (("Sr1 Sr 0 a 0 1", *ROWS[1:]), "'a' where a coordinate should be"),
        (("Wat1 Wat 0 0 0 1", *ROWS[1:]), "'Wat' is not a known element"),
        (("Wat ? 0 0 0 1", *ROWS[1:]), "'Wat' is not a known element"),
        (("H2O ? 0 0 0 1", *ROWS[1:]), "'H2O' is not a known element"),
        (("X1 X 0 0 0 1", *ROWS[1:]), "'X' is not a known element"),
        (("Sr1 Sr 0 0 0 0.5", "Ca1 Ca 0 0 0 0.5", *ROWS[1:]), "partial occupancies"),
        (("Sr1 Sr 0 0 0 1", "Ca1 Ca 0 0 0 1", *ROWS[1:]), "Ca1 and Sr1 on one site: partial occupancies"),
        ((*ROWS, "O2 O 0.5 0 0.5 1"), "O1 and O2 on one site"),
        (("Sr1 Sr 0 0 0 half", *ROWS[1:]), "'half' where an occupancy should be"),
        (("Sr1 Sr 0 0 0 0", *ROWS[1:]), "partial occupancies"),
    ],
)
def test_sites_that_are_refused(rows, words):
    assert words in only(cif(rows=rows)).problem


def test_dummies_alternatives_and_attached_hydrogen():
    columns = (*COLUMNS, "calc_flag")
    found = only(cif(rows=[*(f"{row} ." for row in ROWS), "X1 X 0.1 0.2 0.3 1 dum"], columns=columns))
    assert is_perovskite(found)
    assert found.warnings == ("1 dummy sites are ignored",)
    columns = (*COLUMNS, "disorder_assembly", "disorder_group")
    assert (
        "alternative sites" in only(cif(rows=[f"{row} A {i}" for i, row in enumerate(ROWS)], columns=columns)).problem
    )
    assert is_perovskite(only(cif(rows=[f"{row} A 1" for row in ROWS], columns=columns)))
    columns = (*COLUMNS, "attached_hydrogens")
    assert "hydrogen" in only(cif(rows=[f"{row} 1" for row in ROWS], columns=columns)).problem
    assert is_perovskite(only(cif(rows=[f"{row} 0" for row in ROWS], columns=columns)))


def test_deuterium_is_hydrogen_everywhere():
    read = [
        only(cif(rows=("D1 D 0 0 0 1", *ROWS[1:]))),
        only(poscar(elements="D Ti O"), "vasp"),
        only(xyz(first="D"), "extxyz"),
    ]
    assert [found.atoms.get_chemical_formula() for found in read] == ["HO3Ti"] * 3
    assert all("read as H" in found.warnings[0] for found in read)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (cif(angle_beta="?"), "no _cell_angle_beta"),
        (cif().replace("_cell_length_b", "_cell_other"), "no _cell_length_b"),
        (cif(length_a=-3), "make no unit cell"),
        (cif(angle_alpha=10, angle_beta=100, angle_gamma=30), "no unit cell"),
        (cif().replace("fract_", "Cartn_"), "no fractional coordinates"),
        (cif() + "_cell_length_a 4\n", "more than once"),
    ],
)
def test_cells_that_are_refused(text, words):
    assert words in only(text).problem


def test_a_cell_in_a_loop():
    order = [edge for edge, _ in EDGES][::-1]
    loop = "loop_\n" + "".join(f"_cell_{edge}\n" for edge in order) + "90 90 90 3.905 3.905 3.905\n"
    rest = cif().split(PM3M)[1]
    assert is_perovskite(only("data_a\n" + loop + PM3M + rest))


# --- files of several structures ----------------------------------------------------------------


def summary(found):
    """For each structure of a file, whether it is there, or the words it is skipped with."""
    return [f.problem is None or f.problem for f in found]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("data_x\nloop_\n_a\n_b\n1 2 3\n", "broken one"),
        ("data_x\n_a 'b\n", 'broken one (at "_a \'b")'),
        ("data_x\n_a\n;\nnever closed\n", "broken one"),
        (cif(rows=("Sr1 Sr ? ? ? 1",)), "no coordinates"),
        (cif(""), "no symmetry"),
    ],
)
def test_a_bad_block_hides_no_other(bad, words):
    text = "data_global\n_publ_author 'x'\n" + cif() + bad + cif() + cif(name="b")
    first, second, *others = read_text(text, "cif")
    assert words in second.problem
    assert all(is_perovskite(found) for found in (first, *others))
    assert len(others) == 2


def poscar(*, scale="1.0", elements="Sr Ti O", counts="1 1 3", mode="Direct", factor=1.0, tail=""):
    places = ["0 0 0", ".5 .5 .5", ".5 .5 0", ".5 0 .5", "0 .5 .5"]
    rows = [" ".join(str(factor * float(x)) for x in place.split()) + f"{tail}\n" for place in places]
    return f"SrTiO3\n{scale}\n3.905 0 0\n0 3.905 0\n0 0 3.905\n{elements}\n{counts}\n{mode}\n" + "".join(rows)


@pytest.mark.parametrize(
    "text",
    [
        poscar(),
        poscar(scale="-59.547442625"),
        poscar(scale="1 1 1.0D0"),
        poscar(elements="SR TI O"),
        poscar(elements="Sr_sv Ti_pv O_s"),
        poscar(elements="Sr_sv/0a1b Ti/ff O/12"),
        poscar(mode="cartesian", factor=3.905),
        poscar(mode="K", factor=3.905),
        poscar(mode="Selective dynamics\nDirect", tail=" T T F"),
        poscar(tail=" Sr"),
        poscar() + "\n" + "0.1 0 0\n" * 5,
        poscar() + "Cartesian\n" + "0 0 0\n" * 5,
        poscar().replace(" ", "\t"),
    ],
)
def test_poscars(text):
    assert is_perovskite(only(text, "vasp"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (poscar(elements="Sr Xx O"), "'Xx' is not a known element"),
        (poscar(scale="0"), "'0' where a scale factor"),
        (poscar(counts="1 -1 3"), "'1 -1 3' where the numbers of atoms"),
        (poscar(counts="1 4"), "3 elements for 2 numbers"),
        (poscar(counts="1 1 4"), "6 atoms and 5 positions"),
        (poscar(counts="1 1 2"), "more positions than atoms"),
        (poscar(mode="foo"), "'foo' where Direct or Cartesian"),
        (poscar().replace("0.5 0.5 0.5", "0.5 x 0.5"), "'0.5 x 0.5' where a position"),
        (poscar().replace("0 3.905 0", "0 3.905"), "'0 3.905' where a lattice vector"),
        (poscar().replace("Sr Ti O\n", ""), "names no elements"),
    ],
)
def test_a_bad_poscar_hides_no_other(text, words):
    first, second, third = read_text(poscar() + text + poscar(), "vasp")
    assert is_perovskite(first)
    assert words in second.problem
    assert is_perovskite(third)


def test_several_poscars_with_velocities_and_blank_lines():
    text = poscar() + "\n" + "0.1 0 0\n" * 5 + "\n" + poscar(scale="1") + "\n\n" + poscar()
    assert summary(read_text(text, "vasp")) == [True] * 3
    assert (
        summary(read_text(poscar() + "and some words\n", "vasp"))[1]
        == "cannot be read: nothing where a scale factor should be"
    )


def xyz(n=5, first="Sr", lattice="3.905 0 0 0 3.905 0 0 0 3.905", extra="", rows=()):
    places = ("Ti 1.9525 1.9525 1.9525", "O 1.9525 1.9525 0", "O 1.9525 0 1.9525", "O 0 1.9525 1.9525", *rows)
    return f'{n}\nLattice="{lattice}" Properties=species:S:1:pos:R:3{extra}\n{first} 0 0 0\n' + "".join(
        f"{row}\n" for row in places
    )


@pytest.mark.parametrize("first", ["Sr", "SR", "sr", "Sr2+", "Sr1", "38"])
def test_xyz_species(first):
    assert is_perovskite(only(xyz(first=first), "extxyz"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (xyz(first="Tx"), "'Tx' is not a known element"),
        (xyz(first="Wat"), "'Wat' is not a known element"),
        (xyz(first="H2O"), "'H2O' is not a known element"),
        (xyz(n=7), "7 atoms and 5 lines of atoms"),
        (xyz(n=4), "4 atoms and 5 lines of atoms"),
        (xyz(n=-5), "'-5' where the number of atoms"),
        (xyz(n="five"), "'five' where the number of atoms"),
        (xyz(n=10**9), "has 1000000000 atoms"),
        (xyz(lattice="1 2 3"), "where a lattice of nine numbers"),
        (xyz(first="Sr x"), "'x 0 0 0' where a position"),
        (xyz().replace('Lattice="3.905 0 0 0 3.905 0 0 0 3.905"', ""), "no unit cell"),
        (xyz(extra=" occupancy=half"), "where an occupancy should be"),
    ],
)
def test_a_bad_frame_hides_no_other(text, words):
    first, second, third = read_text(xyz() + text + xyz(), "extxyz")
    assert is_perovskite(first)
    assert words in second.problem
    assert is_perovskite(third)


def test_slabs_keep_their_directions():
    assert only(xyz(extra=' pbc="T T F"'), "extxyz").atoms.pbc.tolist() == [True, True, False]


# --- encodings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("name", "text"), [("a.cif", "# 5 Å\n" + cif()), ("POSCAR", poscar()), ("a.xyz", xyz())])
def test_encodings_and_line_ends(tmp_path, encoding, end, name, text):
    path = tmp_path / name
    path.write_bytes(text.replace("\n", end).encode(encoding))
    (found,) = read_structures([path])
    assert is_perovskite(found)


# --- files that were read wrongly once ----------------------------------------------------------

FAULTS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "faults"


@pytest.mark.skipif(not FAULTS.is_dir(), reason="the files are not here")
@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("mgo_hall_only.cif", [("Mg4O4", 225, 2.106)]),
        ("si_origin2.cif", [("Si8", 227, 2.351)]),
        ("zro2_P21n_ops.cif", [("O8Zr4", 14, 2.051)]),
        ("anatase_origin2_ops.cif", [("O8Ti4", 141, 1.934)]),
        ("urea_ops_name_P-421M.cif", [("C2H8N4O2", 113, 0.978)]),
        ("POSCARS", [("O3SrTi", 221, 1.9525), ("O3SrTi", 221, 2.1), ("O3SrTi", 221, 2.3)]),
        ("middle_frame_bad.xyz", [("O3SrTi", 221, 1.9525), "'Tx' is not a known element", ("O3SrTi", 221, 1.9525)]),
        ("shared_site_no_occupancy.cif", ["partial occupancies"]),
        ("occupancy_unknown.cif", [("O3SrTi", 221, 1.9525)]),
        ("bom.cif", [("O3SrTi", 221, 1.9525)]),
        ("wurtzite_3_digits.cif", [("O2Zn2", 186, 1.974)]),
        ("POSCAR_deuterium", [("HO3Sr", 221, 1.9525)]),
        ("POSCAR_upper_case", [("O3SrTi", 221, 1.9525)]),
    ],
)
def test_files_that_were_read_wrongly(name, right):
    for found, expected in zip(read_structures([FAULTS / name]), right, strict=True):
        if isinstance(expected, str):
            assert expected in found.problem
        else:
            formula, number, distance = expected
            assert isinstance(found.atoms, Atoms)
            assert (found.atoms.get_chemical_formula(), find_symmetry(found.atoms, 0.01).number) == (formula, number)
            assert shortest(found.atoms) == pytest.approx(distance, abs=1e-3)
