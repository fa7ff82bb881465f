"""Which energies can be compared: potentials, versions and checksums never mix."""

from __future__ import annotations

from itertools import combinations

import pytest
from aiida import orm

from aiida_fuse2.protocols import merge, protocol_inputs
from aiida_fuse2.protocols.models import find_model
from aiida_fuse2.query.ranking import energy_difference, has_same_energies
from aiida_fuse2.report.collect import potential_name
from aiida_fuse2.tiers import energy_identity

SEVENNET = find_model("sevennet-l3i5")
OTHER = "0" * 64


def tier(name="ase", **changes):
    return name, merge(protocol_inputs()["relax"]["settings"], changes), None


def sevennet(version=None, sha256=None, **changes):
    return tier(**SEVENNET.settings_with(version, sha256), **changes)


EMT = "ase.calculators.emt.EMT"

DIFFERENT = [
    tier("chgnet"),
    tier("chgnet", model="0.2.0"),
    tier("chgnet", model="r2scan"),
    tier("chgnet", pressure=1.0),
    tier(calculator=EMT),
    tier(calculator=EMT, arguments={"asap_cutoff": True}),
    sevennet("0.13.0"),
    sevennet("0.12.0"),
    sevennet(),
    sevennet("0.13.0", OTHER),
    tier(**find_model("sevennet-0").settings_with("0.13.0", None)),
    tier(calculator=SEVENNET.calculator, arguments=SEVENNET.arguments),
]

SAME = [
    (tier("chgnet"), tier("chgnet", fmax=0.01, arguments={"a": 1}, device="cuda")),
    (tier(calculator=EMT), tier(calculator=EMT, model="0.2.0")),
    (sevennet("0.13.0"), sevennet("0.13.0", SEVENNET.weights.sha256, fmax=0.1)),
    (tier("chgnet"), ("chgnet", {k: v for k, v in tier("chgnet")[1].items() if k != "weights"}, None)),
]


def inputs(used):
    name, settings, _ = used
    return {"tiers": {"t00": {"name": orm.Str(name), "settings": orm.Dict(settings)}}}


@pytest.mark.parametrize(("a", "b"), list(combinations(range(len(DIFFERENT)), 2)))
def test_energies_that_cannot_be_compared(a, b):
    first, second = DIFFERENT[a], DIFFERENT[b]
    assert energy_identity(*first) != energy_identity(*second)
    assert potential_name(first) != potential_name(second)


@pytest.mark.parametrize(("first", "second"), SAME)
def test_energies_that_can_be_compared(aiida_profile, first, second):
    assert energy_difference(inputs(first), inputs(second)) is None
    assert potential_name(first) == potential_name(second)


def test_the_difference_is_named(aiida_profile):
    one, other = inputs(sevennet("0.13.0")), inputs(sevennet("0.12.0"))
    name, before, now = energy_difference(one, other)
    assert (name, before["version"], now["version"]) == ("weights", "0.13.0", "0.12.0")
    assert not has_same_energies(one, other)
    assert has_same_energies(one, one)
    assert not has_same_energies(one, {})
