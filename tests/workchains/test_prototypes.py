"""Tests of searches that begin with prototypes and name what they find."""

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_fuse2 import query
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.prototypes.naming import UNKNOWN
from aiida_fuse2.environment.prototypes import SOURCE, libraries, packaged_library_node, store_library
from aiida_fuse2.export.archive import works_to_cite
from aiida_fuse2.io.prototypes import library_to_text
from aiida_fuse2.io.trials import from_extxyz
from aiida_fuse2.parsers.relax import EXTRAS_KEY
from tests.core.generators.test_prototypes import LIBRARY
from tests.core.generators.test_prototypes import SOURCE as ALLOYS

MIXED = {"starts": {"prototypes": 1, "fgen": 1}, "population_size": 4, "max_structures": 6, "seed": 3}


@pytest.fixture
def library(aiida_profile):
    return store_library(library_to_text(LIBRARY), ALLOYS)


@pytest.fixture
def mixed(library, emt_builder):
    """A finished search that began with prototypes and with fgen."""
    known = orm.QueryBuilder().append(orm.WorkChainNode, filters={"label": "mixed"}).first(flat=True)
    if known is not None:
        return known
    builder = emt_builder(library=library, **MIXED)
    builder.metadata.label = "mixed"
    return run_get_node(builder)[1]


def test_half_of_the_starts_are_prototypes_best_first(mixed):
    assert mixed.is_finished_ok, mixed.exit_message
    rows = query.explored(mixed)
    starts = rows[rows["generation"] == 0]
    assert sorted(starts["origin"]) == ["fgen", "fgen", "prototypes", "prototypes"]
    assert starts.loc[starts["origin"] == "prototypes", "prototype"].tolist() == [
        "tetragonal Au>Au, Cu>Cu",  # lower with EMT
        "L12 Au>Au, Cu>Cu",
    ]
    assert (starts.loc[starts["origin"] == "fgen", "prototype"] == "").all()


def test_every_structure_has_its_names(mixed):
    rows = query.explored(mixed)
    assert rows["protostructure"].str.contains("Au-Cu").all()
    best = rows.loc[rows["energy"].idxmin()]
    assert best["type"] == query.ranked(mixed)[0]["type"] == "tetragonal (Cu3Au, tI8)"
    assert best["protostructure"] == "AB3_tI8_139_a_bd:Au-Cu"
    extras = orm.load_node(int(best["pk"])).base.extras.get(EXTRAS_KEY)
    assert (extras["type"], extras["protostructure"]) == (best["type"], best["protostructure"])
    assert extras["prototype"] == best["prototype"]
    assert set(rows.loc[rows["origin"] == "prototypes", "type"]) == {"L12 (Cu3Au, cP4)", "tetragonal (Cu3Au, tI8)"}
    assert UNKNOWN in set(rows["type"])


def test_from_a_structure_to_its_prototype_and_its_source(mixed, library):
    """As a reader of an archive would walk: structure, trial, pool, prototypes of the composition, library, source."""
    row = query.explored(mixed).iloc[0]
    key, _, decoration = row["prototype"].partition(" ")
    assert decoration == "Au>Au, Cu>Cu"
    pool_job = next(node for node in mixed.called_descendants if "pool" in node.outputs)
    frames = from_extxyz(pool_job.outputs.pool.get_content())
    assert key in {frame.info["prototype"].split()[0] for frame in frames}
    selected = pool_job.inputs.prototypes
    found = next(frame for frame in from_extxyz(selected.get_content()) if frame.info["key"] == key)
    assert found.info["source"] == f"made for tests: {key}"
    assert selected.creator.process_label == "select_prototypes"
    assert selected.creator.inputs.library.uuid == library.uuid == mixed.inputs.prototypes.uuid
    assert library.base.attributes.get(SOURCE)["licence"] == "public domain"


def test_the_library_that_was_used_is_cited(mixed):
    cited = works_to_cite(mixed)
    assert cited.count("A. Founder, J. Alloys 1, 1") == 1
    assert "Hicks" not in " ".join(cited)


def test_a_search_without_prototypes_names_what_it_finds(library, emt_builder):
    _, search = run_get_node(emt_builder(library=library, seed=3, max_structures=4))
    rows = query.explored(search)
    assert set(rows["origin"]) == {"fgen"}
    assert (rows["type"] != "").all()
    assert (rows["prototype"] == "").all()


def test_a_composition_without_types_begins_with_its_other_starts(library, emt_builder):
    _, search = run_get_node(emt_builder("CuAuPd2", library=library, **MIXED))
    assert search.is_finished_ok, search.exit_message
    assert set(query.explored(search)["origin"]) <= {"fgen", "symmetric", "move", "rattle"}
    jobs = [node for node in search.called if node.process_label == "GenerateCalculation"]
    assert len(jobs) == 1  # another pool would be as empty
    assert jobs[0].exit_status == 420
    assert "no_type" in jobs[0].exit_message


def test_prototypes_without_a_library_are_refused_before_anything_is_submitted(emt_builder):
    with pytest.raises((InputError, ValueError), match="needs a library"):
        run_get_node(emt_builder(**MIXED))


def test_a_protocol_without_a_library_begins_with_its_other_starts(worker_code):
    from aiida_fuse2.workchains.search import Fuse2WorkChain

    builder = Fuse2WorkChain.get_builder_from_protocol("Cu3Au", worker_code, "fast")
    assert builder.settings["starts"] == {"symmetric": 1}
    assert "prototypes" not in builder


def test_one_library_is_stored_once(library):
    again = store_library(library_to_text(LIBRARY), {"name": "alloys", "licence": "public domain"})
    assert again.uuid == library.uuid
    assert [node.uuid for node in libraries("alloys")] == [library.uuid]
    other = store_library(library_to_text(LIBRARY[:1]), {"name": "alloys"})
    assert other.uuid != library.uuid


def test_a_search_continues_with_its_library(mixed, library):
    from aiida_fuse2.launch.continuation import prepare_continuation

    assert prepare_continuation(mixed, more=2).builder.prototypes.uuid == library.uuid


def test_what_has_the_name_of_the_packaged_library_is_not_taken_for_it(library, monkeypatch):
    text, source = library_to_text(LIBRARY[1:]), {"name": "alloys", "kind": "package"}
    monkeypatch.setattr("aiida_fuse2.environment.prototypes.packaged_library", lambda: text)
    monkeypatch.setattr("aiida_fuse2.environment.prototypes.packaged_source", lambda: source)
    found = packaged_library_node()
    assert found.uuid != library.uuid
    assert found.get_content() == text
    assert packaged_library_node().uuid == found.uuid
