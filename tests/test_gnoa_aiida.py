"""``gnoa`` with AiiDA: models in the graph, pools by command, provenance, experiments, jobs that were killed."""

from __future__ import annotations

import hashlib
import json

import pytest
from aiida import orm
from aiida.engine import run_get_node
from ase.build import bulk
from ase.io import write

from aiida_fuse2.calculations.generate import GenerateCalculation
from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.io.names import CHECKPOINT_FILE
from aiida_fuse2.io.trials import from_extxyz, trials_from_text
from aiida_fuse2.launch import models
from aiida_fuse2.launch.pool import prepare_pool
from aiida_fuse2.launch.search import prepare_search
from aiida_fuse2.launch.training import prepare_training
from aiida_fuse2.query.chain import generation_records
from aiida_fuse2.query.structures import find_structures
from tests.core.potentials.megnet.models import CONFIG, HDF5, needs_tensorflow, trained

from .conftest import emt_overrides

SHA256 = hashlib.sha256(HDF5).hexdigest()

GNOA = {"starts": "gnoa", "gnoa": {"trials_per_z": 20, "history": 5, "keep": 1, "space_groups": "1-230"}}


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "mine.hdf5"
    path.write_bytes(HDF5)
    (tmp_path / "mine.hdf5.json").write_bytes(CONFIG)
    return path


def pool_builder(code, **settings):
    overrides = emt_overrides(**{**GNOA, **settings})
    return prepare_pool("Cu3Au", code=code, protocol="fast", overrides=overrides)


# --- models ---------------------------------------------------------------------------------------


def test_model_is_installed_once_from_a_file_or_its_address(aiida_profile, model_file):
    model, is_new = models.install_megnet(str(model_file), name="once", sha256=SHA256)
    again, is_new_again = models.install_megnet(model_file.as_uri(), name="once", sha256=SHA256.upper())
    assert (is_new, is_new_again) == (True, False)
    assert model.node.pk == again.node.pk
    assert model.name == "once"
    assert models.find_model("once").pk == models.find_model(str(model.node.pk)).pk == model.node.pk
    assert model.node.pk in {m.node.pk for m in models.all_models()}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda _: {}, "SHA-256"),
        (lambda _: {"sha256": SHA256[:-1] + ("0" if SHA256[-1] != "0" else "1")}, "--sha256"),
        (lambda path: path.write_bytes(b"x") and {"sha256": hashlib.sha256(b"x").hexdigest()}, "not an HDF5"),
        (lambda path: path.with_name("mine.hdf5.json").unlink() or {"sha256": SHA256}, "is no file"),
        (lambda path: path.unlink() or {"sha256": SHA256}, "is no file"),
    ],
)
def test_other_weights_are_refused(aiida_profile, model_file, change, text):
    before = orm.QueryBuilder().append(orm.Node).count()
    with pytest.raises(InputError, match=text):
        models.install_megnet(str(model_file), **change(model_file))
    assert orm.QueryBuilder().append(orm.Node).count() == before


def test_unknown_model_is_named(aiida_profile):
    with pytest.raises(InputError, match="model list"):
        models.find_model("no such model")
    with pytest.raises(InputError, match="another node"):
        models.find_model(str(orm.Int(3).store().pk))


def test_weights_are_asked_for_and_checked_before_submission(worker_code, model_file):
    node, _ = models.install_megnet(str(model_file), sha256=SHA256)
    overrides = {"settings": {"starts": "gnoa", "gnoa": {"network": "megnet"}, "max_atoms": 8}}
    prepared = prepare_search("Cu3Au", code=worker_code, overrides=overrides, network_model="mine")
    assert prepared.builder.generate.weights.pk == node.node.pk
    with pytest.raises(InputError, match="does not know Po"):
        prepare_search("PoO2", code=worker_code, overrides=overrides, network_model="mine")
    with pytest.raises(InputError, match="needs no weights"):
        prepare_search("Cu3Au", code=worker_code, overrides={"settings": {"max_atoms": 8}}, network_model="mine")
    builder = prepared.builder
    builder.generate.weights = orm.SinglefileData.from_string("rubbish", filename="w.zip")
    from aiida_fuse2.launch.inputs import check_inputs

    with pytest.raises(RefusedInputsError, match="corrupt"):
        check_inputs(builder)


def test_training_set_is_checked_before_submission(worker_code, tmp_path):
    path = tmp_path / "set.extxyz"
    write(path, [bulk("Cu")], format="extxyz")
    with pytest.raises(InputError, match="neither 'energy'"):
        prepare_training(path, code=worker_code, name="x", from_nothing=True)
    path.write_text("{rubbish")
    with pytest.raises(InputError, match="MatBench"):
        prepare_training(path, code=worker_code, name="x", from_nothing=True)
    with pytest.raises(InputError, match="cannot be read"):
        prepare_training(tmp_path / "no", code=worker_code, name="x", from_nothing=True)


# --- pools ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    return {}


@pytest.fixture
def pool_job(worker_code, made):
    if "pk" not in made:
        _, node = run_get_node(pool_builder(worker_code))
        assert node.is_finished_ok, node.exit_message
        made["pk"] = node.pk
    return orm.load_node(made["pk"])


def test_pool_job_gives_one_file_and_a_summary(pool_job):
    frames = from_extxyz(pool_job.outputs.pool.get_content())
    summary = pool_job.outputs.summary.get_dict()
    assert summary["kept"] == len(frames) > 0
    assert {frame.info["origin"] for frame in frames} == {"gnoa"}
    assert "checkpoint" not in pool_job.outputs


def test_search_starts_from_any_pool(worker_code, pool_job):
    overrides = emt_overrides(max_structures=4, population_size=4)
    del overrides["settings"]["starts"]
    for given in (pool_job.pk, pool_job.outputs.pool.uuid):
        prepared = prepare_search("Cu3Au", code=worker_code, protocol="fast", overrides=overrides, pool=str(given))
        assert prepared.builder.pool.uuid == pool_job.outputs.pool.uuid
    assert prepared.settings.starts == {"provided": 1.0}
    with pytest.raises(RefusedInputsError, match="none of the"):
        prepare_search("CuAu", code=worker_code, overrides=overrides, pool=str(pool_job.pk))
    with pytest.raises(InputError, match="no pool"):
        prepare_search("Cu3Au", code=worker_code, overrides=overrides, pool=str(pool_job.inputs.settings.pk))


def walk_to_pool_job(search):
    """Return the pool job of an explored structure that came out of the pool, from its node alone."""
    record = generation_records(search.pk)[0]
    origins = dict(zip(record.columns["label"], record.columns["origin"], strict=True))
    label = next(label for label, origin in origins.items() if origin == "gnoa")
    structure = orm.load_node(find_structures(search.pk, [label])[label])
    trials = structure.creator.inputs.trials
    assert label in {trial.info.label for trial in trials_from_text(trials.get_content())}
    return trials.creator.inputs.pool.creator


@pytest.mark.parametrize("draw", ["rank", pytest.param("random", marks=pytest.mark.slow)])
def test_explored_structure_leads_back_to_pool_network_and_seed(emt_builder, draw):
    pool = {"size": 6, "ranking": "single", "draw": draw}
    builder = emt_builder(**{**GNOA, "pool": pool}, seed=11, max_structures=6, move_weights={14: 1})
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    job = walk_to_pool_job(search)
    assert job.process_class is GenerateCalculation
    settings = job.inputs.settings.get_dict()
    assert (settings["seed"], settings["gnoa"]["network"], settings["gnoa"]["model"]) == (11, "chgnet", "0.3.0")
    assert job.outputs.summary["generators"]["gnoa"]["network"].startswith("chgnet 0.3.0")
    assert job.inputs.tier.uuid == search.inputs.tiers["t00"]["settings"].uuid  # what ranked it


@needs_tensorflow
@pytest.mark.slow
def test_explored_structure_leads_back_to_the_weights(emt_builder, worker_code, tmp_path):
    import io

    from aiida_fuse2.core.potentials.megnet.archive import make_archive, read_archive

    network = read_archive(trained()[0])
    config = json.dumps(network.config).encode()
    archive = make_archive(network.hdf5, config, elements=("Cu", "Au"), source="test")
    weights = orm.SinglefileData(io.BytesIO(archive.to_bytes()), filename="weights.zip").store()
    settings = {**GNOA, "gnoa": {**GNOA["gnoa"], "network": "megnet"}}
    builder = emt_builder(**settings, max_structures=4)
    builder.generate.weights = weights
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    job = walk_to_pool_job(search)
    assert job.inputs.weights.uuid == weights.uuid
    assert job.outputs.summary["generators"]["gnoa"]["network"] == f"megnet {archive.digest[:12]}"
    path = tmp_path / "set.extxyz"
    crystals = [bulk("Cu", a=3.4 + 0.03 * i) for i in range(12)]
    for i, atoms in enumerate(crystals):
        atoms.info["energy_per_atom"] = -3.0 + 0.01 * i
    write(path, crystals, format="extxyz")
    training = prepare_training(
        path, code=worker_code, name="copper", model=str(weights.pk), changes={"settings": {"epochs": 1}}
    )
    _, node = run_get_node(training)
    assert node.is_finished_ok, node.exit_message
    assert models.find_model("copper").uuid == node.outputs.weights.uuid
    summary = node.outputs.summary
    assert summary["mae"] > 0
    assert (summary["in_file"], sum(summary["structures"].values())) == (12, 12)
    assert node.inputs.weights.uuid == weights.uuid


@pytest.mark.slow
def test_a_job_goes_on_from_the_checkpoint_of_one_that_was_killed(worker_code, pool_job, aiida_localhost, tmp_path):
    """A worker that dies in the middle leaves its checkpoint, from which another job makes the same pool."""
    script = tmp_path / "dying-worker"
    real = worker_code.filepath_executable
    script.write_text(
        f'#!/bin/sh\n{real} "$@"\nhead -n 4 {CHECKPOINT_FILE} > kept; mv kept {CHECKPOINT_FILE}\n'
        "rm pool.extxyz; kill -9 $$\n"
    )
    script.chmod(0o755)
    dying = orm.InstalledCode(computer=aiida_localhost, filepath_executable=str(script), label="dying").store()
    _, died = run_get_node(pool_builder(dying))
    assert died.exit_status == 321
    assert "3 of " in died.exit_message
    builder = pool_builder(worker_code)
    builder.checkpoint = died.outputs.checkpoint
    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.summary["resumed"] == 3
    assert node.outputs.pool.get_content() == pool_job.outputs.pool.get_content()


@pytest.mark.slow
def test_search_gives_the_checkpoint_to_the_next_job(emt_builder, aiida_localhost, worker_code, tmp_path):
    script, flag = tmp_path / "dying-once", tmp_path / "died"
    real = worker_code.filepath_executable
    script.write_text(
        f'#!/bin/sh\n{real} "$@"\n[ $1 = generate ] || exit\n[ -e {flag} ] && exit\ntouch {flag}\n'
        f"head -n 4 {CHECKPOINT_FILE} > kept; mv kept {CHECKPOINT_FILE}\nrm pool.extxyz\n"
    )
    script.chmod(0o755)
    dying = orm.InstalledCode(computer=aiida_localhost, filepath_executable=str(script), label="dying-once").store()
    builder = emt_builder(**GNOA, max_structures=4)
    builder.generate.code = dying
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    jobs = [node for node in search.called if node.process_type and "generate" in node.process_type]
    assert sorted(job.exit_status for job in jobs)[:2] == [0, 321]
    second = next(job for job in jobs if job.exit_status == 0)
    assert second.outputs.summary["resumed"] == 3
