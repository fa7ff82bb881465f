"""Finishing a search: phases, provenance, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node

from aiida_fuse2 import query
from aiida_fuse2.core.crystal.symmetry import rattle
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.launch.finishing import prepare_finish
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.query import finishes
from aiida_fuse2.tiers import TierChoice, build_tiers
from aiida_fuse2.workchains.answering import finish_builder
from aiida_fuse2.workchains.runs import Fuse2RunsWorkChain


@pytest.fixture
def search(finished):
    """A search of its own: others expect theirs to have no answer."""
    return finished(seed=17, max_structures=6)


@pytest.fixture
def finish(search):
    """A finished search of Cu3Au with EMT, finished with its answer."""
    _, node = run_get_node(prepare_finish([search], best=4, overrides={"window": 1.0}))
    return node


def test_a_search_has_an_answer_and_its_links(search, finish):
    assert finish.is_finished_ok, finish.exit_message
    answer = finish.outputs.answer.get_dict()
    first = answer["phases"][0]
    assert (first["rank"], first["delta"], first["formula"]) == (1, 0.0, "Cu3Au")
    assert finish.outputs.structure.uuid == finish.outputs.structures[first["label"]].uuid
    rows = query.ranked(search)[:4]
    members = [member["label"] for phase in answer["phases"] for member in phase["members"]]
    assert sorted(members) == sorted(row["label"] for row in rows)
    assert sum(phase["found"] for phase in answer["phases"]) == sum(row["found"] for row in rows)
    for phase in answer["phases"]:
        structure = finish.outputs.structures[phase["label"]].get_ase()
        assert len(structure) == phase["n_atoms_conventional"]
        assert len(phase["primitive"]["symbols"]) == phase["n_atoms"]
        assert sum(site["multiplicity"] for site in phase["sites"]) == len(structure)
        assert phase["statement"].startswith(phase["spacegroup_symbol"])
        assert [rung["is_answer"] for rung in phase["rungs"]].count(True) == 1
        lowest = min(rung["energy"] for rung in phase["rungs"])
        assert phase["energy"] <= lowest + 0.001
    assert [p["energy"] for p in answer["phases"]] == sorted(p["energy"] for p in answer["phases"])
    given = finish.base.links.get_incoming(link_type=LinkType.INPUT_WORK, node_class=orm.StructureData)
    assert {link.node.uuid for link in given.all()} == {row["uuid"] for row in rows}
    called = [process.process_label for process in finish.called]
    assert called == ["trials_of_structures", "FinishCalculation", "conclude_answer"]


def test_of_copies_of_a_structure_one_is_finished(search, monkeypatch):
    """By the command, and at the end of a search."""
    first, second = query.ranked(search)[:2]
    atoms = rattle(orm.load_node(first["uuid"]).get_ase().repeat((2, 1, 1)), 0.02, np.random.default_rng(1))
    copy = orm.StructureData(ase=atoms).store()
    rows = [first, {**first, "uuid": copy.uuid, "energy": first["energy"] + 0.0005}, second]
    monkeypatch.setattr("aiida_fuse2.query.combined", lambda *_: rows)
    monkeypatch.setattr("aiida_fuse2.workchains.answering.combined", lambda *_: rows)
    inputs = {"tiers": dict(search.inputs.tiers), "settings": search.inputs.settings}
    for builder in (prepare_finish([search], best=2), finish_builder([search], inputs, 2)):
        assert [node.uuid for node in builder.structures.values()] == [first["uuid"], second["uuid"]]
        assert [row["found"] for row in builder.selection.get_dict().values()] == [2 * first["found"], second["found"]]


def test_structures_without_an_answer_are_named(search):
    builder = prepare_finish([search], best=2)
    tier = builder.tiers["t00"]
    tier["settings"] = orm.Dict({**tier["settings"].get_dict(), "min_contact": 1.0})
    _, node = run_get_node(builder)
    assert node.exit_status == 401
    assert {row["status"] for row in node.outputs.answer["failed"]} == {"fused_atoms"}
    assert len(node.outputs.answer["failed"]) == len(builder.structures)


def test_energies_of_another_program_stay(search, worker_code, potential):
    """GULP is not run: structures are symmetrised, and each keeps its energy."""
    builder = prepare_finish([search], best=4, overrides={"window": 1.0})
    code = orm.InstalledCode(
        computer=worker_code.computer, filepath_executable="/no/gulp", label=f"gulp-{search.pk}"
    ).store()
    builder.tiers = build_tiers(
        TierChoice(names=["gulp"], codes={"gulp": code}, potential=potential),
        worker=worker_code,
        protocol=None,
        relax=protocol_inputs()["relax"],
        overrides={"gulp": {"settings": {"electrostatics": False}}},
        elements={"Cu", "Au"},
    )
    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    assert [process.process_label for process in node.called] == ["trials_of_structures", "conclude_answer"]
    phases = finishes.phases(node)
    assert {phase["energy"] for phase in phases} <= {row["energy"] for row in query.ranked(search)}
    assert {phase["potential"] for phase in phases} == {"GULP"}
    for phase in phases:
        (answer,) = [rung for rung in phase["rungs"] if rung["is_answer"]]
        told = phase["statement"].endswith("not relaxed within its symmetry: the last tier is GULP")
        assert told == (answer["tolerance"] > 0)
        assert answer["tolerance"] <= 0.1
    assert any(phase["spacegroup"] > 1 for phase in phases)


def test_what_is_refused(search):
    with pytest.raises(InputError, match="at least 1"):
        prepare_finish([search], best=0)
    with pytest.raises(InputError, match="no such input"):
        prepare_finish([search], overrides={"nonsense": 1})
    with pytest.raises(InputError, match="must be an energy"):
        prepare_finish([search], overrides={"window": "wide"})
    with pytest.raises(InputError, match="must rise"):
        prepare_finish([search], overrides={"settings": {"tolerances": [0.1, 0.1]}})


def test_a_search_ends_with_its_answer(finished):
    node = finished(seed=5, finish=2, max_structures=4)
    assert node.is_finished_ok, node.exit_message
    finish = finishes.newest_finish(node)
    assert finish.caller.uuid == node.uuid
    assert node.outputs.answer.uuid == finish.outputs.answer.uuid
    assert len(finish.inputs.structures) <= 2
    assert finish.inputs.searches.get_list() == [node.uuid]
    assert {row["label"] for row in query.ranked(node)}.isdisjoint({"p00"})
    assert query.best(node, 1)[0].uuid == query.ranked(node)[0]["uuid"]


def test_runs_end_with_one_answer(emt_builder):
    search = emt_builder(seed=5, finish=2, max_structures=2, population_size=2)
    _, node = run_get_node(Fuse2RunsWorkChain.builder_of_search(search, runs=2))
    assert node.is_finished_ok, node.exit_message
    finish = finishes.newest_finish(node)
    assert finish.caller.uuid == node.uuid
    assert node.outputs.answer.uuid == finish.outputs.answer.uuid
    first = query.run_searches(node)[0]
    assert finishes.newest_finish(first).caller.uuid == first.uuid
