"""Searches that know what they are to find: when they tell, when they stop, what goes on with them."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.cmdline.utils.common import get_workchain_report
from aiida.engine import run_get_node
from ase.io import write

from aiida_fuse2 import query
from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.launch.continuation import prepare_continuation
from aiida_fuse2.query.chain import generation_records
from aiida_fuse2.query.structures import explored_structures
from aiida_fuse2.query.targets import find_in_search, marked_rows, search_targets

from .comparing import comparable, rows_of

_FINISHED: dict[str, int] = {}


@pytest.fixture
def search_of(emt_builder):
    """A factory of finished searches with targets, each run once."""

    def make(key, targets, **settings):
        if key not in _FINISHED:
            builder = emt_builder(**{"seed": 3, **settings})
            builder.targets = targets
            _FINISHED[key] = run_get_node(builder)[1].pk
        return orm.load_node(_FINISHED[key])

    return make


@pytest.fixture
def plain(search):
    """A search without targets."""
    return search


@pytest.fixture
def known(plain):
    """A structure that the search finds last, as somebody else would have it."""
    frame = query.explored(plain)
    last = frame[frame["duplicate_of"].isna()].iloc[-1]
    atoms = orm.load_node(int(last.pk)).get_ase()
    atoms.rattle(0.01, seed=1)
    atoms.set_cell(atoms.cell.array * 1.01, scale_atoms=True)
    return atoms, last


def go_on(search, **arguments):
    _, node = run_get_node(prepare_continuation(search, **arguments).builder)
    assert node.is_finished_ok, node.exit_message
    return node


def lines_about_targets(search):
    return [line for line in get_workchain_report(search, "REPORT").splitlines() if "target" in line]


@pytest.fixture
def with_target(search_of, known):
    return search_of("with target", {"known": orm.StructureData(ase=known[0])})


def test_target_changes_nothing_but_is_told(with_target, plain, known):
    assert comparable(rows_of(with_target)) == comparable(rows_of(plain))
    (target,) = search_targets(with_target)
    assert (target.name, target.found, target.structure_number) == ("known", known[1].label, known[1].number)
    assert target.found_pk == explored_structures(with_target.pk)[target.found]["pk"]
    assert target.rms < 0.1
    assert target.found_energy == pytest.approx(known[1].energy)
    assert abs(target.delta_target) < 0.01  # it was relaxed with the potential of the search
    assert target.above_best == pytest.approx(target.energy - with_target.outputs.energy.value)
    assert target.delta_best == pytest.approx(target.found_energy - with_target.outputs.energy.value)
    assert with_target.outputs.state["targets"]["known"]["label"] == target.found
    relaxed, found = lines_about_targets(with_target)
    assert f"target known: {target.energy:.4f} eV/atom" in relaxed
    assert f"target known found: structure {target.structure_number} ({target.found})" in found
    assert "space group" in found


def test_relaxed_target_is_not_explored(with_target, plain):
    assert set(explored_structures(with_target.pk)) == set(explored_structures(plain.pk))
    group = orm.load_group(f"fuse2/{with_target.uuid}")
    assert group.count() == len(explored_structures(with_target.pk))
    (job,) = [node for node in with_target.called if "target_known" in getattr(node.outputs, "structures", {})]
    assert "fuse2" not in job.outputs.structures["target_known"].base.extras.all


def test_rows_are_marked(with_target):
    ranked, (target,) = query.ranked(with_target), search_targets(with_target)
    rows = marked_rows(ranked, [target], with_target.pk)
    assert [row["label"] for row in rows if row["targets"] == ["known"]] == [target.found]
    assert all(not row["targets"] for row in rows if row["label"] != target.found)


def test_search_without_target_can_be_asked(plain, known, with_target):
    found = find_in_search(plain, "known", known[0])
    assert (found.found, found.structure_number) == (known[1].label, known[1].number)
    assert search_targets(plain) == []
    assert find_in_search(plain, "other", known[0].repeat((1, 1, 2))).found == found.found
    wrong = known[0].copy()
    wrong.set_cell(wrong.cell.array * 1.3, scale_atoms=True)
    assert find_in_search(plain, "wrong", wrong).found is None


@pytest.mark.slow
def test_search_stops_at_its_target(search_of, plain, known):
    target = {"known": orm.StructureData(ase=known[0])}
    early = query.explored(plain).iloc[0]
    first = orm.load_node(int(early.pk))
    stopped = search_of(
        "stopped", {**target, "first": orm.StructureData(ase=first.get_ase())}, target={"stop": True, "relax": False}
    )
    assert stopped.is_finished_ok
    assert [r.next_generation for r in generation_records(stopped.pk)] == [int(early.generation) + 1]
    assert "ends: target first is found" in get_workchain_report(stopped, "REPORT")
    by_name = {found.name: found for found in search_targets(stopped)}
    assert by_name["first"].found == early.label
    assert by_name["known"].found is None
    assert by_name["known"].spacegroup is not None
    assert by_name["first"].energy is by_name["first"].delta_target is None  # it was not relaxed
    with pytest.raises(InputError, match="first was found already"):
        prepare_continuation(stopped, more=2)
    again = go_on(stopped, more=2, dropped=["first"], overrides={"settings": {"target": {"stop": False}}})
    assert [found.name for found in search_targets(again)] == ["known"]
    assert again.outputs.state["targets"].keys() <= {"known"}
    assert comparable(rows_of(again)) == comparable(rows_of(plain)[:6])


@pytest.mark.slow
def test_target_that_is_added_later_is_found_among_what_there_is(plain, known, tmp_path, search_of):
    write(tmp_path / "known one.cif", known[0])
    stop = {"settings": {"target": {"stop": True}}}
    ended = go_on(plain, more=2, targets=[tmp_path / "known one.cif"], overrides=stop)
    (target,) = search_targets(ended)
    assert (target.name, target.found) == ("known_one", known[1].label)
    assert target.energy is not None
    assert "ends: target known_one is found" in get_workchain_report(ended, "REPORT")
    assert ended.outputs.state["tried"] == 8
    assert (
        len([node for node in ended.called_descendants if node.process_label == "RelaxCalculation"]) == 1
    )  # of the target


def test_targets_that_cannot_be_found_are_refused(emt_builder, perovskite, known, plain, tmp_path):
    def refuse(match, targets, **settings):
        builder = emt_builder(**settings)
        builder.targets = {name: orm.StructureData(ase=atoms) for name, atoms in targets.items()}
        with pytest.raises(ValueError, match=match):
            run_get_node(builder)

    refuse("targets.x = 'O3SrTi': the search is one for", {"x": perovskite})
    large = known[0].repeat((3, 1, 1))
    large.positions[0] += 0.3
    refuse(r"more atoms in its primitive cell than max_atoms = 8", {"x": large})
    with pytest.raises(ValueError, match="there is no target to stop at"):
        run_get_node(emt_builder(target={"stop": True}))
    with pytest.raises(InputError, match="no such target; there is none"):
        prepare_continuation(plain, more=2, dropped=["x"])
    with pytest.raises(RefusedInputsError, match="there is no target to stop at"):
        prepare_continuation(plain, more=2, overrides={"settings": {"target": {"stop": True}}})
    (tmp_path / "bad.cif").write_text("data_x\n")
    with pytest.raises(InputError, match="target = "):
        prepare_continuation(plain, more=2, targets=[tmp_path / "bad.cif"])


@pytest.mark.slow
def test_target_whose_relaxation_fails_is_compared_as_given(search_of, known):
    """Its relaxation may not take a step."""
    target = {"known": orm.StructureData(ase=known[0])}
    search = search_of("fails", target, max_structures=4, relax={"max_steps": 1})
    assert any("could not be relaxed" in line for line in lines_about_targets(search))
