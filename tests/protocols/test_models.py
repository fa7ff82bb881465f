"""Potentials by name."""

from __future__ import annotations

import pytest
import yaml

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import CHGNET_ELEMENTS, RelaxSettings, parse_settings
from aiida_fuse2.protocols import merge, protocol_inputs
from aiida_fuse2.protocols.models import all_models, expanded_elements, families, find_model

NAMES = [
    "chgnet-0.3.0",
    "chgnet-0.2.0",
    "chgnet-r2scan",
    "mace-mpa-0",
    "mattersim-5m",
    "mattersim-1m",
    "orb-v3",
    "sevennet-l3i5",
    "sevennet-0",
    "sevennet-mf-0",
    "sevennet-omni",
]

OWN = {
    "title": "EMT",
    "calculator": "ase.calculators.emt.EMT",
    "package": "ase",
    "requirements": ["ase"],
    "licence": "LGPL-2.1-or-later",
    "citation": "K. W. Jacobsen et al., Surf. Sci. 366, 394 (1996)",
    "elements": ["Al", "Cu-Cu"],
    "models": {"plain": {"functional": "none", "tested": "here", "energy": None, "weights": None}},
}


def own(tmp_path, **changes):
    path = tmp_path / "emt.yaml"
    path.write_text(yaml.safe_dump({**OWN, **changes}))
    return path


def test_the_packaged_potentials():
    assert [model.name for model in all_models()] == NAMES
    assert find_model("sevennet").name == "sevennet-l3i5"
    assert [find_model(family).family for family in families()] == families()


def test_sevennet_is_described_as_its_package_has_it():
    model = find_model("sevennet-l3i5")
    assert model.relax_settings == {
        "calculator": "sevenn.calculator.SevenNetCalculator",
        "model": "sevennet-l3i5",
        "arguments": {"model": "7net-l3i5", "device": "{device}"},
        "weights": {
            "package": "sevenn",
            "version": None,
            "module": "sevenn",
            "file": "pretrained_potentials/SevenNet_l3i5/checkpoint_l3i5.pth",
            "sha256": "a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d",
        },
    }
    assert (model.licence, len(model.elements), model.code_label) == ("MIT", 89, "fuse2-sevennet")


@pytest.mark.parametrize("name", NAMES)
def test_every_potential_makes_settings_of_relaxations(name):
    values = merge(protocol_inputs("fast")["relax"]["settings"], find_model(name).relax_settings)
    assert parse_settings(RelaxSettings, values).calculator == find_model(name).calculator


def test_chgnet_is_as_without_a_name():
    settings = protocol_inputs()["relax"]["settings"]
    assert merge(settings, find_model("chgnet").relax_settings) == settings
    assert find_model("chgnet").elements == CHGNET_ELEMENTS
    assert find_model("chgnet").code_label == "fuse2-worker"


def test_a_file_of_the_user(tmp_path):
    model = find_model(own(tmp_path))
    assert (model.name, model.code_label, model.elements) == ("emt-plain", "fuse2-emt", {"Al", "Cu"})
    assert find_model(f"{own(tmp_path)}:plain") == model


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elements": ["Cu-Al"]}, "'Cu-Al'"),
        ({"requirements": ["--index-url=x"]}, "no options"),
        ({"models": {}}, "models"),
        ({"more": 1}, "more"),
        ({"models": {"a b": OWN["models"]["plain"]}}, "'a b'"),
        ({"models": {"a": {**OWN["models"]["plain"], "weights": {"file": "../x", "sha256": None}}}}, "weights"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        find_model(own(tmp_path, **changes))


@pytest.mark.parametrize("name", ["sevennet-l5", "", "CHGNet", "/no/such/file.yaml"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(InputError, match="--model"):
        find_model(name)


def test_a_missing_model_of_a_file_and_names_of_files(tmp_path):
    with pytest.raises(InputError, match="plain"):
        find_model(f"{own(tmp_path)}:none")
    path = tmp_path / "chgnet.yaml"
    path.write_text(yaml.safe_dump(OWN))
    with pytest.raises(InputError, match="family"):
        find_model(path)


def test_ranges_of_elements():
    assert expanded_elements(["H-Li", "O"]) == {"H", "He", "Li", "O"}
