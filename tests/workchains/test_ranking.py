"""A pool ranked by pair potentials that are no tier of the search: provenance, energies, continuation, trust."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_fuse2 import query
from aiida_fuse2.core.potentials.pair import PairEvaluator, read_library
from aiida_fuse2.environment.trust import foreign_parts
from aiida_fuse2.io.trials import from_extxyz
from aiida_fuse2.launch.continuation import prepare_continuation
from aiida_fuse2.query.tiers import ranking_of_search, tiers_of_search
from aiida_fuse2.report.collect import search_figures
from tests.tiered import MORSE

_SEARCH: list[int] = []


@pytest.fixture
def search(tiers_builder):
    """A search with EMT whose pool was ranked by pair potentials; made once for several tests."""
    if not _SEARCH:
        pool = {"size": 4, "ranking": "relaxed"}
        builder = tiers_builder(
            ("ase",), rank_by="pair", starts="symmetric", pool=pool, population_size=3, max_structures=3
        )
        builder.experiment = orm.Str("mlgen")
        _, node = run_get_node(builder)
        assert node.is_finished_ok, node.exit_message
        _SEARCH.append(node.pk)
    return orm.load_node(_SEARCH[0])


def pool_job(search):
    (job,) = [node for node in search.called if node.process_label == "GenerateCalculation"]
    return job


def test_the_pool_job_has_the_library_and_its_energies_stay_in_the_pool(search):
    job = pool_job(search)
    assert job.inputs.potential.uuid == search.inputs.ranking.potential.uuid
    assert job.inputs.tier.uuid == search.inputs.ranking.settings.uuid
    assert job.outputs.summary["ranking"]["potential"] == "pair potential"
    engine = PairEvaluator(read_library(MORSE))
    for atoms in from_extxyz(job.outputs.pool.get_content()):
        energy = engine.evaluate(atoms.numbers, atoms.positions, atoms.cell.array).energy / len(atoms)
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-5)
    assert set(query.explored(search)["potential"]) == {"ase.calculators.emt.EMT"}


def test_what_ranks_is_named_apart_from_the_tiers(search):
    ((name, settings, library),) = ranking_of_search(search.inputs)
    assert (name, settings["calculator"], library.uuid) == ("pair", "pair", search.inputs.ranking.potential.uuid)
    assert [name for name, _, _ in tiers_of_search(search.inputs)] == ["ase"]
    assert search_figures(search).experiment == "mlgen, EMT"


def test_a_search_that_continues_ranks_its_next_pool_in_the_same_way(search):
    builder = prepare_continuation(search, more=3).builder
    assert builder.ranking.settings.uuid == search.inputs.ranking.settings.uuid
    assert builder.ranking.potential.uuid == search.inputs.ranking.potential.uuid
    assert builder.experiment.value == "mlgen"
    other = prepare_continuation(search, more=3, overrides={"settings": {"starts": {"fgen": 1}}}).builder
    assert "ranking" not in other or not dict(other.ranking)


def test_a_potential_of_others_that_ranks_is_named_before_it_runs(search, monkeypatch):
    assert foreign_parts(search) == ()
    monkeypatch.setattr("aiida_fuse2.environment.trust.has_run", lambda _: False)
    assert "ranking.potential" in {part.where for part in foreign_parts(search)}
