"""Jobs with pair potentials and GULP through AiiDA: inputs that are refused, outputs, exit codes, provenance."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_fuse2.calculations.gulp import GulpOptimizeCalculation, GulpSingleCalculation
from aiida_fuse2.calculations.relax import RelaxCalculation
from aiida_fuse2.core.relaxers.failures import OF_THE_MACHINE
from aiida_fuse2.core.relaxers.gulp import Outcome
from aiida_fuse2.io.names import GULP_INPUT, GULP_OUTPUT, TRIALS_FILE
from aiida_fuse2.io.trials import trials_to_text
from aiida_fuse2.launch.potentials import learning_builder
from aiida_fuse2.parsers.gulp import EXIT_CODES
from aiida_fuse2.protocols import merge, protocol_inputs
from tests.trials import make_trial
from tests.worker.test_gulp import LIBRARY, noble, stand_in


@pytest.fixture
def potential(aiida_profile):
    return orm.SinglefileData.from_string(LIBRARY, filename="ours.lib")


@pytest.fixture
def trials(aiida_profile):
    text = trials_to_text([make_trial(0, noble(0)), make_trial(1, noble(1))])
    return orm.SinglefileData.from_string(text, filename=TRIALS_FILE)


@pytest.fixture
def gulp(tmp_path, worker_code):
    """A factory of codes of the stand-in."""

    def make(fault=""):
        program = stand_in(tmp_path, fault)
        return orm.InstalledCode(computer=worker_code.computer, filepath_executable=str(program), label="gulp").store()

    return make


@pytest.fixture
def parameters(aiida_profile):
    def make(protocol="optimize", **changes):
        values = merge(protocol_inputs(protocol, name="gulp")["parameters"], {"min_contact": 0.1, **changes})
        if protocol == "optimize":
            values["stages"] = [{"keywords": ["opti", "conp"]}]
        return orm.Dict(values)

    return make


def test_trials_are_relaxed_with_a_library(worker_code, potential, trials, relax_settings):
    settings = relax_settings(calculator="pair", fmax=0.05, min_contact=0.1, keep_symmetry=False, max_steps=500)
    builder = RelaxCalculation.get_builder()
    builder.code, builder.trials, builder.potential = worker_code, trials, potential
    builder.settings = orm.Dict(settings.model_dump())
    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    rows = node.outputs.results["by_label"]
    assert {row["status"] for row in rows.values()} == {"converged"}
    assert {row["potential"] for row in rows.values()} == {"pair potential"}
    assert node.inputs.potential.uuid == potential.uuid
    assert len(node.outputs.structures) == 2


def test_a_library_and_its_calculator_go_together(worker_code, potential, trials, relax_settings):
    builder = RelaxCalculation.get_builder()
    builder.code, builder.trials = worker_code, trials
    builder.settings = orm.Dict(relax_settings(calculator="pair").model_dump())
    with pytest.raises(ValueError, match="needs a library"):
        run_get_node(builder)
    builder.settings = orm.Dict(relax_settings(calculator="ase.calculators.emt.EMT").model_dump())
    builder.potential = potential
    with pytest.raises(ValueError, match="must be 'pair'"):
        run_get_node(builder)
    builder.settings = orm.Dict(relax_settings(calculator="pair").model_dump())
    builder.potential = orm.SinglefileData.from_string("buck\nAr Ar 1.0 0.3 0.0 6.0", filename="x.lib")
    with pytest.raises(ValueError, match="no potential for Ar-Kr, Kr-Kr"):
        run_get_node(builder)
    builder.potential = orm.SinglefileData.from_string("species 1\nAr core 1.0\n" + LIBRARY, filename="x.lib")
    with pytest.raises(ValueError, match="no electrostatics"):
        run_get_node(builder)
    with pytest.raises(ValueError, match="is not a supported form"):
        builder.potential = orm.SinglefileData.from_string("tersoff\n", filename="x.lib")


def test_one_structure_is_relaxed_by_gulp(worker_code, gulp, potential, parameters):
    builder = GulpOptimizeCalculation.get_builder()
    builder.code, builder.gulp, builder.potential, builder.parameters = worker_code, gulp(), potential, parameters()
    builder.structure = orm.StructureData(ase=noble())
    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.results["status"] == "converged"
    assert node.outputs.results["software"]["aiida-fuse2"]
    assert node.outputs.structure.get_ase().get_volume() < noble().get_volume() * 1.5
    assert {GULP_INPUT, GULP_OUTPUT} <= set(node.outputs.retrieved.base.repository.list_object_names())
    assert "structures" not in node.outputs


def test_a_batch_goes_through_gulp_as_through_our_own_relaxation(worker_code, gulp, potential, trials, parameters):
    builder = GulpSingleCalculation.get_builder()
    builder.code, builder.gulp, builder.potential, builder.trials = worker_code, gulp(), potential, trials
    builder.parameters = parameters("single")
    builder.labels = orm.List([make_trial(1, None).info.label])
    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    (label,) = node.outputs.results["by_label"]
    assert list(node.outputs.structures) == [label] == [make_trial(1, None).info.label]
    assert node.outputs.structures[label].base.extras.get("fuse2")["energy"] < 0
    assert node.outputs.relaxed.get_content().count("Lattice") == 1


def test_a_failure_of_gulp_is_the_exit_code_of_one_structure(worker_code, gulp, potential, parameters):
    builder = GulpOptimizeCalculation.get_builder()
    builder.code, builder.gulp, builder.potential, builder.parameters = (
        worker_code,
        gulp("steps"),
        potential,
        parameters(),
    )
    builder.structure = orm.StructureData(ase=noble())
    _, node = run_get_node(builder)
    assert node.exit_status == 700
    assert "step_limit" in node.exit_message
    assert "structure" in node.outputs  # stopped, but usable


def test_every_outcome_of_gulp_has_an_exit_code(aiida_profile):
    labels = set(GulpOptimizeCalculation.spec().exit_codes)
    of_outputs = {outcome: code for outcome, code in EXIT_CODES.items() if outcome not in OF_THE_MACHINE}
    assert set(of_outputs) == set(Outcome) - {Outcome.ACHIEVED, Outcome.SINGLE}
    assert {*EXIT_CODES.values(), "ERROR_BAD_STRUCTURE"} <= labels
    assert len(set(of_outputs.values())) == len(of_outputs)
    assert set(EXIT_CODES) >= OF_THE_MACHINE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"structure": None}, "either a structure or trials"),
        ({"trials": True}, "either a structure or trials"),
        ({"parameters": {"electrostatics": True}}, "has no charges"),
        ({"parameters": {"max_gnorm": -1.0}}, "max_gnorm"),
        ({"protocol": "single"}, "must hold 'optimise'"),
        ({"library": "buck\nAr Ar 1.0 0.3 0.0 6.0"}, "no potential for Ar-Kr, Kr-Kr"),
        ({"library": "buck\nAr Ar 1 0.3 0 6.", "structure": None, "trials": True}, "no potential for Ar-Kr, Kr-Kr"),
    ],
)
def test_bad_inputs_are_refused_before_submission(worker_code, trials, parameters, changes, words):
    builder = GulpOptimizeCalculation.get_builder()
    builder.code = builder.gulp = worker_code
    builder.potential = orm.SinglefileData.from_string(changes.get("library", LIBRARY), filename="x.lib")
    builder.parameters = parameters(changes.get("protocol", "optimize"), **changes.get("parameters", {}))
    if "structure" not in changes:
        builder.structure = orm.StructureData(ase=noble())
    if "trials" in changes:
        builder.trials = trials
    with pytest.raises(ValueError, match=words):
        run_get_node(builder)


LEARN_EMT = {
    "settings": {
        "max_atoms": 4,
        "min_atoms": 4,
        "generators": ["fgen"],
        "relaxations": 2,
        "random_structures": 10,
        "held_out": 5,
    },
    "relax": {"calculator": "ase.calculators.emt.EMT", "max_steps": 30},
}


def test_learning_leaves_all_that_it_used_in_the_graph(worker_code):
    _, node = run_get_node(learning_builder("CuAu", worker_code, "fast", LEARN_EMT))
    assert node.is_finished_ok, node.exit_message
    report = node.outputs.report.get_dict()
    assert (report["composition"], report["teacher"], report["seed"]) == ("CuAu", "ase.calculators.emt.EMT", 1)
    assert report["software"]["aiida-fuse2"]
    text = node.outputs.potential.get_content()
    assert "learned by aiida-fuse2" in text
    assert text.count("spline cubic") == 3
    assert node.outputs.frames.get_content().count("Lattice") == report["frames"]
    assert node.inputs.settings["seed"] == 1
