"""Results of jobs that contradict themselves, or their trial."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from aiida_fuse2.core.crystal.uniqueness import encode_fingerprint, fingerprint
from aiida_fuse2.core.relaxers import make_evaluator, relax
from aiida_fuse2.core.relaxers.driver import describe
from aiida_fuse2.core.relaxers.results import judged_result
from tests.conftest import EMT


def alloy(shift=0.1, seed=0, gold=1):
    """Four atoms of copper and gold, rattled."""
    atoms = bulk("Cu", "fcc", a=3.8, cubic=True)
    atoms.numbers[:gold] = 79
    atoms.rattle(shift, rng=np.random.default_rng(seed))
    return atoms


@pytest.fixture
def result(relax_settings):
    """A function that judges the result of relaxing Cu3Au after a change of its row and its geometry."""
    settings = relax_settings(**EMT)
    start = alloy()
    found = relax(start, make_evaluator(settings), settings)

    def judge(change=None, *, source="ase.calculators.emt.EMT", rows=1):
        row, frame = found.to_dict(), found.atoms.copy()
        frame = (change and change(row, frame)) or frame
        frames = [] if frame is NOTHING else [frame]
        return judged_result([row] * rows, frames, start, settings, source)

    judge.row = found.to_dict()
    return judge


NOTHING = "no geometry"


def test_a_good_result_is_taken_as_it_is(result):
    row, atoms = result()
    assert row == result.row
    assert row["spacegroup_symbol_loose"] == "Pm-3m"
    assert len(atoms) == 4


def _other_atoms(row, frame):
    frame.numbers[0] = 29


def _more_atoms(row, frame):
    return frame.repeat((2, 1, 1))


def _another_geometry(row, frame):
    other = frame.copy()
    other.rattle(0.1)
    return other


def _another_size(row, frame):
    frame.set_cell(1.01 * frame.cell.array, scale_atoms=True)


def _overlap(row, frame):
    frame.positions[1] = frame.positions[0] + [0.3, 0, 0]
    row["fingerprint"] = encode_fingerprint(fingerprint(frame))


def _not_finite(row, frame):
    frame.cell[0, 0] = np.nan


def _flat(row, frame):
    frame.set_cell([frame.cell[0], frame.cell[1], [0, 0, 0.1]], scale_atoms=True)


def _no_geometry(row, frame):
    return NOTHING


def _changed(**values):
    def change(row, frame):
        row.update(values)

    return change


def _without(key):
    def change(row, frame):
        del row[key]

    return change


def _shifted(key, by):
    def change(row, frame):
        row[key] += by

    return change


def _more_in_fingerprint(row, frame):
    row["fingerprint"] = "\0" + row["fingerprint"]


def _fingerprint_of_another(row, frame):
    row["fingerprint"] = encode_fingerprint(1.1 * fingerprint(frame))


BAD = {
    "another composition": (_other_atoms, "Cu4"),
    "another number of atoms": (_more_atoms, "Au2Cu6"),
    "another geometry": (_another_geometry, "fingerprint"),
    "another size": (_another_size, "volume"),
    "overlapping atoms": (_overlap, "shortest distance"),
    "a cell that is not finite": (_not_finite, "not finite"),
    "a flat cell": (_flat, "not finite, or its cell"),
    "no geometry": (_no_geometry, "no geometry"),
    "a wrong count": (_changed(n_atoms=5), "n_atoms = 5, of the geometry 4"),
    "a wrong volume": (_shifted("volume", 1.0), "volume"),
    "a wrong group": (_changed(spacegroup=2), "space group P4mm (2), of the geometry P4mm (99)"),
    "a wrong loose group": (_changed(spacegroup_loose=225, spacegroup_symbol_loose="Fm-3m"), "Fm-3m"),
    "no group at all": (_changed(spacegroup=1, spacegroup_symbol="P1"), "P1"),
    "a wrong symbol": (_changed(spacegroup_symbol="Fm-3m"), "Fm-3m"),
    "an energy that is a hole": (_changed(energy=-1e9, potential_energy=-1e9), "energy_impossible"),
    "an energy beyond all numbers": (_changed(energy=-1e308, potential_energy=-1e308), "energy = -1e+308"),
    "an energy that is a peak": (_changed(energy=1e6, potential_energy=1e6), "energy_impossible"),
    "an enthalpy that is no sum": (_shifted("energy", -1.0), "energy"),
    "energy as text": (_changed(energy="-3.2"), "energy = '-3.2'"),
    "energy null": (_changed(energy=None), "energy = None"),
    "energy true": (_changed(energy=True), "energy = True"),
    "energy infinite": (_changed(energy=float("-inf")), "energy = -inf"),
    "energy missing": (_without("energy"), "has no energy"),
    "a list": (_changed(volume=[1.0]), "volume"),
    "a count with a fraction": (_changed(steps=1.5), "steps"),
    "a negative count": (_changed(evaluations=-1), "evaluations"),
    "a negative time": (_changed(cpu_seconds=-1.0), "cpu_seconds"),
    "endless time": (_changed(cpu_seconds=1e300), "cpu_seconds"),
    "a huge whole number": (_changed(evaluations=10**400), "evaluations"),
    "no fingerprint": (_changed(fingerprint=None), "has no fingerprint"),
    "a broken fingerprint": (_changed(fingerprint="AAAA="), "fingerprint"),
    "a fingerprint of letters": (_changed(fingerprint="ä"), "fingerprint"),
    "a fingerprint that is not finite": (_changed(fingerprint=encode_fingerprint(np.full(36, np.nan))), "fingerprint"),
    "a fingerprint with more in it": (_more_in_fingerprint, "fingerprint"),
    "another fingerprint": (_fingerprint_of_another, "fingerprint"),
    "an unknown key": (_changed(**{"a.b": 1}), "'a.b' is not known"),
    "a key of the trial": (_changed(generation=99), "'generation' is not known"),
    "a status of no word": (_changed(status="Converged!"), "status"),
    "a status that is not one of jobs": (_changed(status="known"), "status"),
    "no status": (_without("status"), "status"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_result_is_a_named_failure(result, name):
    change, words = BAD[name]
    row, atoms = result(change)
    assert (row["status"], row["fingerprint"]) == ("bad_result", None)
    assert words in row["detail"]
    assert set(row) == {"status", "detail", "fingerprint", "cpu_seconds"}
    assert 0 <= row["cpu_seconds"] < 1e6
    assert atoms.get_chemical_formula() == "AuCu3"


def test_energies_that_some_potentials_mean_are_taken(result):
    """Copper and gold with all their electrons: -1640 and -19 000 Hartree."""
    energy = -27.2114 * (3 * 1640 + 19_000) / 4
    change = _changed(energy=energy, potential_energy=energy)
    assert result(change, source="some.package.AllElectron")[0]["status"] == "converged"
    assert "energy_impossible" in result(change, source="chgnet")[0]["detail"]


def test_a_group_on_the_edge_of_its_tolerance_is_taken(relax_settings):
    """Which side of it a structure lies on may depend on the version of spglib, and on the last digit."""
    settings = relax_settings(**EMT)
    loose = settings.report_symprec[1]

    def judge(shift):
        atoms = bulk("Cu", "fcc", a=3.8, cubic=True)
        atoms.positions[0, 0] += shift
        row = describe(atoms, 0.0, 0.0, settings.report_symprec) | dict.fromkeys(("cpu_seconds", "evaluations"), 1)
        row |= {"status": "converged", "potential": "x", "fingerprint": encode_fingerprint(fingerprint(atoms))}
        seen = row["spacegroup_loose"]
        row |= {"spacegroup_loose": 225, "spacegroup_symbol_loose": "Fm-3m"}
        return seen, judged_result([row], [atoms], atoms, settings, "x")[0]["status"]

    found = [judge(factor * loose) for factor in np.arange(0.5, 4.0, 0.05)]
    edge = next(i for i, (group, _) in enumerate(found) if group != 225)
    assert [status for _, status in found[: edge + 1]] == ["converged"] * (edge + 1)
    assert found[-1] == (99, "bad_result")


def test_a_label_that_comes_twice_is_a_failure(result):
    assert result(rows=2)[0]["detail"] == "its label occurs 2 times among results and 1 times among geometries"


def test_a_failure_keeps_nothing_that_only_a_relaxed_structure_has(result):
    row, _ = result(_changed(status="step_limit", fingerprint="broken", energy=-50.0))
    assert (row["status"], row["fingerprint"]) == ("step_limit", None)
    assert not {"energy", "potential_energy", "volume"} & set(row)
    assert row["evaluations"] == result.row["evaluations"]


def test_texts_are_such_as_every_database_takes(result):
    row, _ = result(_changed(status="calculator_error", detail="no\0 \ud800 \x1b[2J"))
    assert row["detail"] == r"no\x00 \ud800 \x1b[2J"
