"""What tiers gave together, and structures that a program has relaxed."""

from __future__ import annotations

import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.relaxers.tiers import (
    SingleTierSettings,
    computed_structure,
    joined_rows,
    program_versions,
    tier_columns,
)

STATUSES = st.sampled_from([CONVERGED, "step_limit", None])


def row(status, energy=-1.0):
    return {"status": status, "energy": energy, "cpu_seconds": 0.5, "evaluations": 7, "detail": ""}


@given(st.dictionaries(st.sampled_from("abcde"), st.lists(STATUSES, min_size=3, max_size=3), min_size=1))
def test_each_structure_ends_once_or_is_missing(statuses):
    """A status None stands for a job that died on the structure."""
    tiers, alive = [], set(statuses)
    for position in range(3):
        rows = {label: row(statuses[label][position]) for label in sorted(alive) if statuses[label][position]}
        tiers.append((f"t{position}", rows))
        alive = {label for label, values in rows.items() if values["status"] == CONVERGED}
    joined = joined_rows(tiers)
    for label, values in statuses.items():
        end = next((i for i, status in enumerate(values) if status != CONVERGED), 2)
        if values[end] is None:
            assert label not in joined
            continue
        found = joined[label]
        assert (found["tier"], found["status"], len(found["tiers"])) == (f"t{end}", values[end], end + 1)
        assert found["cpu_seconds"] == pytest.approx(0.5 * (end + 1))
        assert found["evaluations"] == 7 * (end + 1)


def test_no_tiers_give_no_rows():
    assert joined_rows([]) == {}
    assert joined_rows([("pair", {})]) == {}


def test_columns_of_tiers():
    tiers = [("pair", {"a": row(CONVERGED, -2.0)}), ("chgnet", {"a": row(CONVERGED, -8.0)})]
    columns = tier_columns(joined_rows(tiers)["a"])
    assert (columns["energy_pair"], columns["energy_chgnet"], columns["status_chgnet"]) == (-2.0, -8.0, CONVERGED)
    twice = [("pair", {"a": row(CONVERGED, -2.0)}), ("pair", {"a": row("step_limit", None)})]
    columns = tier_columns(joined_rows(twice)["a"])
    assert (columns["energy_pair_0"], columns["status_pair_1"]) == (-2.0, "step_limit")
    assert tier_columns({"status": CONVERGED}) == {}


def test_programs_tell_their_versions():
    rows = [
        {"potential": text} for text in ("pw.x 6.7", "pw.x 6.7", "ase.calculators.emt.EMT", "gulp", "chgnet 0.3.0 x")
    ]
    assert program_versions([*rows, {"status": "step_limit"}]) == {"pw.x": "6.7", "chgnet": "0.3.0 x"}


SETTINGS = SingleTierSettings(pressure=10.0, min_contact=0.6, isolated_distance=6.0, report_symprec=(0.01, 0.1))


def test_a_computed_structure_is_described():
    found = computed_structure(bulk("Cu"), -3.7, SETTINGS, {"cpu_seconds": 2.0, "potential": "x"}, source="qe")
    assert found.status == CONVERGED
    assert found.values["potential_energy"] == pytest.approx(-3.7)
    assert found.values["energy"] == pytest.approx(-3.7 + 10.0 * found.values["volume"] / 160.21766, abs=1e-6)
    assert (found.values["spacegroup"], found.values["cpu_seconds"]) == (225, 2.0)
    assert found.fingerprint is not None


@pytest.mark.parametrize(
    ("atoms", "energy", "status"),
    [
        (bulk("Cu"), float("nan"), "energy_not_finite"),
        (bulk("Cu"), float("inf"), "energy_not_finite"),
        (bulk("Cu", a=1.5), -3.7, "fused_atoms"),
        (bulk("Cu", a=12.0), -3.7, "isolated_atom"),
        (Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.5]], cell=[7, 7, 5], pbc=True), -3.7, "isolated_parts"),
    ],
)
def test_what_cannot_be_used_has_failed(atoms, energy, status):
    found = computed_structure(atoms, energy, SETTINGS, {"cpu_seconds": 2.0}, source="qe")
    assert found.status == status
    assert found.values == {"cpu_seconds": 2.0}
    assert found.fingerprint is None
