"""How many attempts are refused on real crystals, by the settings of the default protocol."""

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from aiida_fuse2.core.chemistry.composition import formula_unit
from aiida_fuse2.core.moves import OWN
from aiida_fuse2.core.search.acceptance import Thermostat
from aiida_fuse2.core.search.proposing import Proposer
from aiida_fuse2.core.search.state import SearchState, Walker
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.protocols import experiment, protocol_inputs
from tests.core.structure_types import structure_types

ATTEMPTS = 3
LARGEST = 30
"""Largest cell here; there are 39 with at most so many atoms."""


@cache
def _refused(name, *, every=1, of_paper=False):
    """Return the share of refused attempts, and the number of crystals on which the move can be used."""
    tried, made, crystals = 0, 0, 0
    changes = {"exclusion": experiment("fgen-chgnet").overrides["settings"]["exclusion"]} if of_paper else {}
    for atoms in list(structure_types().values())[::every]:
        unit = formula_unit(Counter(atoms.get_chemical_symbols()))
        values = protocol_inputs("balanced", {"settings": changes})["settings"]
        settings = parse_settings(SearchSettings, {**values, "composition": unit.formula})
        others = atoms.copy()
        others.rattle(0.3, seed=1)
        state = SearchState.initial(2, 0.02)
        walkers = tuple(Walker(label, label, 0.0, Thermostat(0.02)) for label in ("parent", "other"))
        state = replace(state, generation=1, walkers=walkers)
        proposer = Proposer(settings, state, None, {"parent": atoms, "other": others})
        sliced, context = proposer._slice(atoms, walkers[0]), proposer._context(0)
        if len(sliced) > LARGEST or not OWN[name].applicable(sliced, context):
            continue
        crystals += 1
        for seed in range(ATTEMPTS):
            tried += 1
            made += proposer._try_move(OWN[name], sliced, atoms, context, walker=0, trial=0, attempt=seed)
    return 1 - made / tried, crystals


@pytest.mark.parametrize("name", ["4", "6"])
def test_vacant_sites_are_hardly_ever_refused(name):
    share, crystals = _refused(name)
    assert crystals >= 35
    assert share < 0.1
    assert _refused(name, of_paper=True)[0] > 0.6


@pytest.mark.parametrize("name", ["7", "8", "9", "10"])
def test_swapped_and_reshaped_modules_are_seldom_refused(name):
    share, crystals = _refused(name)
    assert crystals >= 15
    assert share < 0.2
    assert _refused(name, of_paper=True)[0] > 0.25


@pytest.mark.parametrize("name", sorted(set(OWN) - {"4", "6", "7", "8", "9", "10", "13", "14"}))
def test_no_move_is_refused_often(name):
    assert _refused(name, every=3)[0] < 1 / 3
