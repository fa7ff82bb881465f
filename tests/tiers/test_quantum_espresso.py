"""The tier Quantum ESPRESSO: with aiida-quantumespresso and pw.x itself, or a program that dies in its place."""

import pytest
from ase import units
from ase.build import bulk

pytest.importorskip("aiida_quantumespresso")

from aiida import orm

from aiida_fuse2.tiers import load_tier

from .conftest import (
    COARSE,
    assert_failed,
    assert_refused,
    assert_setting_refused,
    jobs_below,
    needs_pw,
    relax,
    tier_inputs,
)


@pytest.fixture
def given(family, pw_code):
    """A factory of inputs of the tier."""

    def build(script=None, *, code=None, **changes):
        return tier_inputs("qe", code or pw_code(script), **{"pseudo_family": family, **changes})

    return build


def rocksalt(a=4.2):
    return bulk("MgO", "rocksalt", a=a)


def parameters(node):
    return [job.inputs.parameters.get_dict() for job in jobs_below(node)]


@needs_pw
@pytest.mark.slow
def test_pw_relaxes_rocksalt(given):
    found, node = relax(given(**COARSE), rocksalt())
    assert (found.status, found.detail) == ("converged", "")
    values = load_tier("qe").values(found.results.get_dict(), pressure=0.0, volume=found.structure.get_cell_volume())
    assert values["potential"].startswith("pw.x ")
    assert -500 < values["energy"] < -400  # O alone has -430 eV with this pseudopotential
    a = (4 * found.structure.get_cell_volume()) ** (1 / 3)
    assert 3.9 < a < 4.4
    assert found.costs["cpu_seconds"] > 0
    assert found.costs["evaluations"] >= len(parameters(node))
    for given_to_pw in parameters(node):
        assert given_to_pw["CONTROL"]["calculation"] == "vc-relax"
        assert given_to_pw["CONTROL"]["forc_conv_thr"] * units.Ry / units.Bohr == pytest.approx(0.1)
        assert "press" not in given_to_pw["CELL"]


@needs_pw
@pytest.mark.slow
def test_pressure_is_applied_and_is_not_in_the_energy(given):
    found, node = relax(given(**COARSE, pressure=30.0), rocksalt())
    assert found.status == "converged", found
    assert {given_to_pw["CELL"]["press"] for given_to_pw in parameters(node)} == {300.0}
    volume = found.structure.get_cell_volume()
    assert volume < 17.5  # 18.3 without pressure
    energy = load_tier("qe").values(found.results.get_dict(), pressure=30.0, volume=volume)["energy"]
    printed = found.structure.creator.outputs.retrieved.get_object_content("aiida.out").splitlines()
    (last,) = [line.split()[-2] for line in printed if line.startswith("!")][-1:]
    (enthalpy,) = [line.split()[-2] for line in printed if "Final enthalpy" in line]
    assert energy == pytest.approx(float(last) * units.Ry, abs=1e-4)
    # of the last geometry before its energy is computed anew
    assert float(enthalpy) * units.Ry == pytest.approx(energy + 30.0 * units.GPa * volume, abs=0.1)


CRASH = """echo '     Program PWSCF v.6.7 starts'
echo ' %%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%'
echo '     Error in routine readpp (1):'
echo '     file not found'
echo ' %%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%'
exit 1"""


@pytest.mark.parametrize(
    ("script", "status"),
    [(CRASH, "qe_crashed"), pytest.param("kill -9 $$", "qe_crashed", marks=pytest.mark.slow)],
    ids=["error", "killed"],
)
def test_a_program_that_dies_has_a_name(given, script, status):
    found, _ = relax(given(script, restarts=1), rocksalt())
    assert_failed(found, status)


@needs_pw
@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "changes", "status"),
    [
        ('pw.x "$@" & sleep 0.7; kill -9 $!; wait', {}, "qe_crashed"),
        (None, {"parameters": {"ELECTRONS": {"electron_maxstep": 2}}}, "scf_not_converged"),
        (None, {"seconds": 1}, "wall_time"),
        (None, {"steps_per_stage": 1, "fmax": 1e-6}, "step_limit"),
        (
            'pw.x "$@"; sed -i "s/<etot>.*</<etot>NaN</" out/aiida.save/data-file-schema.xml out/aiida.xml',
            {},
            "energy_not_finite",
        ),
    ],
    ids=["killed", "scf", "wall_time", "steps", "nan"],
)
def test_failures_of_pw_have_a_name_and_no_structure(given, script, changes, status):
    atoms = rocksalt(4.5)
    found, _ = relax(given(script, **{**COARSE, "restarts": 1, **changes}), atoms)
    assert_failed(found, status)


@pytest.mark.parametrize(
    ("changes", "elements", "field", "text"),
    [
        ({"pseudo_family": "SSSP/9"}, ["Mg"], "pseudo_family", "no such family of pseudopotentials; there are: "),
        ({}, ["Mg", "Cu"], "pseudo_family", "has no pseudopotential for Cu"),
        ({"overrides": {"base_rleax": {}}}, ["Mg"], "base_rleax", "must be one of base_init_relax"),
    ],
)
def test_bad_input_is_refused_before_anything_is_submitted(given, changes, elements, field, text):
    assert_refused(given(**changes), elements, field, text)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"parameters": {"CONTROL": {"nstep": 3}}}, "decided by steps_per_stage"),
        ({"parameters": {"system": {"ecutwfc": 30}}}, "upper case"),
        ({"protocol": "rough"}, "fast"),
        ({"fmax": -1.0}, "greater than 0"),
    ],
)
def test_bad_settings_name_the_field(given, changes, text):
    assert_setting_refused(given, changes, text)


def test_a_code_of_another_plugin_is_refused(given, pw_code):
    code = pw_code(plugin="core.arithmetic.add")
    assert_refused(given(code=code), ["Mg"], "qe", "plugin 'quantumespresso.pw', not of 'core.arithmetic.add'")


def test_sound_input_is_taken(given):
    changes = {"pressure": 5.0, "spin_polarised": True, "parameters": {"SYSTEM": {"ecutwfc": 30, "ecutrho": 240}}}
    inputs = given(**changes)
    load_tier("qe").check(inputs, ["Mg", "O"])
    _, made = load_tier("qe").inputs(inputs, orm.StructureData(ase=rocksalt()))
    system = made["base_relax"]["pw"]["parameters"].get_dict()["SYSTEM"]
    assert (system["ecutwfc"], system["ecutrho"], system["nspin"]) == (30, 240, 2)
    assert made["base_relax"]["kpoints_distance"].value == pytest.approx(0.3)
    assert made["max_meta_convergence_iterations"].value == 5
