"""Caching switched on by the user changes nothing but time."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching

from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.launch.continuation import prepare_continuation
from aiida_fuse2.workchains.job_outputs import remove_folders

from .comparing import comparable, rows_of

ROOT = Path(__file__).resolve().parents[2]

_FIRST: dict[str, int] = {}

GENERATION = {"max_structures": 2, "population_size": 2}
"""A search of one generation."""


def run_cached(builder):
    with enable_caching():
        _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    return node


@pytest.fixture
def first(emt_builder):
    """A search with caching on, which fills the cache; made once for several tests."""
    if "pk" not in _FIRST:
        _FIRST["pk"] = run_cached(emt_builder(max_structures=6, seed=21)).pk
    return orm.load_node(_FIRST["pk"])


def from_cache(search):
    """Return which of the processes that a search called came out of the cache."""
    return {
        node.base.links.get_incoming().first().link_label + f" {node.pk}": node.base.caching.is_created_from_cache
        for node in search.called_descendants
        if isinstance(node, orm.CalculationNode)  # tiers are no calculation, and run again
    }


def labels_from_cache(search):
    """Return the kinds of processes of a search that came out of the cache, all of them."""
    cached = {}
    for node in search.called_descendants:
        cached.setdefault(node.process_label, set()).add(node.base.caching.is_created_from_cache)
    return {label for label, found in cached.items() if found == {True}}


def test_second_search_is_the_first(emt_builder, first):
    two = run_cached(emt_builder(max_structures=6, seed=21))
    assert not any(from_cache(first).values())
    assert all(from_cache(two).values())
    assert len(from_cache(two)) == len(from_cache(first))
    assert rows_of(two) == rows_of(first)  # times too
    assert two.outputs.structure.uuid != first.outputs.structure.uuid
    assert two.outputs.ranked.get_dict() == first.outputs.ranked.get_dict()
    labels = [row["label"] for row in rows_of(two) if row["status"] == "converged"]
    group = orm.Group.collection.get(label="fuse2/" + two.uuid)
    assert sorted(node.label for node in group.nodes) == sorted(labels)
    assert all("fuse2" in node.base.extras.all for node in group.nodes)


@pytest.mark.slow
def test_continued_search_is_the_longer_one(emt_builder, first):
    """Twice: what it computes anew, and then from the cache."""
    short = run_cached(emt_builder(max_structures=4, seed=21))
    assert "propose" not in labels_from_cache(short)  # other settings
    overrides = {"settings": {"max_structures": 6}}
    longer, again = (run_cached(prepare_continuation(short, overrides=overrides).builder) for _ in range(2))
    for search in (longer, again):
        assert comparable(rows_of(search)) == comparable(rows_of(first))
        assert search.outputs.energy.value == first.outputs.energy.value
        state = SearchState.from_dict(search.outputs.state.get_dict())
        assert state.tried == 6
    assert all(from_cache(again).values())


@pytest.mark.slow
def test_other_versions_of_the_engine_are_computed_again(emt_builder, first, monkeypatch):
    monkeypatch.setattr("aiida_fuse2.environment.software.engine_software", lambda *_: {"aiida-fuse2": "999"})
    two = run_cached(emt_builder(max_structures=6, seed=21))
    assert not {"begin", "propose", "decide", "summarise"} & labels_from_cache(two)
    assert comparable(rows_of(two)) == comparable(rows_of(first))


def shifted(builder, path):
    """Let a builder use EMT with a constant that is added to the energies, eV/atom: that in a file."""
    tier = builder.tiers["t00"]["settings"].get_dict()
    changes = {"calculator": "tests.faulty.ShiftedEMT", "arguments": {"path": str(path)}}
    builder.tiers["t00"]["settings"] = orm.Dict({**tier, **changes})
    options = {**builder.tiers["t00"]["options"].get_dict(), "environment_variables": {"PYTHONPATH": str(ROOT)}}
    builder.tiers["t00"]["options"] = orm.Dict(options)
    return builder


@pytest.mark.slow
def test_energies_of_another_version_are_not_stale(emt_builder, monkeypatch, tmp_path):
    """The file stands for a model: its path stays the same, its contents change."""
    path = tmp_path / "model"
    energies = []
    for shift in ("0", "0", "1.5"):
        path.write_text(shift)
        search = run_cached(shifted(emt_builder(seed=22, **GENERATION), path))
        energies.append(search.outputs.energy.value)
        is_cached = "RelaxCalculation" in labels_from_cache(search)
        assert is_cached == (len(energies) == 2)
        assert {"begin", "propose"} <= labels_from_cache(search) or len(energies) == 1
    assert energies[1] == energies[0]
    assert energies[2] == pytest.approx(energies[0] + 1.5, abs=1e-6)
    # what would happen without: the worker tells the same versions as before, and the first energies come back
    (job,) = [node for node in search.called_descendants if isinstance(node, orm.CalcJobNode)]
    versions = job.inputs.software.get_dict()
    monkeypatch.setattr("aiida_fuse2.environment.software.worker_software", lambda *_, **__: versions)
    path.write_text("3")
    assert run_cached(shifted(emt_builder(seed=22, **GENERATION), path)).outputs.energy.value == energies[2]


def test_another_model_is_another_input(emt_builder):
    builders = [emt_builder(relax={"calculator": "chgnet", "model": model}) for model in ("0.2.0", "0.3.0")]
    settings = [builder.tiers["t00"]["settings"].store() for builder in builders]
    assert len({node.base.caching.get_hash() for node in settings}) == 2


@pytest.mark.slow
def test_job_of_unknown_versions_is_not_cached(emt_builder, monkeypatch):
    monkeypatch.setattr("aiida_fuse2.environment.software.worker_software", lambda *_, **__: None)
    run_cached(emt_builder(seed=23, **GENERATION))
    two = run_cached(emt_builder(seed=23, **GENERATION))
    assert "propose" in labels_from_cache(two)
    assert "RelaxCalculation" not in labels_from_cache(two)


@pytest.mark.slow
def test_walkers_of_a_cached_search_do_not_repeat_themselves(emt_builder, first):
    """The second seed shares nothing with the first, and no generation shares trials with another one."""
    two = run_cached(emt_builder(max_structures=6, seed=25))
    made = [node for node in two.called_descendants if node.process_label in {"propose", "RelaxCalculation", "decide"}]
    assert not any(node.base.caching.is_created_from_cache for node in made)
    trials = [node.inputs.trials.base.repository.hash() for node in made if "trials" in node.inputs]
    assert len(trials) == 4  # of relaxing and of deciding
    assert len(set(trials)) == 2
    assert [r["label"] for r in rows_of(first)] == [r["label"] for r in rows_of(two)]


def test_worker_tells_its_versions(worker_code):
    from importlib.metadata import version

    from aiida_fuse2.environment.software import worker_software

    assert worker_software(worker_code)["ase"] == version("ase")
    tier = {"calculator": "no.such.Calculator", "arguments": {}}
    assert worker_software(worker_code, tier=tier) is None


@pytest.mark.parametrize("is_cached", [True, False])
def test_folder_of_another_job_is_not_removed(aiida_localhost, tmp_path, is_cached):
    """A job out of the cache has the folder of the one that it was copied from, which may be any in an archive."""
    folder = tmp_path / "precious"
    folder.mkdir()
    search = orm.WorkChainNode().store()
    job = orm.CalcJobNode(computer=aiida_localhost)
    job.base.links.add_incoming(search, LinkType.CALL_CALC, "relax")
    job.store()
    if is_cached:
        job.base.extras.set(job.base.caching.CACHED_FROM_KEY, search.uuid)
    remote = orm.RemoteData(remote_path=str(folder), computer=aiida_localhost)
    remote.base.links.add_incoming(job, LinkType.CREATE, "remote_folder")
    remote.store()
    remove_folders(search)
    assert folder.exists() == is_cached
