"""The order of phases under a second potential: who orders, rank agreement, false minima, changes, targets."""

from __future__ import annotations

import json

import pytest
from ase import Atoms
from ase.build import bulk

from aiida_fuse2.core.answer.answers import conclude
from aiida_fuse2.core.answer.second import FIRST, SECOND, Relaxed, energies_under, rank_phases, read_order
from aiida_fuse2.core.prototypes.naming import TypeName

from .test_answers import before, ladder

NAMES = ("CHGNet 0.3.0", "sevennet-l3i5")


def crystals():
    """Four elements of carbon's kind that nobody takes for one another."""
    return [bulk("C", "diamond", a=3.57), bulk("C", "fcc", a=3.1), bulk("C", "bcc", a=2.4), bulk("C", "sc", a=1.8)]


@pytest.fixture
def answer(answer_settings):
    """Four phases, 5, 20 and 40 meV/atom above the first."""
    energies = (-9.0, -8.995, -8.98, -8.96)
    ladders = {f"r{i}": ladder(atoms, e) for i, (atoms, e) in enumerate(zip(crystals(), energies, strict=True))}
    found = conclude(before(*ladders), ladders, answer_settings(), lambda _: TypeName("unknown type", ""))
    assert [row["rank"] for row in found.phases] == [1, 2, 3, 4]
    return found


def relaxed(cells, energies, **others):
    rows = {label: {"status": "converged", "detail": "", "energy": energy} for label, energy in energies.items()}
    geometries = {label: atoms.copy() for label, atoms in cells.items()}
    for atoms in geometries.values():
        atoms.set_cell(atoms.cell.array * 1.01, scale_atoms=True)
    return Relaxed(
        rows={**rows, **others.pop("rows", {})}, geometries={**geometries, **others.pop("atoms", {})}, **others
    )


def ranked(answer, given):
    found = rank_phases(
        answer.phases, answer.cells, given, lambda _: TypeName("new type", "key"), potentials=NAMES, resolution=0.002
    )
    json.dumps([found.phases, found.order], allow_nan=False)
    return found


SECOND_ENERGIES = {"p00": -7.967, "p01": -8.0, "p02": -7.9985, "p03": -7.9}
"""33 meV/atom above the second one, which ties with the third."""


def test_the_second_orders_and_names_the_false_minimum(answer):
    found = ranked(answer, relaxed(answer.cells, SECOND_ENERGIES))
    assert [row["label"] for row in found.phases] == ["p01", "p02", "p00", "p03"]
    assert [row["rank"] for row in found.phases] == [1, 2, 3, 4]
    assert [row["delta"] for row in found.phases] == pytest.approx([0.0, 0.0015, 0.033, 0.1])
    assert [row["energy"] for row in found.phases] == sorted(SECOND_ENERGIES.values())
    assert [row[FIRST]["rank"] for row in found.phases] == [2, 3, 1, 4]
    assert found.phases[2][FIRST] == {"rank": 1, "energy": -9.0, "delta": 0.0}
    assert found.phases[2]["statement"].endswith(
        "; false minimum of CHGNet 0.3.0: 33.0 meV/atom above the lowest under sevennet-l3i5"
    )
    order = found.order
    assert (order["by"], order["compared"], order["false_minima"], order["failures"]) == (SECOND, 4, ["p00"], {})
    assert order["tau"] == pytest.approx(1 / 3)  # four pairs of six in the same order
    assert order["statement"] == (
        "ordered by sevennet-l3i5; Kendall's tau with the order under CHGNet 0.3.0 is 0.33 for 4 phases; false minima "
        "of CHGNet 0.3.0: phase 3 (Fd-3m)"
    )


def test_cells_and_numbers_are_those_of_the_second(answer):
    found = ranked(answer, relaxed(answer.cells, SECOND_ENERGIES))
    before = {row["label"]: row for row in answer.phases}
    for row in found.phases:
        assert row["density"] == pytest.approx(before[row["label"]]["density"] / 1.01**3)
        assert found.cells[row["label"]].get_volume() == pytest.approx(
            answer.cells[row["label"]].get_volume() * 1.01**3
        )
        assert row["potential"] == "sevennet-l3i5"
        assert row["rungs"] == before[row["label"]]["rungs"]


def test_a_difference_that_no_potential_resolves_is_no_false_minimum(answer):
    found = ranked(answer, relaxed(answer.cells, {**SECOND_ENERGIES, "p00": -7.9985}))
    assert found.phases[0]["label"] == "p01"
    assert found.order["false_minima"] == []


def test_without_one_energy_the_first_orders(answer):
    rows = {"p02": {"status": "step_limit", "detail": "not converged", "energy": None}}
    found = ranked(answer, relaxed(answer.cells, {**SECOND_ENERGIES, "p02": 0.0}, rows=rows))
    assert [row["label"] for row in found.phases] == ["p00", "p01", "p02", "p03"]
    assert [row["energy"] for row in found.phases] == [row["energy"] for row in answer.phases]
    assert found.cells == answer.cells
    assert energies_under(found.phases[2], SECOND) is None
    assert energies_under(found.phases[0], SECOND) == pytest.approx((-7.967, 0.033))
    assert found.order["failures"] == {"step_limit": 1}
    assert found.order["tau"] == pytest.approx(1 / 3)
    assert found.order["statement"].startswith(
        "ordered by CHGNet 0.3.0, since sevennet-l3i5 gave no energy of 1 of 4 phases (step_limit 1); Kendall's tau "
        "with the order under sevennet-l3i5 is 0.33 for 3 phases; false minima of CHGNet 0.3.0: phase 1 (Fd-3m)"
    )


def test_a_job_that_died_loses_nothing(answer):
    found = ranked(answer, Relaxed(rows={}, geometries={}, reason="the job died"))
    assert [row["label"] for row in found.phases] == ["p00", "p01", "p02", "p03"]
    assert found.order["tau"] is None
    assert found.order["statement"] == (
        "ordered by CHGNet 0.3.0, since sevennet-l3i5 gave no energy of 4 of 4 phases (job_ended_early 4: the job died)"
    )


def test_a_phase_that_becomes_another_structure_is_named(answer):
    found = ranked(answer, relaxed(answer.cells, SECOND_ENERGIES, atoms={"p03": bulk("C", "hcp", a=2.5, c=4.1)}))
    row = found.phases[-1]
    assert (row["label"], row[SECOND]["changed"]) == ("p03", "another structure, P6_3/mmc")
    assert (row["spacegroup"], row["type"]) == (194, "new type")
    assert row["statement"] == "P6_3/mmc (new type); Pm-3m under CHGNet 0.3.0"
    assert (found.order["changed"], found.order["compared"]) == (["p03"], 3)
    assert found.order["statement"].endswith("; other structures under sevennet-l3i5: phase 4 (P6_3/mmc)")


def test_phases_that_become_one_are_one(answer):
    """The less symmetric of two is the lower by less than what is resolved."""
    sheared = answer.cells["p01"].copy()
    sheared.set_cell(sheared.cell.array @ [[1, 0, 0], [0, 1, 0], [0, 0, 1.01]], scale_atoms=True)
    given = relaxed(answer.cells, {**SECOND_ENERGIES, "p03": -8.001}, atoms={"p03": sheared})
    given.geometries["p01"].set_cell(answer.cells["p01"].cell, scale_atoms=True)
    found = ranked(answer, given)
    assert [row["label"] for row in found.phases] == ["p01", "p02", "p00"]
    first, before = found.phases[0], {row["label"]: row for row in answer.phases}
    assert (first["rank"], first["energy"], first["delta"], first["spacegroup"]) == (1, -8.0, 0.0, 225)
    assert first["found"] == before["p01"]["found"] + before["p03"]["found"]
    assert [member["member"] for member in first["members"]] == ["r1", "r3"]
    assert [rung["is_answer"] for rung in first["rungs"]] == [True, False]
    assert "Pm-3m of CHGNet 0.3.0 relaxes to it" in first["statement"]
    assert (found.order["merged"], found.order["compared"]) == ({"p01": ["p03"]}, 3)
    assert found.order["statement"].endswith("; several phases under CHGNet 0.3.0: phase 1 (Fm-3m)")
    apart = ranked(answer, relaxed(answer.cells, {**SECOND_ENERGIES, "p03": -8.0021}, atoms={"p03": sheared}))
    assert len(apart.phases) == 4


def test_a_known_type_that_moves_within_its_group_stays_the_same(answer):
    """A soft crystal: the type of the library says that it is still the same."""
    given = relaxed(answer.cells, SECOND_ENERGIES, atoms={"p00": bulk("C", "diamond", a=3.57)})
    given.geometries["p00"].positions[1] += 0.9
    named = [{**row, "prototype": "key", "spacegroup": 166} if row["label"] == "p00" else row for row in answer.phases]
    for phases, expected in ((named, []), (answer.phases, ["p00"])):
        found = rank_phases(
            phases, answer.cells, given, lambda _: TypeName("new type", "key"), potentials=NAMES, resolution=0.002
        )
        assert found.order["changed"] == expected


def test_targets_are_judged_by_the_second(answer):
    own = answer.cells["p01"].copy()
    missed = bulk("C", "hcp", a=2.5, c=4.1)
    rows = {
        "target_a": {"status": "converged", "detail": "", "energy": -8.0},
        "target_b": {"status": "converged", "detail": "", "energy": -8.02},
        "target_c": {"status": "step_limit", "detail": "", "energy": None},
    }
    found = ranked(
        answer, relaxed(answer.cells, SECOND_ENERGIES, rows=rows, atoms={"target_a": own, "target_b": missed})
    )
    targets = found.order["targets"]
    assert targets["a"] == {"status": "converged", "energy": -8.0, "delta": 0.0, "phase": "p01"}
    assert targets["b"]["delta"] == pytest.approx(-0.02)
    assert targets["b"]["phase"] is None
    assert (targets["c"]["energy"], targets["c"]["status"]) == (None, "step_limit")
    assert len(found.phases) == 4


def test_an_order_is_read_as_it_was_stored(answer):
    stored = ranked(answer, relaxed(answer.cells, SECOND_ENERGIES)).order
    read = read_order(stored)
    assert (read.first, read.second, read.by, read.other) == (*NAMES, SECOND, FIRST)
    assert read.name(read.by) == "sevennet-l3i5"


@pytest.mark.parametrize(
    "wrong", [None, 3, [], {}, {"by": "third"}, {"targets": None}, {"statement": None}, {"first": 1}]
)
def test_an_order_that_is_none_is_not_read(answer, wrong):
    stored = ranked(answer, relaxed(answer.cells, SECOND_ENERGIES)).order
    assert read_order({**stored, **wrong} if isinstance(wrong, dict) and wrong else wrong) is None


@pytest.mark.parametrize("wrong", [None, 3, {}, {"energy": "1", "delta": 0.0}, {"energy": 1.0}])
def test_energies_that_are_none_are_not_read(wrong):
    assert energies_under({"second": wrong}, SECOND) is None


def test_one_phase_has_no_rank_agreement(answer_settings):
    atoms = Atoms("C", cell=[1.8] * 3, pbc=True)
    one = conclude(before("r0"), {"r0": ladder(atoms, -9.0)}, answer_settings(), lambda _: TypeName("x", ""))
    found = ranked(one, relaxed(one.cells, {"p00": -8.0}))
    assert found.order["tau"] is None
    assert found.order["statement"] == "ordered by sevennet-l3i5"
