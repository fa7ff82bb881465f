"""The tier VASP: with aiida-vasp, and a stand-in for the program that writes its files."""

import math
from pathlib import Path

import ase.test
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT

pytest.importorskip("aiida_vasp")


from aiida_fuse2.core.errors import InputError
from aiida_fuse2.tiers import load_tier
from tests.potcars import ENMAX, potcar

from .conftest import (
    assert_failed,
    assert_refused,
    assert_setting_refused,
    jobs_below,
    relax,
    tier_inputs,
)


@pytest.fixture
def given(potcars, vasp_code):
    """A factory of inputs of the tier."""

    def build(*faults, code=None, **changes):
        family = {"potential_family": potcars, "potentials": {element: element for element in ENMAX}}
        return tier_inputs("vasp", code or vasp_code(*faults), **{**family, **changes})

    return build


def cu3au():
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.symbols[0] = "Au"
    atoms.rattle(0.05, seed=1)
    return atoms


def tags(job):
    return job.inputs.parameters.get_dict()


@pytest.mark.slow
def test_the_protocol_of_the_paper_reaches_vasp_and_its_results_come_back(given):
    found, node = relax(given(), cu3au())
    assert (found.status, found.detail) == ("converged", "")
    *stages, last = jobs_below(node)
    assert 1 <= len(stages) <= 5
    for job in stages:
        incar = tags(job)
        assert incar["encut"] == pytest.approx(1.3 * ENMAX["Cu"], abs=1e-3)
        assert (incar["gga"], incar["nsw"], incar["isif"], incar["ibrion"]) == ("pe", 44, 3, 2)
        assert incar["ediffg"] == pytest.approx(-0.03)
        assert "pstress" not in incar
    assert "nsw" not in tags(last)  # the energy comes from a single point in the relaxed cell
    mesh, offset = stages[0].inputs.kpoints.get_kpoints_mesh()
    edges = cu3au().cell.lengths()
    assert mesh == [math.ceil(2 * math.pi / (edge * 0.3)) for edge in edges]
    assert offset == [0, 0, 0]
    assert all("POTCAR" not in job.base.repository.list_object_names() for job in (*stages, last))
    atoms = found.structure.get_ase()
    atoms.calc = EMT()
    values = load_tier("vasp").values(found.results.get_dict(), pressure=0.0, volume=atoms.get_volume())
    assert values == {"energy": pytest.approx(atoms.get_potential_energy(), abs=1e-5), "potential": "vasp 6.0.0"}
    assert abs(atoms.get_forces()).max() < 0.03
    assert found.costs["evaluations"] == sum(
        job.outputs.misc["run_status"]["last_iteration_index"][0] for job in jobs_below(node)
    )
    assert found.costs["cpu_seconds"] > 0


def test_pressure_is_applied_and_taken_off_the_energy(given):
    found, node = relax(given(pressure=20.0), cu3au())
    assert {tags(job)["pstress"] for job in jobs_below(node)} == {200.0}
    atoms = found.structure.get_ase()
    atoms.calc = EMT()
    assert -atoms.get_stress()[:3].mean() / units.GPa == pytest.approx(20.0, abs=0.5)
    values = load_tier("vasp").values(found.results.get_dict(), pressure=20.0, volume=atoms.get_volume())
    assert values["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-4)


def test_vasp_itself_adds_pressure_times_volume():
    """A file that VASP 6.3 wrote with PSTRESS = 1 kbar comes with ASE."""
    from aiida_vasp.parsers.content_parsers.vasprun import VasprunParser

    path = Path(ase.test.__file__).parent / "testdata/vasp/vasprun_pstress.xml"
    if not path.exists():
        pytest.skip("this ASE has no such file")
    settings = {"electronic_step_energies": False, "energy_type": ["energy_extrapolated"]}
    with path.open("rb") as handle:
        energies = VasprunParser(handler=handle, settings=settings).total_energies
    results = {"total_energies": energies, "version": "6.3.0"}
    values = load_tier("vasp").values(results, pressure=0.1, volume=11.37482325)
    assert values["energy"] == pytest.approx(-20.24720095, abs=1e-7)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        pytest.param("slow", "step_limit", marks=pytest.mark.slow),
        pytest.param("scf", "scf_not_converged", marks=pytest.mark.slow),
        ("killed", "vasp_not_finished"),
        pytest.param("nan", "energy_not_finite", marks=pytest.mark.slow),
        pytest.param("stars", "overflow", marks=pytest.mark.slow),
        pytest.param("silent", "output_missing", marks=pytest.mark.slow),
    ],
)
def test_failures_have_a_name_and_no_structure(given, fault, status):
    found, _ = relax(given(fault, steps_per_stage=5, stages=2, restarts=1), cu3au())
    assert_failed(found, status)


@pytest.mark.parametrize(
    ("changes", "elements", "field", "text"),
    [
        ({"potential_family": "PBE.99"}, ["Cu"], "potential_family", "there are: .*stand-in"),
        ({}, ["Cu", "Ni"], "potential_family", "no POTCAR 'Ni_pv' for Ni; it has: none"),
        ({"potentials": {"Cu": "Cu_pv"}}, ["Cu"], "potential_family", "no POTCAR 'Cu_pv' for Cu; it has: Cu"),
        ({"protocol": "rough"}, ["Cu"], "protocol", "is not a valid protocol"),
        ({"incar": {"ispinn": 1}}, ["Cu"], "settings", "ispinn"),
        ({"overrides": {"vasp": 3}}, ["Cu"], "settings", ""),
        ({"overrides": {"relax_settings": 3}}, ["Cu"], "relax_settings", "must be a mapping of algo"),
        ({"overrides": {"relax_settings": {"step": 3}}}, ["Cu"], "step", "must be one of"),
    ],
)
def test_bad_input_is_refused_before_anything_is_submitted(given, changes, elements, field, text):
    assert_refused(given(**changes), elements, field, text)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"incar": {"encut": 500}}, "decided by encut or encut_factor"),
        ({"incar": {"ISPIN": 1}}, "lower case"),
        ({"encut_factor": 0}, "greater than 0"),
        ({"stages": 0}, "greater than or equal to 1"),
    ],
)
def test_bad_settings_name_the_field(given, changes, text):
    assert_setting_refused(given, changes, text)


def test_a_code_of_another_plugin_is_refused(given, vasp_code):
    code = vasp_code(plugin="core.arithmetic.add")
    assert_refused(given(code=code), ["Cu"], "vasp", "plugin 'vasp.vasp', not of 'core.arithmetic.add'")


def test_a_potcar_without_a_cutoff_needs_encut(given, tmp_path):
    from aiida_vasp.data.potcar import PotcarData

    (tmp_path / "files" / "Cu").mkdir(parents=True)
    (tmp_path / "files" / "Cu" / "POTCAR").write_text(potcar("Cu", 0.0, has_cutoff=False))
    PotcarData.upload_potcar_family(str(tmp_path / "files"), "bare", "no ENMAX", stop_if_existing=False)
    with pytest.raises(InputError, match="has no ENMAX: give encut"):
        load_tier("vasp").check(given(potential_family="bare"), ["Cu"])
    load_tier("vasp").check(given(potential_family="bare", encut=400.0), ["Cu"])


def test_sound_input_is_taken(given):
    load_tier("vasp").check(given(incar={"ispin": 1}, pressure=5.0), ["Cu", "Au"])
