"""Inputs of GULP: the grammar of its help file, and the same energy function as the embedded engine's."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.pair import PairEvaluator, read_library, write_library
from aiida_fuse2.core.relaxers.gulp import GulpSettings, write_input
from aiida_fuse2.core.relaxers.gulp.settings import check_charges, check_task
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.protocols import merge, protocol_inputs
from tests.core.potentials.pair.libraries import crystal, mixed_text
from tests.gulp_stand_in import read_input


def parameters(protocol="optimize", **changes):
    values = merge(protocol_inputs(protocol, name="gulp")["parameters"], changes)
    return parse_settings(GulpSettings, values, where="parameters")


def test_the_text_of_an_input():
    settings = parameters(pressure=5.0, cutp=8.0)
    text = write_input(crystal(n=3), settings, settings.stages[0], name="g00000_w000_t000", library="potential.lib")
    lines = text.splitlines()
    assert lines[0] == "opti conj conp noelectro"
    assert lines[1:3] == ["name g00000_w000_t000", "vectors"]
    assert lines[6] == "fractional"
    assert [line.split()[:2] for line in lines[7:10]] == [["Ca", "core"], ["Ti", "core"], ["O", "core"]]
    assert lines[10:] == [
        "library potential.lib",
        "maxcyc opt 500",
        "stepmx opt 0.50000000",
        "gmax opt 0.10000000",
        "gtol opt 0.01000000",
        "ftol opt 0.00100000",
        "xtol opt 0.00100000",
        "cutp 8.000000",
        "pressure 5.000000 GPa",
        "time 300.0 seconds",
    ]


@pytest.mark.parametrize("seed", range(4))
def test_the_input_is_the_same_energy_function_as_the_engine(tmp_path, seed):
    """What was written, structure and library, is read back and computed."""
    library = read_library(mixed_text())
    atoms = crystal(seed)
    atoms.positions += 20.0  # outside of the cell, as trials may be
    settings = parameters("single")
    (tmp_path / "potential.lib").write_text(write_library(library))
    text = write_input(atoms, settings, settings.stages[0], name="one", library="potential.lib")
    given = read_input(text, tmp_path)
    assert given.library == library
    assert given.keywords == ["single", "noelectro"]
    before, after = (
        PairEvaluator(own).evaluate(a.numbers, a.positions, a.cell.array)
        for own, a in ((library, atoms), (given.library, given.atoms))
    )
    assert after.energy == pytest.approx(before.energy, abs=1e-6)
    assert np.allclose(after.forces, before.forces, atol=1e-6)
    assert np.allclose(after.stress, before.stress, atol=1e-8)


def test_charges_are_asked_about():
    charged = read_library("species 1\nO core -2.0\nbuck\nO O 1.0 0.3 0.0 6.0")
    with pytest.raises(InputError, match="has charges, which would not be used") as caught:
        check_charges(parameters(), charged)
    assert caught.value.field == "parameters.electrostatics"
    check_charges(parameters(electrostatics=True), charged)
    with pytest.raises(InputError, match="has no charges"):
        check_charges(parameters(electrostatics=True), read_library(mixed_text()))


def test_electrostatics_leave_the_keyword_out():
    settings = parameters(electrostatics=True)
    text = write_input(crystal(), settings, settings.stages[1], name="one", library="l")
    assert text.splitlines()[0] == "opti conp"


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([], "at least 1"),
        ([{"keywords": ["opti"]}], "needs one of conp"),
        ([{"keywords": ["conp"]}], "either 'optimise' or 'single'"),
        ([{"keywords": ["opti", "single", "conp"]}], "either 'optimise' or 'single'"),
        ([{"keywords": ["opti", "conp", "cnoj"]}], "'cnoj' is not an accepted keyword"),
        ([{"keywords": ["opti", "conp", "noelectro"]}], "if electrostatics is false"),
        ([{"keywords": ["opti", "conp"], "gmax": 5.0}], "less than or equal to 1"),
        ([{"keywords": ["opti", "conp"], "maxcyc": 0}], "greater than or equal to 1"),
        ([{"keywords": ["opti", "conp"], "mxcyc": 10}], "not permitted"),
    ],
)
def test_wrong_stages_are_refused(stages, words):
    with pytest.raises(InputError, match=words) as caught:
        parameters(stages=stages)
    assert caught.value.field.startswith("parameters.stages")


def test_stages_fit_the_job():
    check_task(parameters(), optimises=True)
    check_task(parameters("single"), optimises=False)
    with pytest.raises(InputError, match="must hold 'optimise'"):
        check_task(parameters("single"), optimises=True)
