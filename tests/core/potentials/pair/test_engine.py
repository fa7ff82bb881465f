"""The engine of pair potentials: exact derivatives, sums that can be done by hand, and what GULP gave."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones as AseLennardJones

from aiida_fuse2.core.errors import InputError, RelaxationError
from aiida_fuse2.core.potentials.pair import PairEvaluator, PairLibrary, PairTerm, read_library
from aiida_fuse2.core.potentials.pair.forms import Buckingham, General, LennardJones, Morse, Shifted, Spline
from aiida_fuse2.core.relaxers import make_evaluator, relax
from tests.recorded import RECORDED, needs_recorded

from .libraries import TABLE, crystal, mixed_text, spline_text

FORMS = [
    Buckingham(1000.0, 0.3, 20.0),
    LennardJones(50.0, 10.0, 12, 6),
    Morse(0.5, 1.8, 2.1),
    General(1200.0, 0.3, 12.0, 1, 6),
    General(1200.0, 0.0, 12.0, 9, 6),
    Shifted(Buckingham(1000.0, 0.3, 20.0), 6.0),
    Spline(tuple(d for d, _ in TABLE), tuple(e for _, e in TABLE)),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
def test_slopes_are_the_derivatives(form):
    distances = np.linspace(0.3, 6.0, 60)
    _, slopes = form.values(distances)
    step = 1e-6
    numeric = (form.values(distances + step)[0] - form.values(distances - step)[0]) / (2 * step)
    assert np.allclose(slopes, numeric, rtol=1e-5, atol=1e-5)


def test_a_table_is_met_at_its_points_and_goes_on_straight():
    form = FORMS[-1]
    points, energies = np.array(TABLE).T
    assert np.allclose(form.values(points)[0], energies)
    outside, slopes = form.values(np.array([0.1, 0.2, 0.3, 5.2, 5.5]))
    assert slopes[:3] == pytest.approx(slopes[0])
    assert outside[0] - 2 * outside[1] + outside[2] == pytest.approx(0, abs=1e-9)
    assert slopes[3] == pytest.approx(slopes[4])


@pytest.fixture(scope="module")
def engine():
    return PairEvaluator(read_library(mixed_text()))


@pytest.mark.parametrize("seed", range(3))
def test_forces_and_stress_are_exact(engine, seed):
    # far from every cutoff, where the energy itself has steps
    atoms = crystal(seed)
    found = engine.evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
    step = 1e-5
    for atom, axis in product(range(len(atoms)), range(3)):
        energies = []
        for sign in (1, -1):
            moved = atoms.positions.copy()
            moved[atom, axis] += sign * step
            energies.append(engine.evaluate(atoms.numbers, moved, atoms.cell.array).energy)
        assert found.forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=2e-5)
    for p, q in product(range(3), range(3)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[p, q] += sign * step / 2
            strain[q, p] += sign * step / 2
            energies.append(engine.evaluate(atoms.numbers, atoms.positions @ strain, atoms.cell.array @ strain).energy)
        slope = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
        assert found.stress[p, q] == pytest.approx(slope, abs=2e-6)


def test_the_energy_is_the_sum_over_images(engine):
    atoms = crystal(4)
    total = 0.0
    shifts = [np.array(s) @ atoms.cell.array for s in product(range(-3, 4), repeat=3)]
    for i, j in product(range(len(atoms)), repeat=2):
        pair = tuple(sorted((atoms.symbols[i], atoms.symbols[j])))
        for shift in shifts:
            d = np.linalg.norm(atoms.positions[j] + shift - atoms.positions[i])
            for term in engine.library.terms:
                if term.pair == pair and d > 1e-9 and term.rmin <= d < term.rmax:
                    total += 0.5 * term.form.values(np.array([d]))[0][0]
    assert engine.evaluate(atoms.numbers, atoms.positions, atoms.cell.array).energy == pytest.approx(total)


def test_it_agrees_with_ase():
    atoms = Atoms("Ar2", scaled_positions=[[0, 0, 0], [0.48, 0.5, 0.55]], cell=[[4, 0.2, 0], [0, 5, 0.3], [0.5, 0, 6]])
    atoms.pbc = True
    calculator = AseLennardJones(sigma=2.0, epsilon=0.1, rc=7.0, smooth=False)
    atoms.calc = calculator
    library = read_library("lennard epsilon zero\nAr Ar 0.1 2.0 7.0")
    found = PairEvaluator(library).evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
    assert np.allclose(found.forces, atoms.get_forces())
    assert np.allclose(found.stress, atoms.get_stress(voigt=False))


def test_repeating_and_rotating_a_crystal_changes_nothing(engine):
    atoms = crystal(5)
    one = engine.evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
    double = atoms.repeat((2, 1, 1))
    two = engine.evaluate(double.numbers, double.positions, double.cell.array)
    assert two.energy == pytest.approx(2 * one.energy)
    assert np.allclose(two.stress, one.stress)
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    assert engine.evaluate(turned.numbers, turned.positions, turned.cell.array).energy == pytest.approx(one.energy)


def test_atoms_at_one_place_and_missing_pairs_are_named(engine):
    atoms = crystal()
    atoms.positions[1] = atoms.positions[0]
    with pytest.raises(RelaxationError, match="coincident_atoms"):
        engine.evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
    with pytest.raises(RelaxationError, match="Mg-Mg"):
        engine.evaluate(np.array([12]), np.zeros((1, 3)), 4 * np.eye(3))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("species 1\nO core -2.0\nbuck\nO O 1.0 0.3 0.0 6.0", "no electrostatics"),
        ("buck\nO O 1.0 0.3 0.0 60.0", "at most 30"),
    ],
)
def test_libraries_that_it_does_not_compute_are_refused(text, words):
    with pytest.raises(InputError, match=words):
        PairEvaluator(read_library(text))


@needs_recorded
def test_it_computes_what_gulp_printed():
    """Interatomic energies of two recorded runs: Lennard-Jones 12-6, and the repulsion of a Buckingham library."""
    text = (RECORDED / "aiidagulp_single_lj_pyrite_main.gin").read_text()
    rows = [line.split() for line in text.split("cartesian\n")[1].split("\n\n")[0].splitlines()]
    atoms = Atoms([r[0] for r in rows], positions=[[float(x) for x in r[2:]] for r in rows], cell=[5.38] * 3, pbc=True)
    engine = PairEvaluator(read_library(text[text.index("lennard") :]))
    assert engine.evaluate(atoms.numbers, atoms.positions, atoms.cell.array).energy == pytest.approx(
        -0.32809466, abs=1e-8
    )
    library = read_library((RECORDED / "fuse102_lib2.lib").read_text())
    terms = [PairTerm(t.pair, Buckingham(t.form.a, t.form.rho, 0.0), t.rmin, t.rmax) for t in library.terms]
    terms += [PairTerm(p, Buckingham(0.0, 1.0, 0.0), 0, 12) for p in (("Sr", "Sr"), ("Sr", "Ti"), ("Ti", "Ti"))]
    lines = (RECORDED / "fuse102_srtio3_v4.3.5.gin").read_text().split("cell\n")[1].splitlines()
    sites = [line.split() for line in lines[2:7]]
    atoms = Atoms(
        [s[0] for s in sites],
        scaled_positions=[[float(x) for x in s[2:5]] for s in sites],
        cell=[float(x) for x in lines[0].split()],
        pbc=True,
    )
    found = PairEvaluator(PairLibrary(tuple(terms))).evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
    assert found.energy == pytest.approx(28.04283520, abs=1e-6)


# --- as a calculator --------------------------------------------------------------------------------


def pair_settings(relax_settings, **changes):
    return relax_settings(calculator="pair", fmax=0.01, keep_symmetry=False, min_contact=0.1, **changes)


@pytest.mark.parametrize("optimizer", ["JointLBFGS", "FIRE"])
def test_the_relaxers_relax_with_it(relax_settings, optimizer):
    settings = pair_settings(relax_settings, optimizer=optimizer, max_steps=2000)
    evaluator = make_evaluator(settings, "lennard epsilon zero\nAr Ar 0.5 2.5 9.0")
    start = Atoms("Ar", cell=[[0, 2.2, 2.2], [2.2, 0, 2.2], [2.2, 2.2, 0]], pbc=True).repeat((2, 1, 1))
    start.rattle(0.1, rng=np.random.default_rng(1))
    found = relax(start, evaluator, settings)
    assert found.status == "converged"
    assert found.values["potential"] == "pair potential"
    assert found.values["energy"] < evaluator.evaluate(start.numbers, start.positions, start.cell.array).energy / 2
    assert found.values["fmax"] <= 0.02  # optimisers of ASE see the forces through the deformed cell


def test_potential_and_calculator_go_together(relax_settings):
    with pytest.raises(InputError, match="needs a library") as caught:
        make_evaluator(pair_settings(relax_settings))
    assert caught.value.field == "relax.potential"
    with pytest.raises(InputError, match="must be 'pair'") as caught:
        make_evaluator(relax_settings(calculator="ase.calculators.emt.EMT"), spline_text())
    assert caught.value.field == "relax.settings.calculator"
