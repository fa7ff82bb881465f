"""Bad input is refused in one clear line before anything is stored as a process, soon and in little memory."""

from __future__ import annotations

import os
import re
import resource
import time

import numpy as np
import pytest
from aiida import orm
from aiida.common.exceptions import NotExistent
from ase import Atoms
from ase.io import write

from aiida_fuse2.cli.params.options import CommandError
from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.errors import InputError, RefusedInputsError, one_line, printable, shown_value
from aiida_fuse2.core.generators.provided import MAX_REDUCTION, screen_provided
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.environment.codes import calculator_problem, default_worker
from aiida_fuse2.io import structures
from aiida_fuse2.io.structures import read_structures
from aiida_fuse2.launch.overrides import load_yaml, parse_assignment, read_overrides
from aiida_fuse2.launch.potentials import learning_inputs
from aiida_fuse2.launch.search import prepare_search
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.query.nodes import load_node, node_identifier
from aiida_fuse2.tiers import TierChoice

from .conftest import emt_overrides

NAN, INF = float("nan"), float("inf")
CUBE = [3.905, 3.905, 3.905, 90, 90, 90]

MOST_SECONDS = 10.0
"""Longest that bad input may take, on the processor; most of it are first imports on a busy machine."""

MOST_MEMORY = 200 * 1024
"""Most memory that bad input may add, kB."""

BILLION_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def short(value):
    """Return the name of a parameter of a test; a long text would not fit into the environment."""
    return one_line(value, 20)


@pytest.fixture(autouse=True)
def bounded():
    """Fail where a test takes more time or memory than bad input may."""
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - started < MOST_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY


def is_one_line(message):
    return message.isprintable() and 0 < len(message) < 1000


# --- messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**6,
        list(range(10**5)),
        {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}},
        10**5000,
        "\x1b[31m\n\u202e",
        b"\xff",
    ],
    ids=["text", "list", "depth", "digits", "escape", "bytes"],
)
def test_message_is_short_and_safe_for_a_terminal(value):
    message = str(InputError("field", value, "something else"))
    assert is_one_line(message)
    assert message.startswith("field = ")
    assert message.endswith(": something else")


def test_value_that_holds_itself():
    endless = {}
    endless["a"] = endless
    assert is_one_line(shown_value(endless))


def test_names_are_escaped():
    assert printable("a\nb\x1b[2J\udcff.cif") == r"a\nb\x1b[2J\udcff.cif"
    assert printable("SrTiO₃ Å.cif") == "SrTiO₃ Å.cif"
    assert one_line(" a\n\n b\tc ") == "a b c"
    assert len(one_line("x" * 10**6)) < 1000
    assert CommandError("two\nlines \x1b[31m").message == r"two lines \x1b[31m"


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        ({"seed": True}, "settings.seed", "true or false"),
        ({"seed": 2**63}, "settings.seed", "less than or equal"),
        ({"seed": 1.5}, "settings.seed", "fractional"),
        ({"seed": 10**5000}, "settings.seed", "less than|too large|integer"),
        ({"max_atoms": False}, "settings.max_atoms", "true or false"),
        ({"radii": {"Sr": True}}, "settings.radii", "true or false"),
        ({"move_weights": {1: True}}, "settings.move_weights", "true or false"),
        ({"move_weights": {True: 1}}, "settings.move_weights", "true or false"),
        ({"symmetry": {"symmetrise": 1}}, "settings.symmetry.symmetrise", "true or false"),
        ({"symmetry": {"rattle_doubled": "no"}}, "settings.symmetry.rattle_doubled", "true or false"),
        ({"move_weights": {1: NAN}}, "settings.move_weights.1", "finite"),
        ({"move_weights": {1: "inf"}}, "settings.move_weights.1", "finite"),
        ({"move_weights": {1: "-1"}}, "settings.move_weights.1", "greater"),
        ({"move_weights": {1: 1e308, 2: 1e308}}, "settings.move_weights.1", "less than"),
        ({"move_weights": {"one": 1}}, "settings.move_weights", "must be one of 1, 2, 3"),
        ({"melted_move_weights": {15: 1}}, "settings.melted_move_weights", "must be one of 1, 2, 3"),
        ({"move_weights": {1.0: 1}}, "settings.move_weights", "string"),
        ({"move_weights": 1}, "settings.move_weights", "dictionary"),
        ({"move_weights": [1]}, "settings.move_weights", "dictionary"),
        ({"move_weights": {}}, "settings.move_weights", "above 0"),
        ({"melted_move_weights": {"1": 0}}, "settings.melted_move_weights", "above 0"),
        ({"move_weights": {11: 1}, "max_atoms": 9}, "settings.move_weights", "move 11 cannot be used with at most 9"),
        ({"melted_move_weights": {12: 1}, "max_atoms": 14}, "settings.melted_move_weights", "move 12"),
        ({"walkers": 10**9}, "settings.walkers", "less than or equal to 1000"),
        ({"population_size": 0}, "settings.population_size", "greater"),
        ({"population_size": 10**9}, "settings.population_size", "less than"),
        ({"trials_per_step": 10**9}, "settings.trials_per_step", "less than"),
        ({"trials_per_step": 101, "walkers": 100}, "settings.trials_per_step", "at most 10000"),
        ({"max_attempts": 10**9}, "settings.max_attempts", "less than"),
        ({"new_share": 1}, "settings.new_share", "less than 1"),
        ({"new_share": -0.1}, "settings.new_share", "greater"),
        ({"size_bias": -1}, "settings.size_bias", "greater"),
        ({"size_bias": 11}, "settings.size_bias", "less than"),
        ({"acceptance": {"restart_threshold": 0}}, "settings.acceptance.restart_threshold", "greater"),
        ({"relax_jobs": 10**9}, "settings.relax_jobs", "less than"),
        ({"max_structures": 10**10}, "settings.max_structures", "less than"),
        ({"pool": {"size": 10**9}}, "settings.pool.size", "less than"),
        ({"pool": {"max_attempts_factor": 10**9}}, "settings.pool.max_attempts_factor", "less than"),
        ({"pool": {"min_atoms": 10**9}}, "settings.pool.min_atoms", "no multiple of 5"),
        ({"symmetry": {"max_followups": 10**9}}, "settings.symmetry.max_followups", "less than"),
        ({"symmetry": {"report_symprec": [0.1, 0.01]}}, "settings.symmetry.report_symprec", "tight tolerance first"),
        ({"symmetry": {"report_symprec": [0.1]}}, "settings.symmetry.report_symprec", "required"),
        ({"symmetry": {"symprec": 1e-300}}, "settings.symmetry.symprec", "greater"),
        ({"validity": {"packing_min": 2.0}}, "settings.validity.packing_max", "above packing_min = 2.0"),
        ({"validity": {"packing_max": 1e300}}, "settings.validity.packing_max", "less than"),
        ({"validity": {"coordination_min": 61}}, "settings.validity.coordination_max", "above coordination_min"),
        ({"validity": {"min_distances": {"Sr-O": 6.5}}}, "settings.validity.isolated_distance", "Sr-O"),
        ({"validity": {"min_distances": {"Sr-O": 1, "O-Sr": 2}}}, "settings.validity.min_distances[O-Sr]", "twice"),
        ({"validity": {"min_distances": {"SrO": 1}}}, "settings.validity.min_distances[SrO]", "Sr-O"),
        ({"uniqueness": {"energy_window": 1e300}}, "settings.uniqueness.energy_window", "less than"),
        ({"oxidation_states": {"Sr": 2, "Ti": 3, "O": -2}}, "settings.oxidation_states", "charge of SrTiO3 is -1"),
        ({"oxidation_states": {"Sr": 2, "Ti": 4, "O": -2, "Fe": 3}}, "settings.oxidation_states[Fe]", "not in SrTiO3"),
        ({"oxidation_states": {"Sr": NAN, "Ti": 4, "O": -2}}, "settings.oxidation_states.Sr", "finite|greater"),
        ({"oxidation_states": {"Sr": -INF, "Ti": 4, "O": -2}}, "settings.oxidation_states.Sr", "finite|greater"),
        ({"oxidation_states": {"Sr": 2.5, "Ti": 4, "O": -2}}, "settings.oxidation_states[Sr]", "Shannon"),
        ({"oxidation_states": {"Sr": 2, "Ti": -4, "O": 0}}, "settings.oxidation_states", "no 0"),
        ({"radii": {"Xx": 1.0}}, "settings.radii[Xx]", "not in SrTiO3"),
        ({"radii": {"Sr": 0.0}}, "settings.radii.Sr", "greater"),
        ({"radii": {"Sr": 11.0}}, "settings.radii[Sr]", "between 0.1 and 10"),
        ({"starts": ["fgen"]}, "settings.starts", "dictionary"),
        ({"starts": "\x1b[31m"}, "settings.starts", "fgen"),
        ({"known": {"z": 0}}, "settings.known.z", "greater"),
        ({"known": {"z": []}}, "settings.known.z", "at least one"),
        ({"known": {"z": [2, 1.5]}}, "settings.known.z", "integer"),
        ({"known": {"z": 300}}, "settings.known.z", "375, 500, 750, 1500 atoms, not 1 to 20"),
        ({"known": {"z": 3, "space_groups": "225"}}, "settings.known.z", "more lattice points"),
        ({"known": {"space_groups": "231"}}, "settings.known.space_groups", "1 to 230"),
        ({"known": {"space_groups": "230", "z": 8}}, "settings.known.space_groups", "none can hold SrTiO3 with Z = 8"),
        ({"known": {"density": 0}}, "settings.known.density", "greater"),
        ({"known": {"density": 100.0}}, "settings.known.density", "are refused"),
        ({"known": {"density": 0.1}}, "settings.known.density", "are refused"),
        ({"known": {"density": 5.1}, "random_generator": "fgen_paper"}, "settings.known", "use fgen"),
        ({"known": {"z": 1}, "starts": "fgen_paper"}, "settings.known", "use fgen"),
        ({"known": {"cell": [4, 4, 4, 90, 90]}}, "settings.known.cell", "required"),
        ({"known": {"cell": [4, 4, 0, 90, 90, 90]}}, "settings.known.cell", "greater"),
        ({"known": {"cell": [4, 4, 4, 60, 60, 120]}}, "settings.known.cell", "no cell"),
        ({"known": {"cell": [4, 4, 4, 120, 120, 120]}}, "settings.known.cell", "no cell"),
        ({"known": {"cell": CUBE, "cell_tolerance": 0.5}}, "settings.known.cell_tolerance", "less than"),
        ({"known": {"cell": [3.9, 3.9, 4.2, 90, 90, 90], "space_groups": 221}}, "settings.known.space_groups", "shape"),
        ({"known": {"cell": CUBE, "density": 2.5}}, "settings.known.density", "no Z"),
        ({"known": {"cell": CUBE, "z": 2, "density": 5.1}}, "settings.known.density", "no Z"),
        ({"known": {"cell": [30, 30, 30, 90, 90, 90]}}, "settings.known.cell", "hold no 1 to 20 atoms"),
        ({"known": {"cell": CUBE, "z": 4}}, "settings.known.cell", "are refused"),
        ({"known": {"cell": CUBE}, "move_weights": {9: 1, 11: 1}}, "settings.move_weights", "with a known cell"),
        ({"known": {"z": 1}, "move_weights": {11: 1, 12: 1}}, "settings.move_weights", "with a known cell or Z"),
        ({"policy": "greedy"}, "settings.policy", "'fixed' or 'bandit'"),
        ({"bandit": {"discount": 0}}, "settings.bandit.discount", "greater than 0"),
        ({"bandit": {"discount": 1.01}}, "settings.bandit.discount", "less than or equal to 1"),
        ({"bandit": {"floor": 0}}, "settings.bandit.floor", "greater than 0"),
        ({"bandit": {"window": 1.5}}, "settings.bandit.window", "less than or equal to 1"),
        ({"random_generator": "gnoa"}, "settings.random_generator", "'fgen'"),
    ],
)
def test_bad_settings(search_settings, changes, field, hint):
    with pytest.raises(InputError, match=hint) as caught:
        check_search(search_settings(**changes))
    assert caught.value.field.startswith(field)
    assert is_one_line(str(caught.value))


def float_fields(model, path=()):
    """Return the path of every field that takes a number with a fraction."""
    found = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, parse_settings.__globals__["Settings"]):
            found += float_fields(kind, (*path, name))
        elif kind is float:
            found.append((*path, name))
    return found


@pytest.mark.parametrize("value", [NAN, INF, -INF, "nan", 10**400], ids=str)
@pytest.mark.parametrize("model", [SearchSettings, RelaxSettings])
def test_every_float_must_be_finite(model, value):
    fields = float_fields(model)
    assert len(fields) > 4
    key = "settings" if model is SearchSettings else "relax"
    for path in fields:
        changes = value
        for name in reversed(path):
            changes = {name: changes}
        overrides = {key: changes} if key == "settings" else {key: {"settings": changes}}
        inputs = protocol_inputs("fast", overrides)
        values = {**inputs["settings"], "composition": "SrTiO3"} if key == "settings" else inputs["relax"]["settings"]
        with pytest.raises(InputError) as caught:
            parse_settings(model, values)
        assert caught.value.field == ".".join(["settings", *path])


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        ({"model": "9.9"}, "relax.settings.model", "0.3.0"),
        ({"calculator": "CHGNet"}, "relax.settings.calculator", "import path"),
        ({"calculator": ".."}, "relax.settings.calculator", "import path"),
        ({"calculator": "os; import x.y"}, "relax.settings.calculator", "import path"),
        ({"arguments": {"a": NAN}}, "relax.settings.arguments", "plain values"),
        ({"arguments": {"a": object()}}, "relax.settings.arguments", "plain values"),
        ({"arguments": {"a": "x" * 20_000}}, "relax.settings.arguments", "at most 10000"),
        ({"processes": 10**9}, "relax.settings.processes", "less than"),
        ({"threads": 0}, "relax.settings.threads", "greater"),
        ({"batch_memory": 0}, "relax.settings.batch_memory", "greater"),
        ({"max_steps": 10**9}, "relax.settings.max_steps", "less than"),
        ({"isolated_distance": 1e300}, "relax.settings.isolated_distance", "less than"),
        ({"pressure": True}, "relax.settings.pressure", "true or false"),
        ({"report_symprec": [1.0, 0.1]}, "relax.settings.report_symprec", "tight"),
        ({"optimizer": None}, "relax.settings.optimizer", "JointLBFGS"),
        ({"max_step_strain": 0}, "relax.settings.max_step_strain", "greater"),
    ],
)
def test_bad_relaxation(changes, field, hint):
    values = protocol_inputs("fast", {"relax": {"settings": changes}})["relax"]["settings"]
    with pytest.raises(InputError, match=hint) as caught:
        parse_settings(RelaxSettings, values, where="relax.settings")
    assert caught.value.field == field
    assert is_one_line(str(caught.value))


def test_number_for_a_truth_value(relax_settings):
    values = protocol_inputs("fast")["relax"]["settings"]
    with pytest.raises(InputError, match=r"relax.settings.relax_cell = 0: must be true or false"):
        parse_settings(RelaxSettings, {**values, "relax_cell": 0}, where="relax.settings")
    with pytest.raises(InputError, match=r"relax.settings.relax_cell = 0: must be true or false"):
        relax_settings(relax_cell=0)


def test_arguments_of_a_calculator_may_be_true_or_false(relax_settings):
    arguments = {"fixed_cutoff": True, "list": [False]}
    assert relax_settings(calculator="a.b.C", arguments=arguments).arguments == arguments


def test_a_model_of_another_calculator_is_not_looked_at(relax_settings):
    assert relax_settings(calculator="a.b.C", model="mine").model == "mine"


def test_mixed_valence_may_be_rounded(search_settings):
    states = {"Fe": 2.667, "O": -2}
    check_search(search_settings("Fe3O4", oxidation_states=states, radii={"Fe": 0.7}))


@pytest.mark.parametrize(
    ("overrides", "hint"),
    [
        ({"relax": {"metadata": {"options": ["x"]}}}, "must be a mapping"),
        ({"relax": None}, "must be a mapping"),
        ({"clean_workdir": "no"}, "true or false"),
        ([], "must be a mapping"),
        ("settings", "must be a mapping"),
        ({1: 2}, "no such input"),
        ({"settings": {"\x1b[31m": 1}}, "no such input"),
        ({"relax": {"metadata": {"options": {"a": [[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]}}}}, "deeper than 20"),
        ({"relax": {"metadata": {"options": {"a": list(range(20_000))}}}}, "more than 10000"),
    ],
)
def test_bad_overrides(overrides, hint):
    with pytest.raises(InputError, match=hint) as caught:
        protocol_inputs("fast", overrides)
    assert is_one_line(str(caught.value))


def test_overrides_that_hold_themselves():
    endless = {}
    endless["settings"] = endless
    with pytest.raises(InputError, match="deeper than"):
        protocol_inputs("fast", endless)


# --- compositions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("(" * 5000 + "H" + ")" * 5000, "longer than 200"),
        ("(" * 90 + "H" + ")" * 89, "not closed"),
        ("()", "nothing between two brackets"),
        ("(H)0", "above 0"),
        ("H-1", "no charges"),
        ("Ti4+O2-", "oxidation_states"),
        ("H1.5", "whole"),
        ("H1e9", "cannot read 'e9'"),
        ("H1000000000", "atoms of one element"),
        ("H" + "9" * 150, "more than 10000"),
        ("(((H999)999)999)999", "more than 10000"),
        ("H٣", "cannot read"),
        ("H²", "cannot read"),
        ("Сa", "cannot read"),
        ("H2\x00O", "cannot read"),
        ("\x1b[31mSr", "cannot read"),
        ("Uuo", "'Uu' is not an element"),
        ("D2O", "'D' is deuterium"),
        (5, "must be a formula"),
        (b"SrTiO3", "must be a formula"),
    ],
    ids=short,
)
def test_bad_composition(text, hint):
    with pytest.raises(InputError, match=hint.replace("(", r"\(")) as caught:
        parse_composition(text)
    assert caught.value.field == "composition"
    assert caught.value.value == (text if len(str(text)) <= 200 else text[:20] + "…")
    assert is_one_line(str(caught.value))


# --- YAML ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (BILLION_LAUGHS, r"the alias \*a is not taken"),
        ("a: &a [*a]", "alias"),
        ("[" * 5000 + "]" * 5000, "deeper than"),
        ("a: " * 2, "YAML"),
        ("{a: " * 5000, "deeper than"),
        ("\n".join(" " * i + f"k{i}:" for i in range(40)), "deeper than"),
        ("x" * 200_000, "longer than"),
        ("settings: {seed: 1, seed: 2}", "'seed' is given twice"),
        ("settings: {}\nsettings: {}", "'settings' is given twice"),
        ("move_weights: {1: 1, '1': 2}", "'1' is given twice"),
        ("{!tag a: 1}", "YAML"),
        ("!!python/object/apply:os.system ['true']", "python"),
        ("2024-02-31", "YAML"),
        ("9" * 5000, "YAML"),
        ("? [a]\n: 1", "YAML"),
        ("\x00", "YAML"),
        ("a: \x1b[31m", "YAML"),
    ],
    ids=short,
)
def test_bad_yaml(text, hint, tmp_path):
    with pytest.raises(InputError, match=hint) as caught:
        load_yaml(text, field="--set", shown="a.b=...")
    assert is_one_line(str(caught.value))
    path = tmp_path / "overrides.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="--overrides"):
        read_overrides(path)
    with pytest.raises(InputError, match="--set"):
        parse_assignment(f"settings.a={text}")


def test_deep_assignment():
    with pytest.raises(InputError, match="deeper than"):
        parse_assignment(".".join("a" * 5000) + "=1")


@pytest.mark.parametrize("kind", ["missing", "directory", "pipe", "device", "long name"])
def test_overrides_that_are_no_file(tmp_path, kind):
    path = {"device": "/dev/zero", "long name": "x" * 5000}.get(kind) or tmp_path / "overrides.yaml"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(InputError, match="--overrides") as caught:
        read_overrides(type(tmp_path)(path))
    assert is_one_line(str(caught.value))


# --- structure files ----------------------------------------------------------------------------

HEAD = "data_a\n" + "".join(f"_cell_length_{edge} 4\n" for edge in "abc")
HEAD += "".join(f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma"))
P1 = HEAD + "_symmetry_space_group_name_H-M 'P 1'\n"
OPERATIONS = "loop_\n_symmetry_equiv_pos_as_xyz\n" + "".join(f"'x+1/{i + 2},y,z'\n" for i in range(20_000))
SITES = "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
LATTICE = 'Lattice="4 0 0 0 4 0 0 0 4"'
POSCAR = "x\n1\n4 0 0\n0 4 0\n0 0 4\nCu\n{}\nDirect\n0 0 0\n"


def sites(number):
    return SITES + "".join(
        f"Cu{i} Cu 0.{i * 7919 % 9973:04d} 0.{i * 6857 % 9967:04d} 0.{i * 3571 % 9949:04d}\n" for i in range(number)
    )


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.xyz", f"1000000000\n{LATTICE}\nCu 0 0 0\n", "has 1000000000 atoms; at most 4000"),
        ("a.xyz", "9" * 5000 + "\n", "number of atoms should be"),
        ("a.xyz", f"-5\n{LATTICE}\nCu 0 0 0\n", "cannot be read"),
        ("a.xyz", f"5\n{LATTICE}\nCu 0 0 0\n", "cannot be read"),
        ("a.xyz", f"1\n{LATTICE} Properties=species:S:1:pos:R:1000000000\nCu 0 0 0\n", "more than 1000 columns"),
        ("a.xyz", f"1\n{LATTICE} Properties=species:S:1:pos:R:1_000_000_000\nCu 0 0 0\n", "more than 1000 columns"),
        ("a.xyz", f"1\n{'a ' * 50_000}\nCu 0 0 0\n", "second line"),
        ("a.xyz", f"1\n{LATTICE}\nCu nan 0 0\n", "not numbers"),
        ("a.xyz", f"1\n{LATTICE}\nCu 1e30 0 0\n", "further away"),
        ("a.xyz", f"1\n{LATTICE} Properties=Z:I:1:pos:R:3\n999 0 0 0\n", "no known element"),
        ("a.xyz", f"1\n{LATTICE} Properties=Z:I:1:pos:R:3\n-1 0 0 0\n", "no known element"),
        ("a.xyz", f"1\n{LATTICE}\nXx 0 0 0\n", "cannot be read"),
        ("a.xyz", f"1\n{LATTICE} occupancy=half\nCu 0 0 0\n", "cannot be read"),
        ("a.xyz", f"1\n{LATTICE} occupancy=0.5\nCu 0 0 0\n", "partial occupancies"),
        ("a.xyz", f"1\n{LATTICE} occupancy=nan\nCu 0 0 0\n", "partial occupancies"),
        ("a.xyz", f"\x1b[31m{'x' * 10**6}", "number of atoms should be"),
        ("POSCAR", POSCAR.format(10**9), "has 1000000000 atoms"),
        ("POSCAR", POSCAR.format("4000 " * 1000), "has 4000000 atoms"),
        ("POSCAR", POSCAR.format("1_000_000_000"), "has 1000000000 atoms"),
        ("POSCAR", POSCAR.format(-1), "cannot be read"),
        ("POSCAR", POSCAR.format(1).replace("0 0 0\n", "1e30 0 0\n"), "further away"),
        ("POSCAR", POSCAR.format(1).replace("Cu\n", ""), "names no elements"),
        ("POSCAR", POSCAR.format(1) + "x" * 2 * 10**6, "more than 1000000 characters"),
        (
            "a.cif",
            HEAD.replace(" 4\n", " 40000\n") + "_symmetry_Int_Tables_number 196\n" + sites(100),
            "has [0-9]+ atoms; at most 4000",
        ),
        ("a.cif", HEAD + "_symmetry_Int_Tables_number 225\n" + sites(1000), "too many atoms"),
        ("a.cif", HEAD + sites(5000), "has 5000 atoms"),
        (
            "a.cif",
            HEAD
            + "loop_\n_symmetry_equiv_pos_as_xyz\n"
            + "".join(f"'x+1/{i + 2},y,z'\n" for i in range(20_000))
            + sites(1),
            "20000 symmetry operations",
        ),
        ("a.cif", "data_a\nloop_\n_a\n" + "1\n" * 10**6, "more than 1000000 characters"),
        ("a.cif", "data_a\n" * 10**5, "200 structures in a row"),
        ("a.cif", "x" * 3 * 10**6, "more than 1000000 characters"),
        ("a.cif", "data_a\nloop_\n_a\n;" + "x\n" * 10**5, "cannot be read"),
    ],
    ids=short,
)
def test_files_that_ask_for_too_much_or_make_no_sense(tmp_path, name, text, words):
    path = tmp_path / name
    path.write_text(text)
    (found,) = read_structures([path])
    assert found.atoms is None
    assert re.search(words, found.problem)
    assert is_one_line(found.problem)
    assert path.read_text() == text


def test_many_useless_structures_of_one_file(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text("0\n\n" * 10**5)
    found = read_structures([path])
    assert len(found) == structures.MAX_BARREN + 1
    assert "in a row" in found[-1].problem


def test_useless_structures_between_good_ones_do_not_end_the_file(tmp_path, perovskite):
    path = tmp_path / "a.xyz"
    write(path, perovskite)
    good = path.read_text()
    path.write_text(("0\n\n" * 150 + good) * 2)
    assert sum(f.problem is None for f in read_structures([path])) == 2


def test_text_fields_of_a_cif_do_not_count(tmp_path):
    path = tmp_path / "a.cif"
    reflections = "_shelx_hkl_file\n;\n" + "   1   2   3 data_\n" * 10**5 + ";\n"
    path.write_text(P1 + reflections + sites(2))
    (found,) = read_structures([path])
    assert found.problem is None
    assert len(found.atoms) == 2


def test_vectors_and_blank_lines_of_xyz(tmp_path):
    path = tmp_path / "a.xyz"
    frame = "1\n\nCu 0 0 0\nVEC1 4 0 0\nVEC2 0 4 0\nVEC3 0 0 4\n"
    path.write_text(frame + "\n" + frame + "\n\n")
    assert [(f.index, f.problem, len(f.atoms)) for f in read_structures([path])] == [(0, None, 1), (1, None, 1)]


def test_odd_folders_are_read_only(tmp_path, perovskite, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    write(outside / "good.cif", perovskite)
    (outside / "bad.cif").write_bytes(bytes(range(256)))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "absolute.cif").symlink_to(outside / "good.cif")
    (folder / "climbing.cif").symlink_to("../outside/bad.cif")
    (folder / "circle").symlink_to(folder)
    (folder / "loop.cif").symlink_to(folder / "loop.cif")
    (folder / "device.cif").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.cif")
    deepest = folder
    for _ in range(50):
        deepest /= "deeper"
        deepest.mkdir()
    write(deepest / "good.cif", perovskite)
    before = snapshot(tmp_path)
    found = {f.path.name: f.problem for f in read_structures([folder, folder / ".." / "outside"])}
    assert snapshot(tmp_path) == before
    assert [name for name, problem in found.items() if problem is None] == ["absolute.cif", "good.cif"]
    assert "regular file" in found["device.cif"]
    assert "regular file" in found["pipe.cif"]
    assert "cannot be found" in found["loop.cif"]
    assert "cannot be read" in found["climbing.cif"] or "number" in found["climbing.cif"]


def snapshot(folder):
    """Return path, time of change and content of every file."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink()]
    return [(p, p.lstat().st_mtime_ns, p.read_bytes()) for p in files]


def test_files_and_folders_without_permission(tmp_path, monkeypatch):
    """Everything may be read by root: the system's answer is made up."""
    path = tmp_path / "a.cif"
    path.write_text("x")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "open", refuse)
        assert "Permission denied" in read_structures([path])[0].problem
    with monkeypatch.context() as patch:
        patch.setattr(type(path), "iterdir", refuse)
        assert "cannot be listed: " in read_structures([tmp_path])[0].problem
    with monkeypatch.context() as patch:
        patch.setattr(type(path), "stat", refuse)
        assert "Permission denied" in read_structures([path])[0].problem


def test_name_that_no_file_can_have(tmp_path):
    for path in (tmp_path / ("x" * 5000), tmp_path / "\x00.cif"):
        assert "cannot be found" in read_structures([path])[0].problem


def test_supercells_beyond_reduction_are_not_tried():
    unit = parse_composition("Cu")
    rng = np.random.default_rng(0)
    n_atoms = MAX_REDUCTION * 4 + 1
    crowd = Atoms(f"Cu{n_atoms}", scaled_positions=rng.random((n_atoms, 3)), cell=[20] * 3, pbc=True)
    screened = screen_provided([crowd], unit=unit, max_atoms=4, check=lambda _: None)
    assert screened.rejected == [(0, "too_many_atoms")]


# --- builder ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "hint"),
    [
        ({"relax": {"metadata": {"options": {"max_wallclock_seconds": "soon"}}}}, "max_wallclock_seconds"),
        ({"relax": {"metadata": {"options": {"resources": {"num_machines": NAN}}}}}, "."),
        ({"relax": {"metadata": {"options": {"resources": 5}}}}, "."),
        ({"relax": {"metadata": {"options": {"environment_variables": {"A": NAN}}}}}, "."),
        ({"settings": 5}, "must be a mapping"),
        ("settings", "must be a mapping"),
    ],
)
def test_inputs_that_aiida_refuses(worker_code, overrides, hint):
    before = orm.QueryBuilder().append(orm.Node).count()
    with pytest.raises((InputError, RefusedInputsError), match=hint) as caught:
        prepare_search("Cu3Au", code=worker_code, protocol="fast", overrides=overrides, store=False)
    assert is_one_line(str(caught.value))
    assert orm.QueryBuilder().append(orm.Node).count() == before


@pytest.mark.parametrize("code", [None, "fuse2-worker", 5])
def test_something_else_for_the_code(aiida_profile, code):
    with pytest.raises(InputError, match=r"codes\.worker"):
        prepare_search("Cu3Au", code=code, protocol="fast", store=False)


def test_element_that_chgnet_does_not_know(worker_code):
    overrides = {"settings": {"radii": {"Cm": 1.7}, "starts": "fgen"}}
    with pytest.raises(InputError, match="CHGNet does not know Cm"):
        prepare_search("CmO2", code=worker_code, protocol="fast", overrides=overrides, store=False)


def test_structure_of_a_group_with_shared_sites(worker_code, perovskite):
    alloy = orm.StructureData(cell=np.eye(3) * 4)
    alloy.append_atom(position=(0, 0, 0), symbols=["Sr", "Ca"], weights=[0.5, 0.5])
    group, _ = orm.Group.collection.get_or_create("with an alloy")
    group.add_nodes([alloy.store(), orm.StructureData(ase=perovskite).store()])
    for store in (False, True):
        prepared = prepare_search("SrTiO3", code=worker_code, protocol="fast", group="with an alloy", store=store)
        assert prepared.kept == 1
        assert [name for name, _ in prepared.skipped] == [f"structure {alloy.pk}"]


# --- environment --------------------------------------------------------------------------------


def test_chgnet_that_is_not_installed(aiida_profile, aiida_localhost, monkeypatch):
    code = orm.InstalledCode(label="own", computer=aiida_localhost, filepath_executable=str(default_worker())).store()
    monkeypatch.setattr("aiida_fuse2.environment.codes.find_spec", lambda _: None)
    assert "pip install 'aiida-fuse2[chgnet]'" in calculator_problem(code, "chgnet")


@pytest.mark.parametrize("calculator", ["ase.calculators.nope.EMT", "ase.nope.deeper.EMT", "nopackage.EMT"])
def test_calculator_of_no_module(aiida_profile, aiida_localhost, calculator):
    code = orm.InstalledCode(label="own", computer=aiida_localhost, filepath_executable=str(default_worker())).store()
    assert "there is no Python package" in calculator_problem(code, calculator)
    assert calculator_problem(code, "ase.calculators.emt.EMT") is None


def test_beginning_of_a_uuid_without_letters(aiida_profile):
    """Two in a hundred are so; a key that is there comes first."""
    node = orm.Int(1)
    node.backend_entity.bare_model.uuid = "85694679-0000-4000-8000-000000000000"
    node.store()
    assert load_node("85694679").pk == node.pk
    assert load_node(str(node.pk)).pk == node.pk
    for text in ("85694678", "8569467", "856946"):
        with pytest.raises(NotExistent):
            load_node(text)


def test_identifiers_of_nodes():
    assert node_identifier("5") == 5
    assert node_identifier("5c3a") == "5c3a"
    assert node_identifier("²") == "²"
    for text in ("9" * 30, "-" + "9" * 30):
        with pytest.raises(ValueError, match="no primary key"):
            node_identifier(text)


def test_a_calculator_without_stress_is_refused_before_the_search(worker_code):
    changes = {"calculator": "tests.lying.WithoutStress"}
    overrides = emt_overrides()
    overrides["relax"]["settings"] |= changes
    with pytest.raises(InputError, match="computes no stress"):
        prepare_search("Cu3Au", code=worker_code, protocol="fast", overrides=overrides, store=False)
    with pytest.raises(InputError, match="computes no stress"):
        learning_inputs("CuAu", None, {"relax": changes})
    overrides["relax"]["settings"]["relax_cell"] = False
    assert prepare_search("Cu3Au", code=worker_code, protocol="fast", overrides=overrides, store=False)


def test_a_tier_without_stress_is_refused_before_the_search(worker_code):
    overrides = emt_overrides()
    overrides["tiers"] = {
        "ase": {"settings": overrides.pop("relax")["settings"] | {"calculator": "tests.lying.WithoutStress"}}
    }
    choice = TierChoice(names=["ase"])
    with pytest.raises(InputError, match="computes no stress"):
        prepare_search("Cu3Au", code=worker_code, protocol="fast", overrides=overrides, store=False, tiers=choice)
