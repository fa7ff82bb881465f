"""Starting structures and targets: the same checks, the same words, and what is said of how they were read."""

from __future__ import annotations

import pytest
from aiida import orm
from ase import Atoms
from ase.io import write

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.launch.search import prepare_search
from aiida_fuse2.launch.targets import read_target
from aiida_fuse2.workchains.search import Fuse2WorkChain

EMT_OPTIONS = ("--protocol", "fast", "--set", "relax.settings.calculator=ase.calculators.emt.EMT")

CIF = """data_a
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_symmetry_equiv_pos_as_xyz
'x,y,z'
'-x,-y,-z'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Au1 0 0 0
Cu1 0.5 0.5 0
Cu2 0.5 0 0.5
Cu3 0 0.5 0.5
"""
"""Cu3Au; the space group is not the one of the listed operations."""

WARNING = "the listed operations are taken; its name would mean others"


def unfit(kind):
    """Cu3Au in which something is wrong."""
    a = {"short_contact": 2.0, "density_too_high": 1.5, "density_too_low": 12.0}.get(kind, 3.74)
    atoms = Atoms(
        "AuCu3", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], cell=[a] * 3, pbc=True
    )
    if kind == "not_periodic":
        atoms.pbc = (True, True, False)
    if kind == "short_contact":
        atoms.set_cell([3.74] * 3, scale_atoms=True)
        atoms.positions[1] = atoms.positions[0] + 0.9
    return atoms


@pytest.mark.parametrize("kind", ["short_contact", "density_too_high", "density_too_low", "not_periodic"])
def test_starts_and_targets_are_refused_with_the_same_words(call, worker_code, search_settings, tmp_path, kind):
    path = tmp_path / "a.xyz"
    write(path, unfit(kind), format="extxyz")
    before = orm.QueryBuilder().append(orm.Node).count()
    for option in ("--structures", "--target"):
        result = call("run", "Cu3Au", *EMT_OPTIONS, option, path, "--dry-run", code=2)
        assert result.stderr.strip().endswith(f": {kind}")
        assert len(result.stderr.strip().splitlines()) == 1
    with pytest.raises(InputError, match=kind):
        read_target(path, search_settings("Cu3Au"))
    node = orm.StructureData(ase=unfit(kind))
    with pytest.raises(InputError, match=f"targets.known = .*{kind}"):
        Fuse2WorkChain.get_builder_from_protocol("Cu3Au", worker_code, "fast", targets={"known": node})
    assert orm.QueryBuilder().append(orm.Node).count() == before


def test_target_with_shared_sites_in_the_graph(worker_code):
    alloy = orm.StructureData(cell=[[3.7, 0, 0], [0, 3.7, 0], [0, 0, 3.7]])
    alloy.append_atom(position=(0, 0, 0), symbols=["Cu", "Au"], weights=[0.75, 0.25])
    with pytest.raises(InputError, match=r"targets\.known = .*partial_occupancy"):
        Fuse2WorkChain.get_builder_from_protocol("Cu3Au", worker_code, "fast", targets={"known": alloy})


@pytest.mark.parametrize("option", ["--structures", "--target"])
def test_warnings_of_the_reader_are_shown(call, worker_code, tmp_path, option):
    path = tmp_path / "a.cif"
    path.write_text(CIF.format(a=3.74))
    result = call("run", "Cu3Au", *EMT_OPTIONS, option, path, "--dry-run")
    assert f"Warning: {path}: {WARNING}" in result.stderr.splitlines()
    key = {"--structures": "paths", "--target": "targets"}[option]
    prepared = prepare_search("Cu3Au", code=worker_code, protocol="fast", store=False, **{key: [path]})
    assert prepared.warnings == (f"{path}: {WARNING}",)


def test_warnings_are_shown_by_commands_about_a_search(call, search, tmp_path, search_settings):
    path = tmp_path / "a.cif"
    path.write_text(CIF.format(a=3.74))
    for arguments in (
        ("show", search.pk, "--target", path),
        ("continue", search.pk, "--more", 4, "--target", path, "--dry-run"),
        ("report", search.pk, "-o", tmp_path / "report.html", "--target", path),
    ):
        assert f"Warning: {path}: {WARNING}" in call(*arguments).stderr.splitlines()
    with pytest.warns(UserWarning, match=WARNING):
        read_target(path, search_settings("Cu3Au"))


def test_a_file_of_several_is_no_target_and_the_unread_part_of_one_is_named(call, worker_code, tmp_path):
    path = tmp_path / "POSCAR"
    text = "Cu3Au\n1\n3.74 0 0\n0 3.74 0\n0 0 3.74\n{}\n1 3\nDirect\n0 0 0\n.5 .5 0\n.5 0 .5\n0 .5 .5\n"
    path.write_text(text.format("Au Cu") * 2)
    result = call("run", "Cu3Au", *EMT_OPTIONS, "--target", path, "--dry-run", code=2)
    assert "holds 2 structures" in result.stderr
    path.write_text(text.format("Au Cu") + text.format("Ax Cu"))
    result = call("run", "Cu3Au", *EMT_OPTIONS, "--target", path, "--dry-run")
    assert f"Warning: {path}[1]: cannot be read: 'Ax' is not a known element" in result.stderr
