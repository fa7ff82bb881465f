"""The benchmark of potentials: its crystals, its process for each potential, and what it makes of the rows."""

import sys

import numpy as np
import pytest
from ase.data import covalent_radii

from aiida_fuse2.benchmarks.defaults import defaults
from aiida_fuse2.benchmarks.polymorphs import choose_compounds, read_compounds
from aiida_fuse2.benchmarks.potential_report import report_potentials
from aiida_fuse2.benchmarks.potentials import MeasurementError, Potential, rock_salt, run_potential
from aiida_fuse2.benchmarks.results import PotentialRow, ResultsFile
from aiida_fuse2.core.crystal.symmetry import space_group
from aiida_fuse2.core.errors import InputError

LENNARD_JONES = "ase.calculators.lj.LennardJones"
ARGUMENTS = {"relax": {"settings": {"arguments": {"sigma": 1.3, "epsilon": 1.0, "rc": 3.0}, "max_steps": 8}}}
KNOWN = {
    "TiO2": "rutile",
    "SiO2": "α-quartz",
    "ZnS": "sphalerite",
    "Al2O3": "corundum",
    "SnS": "α-SnS",
    "MnO2": "pyrolusite",
    "CaCO3": "calcite",
    "Fe2O3": "haematite",
    "BN": "h-BN",
    "C": "graphite",
}


def row(structure="rutile", energy=-9.0, **changes):
    values = {
        "potential": "chgnet-0.3.0",
        "overrides": "{}",
        "compound": "TiO2",
        "structure": structure,
        "atoms": 6,
        "status": "converged",
        "energy": energy,
        "spacegroup": read_compounds()["TiO2"].polymorphs[structure].group if structure else None,
        "evaluations": 10,
        "cpu_seconds": 0.5,
        "computed_by": "by hand",
        "software": {},
    }
    return PotentialRow(**{**values, **changes})


def titania(**energies):
    names = {"rutile": -9.0, "anatase": -8.99, "brookite": -8.98, "TiO2-II": -8.97}
    return [row(name, energies.get(name, energy)) for name, energy in names.items()]


def test_compounds_and_their_stable_polymorphs():
    assert {c.formula: c.known for c in read_compounds().values()} == KNOWN
    assert all(3 <= len(c.polymorphs) <= 5 for c in read_compounds().values())
    assert [c.formula for c in choose_compounds(["O2Ti", "C", "TiO2"])] == ["TiO2", "C"]
    assert len(choose_compounds([])) == len(KNOWN)
    with pytest.raises(InputError, match="must be among TiO2"):
        choose_compounds(["NaCl"])


@pytest.mark.parametrize("formula", KNOWN)
def test_polymorphs_are_crystals_of_their_space_group(formula):
    for polymorph in read_compounds()[formula].polymorphs.values():
        atoms = polymorph.atoms()
        assert atoms.symbols.formula.reduce()[0] == atoms.symbols.formula.__class__(formula).reduce()[0]
        assert space_group(atoms, 0.01)[0] == polymorph.group, polymorph.name
        radii = covalent_radii[atoms.numbers]
        bonds = atoms.repeat(2).get_all_distances(mic=True)
        np.fill_diagonal(bonds, np.inf)
        nearest = (bonds / np.add.outer(np.tile(radii, 8), np.tile(radii, 8))).min()
        assert 0.75 < nearest < 1.2, polymorph.name
        assert polymorph.source


@pytest.mark.parametrize("size", [2, 8, 24, 50])
def test_crystals_of_every_size_are_the_same(size):
    atoms = rock_salt(size)
    assert len(atoms) == size
    assert atoms.get_volume() / size == pytest.approx(4.212**3 / 8)
    assert space_group(atoms, 0.01)[0] == 225


def test_settings_of_a_potential():
    chgnet = Potential.of("chgnet", {"relax": {"settings": {"backend": "torch"}}})
    assert (chgnet.name, chgnet.overrides_text) == ("chgnet-0.3.0", '{"backend": "torch"}')
    settings = chgnet.settings()
    assert (settings.calculator, settings.model, settings.backend, settings.fmax) == ("chgnet", "0.3.0", "torch", 0.02)
    assert Potential.of("sevennet", {}).settings().arguments["model"] == "7net-l3i5"
    assert Potential.of(LENNARD_JONES, {}).settings().calculator == LENNARD_JONES
    with pytest.raises(InputError, match="must be one of"):
        Potential.of("nonesuch", {})
    with pytest.raises(InputError, match="only keys of relax"):
        Potential.of("chgnet", {"settings": {"seed": 3}})


@pytest.fixture
def briefly(monkeypatch):
    """Measure each size for no longer than one evaluation."""
    monkeypatch.setitem(defaults("potentials"), "seconds_per_size", 0)


def test_measurements_are_made_once(tmp_path, monkeypatch, briefly):
    file = ResultsFile(tmp_path / "p.jsonl", PotentialRow)
    potential, carbon = Potential.of(LENNARD_JONES, ARGUMENTS), choose_compounds(["C"])
    rows = list(run_potential(potential, carbon, file, sys.executable))
    assert [(r.atoms, r.structure) for r in rows[:4]] == [(2, ""), (8, ""), (24, ""), (50, "")]
    assert [r.structure for r in rows[4:]] == ["graphite", "diamond", "lonsdaleite"]
    assert all(r.cpu_seconds > 0 and r.computed_by == LENNARD_JONES for r in rows)
    assert rows[3].cpu_seconds > rows[0].cpu_seconds
    assert all(1 < r.evaluations <= 8 for r in rows[4:])
    read = ResultsFile(file.path, PotentialRow)
    assert read.rows == rows
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("was measured again"))
    assert list(run_potential(potential, carbon, read, sys.executable)) == []


@pytest.mark.parametrize(
    ("name", "python", "said"),
    [
        ("nowhere.Calculator", sys.executable, "import path of an ASE calculator class installed"),
        (LENNARD_JONES, "/nowhere/python", "cannot be started: No such file"),
        (LENNARD_JONES, "false", "ended with status 1"),
    ],
)
def test_potential_that_cannot_be_measured(tmp_path, name, python, said):
    file = ResultsFile(tmp_path / "p.jsonl", PotentialRow)
    with pytest.raises(MeasurementError, match=said):
        list(run_potential(Potential.of(name, {}), choose_compounds(["C"]), file, python))
    assert file.rows == []


def test_crystal_that_a_potential_does_not_know(tmp_path, briefly):
    """EMT has no magnesium and no titanium: this is a result, not an end."""
    file = ResultsFile(tmp_path / "p.jsonl", PotentialRow)
    rows = list(
        run_potential(Potential.of("ase.calculators.emt.EMT", {}), choose_compounds(["TiO2"]), file, sys.executable)
    )
    assert {r.status for r in rows} == {"calculator_error"}
    (cost,) = report_potentials(rows).costs
    assert (cost.seconds, cost.failures, cost.compounds) == ({}, {"calculator_error": 4}, 0)


def test_order_of_polymorphs():
    (order,) = report_potentials(titania(anatase=-9.02)).orders
    assert (order.lowest, order.place) == ("anatase", 2)
    assert order.above == pytest.approx(20)
    assert list(order.energies) == ["anatase", "rutile", "brookite", "TiO2-II"]
    assert order.energies["brookite"] == pytest.approx(20)
    assert order.changed == ()
    assert "calorimetry" in order.doubt


def test_level_structures_do_not_count():
    report = report_potentials(titania(anatase=-9.0009))
    assert (report.orders[0].lowest, report.orders[0].place) == ("anatase", 1)
    assert (report.costs[0].known_lowest, report.costs[0].compounds) == (1, 1)


def test_failed_and_changed_structures_are_told():
    rows = [*titania()[:3], row("TiO2-II", None, status="step_limit", spacegroup=None, evaluations=30)]
    rows[1] = row("anatase", -8.5, spacegroup=1)
    report = report_potentials(rows)
    assert report.orders[0].energies["TiO2-II"] is None
    assert report.orders[0].changed == ("anatase",)
    assert report.costs[0].failures == {"step_limit": 1}
    assert report.costs[0].evaluations == 15
    known_failed = [row("rutile", None, status="step_limit"), *titania()[1:]]
    report = report_potentials(known_failed)
    assert (report.orders[0].place, report.orders[0].above, report.orders[0].lowest) == (None, None, "anatase")
    assert report.costs[0].compounds == 0


def test_costs_of_several_potentials():
    sizes = [row("", None, compound="", atoms=n, cpu_seconds=s, evaluations=1) for n, s in ((50, 0.4), (2, 0.02))]
    others = [row("", None, compound="", atoms=2, cpu_seconds=9.0, potential="other")]
    first, second, third = report_potentials(
        [*sizes, *others, row(), row(energy=-8.0, cpu_seconds=1.5), row(overrides='{"backend": "torch"}')]
    ).costs
    assert list(first.seconds.items()) == [(2, 0.02), (50, 0.4)]
    assert (first.relaxations, first.cpu_seconds) == (1, 1.5)  # the last row of a measurement counts
    assert (second.potential, second.seconds, second.evaluations) == ("other", {2: 9.0}, None)
    assert third.overrides == '{"backend": "torch"}'
    assert report_potentials([row()]).orders == ()  # not all polymorphs were relaxed
