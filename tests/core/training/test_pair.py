"""Fitting and learning pair potentials: what they were made from comes back; the curve, the wall, the taper."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.evaluation import Evaluation
from aiida_fuse2.core.potentials.pair import PairEvaluator, read_library, write_library
from aiida_fuse2.core.potentials.pair.fitting import TABLE_START, FitWeights, Frame, PairFitter, shortest_distances
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.core.training.pair import learn_potential, thinned
from aiida_fuse2.core.training.pair_settings import LearnSettings, check_learning
from aiida_fuse2.protocols import merge, protocol_inputs
from tests.core.potentials.pair.libraries import crystal

WEIGHTS = FitWeights(energy=1.0, force=1.0, stress=1.0, large_force=20.0)

TRUE = """
spline cubic
Ca O 0 0 6.0
{0}
spline cubic
O O 0 0 6.0
{1}
spline cubic
Ca Ca 0 0 6.0
{2}
"""


def true_library():
    """Curves that end smoothly at 6 Å, as those that are fitted do."""
    distances = np.arange(0.5, 6.01, 0.1)
    taper = (1 - distances / 6) ** 3
    curves = [(8 * np.exp(-2 * (d0 * distances - 2)) - 2) * taper for d0 in (1.0, 0.8, 0.9)]
    rows = ["\n".join(f"{e} {r}" for e, r in zip(curve, distances, strict=True)) for curve in curves]
    return read_library(TRUE.format(*rows))


class Teacher:
    """Pair potentials with an energy of the free atoms."""

    name = "teacher"

    def __init__(self):
        self.engine = PairEvaluator(true_library())
        self.asked = 0

    def evaluate(self, numbers, positions, cell):
        self.asked += 1
        found = self.engine.evaluate(numbers, positions, cell)
        return Evaluation(found.energy - 3.0 * len(numbers), found.forces, found.stress)


def frames_of(teacher, count):
    frames = []
    for seed in range(count):
        atoms = crystal(seed, a=5.0 + 0.1 * (seed % 8))
        atoms.symbols = ["Ca", "O"] * 3
        target = teacher.evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
        frames.append(Frame(atoms.numbers, atoms.positions, atoms.cell.array, target))
    return frames


@pytest.fixture(scope="module")
def fitted():
    frames = frames_of(Teacher(), 40)
    fitter = PairFitter(["O", "Ca"], cutoff=6.0, knot_distance=0.3, weights=WEIGHTS)
    fitter.add(frames)
    return fitter.fit(), frames


def is_known(frame, fit):
    """Return whether no distance of a frame is within a wall."""
    found = shortest_distances(frame, list(fit.shortest), 6.0)
    return all(found[pair] >= distance for pair, distance in fit.shortest.items())


def test_a_fit_gives_what_the_frames_were_made_with(fitted):
    fit, _ = fitted
    assert fit.offset == pytest.approx(-3.0, abs=0.1)
    unseen = [frame for frame in frames_of(Teacher(), 60)[40:] if is_known(frame, fit)]
    assert len(unseen) > 5
    engine = PairEvaluator(fit.library)
    for frame in unseen:
        found = engine.evaluate(frame.numbers, frame.positions, frame.cell)
        n = len(frame.numbers)
        assert found.energy / n + fit.offset == pytest.approx(frame.target.energy / n, abs=0.02, rel=0.01)
        assert np.allclose(found.forces, frame.target.forces, atol=0.1 + 0.05 * np.abs(frame.target.forces).max())
        assert np.allclose(found.stress, frame.target.stress, atol=0.05 * np.abs(frame.target.stress).max())


def test_the_curve_ends_smoothly_and_begins_with_a_wall(fitted):
    fit, _ = fitted
    for term in fit.library.terms:
        shortest = fit.shortest[term.pair]
        energies, slopes = term.form.values(np.array([6.0, 5.99, TABLE_START, shortest - 0.3, shortest - 0.2]))
        assert energies[0] == 0.0
        assert abs(slopes[1]) < 1e-3
        assert energies[2] > 100
        assert slopes[3] < slopes[4] < 0


def test_a_table_is_the_fitted_curve_itself_whoever_interpolates_it(fitted):
    """Knots lie on points of the table, so that a cubic spline through them is the curve, at any other spacing too."""
    fit, _ = fitted
    term = fit.library.terms[0]
    reread = read_library(write_library(fit.library)).terms[0]
    inner = np.linspace(fit.shortest[term.pair] + 0.5, 5.9, 500)
    assert np.array_equal(term.form.values(inner)[0], reread.form.values(inner)[0])
    thinner = type(term.form)(term.form.distances[1::2], term.form.energies[1::2])  # 0.1 Å apart; knots are at 0.3
    assert np.allclose(thinner.values(inner)[0], term.form.values(inner)[0], atol=2e-3)


def test_what_no_frame_says_stays_finite_and_small():
    frames = frames_of(Teacher(), 3)
    fitter = PairFitter(["Ca", "O", "Ti"], cutoff=6.0, knot_distance=0.5, weights=WEIGHTS)
    fitter.add(frames)
    found = {term.pair: term for term in fitter.fit().library.terms}
    energies, _ = found["Ti", "Ti"].form.values(np.linspace(5.96, 6.0, 5))
    assert np.abs(energies).max() < 1e-2


def test_frames_are_taken_densely_at_the_beginning():
    kept = thinned(list(range(100)), 5)
    assert (kept[0], kept[-1], len(kept)) == (0, 99, 5)
    assert kept[1] - kept[0] < kept[-1] - kept[-2]
    assert thinned([], 5) == []
    assert thinned([1, 2], 9) == [1, 2]


# --- learning ---------------------------------------------------------------------------------------


def learn_settings(composition="CaO", **changes):
    values = protocol_inputs("fast", {"settings": changes}, name="potential")["settings"]
    validity = protocol_inputs("fast")["settings"]["validity"]
    return parse_settings(LearnSettings, {**values, "composition": composition, "validity": validity})


SMALL = {
    "max_atoms": 4,
    "min_atoms": 4,
    "generators": ["fgen"],
    "relaxations": 2,
    "random_structures": 12,
    "rounds": 1,
    "structures_per_round": 2,
    "held_out": 8,
    "max_steps": 40,
}


@pytest.fixture
def tier(relax_settings):
    return relax_settings(keep_symmetry=False, max_steps=40)


def test_learning_repeats_with_its_seed_and_only_with_it(tier):
    settings = learn_settings(**SMALL)
    one, again = (learn_potential(settings, tier, Teacher()) for _ in range(2))
    assert one.fit.library == again.fit.library
    other = learn_potential(settings.model_copy(update={"seed": 2}), tier, Teacher())
    assert other.fit.library != one.fit.library


def test_learning_ranks_what_it_has_not_seen(tier):
    teacher = Teacher()
    learned = learn_potential(learn_settings(**SMALL), tier, teacher)
    report = learned.report
    assert report["held_out"]["spearman"] > 0.9
    assert report["held_out"]["energy_rmse"] < report["held_out"]["energy_deviation"]
    assert len(report["held_out_by_round"]) == 2
    assert report["frames"] == len(learned.frames) < teacher.asked
    assert report["teacher"] == "teacher"
    assert learned.fit.library.missing(["Ca", "O"]) == []


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"cutoff": 6.03}, "settings.cutoff", "multiple of 0.05"),
        ({"knot_distance": 0.35}, "settings.knot_distance", "must divide the cutoff"),
        ({"cutoff": 20.0}, "settings.cutoff", "less than or equal to 12"),
        ({"held_out": 0}, "settings.held_out", "greater than or equal to 3"),
        ({"weights": {"energy": -1.0}}, "settings.weights.energy", "greater than or equal to 0"),
        ({"max_atoms": 1}, "settings.max_atoms", "one formula unit of CaO has 2"),
        ({"min_atoms": 13}, "settings.min_atoms", "no multiple of 2"),
        ({"generators": ["nothing"]}, "settings.generators", "must be one of"),
        ({"generators": ["provided"]}, "settings.generators", "that makes structures"),
        ({"generators": []}, "settings.generators", "at least 1"),
    ],
)
def test_bad_settings_are_refused(changes, field, words):
    values = merge(protocol_inputs("fast", name="potential")["settings"], changes)
    values |= {"composition": "CaO", "validity": protocol_inputs("fast")["settings"]["validity"]}
    with pytest.raises(InputError, match=words) as caught:
        check_learning(parse_settings(LearnSettings, values))
    assert caught.value.field == field
