"""What tiers are called, for people."""

import pytest

from aiida_fuse2.core.relaxers.tiers import relaxed_to
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.query.relaxation import program_of
from aiida_fuse2.tiers import load_tier, own_tier_names


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("chgnet", {"calculator": "chgnet", "model": "0.3.0", "fmax": 0.05}, "0.05 eV/Å with CHGNet 0.3.0"),
        ("pair", {"calculator": "pair", "model": "0.3.0", "fmax": 0.1}, "0.1 eV/Å with pair potentials"),
        ("ase", {"calculator": "ase.calculators.emt.EMT", "fmax": 0.02}, "0.02 eV/Å with EMT"),
        ("chgnet", {"calculator": "a.B", "fmax": 0.1, "relax_cell": False}, "0.1 eV/Å in cells that were kept with B"),
        ("gulp", {"max_gnorm": 0.1, "stages": []}, "GULP's tolerances or a gradient norm of 0.1 with GULP"),
        ("vasp", {"fmax": 0.03, "overrides": {}}, "0.03 eV/Å with VASP"),
        ("vasp", {"fmax": 0.03, "overrides": {"a": 1}}, "0.03 eV/Å (unless its overrides say otherwise) with VASP"),
        ("qe", {"fmax": 0.03}, "0.03 eV/Å with Quantum ESPRESSO"),
        ("other", {}, "its own criterion with other"),
    ],
)
def test_to_what_each_kind_of_tier_relaxes(name, settings, text):
    assert relaxed_to(program_of(name, settings), settings) == text


def test_every_tier_has_a_name_for_people():
    assert own_tier_names() == set(protocol_inputs(name="tiers"))
    assert all(load_tier(name).program for name in own_tier_names())
