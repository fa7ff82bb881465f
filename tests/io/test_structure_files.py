"""Tests of reading the user's structures."""

import os

import pytest
from ase import Atoms
from ase.io import write

from aiida_fuse2.io import structure_texts, structures
from aiida_fuse2.io.structures import read_structures

CIF = """data_{name}
_cell_length_a 3.905
_cell_length_b 3.905
_cell_length_c 3.905
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P m -3 m'
_symmetry_Int_Tables_number 221
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Sr1 Sr 0 0 0 {occupancy}
Ti1 Ti 0.5 0.5 0.5 1
O1 O 0.5 0.5 0 1
"""


def cif(name="srtio3", occupancy="1", extra=""):
    return CIF.format(name=name, occupancy=occupancy) + extra


def perovskite(a=3.905):
    return Atoms(
        "SrTiO3",
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
        cell=[a] * 3,
        pbc=True,
    )


def problem_of(path):
    found = read_structures([path])
    assert len(found) == 1
    assert found[0].atoms is None
    assert found[0].path == path
    return found[0].problem


def test_cif(tmp_path):
    path = tmp_path / "a.cif"
    path.write_text(cif())
    (found,) = read_structures([path])
    assert found.problem is None
    assert found.atoms.get_chemical_formula() == "O3SrTi"
    assert found.atoms.get_volume() == pytest.approx(3.905**3)


def test_cif_with_several_blocks(tmp_path):
    path = tmp_path / "a.cif"
    path.write_text(cif("one") + "\n" + cif("two"))
    assert [(f.index, len(f.atoms)) for f in read_structures([path])] == [(0, 5), (1, 5)]


@pytest.mark.parametrize("name", ["POSCAR", "CONTCAR", "POSCAR_relaxed", "POSCAR.1", "x.vasp", "x.poscar"])
def test_poscar(tmp_path, name):
    path = tmp_path / name
    write(path, perovskite(), format="vasp", direct=True)
    (found,) = read_structures([path])
    assert found.problem is None
    assert found.atoms.positions == pytest.approx(perovskite().positions)


@pytest.mark.parametrize("name", ["x.xyz", "x.extxyz", "x@1.xyz", "x[*].xyz", "POSCAR.xyz"])
def test_all_frames_of_xyz(tmp_path, name):
    path = tmp_path / name
    plain = tmp_path / "plain"
    write(plain, [perovskite(3.9), perovskite(4.0), perovskite(4.1)], format="extxyz")
    plain.rename(path)
    found = read_structures([path])
    assert [f.index for f in found] == [0, 1, 2]
    assert [f.atoms.cell[0, 0] for f in found] == pytest.approx([3.9, 4.0, 4.1])


@pytest.mark.parametrize(
    "text",
    [
        cif(occupancy="0.5"),
        cif(extra="Ca1 Ca 0 0 0 0.5\n", occupancy="0.5"),
        cif(occupancy="0.98(1)"),
    ],
)
def test_partial_occupancy(tmp_path, text):
    path = tmp_path / "a.cif"
    path.write_text(text)
    assert "partial occupancies" in problem_of(path)


def test_a_bad_structure_does_not_hide_the_others_of_its_file(tmp_path):
    path = tmp_path / "a.cif"
    path.write_text(cif("one", occupancy="0.5") + "\n" + cif("two"))
    first, second = read_structures([path])
    assert "partial" in first.problem
    assert second.problem is None
    assert (second.index, len(second.atoms)) == (1, 5)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.cif", "", "is empty"),
        ("a.cif", "\n\n", "holds no structure"),
        ("a.cif", "no cif at all", "is not a CIF"),
        ("POSCAR", "nonsense\nmore\n", "cannot be read"),
        ("a.xyz", "2\n\nH 0 0 0\nH 0 0 nonsense\n", "cannot be read"),
        ("a.xyz", "1\n\nH 0 0 0\n", "has no unit cell"),
        ("a.cif", "data_x\n_cell_length_a 3\n", "holds no structure"),
        ("a.docx", "x", "no known type"),
        ("notes", "x", "no known type"),
    ],
)
def test_unusable_files(tmp_path, name, text, words):
    path = tmp_path / name
    path.write_text(text)
    assert words in problem_of(path)


@pytest.mark.parametrize(("name", "kind"), [("a.cif", "a CIF"), ("POSCAR", "a POSCAR"), ("a.xyz", "extended XYZ")])
@pytest.mark.parametrize("error", [AssertionError(), AssertionError("lines"), KeyError("_cell"), IndexError("range")])
def test_names_of_errors_are_not_shown(tmp_path, monkeypatch, name, kind, error):
    """A reader stumbles over what its author did not expect."""

    def stumble(_):
        raise error

    path = tmp_path / name
    path.write_text("1\nsomething else\n")
    monkeypatch.setattr("aiida_fuse2.io.structures._structures_of", stumble)
    assert problem_of(path) == f"cannot be read: is not {kind}, or a broken one"


@pytest.mark.parametrize("name", ["a.cif", "POSCAR", "a.xyz"])
def test_binary_rubbish(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(bytes(range(256)) * 20)
    problem = problem_of(path)
    assert "cannot be read" in problem or "holds no structure" in problem
    assert len(problem) < 300


def test_a_broken_later_frame_keeps_the_earlier_ones_or_reports(tmp_path):
    path = tmp_path / "a.xyz"
    write(path, [perovskite(), perovskite()], format="extxyz")
    path.write_text(path.read_text() + "5\nbroken\nSr 0 0\n")
    found = read_structures([path])
    assert found[-1].problem.startswith("cannot be read")
    assert all(f.problem is None for f in found[:-1])


def test_missing_and_broken_links(tmp_path):
    assert "cannot be found" in problem_of(tmp_path / "none.cif")
    link = tmp_path / "link.cif"
    link.symlink_to(tmp_path / "none.cif")
    assert "cannot be found" in problem_of(link)
    loop = tmp_path / "loop.cif"
    loop.symlink_to(loop)
    assert "cannot be found" in problem_of(loop)


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "a.cif").write_text(cif())
    link = tmp_path / "b.cif"
    link.symlink_to(tmp_path / "a.cif")
    (found,) = read_structures([link])
    assert found.path == link
    assert found.problem is None


def test_a_pipe_is_not_opened(tmp_path):
    path = tmp_path / "a.cif"
    os.mkfifo(path)
    assert "not a regular file" in problem_of(path)


def test_size_limits(tmp_path, monkeypatch):
    path = tmp_path / "a.cif"
    path.write_text(cif())
    monkeypatch.setattr(structure_texts, "MAX_ATOMS_READ", 4)
    monkeypatch.setattr(structures, "MAX_ATOMS_READ", 4)
    assert problem_of(path) == "has 5 atoms; at most 4 are read"
    monkeypatch.setattr(structures, "MAX_FILE_BYTES", 10)
    assert "at most 0 MB" in problem_of(path)


def test_directories_in_order_and_not_their_subdirectories(tmp_path):
    for name in ("c.cif", "a.cif", ".hidden.cif"):
        (tmp_path / name).write_text(cif())
    (tmp_path / "b.txt").write_text("x")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "d.cif").write_text(cif())
    found = read_structures([tmp_path])
    assert [f.path.name for f in found] == ["a.cif", "b.txt", "c.cif"]
    assert [f.problem is None for f in found] == [True, False, True]


def test_empty_directory(tmp_path):
    assert "directory without files" in problem_of(tmp_path)


def test_nothing_is_written_and_the_others_are_read_on(tmp_path):
    good, bad = tmp_path / "good.cif", tmp_path / "bad.cif"
    good.write_text(cif())
    bad.write_text("rubbish")
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}
    found = read_structures([bad, good, bad, str(good)])
    assert [f.problem is None for f in found] == [False, True, False, True]
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()} == before
