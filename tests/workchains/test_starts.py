"""Searches with several generators: their pools, and what follows when a pool job makes nothing."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_fuse2 import query
from aiida_fuse2.environment.trust import parts_of
from aiida_fuse2.io.trials import from_extxyz
from aiida_fuse2.launch.continuation import prepare_continuation
from tests.plugins import forget, install
from tests.workchains.comparing import rows_of

MODULE = '''
from ase.build import bulk
from aiida_fuse2.core.errors import GenerationError
from aiida_fuse2.core.generators import SingleGenerator


class Known(SingleGenerator):
    """One ordered structure, whose volume is random; it cannot make others."""

    name = "known"
    refills = False

    def __call__(self, context, rng):
        if context.max_atoms < 4 or context.unit.formula != "Cu3Au":
            raise GenerationError("no_type")
        atoms = bulk("Cu", "fcc", a=3.6 + 0.4 * rng.random(), cubic=True)
        atoms.numbers[0] = 79
        return atoms
'''


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A package with a generator that does not refill the pool."""
    groups = {"aiida_fuse2.generators": {"known": "fuse2_known.generator:Known"}}
    with monkeypatch.context() as patch:
        install(tmp_path / "site", patch, {"fuse2_known/__init__.py": "", "fuse2_known/generator.py": MODULE}, groups)
        yield
    for name in [name for name in sys.modules if name.startswith("fuse2_known")]:
        del sys.modules[name]
    forget()


def pool_jobs(search):
    called = [c for c in search.called if isinstance(c, orm.CalcJobNode) and "pool_number" in c.inputs]
    return sorted(called, key=lambda job: job.pk)


def origins(search, generation=0):
    return Counter(row["origin"] for row in rows_of(search) if row["generation"] == generation)


def test_two_generators_share_the_initial_population(finished):
    search = finished(starts={"symmetric": 1, "fgen": 1}, pool={"size": 4}, population_size=4, max_structures=4)
    assert search.is_finished_ok, search.exit_message
    assert origins(search) == {"symmetric": 2, "fgen": 2}
    job = pool_jobs(search)[0]
    assert job.inputs.generators.get_list() == ["symmetric"]
    summary = job.outputs.summary.get_dict()
    assert summary["starts"] == {"symmetric": 1.0}
    assert summary["generators"]["symmetric"]["kept"] == summary["kept"] == 4
    assert query.searches().set_index("pk")["starts"][search.pk] == "fgen 50 % + symmetric 50 %"


@pytest.mark.usefixtures("known")
def test_a_generator_that_does_not_refill_makes_one_pool(emt_builder):
    starts = {"known": 1, "symmetric": 1}
    settings = {"starts": starts, "pool": {"size": 2}, "population_size": 2, "max_atoms": 4}
    _, search = run_get_node(emt_builder(**settings, max_structures=4))
    assert search.is_finished_ok, search.exit_message
    first, *later = pool_jobs(search)
    frames = from_extxyz(first.outputs.pool.get_content())
    assert "generators" not in first.inputs  # all of them
    assert [frame.info["origin"] for frame in frames][:2] == ["known", "symmetric"]
    assert set(first.outputs.summary["generators"]) == set(starts)
    assert later
    for job in later:
        assert job.inputs.generators.get_list() == ["symmetric"]
        assert {f.info["origin"] for f in from_extxyz(job.outputs.pool.get_content())} == {"symmetric"}
    assert {str(part.where) for part in parts_of(search) if part.value == "known"} == {"settings.starts"}
    more = prepare_continuation(search, more=2)
    _, continued = run_get_node(more.builder)
    assert continued.is_finished_ok, continued.exit_message
    assert all(job.inputs.generators.get_list() == ["symmetric"] for job in pool_jobs(continued))


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("starts", "status"), [("known", 0), ({"known": 1, "fgen": 1}, 0), ({"known": 1, "symmetric": 1}, None)]
)
def test_a_search_begins_without_what_makes_nothing(emt_builder, starts, status):
    small = {"pool": {"size": 2}, "max_structures": 4, "population_size": 4, "max_atoms": 4, "random_generator": "fgen"}
    if status is None:  # nobody makes a structure of so few attempts
        small["pool"] |= {"max_attempts_factor": 1}
        small["validity"] = {"packing_min": 1.5, "packing_max": 1.6}
    _, search = run_get_node(emt_builder("CuAu", starts=starts, **small))
    (job,) = pool_jobs(search)
    assert job.exit_status == 420
    if status is None:
        assert search.exit_status == 302
        assert "could not be filled" in search.exit_message
        return
    assert search.is_finished_ok, search.exit_message
    assert origins(search) == {"fgen": 4}
    assert any("begins without a pool" in log.message for log in orm.Log.collection.get_logs_for(search))


def test_generators_of_a_job_are_some_of_the_starts(emt_builder, worker_code):
    from aiida_fuse2.calculations.generate import GenerateCalculation

    settings = emt_builder(starts={"symmetric": 1, "fgen": 1}, pool={"size": 3}).settings
    builder = GenerateCalculation.get_builder()
    builder.code, builder.settings, builder.generators = worker_code, settings, ["symmetric", "gnoa"]
    with pytest.raises(ValueError, match=r"some of settings\.starts: symmetric, fgen"):
        run_get_node(builder)
    builder.generators = ["fgen"]
    _, job = run_get_node(builder)
    assert job.is_finished_ok, job.exit_message
    assert {f.info["origin"] for f in from_extxyz(job.outputs.pool.get_content())} == {"fgen"}
