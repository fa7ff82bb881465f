"""Outputs of other plugins that are not what they should be."""

from __future__ import annotations

import pytest
from aiida import orm
from ase.build import bulk

from aiida_fuse2.io.trials import from_extxyz, trials_to_text
from aiida_fuse2.tiers import gathering
from aiida_fuse2.tiers.base import SingleTier, TierResult
from aiida_fuse2.tiers.gathering import collected, gather
from tests.core.relaxers.test_tiers import SETTINGS
from tests.trials import make_trial

COSTS = {"cpu_seconds": 1.5, "evaluations": 3}


class Plain(SingleTier):
    """A tier of somebody else's, which believes what it reads."""

    settings_model = type(SETTINGS)

    @classmethod
    def check(cls, given, elements):
        """Take anything."""

    @classmethod
    def inputs(cls, given, structure):
        """Is not asked."""
        raise NotImplementedError

    @classmethod
    def collect(cls, node):
        """Read the costs that a process says it had."""
        return TierResult(status="converged", detail="a\0b", costs={"cpu_seconds": float(node.label)})

    @classmethod
    def values(cls, results, *, pressure, volume):  # noqa: ARG003 - as the tier says
        """Return energy and potential."""
        return {"energy": results["energy"], "potential": results.get("program", "plain 1.0")}


@pytest.fixture
def gathered(aiida_profile, monkeypatch):
    """A function that gathers two structures, of which the process of the first gave certain outputs."""
    monkeypatch.setattr(gathering, "load_single_tier", lambda _: Plain)

    def run(results, relaxed=None):
        atoms = bulk("Cu", "fcc", a=3.6)
        trials = [make_trial(i, atoms) for i in range(2)]
        labels = [trial.info.label for trial in trials]
        outputs = gather(
            tier=orm.Str("plain"),
            settings=orm.Dict(SETTINGS.model_dump()),
            trials=orm.SinglefileData.from_string(trials_to_text(trials)),
            ended=orm.Dict({label: ["converged", "", COSTS] for label in labels}),
            **{
                f"results_{labels[0]}": orm.Dict(results),
                f"results_{labels[1]}": orm.Dict({"energy": -3.7}),
                f"structure_{labels[0]}": orm.StructureData(ase=relaxed or atoms),
                f"structure_{labels[1]}": orm.StructureData(ase=atoms),
            },
        )
        rows = outputs["results"]["by_label"]
        assert rows[labels[1]]["status"] == "converged"
        assert rows[labels[0]].items() >= COSTS.items()
        frames = from_extxyz(outputs["relaxed"].get_content())
        assert [frame.get_chemical_formula() for frame in frames] == ["Cu", "Cu"]
        return rows[labels[0]]

    return run


def test_good_outputs_are_taken(gathered):
    row = gathered({"energy": -3.8})
    assert (row["status"], row["potential_energy"], row["potential"]) == ("converged", -3.8, "plain 1.0")


@pytest.mark.parametrize(
    ("results", "relaxed", "status"),
    [
        ({}, None, "bad_result"),
        ({"energy": "low"}, None, "bad_result"),
        ({"energy": None}, None, "bad_result"),
        ({"energy": [1.0]}, None, "bad_result"),
        ({"energy": -3.8}, bulk("Au"), "bad_result"),
        ({"energy": -3.8}, bulk("Cu").repeat((2, 1, 1)), "bad_result"),
        ({"energy": -1e9}, None, "energy_impossible"),
        ({"energy": 1e12}, None, "energy_impossible"),
    ],
)
def test_bad_outputs_are_failures_of_their_structure_alone(gathered, results, relaxed, status):
    row = gathered(results, relaxed)
    assert (row["status"], row["fingerprint"]) == (status, None)
    assert row["detail"]
    assert "energy" not in row


def test_texts_of_programs_are_such_as_every_database_takes(gathered):
    assert gathered({"energy": -3.8, "program": "plain \ud7ff\u0085"})["potential"] == "plain \\ud7ff\\x85"


@pytest.mark.parametrize("seconds", ["many", "nan", "inf"])
def test_costs_that_are_none_are_bad_results(aiida_profile, seconds):
    found = collected(Plain, orm.CalcJobNode(label=seconds))
    assert found.status == "bad_result"
    assert found.detail
    good = collected(Plain, orm.CalcJobNode(label="1.5"))
    assert (good.status, good.detail, good.costs) == ("converged", r"a\x00b", {"cpu_seconds": 1.5})
