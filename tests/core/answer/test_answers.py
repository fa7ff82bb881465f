"""The rows of an answer, and results of jobs that contradict themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aiida_fuse2.core.answer.answers import LOST, conclude
from aiida_fuse2.core.answer.ladder import Ladder, Rung
from aiida_fuse2.core.answer.results import bad_ladder, read_ladder
from aiida_fuse2.core.answer.stability import Stability
from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.prototypes.naming import TypeIndex, TypeName
from tests.core.crystals import perovskite, quartz


def ladder(atoms, energy, moments=None, **values):
    rung = Rung.of(atoms, tolerance=0.1, energy=energy, displacement=0.0, evaluations=3, moments=moments)
    return Ladder("converged", "", (rung,), 0.001, "test", 1.0, **values)


def before(*labels):
    return {label: {"label": f"t{label}", "rank": i + 1, "energy": -8.4, "found": 2} for i, label in enumerate(labels)}


def test_a_row_has_what_is_printed(answer_settings):
    ladders = {
        "r0": ladder(perovskite(), -8.4236, stability=Stability(-1.7, {"Γ": -1.7})),
        "r1": ladder(perovskite().repeat((1, 1, 2)), -8.4236),
        "r2": Ladder("step_limit", "not converged in 1 steps", (), 0.001, "test", 1.0),
    }
    found = conclude(before("r0", "r1", "r2", "r3"), ladders, answer_settings(), lambda _: TypeName("Perovskite", "k"))
    (row,) = found.phases
    assert (row["label"], row["rank"], row["delta"], row["found"]) == ("p00", 1, 0.0, 4)
    assert (row["type"], row["prototype"], row["spacegroup"], row["z"]) == ("Perovskite", "k", 221, 1)
    assert [member["label"] for member in row["members"]] == ["tr0", "tr1"]
    assert row["statement"] == "Pm-3m (Perovskite); unstable against small displacements (1.7i THz at Γ)"
    assert [rung["is_answer"] for rung in row["rungs"]] == [True, False]
    assert len(found.cells["p00"]) == 5
    assert found.failed == [
        {"label": "r2", "status": "step_limit", "detail": "not converged in 1 steps"},
        {"label": "r3", "status": LOST, "detail": ""},
    ]
    json.dumps(found.phases, allow_nan=False)


def test_phases_of_different_structures_have_their_order(answer_settings):
    ladders = {"r0": ladder(perovskite(), -8.0), "r1": ladder(quartz(), -9.0)}
    found = conclude(before("r0", "r1"), ladders, answer_settings(), TypeIndex([]).name)
    assert [row["formula"] for row in found.phases] == ["SiO2", "SrTiO3"]
    assert found.phases[1]["delta"] == pytest.approx(1.0)
    assert found.phases[0]["statement"] == "P3_221"


def test_moments_are_told_for_each_wyckoff_position(answer_settings):
    cell = perovskite()
    of_element = {"Sr": 0.0, "Ti": 1.5, "O": 0.25}
    moments = tuple(of_element[symbol] for symbol in cell.get_chemical_symbols())
    (row,) = conclude(before("r0"), {"r0": ladder(cell, -8.4, moments)}, answer_settings(), TypeIndex([]).name).phases
    assert {site["element"]: site["moment"] for site in row["sites"]} == of_element
    assert sorted(row["moments"]) == sorted(moments)
    (row,) = conclude(before("r0"), {"r0": ladder(cell, -8.4)}, answer_settings(), TypeIndex([]).name).phases
    assert row["moments"] is None


def test_a_ladder_of_another_program_says_so(answer_settings):
    ladders = {"r0": ladder(perovskite(), -8.4, program="VASP")}
    (row,) = conclude(before("r0"), ladders, answer_settings(), TypeIndex([]).name).phases
    assert row["statement"] == "Pm-3m; not relaxed within its symmetry: the last tier is VASP"


def read(change=None, frames=None):
    own = ladder(perovskite(), -8.4, (0.0, 2.5, 0.1, 0.1, 0.1), stability=Stability(-1.7, {"Γ": -1.7}))
    row = json.loads(json.dumps(own.to_dict()))
    if change:
        change(row)
    frames = [rung.atoms for rung in own.rungs] if frames is None else frames
    return read_ladder(row, frames, perovskite().repeat((1, 1, 2)), "chgnet")


def test_what_was_written_is_read():
    found = read()
    own = ladder(perovskite(), -8.4, (0.0, 2.5, 0.1, 0.1, 0.1), stability=Stability(-1.7, {"Γ": -1.7}))
    assert found.to_dict() == own.to_dict()
    earlier = read(lambda row: row["rungs"][0].pop("moments"))  # as earlier versions wrote them
    assert earlier.rungs[0].moments is None
    assert (found.rungs[0].symbol, found.rungs[0].order) == ("Pm-3m", 9.6)


def flat():
    atoms = perovskite()
    atoms.set_cell(atoms.cell.array * [1, 1, 0])
    return atoms


@pytest.mark.parametrize(
    ("change", "frames"),
    [
        (lambda row: row.pop("rungs"), None),
        (lambda row: row.update(status=3), None),
        (lambda row: row.update(status="step_limit"), None),
        (lambda row: row.update(fmax="small"), None),
        (lambda row: row.update(stability=[]), None),
        (lambda row: row["rungs"][0].update(energy=np.nan), None),
        (lambda row: row["rungs"][0].update(energy=-1e6), None),
        (lambda row: row["rungs"][0].update(evaluations=True), None),
        (lambda row: row["rungs"][0].update(displacement=-1), None),
        (lambda row: row["rungs"][0].update(moments=[1.0]), None),
        (lambda row: row["rungs"][0].update(moments=[1.0, 2.0, 0.0, 0.0, -1.0]), None),
        (lambda row: row["rungs"][0].update(moments=[1.0, 2.0, 0.0, 0.0, "many"]), None),
        (lambda row: row["rungs"].append(row["rungs"][0]), None),
        (None, []),
        (None, [quartz()]),
        (None, [flat()]),
        (None, [perovskite().repeat((2, 2, 1))]),
    ],
)
def test_contradictions_are_refused(change, frames):
    with pytest.raises(RelaxationError):
        read(change, frames)


def test_a_refused_row_can_be_read_again():
    row = bad_ladder(RelaxationError("bad_result", "no\nsense"))
    found = read_ladder(row, [], perovskite(), "chgnet")
    assert (found.status, found.rungs) == ("bad_result", ())
