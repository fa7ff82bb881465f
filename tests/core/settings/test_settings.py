from __future__ import annotations

from pathlib import Path

import pytest
from ase.data import chemical_symbols

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators.gnoa.assignments import plan_assignments
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.core.settings import CHGNET_ELEMENTS, RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.protocols import experiment, experiment_names, merge, protocol_inputs, protocol_names


@pytest.mark.parametrize("name", list(protocol_names()))
def test_every_protocol_is_complete(name):
    inputs = protocol_inputs(name)
    check_search(parse_settings(SearchSettings, {**inputs["settings"], "composition": "SrTiO3"}))
    parse_settings(RelaxSettings, inputs["relax"]["settings"])


PAPER = {
    "fgen": (("vasp",), None),
    "mlgen": (("vasp",), "pair"),
    "fgen-spp": (("gulp", "vasp"), None),
    "mlgen-spp": (("gulp", "vasp"), "pair"),
    "fgen-chgnet": (("chgnet", "vasp"), None),
    "mlgen-chgnet": (("chgnet", "vasp"), "chgnet"),
}
"""Tiers of the paper's experiments, and what ranks their pools: sections 3.1 and 3.3."""


def settings_of_experiment(name, protocol=None):
    values = protocol_inputs(protocol, experiment(name).overrides)["settings"]
    return parse_settings(SearchSettings, {**values, "composition": "SrTiO3"})


def test_there_are_the_six_experiments_of_the_paper():
    found = {name: experiment(name) for name in experiment_names()}
    assert {name: (one.tiers, one.rank_by) for name, one in found.items()} == PAPER
    assert {one.runs for one in found.values()} == {3}


@pytest.mark.parametrize("protocol", list(protocol_names()))
@pytest.mark.parametrize("name", list(PAPER))
def test_experiments_walk_as_in_the_paper(name, protocol):
    settings = settings_of_experiment(name, protocol)
    check_search(settings)
    assert (settings.max_atoms, settings.population_size) == (50, 25)
    assert (settings.walkers, settings.trials_per_step, settings.new_share, settings.size_bias) == (1, 1, 0, 0)
    assert (settings.max_attempts, settings.exclusion, settings.random_generator) == (50, 1.0, "fgen_paper")
    assert (settings.acceptance.melt_threshold, settings.acceptance.restart_threshold) == (150, None)
    assert set(settings.move_weights) == {str(number) for number in range(1, 15)}
    assert len(set(settings.move_weights.values())) == 1
    symmetry = settings.symmetry
    assert (symmetry.symmetrise, symmetry.rattle, symmetry.max_followups) == (True, 0, 0)


@pytest.mark.parametrize("name", [name for name in PAPER if name.startswith("mlgen")])
def test_experiments_generate_as_in_the_paper(name):
    settings = settings_of_experiment(name)
    gnoa = settings.gnoa
    assert settings.starts == {"gnoa": 1}
    assert (gnoa.network, gnoa.optimizer, gnoa.space_groups, gnoa.formula_units) == ("megnet", "tpe", "1", (1, 8))
    assert gnoa.trials_per_z == gnoa.history == gnoa.keep == 5000  # one history, and no structure is left out
    assert settings.pool.size == 8 * 5000
    assert settings.pool.ranking == ("single" if name == "mlgen-chgnet" else "relaxed")
    (assignment, *others) = [one for one in plan_assignments(settings, 50) if one.z == 8]
    assert (assignment.trials, others) == (5000, [])


@pytest.mark.parametrize("name", ["fgen-chgnet", "mlgen-chgnet"])
@pytest.mark.parametrize("protocol", list(protocol_names()))
def test_experiments_relax_with_chgnet_as_in_the_paper(name, protocol):
    tier = parse_settings(RelaxSettings, protocol_inputs(protocol, experiment(name).overrides)["relax"]["settings"])
    assert (tier.calculator, tier.fmax, tier.max_steps) == ("chgnet", 0.05, 2000)


def test_experiments_relax_with_gulp_and_vasp_as_in_the_paper():
    gulp = protocol_inputs("optimize", name="gulp")["parameters"]
    assert gulp["max_gnorm"] == 0.1
    vasp = protocol_inputs(name="tiers")["vasp"]["settings"]
    assert (vasp["encut_factor"], vasp["kspacing"], vasp["fmax"]) == (1.3, 0.3, 0.03)
    assert vasp["stages"] * vasp["steps_per_stage"] == 220
    assert vasp["potential_family"].startswith("PBE")


def test_settings_have_no_defaults():
    for model in (SearchSettings, RelaxSettings):
        assert [name for name, field in model.model_fields.items() if not field.is_required()] == []


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        ({"max_atoms": 4}, "settings.max_atoms", "5 atoms"),
        ({"max_atoms": 0}, "settings.max_atoms", "greater than or equal to 1"),
        ({"max_atoms": 10, "initial_max_atoms": 20}, "settings.initial_max_atoms", "exceeds"),
        ({"initial_max_atoms": 3}, "settings.initial_max_atoms", "5 atoms"),
        ({"pool": {"min_atoms": 19}, "max_atoms": 19}, "settings.pool.min_atoms", "multiple of 5"),
        ({"move_weights": {1: -1.0}}, "settings.move_weights", "greater than or equal to 0"),
        ({"move_weights": {1: 0.0}}, "settings.move_weights", "above 0"),
        ({"move_weights": {15: 1.0}}, "settings.move_weights", "must be one of 1, 2, 3"),
        ({"seed": -1}, "settings.seed", "greater than or equal to 0"),
        ({"walkers": 0}, "settings.walkers", "greater than or equal to 1"),
        ({"unknown": 1}, "settings.unknown", "there is no such input"),
        ({"acceptance": {"temperature": float("nan")}}, "settings.acceptance.temperature", "finite|greater"),
        ({"validity": {"packing_min": 3.0}}, "settings.validity", "packing_max"),
        ({"validity": {"min_distances": {"Sr-Fe": 2.0}}}, "settings.validity.min_distances[Sr-Fe]", "SrTiO3"),
        ({"radii": {"Fe": 1.2}}, "settings.radii[Fe]", "not in SrTiO3"),
        ({"oxidation_states": {"Sr": 2}}, "settings.oxidation_states", "missing"),
    ],
)
def test_bad_settings_name_field_and_remedy(search_settings, changes, field, hint):
    with pytest.raises(InputError, match=hint) as caught:
        check_search(search_settings(**changes))
    assert caught.value.field.startswith(field)


def test_element_needs_a_move_it_can_use(search_settings):
    with pytest.raises(InputError, match="element"):
        check_search(search_settings("Mn", move_weights={1: 1.0, 3: 1.0}))


def test_missing_setting_is_named():
    values = protocol_inputs("fast")["settings"]
    del values["walkers"]
    with pytest.raises(InputError, match=r"settings.walkers = '\(missing\)'"):
        parse_settings(SearchSettings, {**values, "composition": "SrTiO3"})


def test_unknown_protocol():
    with pytest.raises(InputError, match="fast, balanced, stringent"):
        protocol_inputs("quick")


def test_overrides_merge_but_replace_weights():
    base = {"a": {"b": 1, "c": 2}, "move_weights": {1: 1, 2: 1}}
    merged = merge(base, {"a": {"b": 3}, "move_weights": {7: 1}})
    assert merged == {"a": {"b": 3, "c": 2}, "move_weights": {7: 1}}
    assert base["a"]["b"] == 1


def test_unknown_setting_is_refused_without_a_protocol_too():
    values = {**protocol_inputs("fast")["settings"], "composition": "SrTiO3", "unknown": 1}
    with pytest.raises(InputError, match="not permitted"):
        parse_settings(SearchSettings, values)


def test_elements_of_chgnet_are_those_it_was_trained_with():
    """A row of the embedding that no data have changed is still as it was drawn, from a normal distribution."""
    torch, chgnet = pytest.importorskip("torch"), pytest.importorskip("chgnet")
    (path,) = (Path(chgnet.__file__).parent / "pretrained" / "0.3.0").glob("*.tar")
    weights = torch.load(path, map_location="cpu", weights_only=False)["model"]["state_dict"]
    lengths = weights["atom_embedding.embedding.weight"].norm(dim=1)
    as_drawn = {
        chemical_symbols[z] for z, length in enumerate(lengths, start=1) if length < 10
    }  # mean 8, deviation 0.7
    assert set(chemical_symbols[1:95]) - as_drawn == CHGNET_ELEMENTS
    assert len(CHGNET_ELEMENTS) == 89
