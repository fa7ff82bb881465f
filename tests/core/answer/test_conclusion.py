"""The end of a search in words: converged, not converged, without a structure, with failures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiida_fuse2.core.answer.conclusion import Ended, conclude_search
from aiida_fuse2.core.search.evidence import Evidence

EVIDENCE = Evidence(
    tried=180,
    new_bests=3,
    random_since_best=170,
    confidence=0.95,
    chance=0.052,
    missing_sizes=(),
    starts=100,
    starts_since_best=80,
    finds=3,
    low_lying=2,
    low_lying_finds=5,
    coverage=0.8,
    low_lying_expected=3.0,
    cpu_seconds_per_structure=1.0,
)

PEROVSKITE = {"spacegroup_symbol": "Pm-3m", "type": "Cubic Perovskite (CaTiO3, cP5)", "energy": -8.4236, "delta": 0.0}


def phase(symbol, name, delta):
    return {"spacegroup_symbol": symbol, "type": name, "energy": -8.4236 + delta, "delta": delta}


def structure(symbol, name, delta, **values):
    return {"spacegroup_symbol_loose": symbol, "type": name, "energy": -8.4236 + delta, "delta": delta, **values}


ENDED = Ended(
    pk=8,
    formula="SrTiO3",
    tried=180,
    failures={"step_limit": 4},
    max_structures=180,
    max_atoms=20,
    phases=[PEROVSKITE, phase("Cmcm", "unknown type", 0.0123), phase("Pnma", "", 0.1)],
    ranked=[structure("Cm", "", 0.0), structure("P1", "", 0.001)],
    evidence=EVIDENCE,
)


def told(ended=ENDED, **changes):
    return conclude_search(replace(ended, **changes), "aiida-fuse2 {}".format)


def test_search_that_has_not_converged():
    end = told()
    assert end.found == (
        "3 phases, the lowest Pm-3m (Cubic Perovskite), -8.4236 eV/atom; then Cmcm +12.3, Pnma +100.0 meV/atom; "
        "differences below 20 meV/atom can be errors of the potential."
    )
    assert end.sure.startswith("Best found by 3 of 100 random starts, last improvement 170 random structures ago")
    assert "not converged" in end.sure
    assert "With 95 % confidence" in end.sure
    assert end.next == (
        ("more structures", "aiida-fuse2 continue 8 --max-structures 360"),
        ("energies from DFT", "aiida-fuse2 refine 8 --best 2 --tiers vasp"),
    )
    assert dict(end.lines)["next"] == (
        "more structures: `aiida-fuse2 continue 8 --max-structures 360`; "
        "energies from DFT: `aiida-fuse2 refine 8 --best 2 --tiers vasp`"
    )


def test_search_that_has_converged():
    many = replace(EVIDENCE, finds=40)
    assert many.is_converged
    end = told(evidence=many, phases=[PEROVSKITE])
    assert end.found == "one phase, Pm-3m (Cubic Perovskite), -8.4236 eV/atom."
    assert "a lower one as easy to find would have been found" in end.sure
    assert end.next[0] == ("larger cells", "aiida-fuse2 run SrTiO3 --max-atoms 40")


def test_other_limits_are_raised_as_well():
    assert told(limits="--set settings.rmax=200").next[0][1] == (
        "aiida-fuse2 continue 8 --max-structures 360 --set settings.rmax=200"
    )


@pytest.mark.parametrize(
    ("phases", "text"),
    [
        ([phase("Cmcm", "unknown type", 0.0), phase("Pm-3m", "Cubic Perovskite (CaTiO3, cP5)", 0.03)], True),
        ([phase("Cmcm", "isopointal with X (Y, cP5)", 0.0), phase("Pm-3m", "unknown type", 0.03)], False),
        ([PEROVSKITE, phase("Pm-3m", "Other (A, cP5)", 0.03)], False),
    ],
)
def test_lowest_of_a_known_type_is_named_if_another_is_lower(phases, text):
    known = "; the lowest of a known type is phase 2, Cubic Perovskite."
    assert told(phases=phases).found.endswith(known) == text


def test_order_that_may_be_an_error_is_said_to_be_one():
    far = [PEROVSKITE, phase("Cmcm", "", 0.05)]
    assert "errors of the potential" not in told(phases=far).found
    assert "errors of the potential" not in told(is_dft=True).found
    assert [what for what, _ in told(is_dft=True).next] == ["more structures"]


def test_without_an_answer_the_structures_are_told():
    end = told(phases=[])
    assert end.found.startswith("the lowest structure is Cm as relaxed, -8.4236 eV/atom; then P1 +1.0 meV/atom")
    assert end.next[0] == ("symmetrise it", "aiida-fuse2 finish 8")
    assert "symmetrise it" not in dict(told(phases=[], can_finish=False).next)


def test_failures_are_told_where_they_are_many():
    assert "failed" not in told().sure
    sure = told(failures={"step_limit": 30, "explosion": 40}).sure
    assert sure.startswith("70 of 180 relaxations failed (explosion 40, step_limit 30). Best found by")


def test_no_structure():
    nothing = replace(EVIDENCE, new_bests=0, chance=None)
    end = told(phases=[], ranked=[], tried=12, failures={"step_limit": 12}, evidence=nothing)
    assert end.found == "no structure in 12 trials."
    assert end.sure == "12 of 12 relaxations failed (step_limit 12)."
    assert end.next == (
        ("see why", "aiida-fuse2 status 8"),
        ("more structures", "aiida-fuse2 continue 8 --max-structures 360"),
    )
    end = told(phases=[], ranked=[], tried=0, failures={}, evidence=nothing)
    assert (end.found, end.sure) == ("no structure in 0 trials.", "")
    assert end.next == (("see why", "aiida-fuse2 status 8"),)


def test_runs_agree_or_not():
    rows = [structure("Cm", "", 0.0, runs=[0, 2]), structure("P1", "", 0.01, runs=[0, 1])]
    end = told(runs=3, ranked=rows, evidence=None)
    assert end.sure == "The lowest structure was found by 2 of 3 runs with a structure."
    assert end.next == (("energies from DFT", "aiida-fuse2 refine 8 --best 2 --tiers vasp"),)


def test_plain_values():
    values = told().values()
    assert values["next"][0] == {"purpose": "more structures", "command": "aiida-fuse2 continue 8 --max-structures 360"}
    assert set(values) == {"found", "sure", "next"}
