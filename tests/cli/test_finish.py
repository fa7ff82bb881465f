"""`finish`, and the answer in `show` and `structures`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState, run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.tools import delete_nodes
from aiida.tools.archive.abstract import get_format
from ase.io import read
from plumpy import KilledError

from aiida_fuse2 import query
from aiida_fuse2.core.crystal.symmetry import space_group
from aiida_fuse2.launch.finishing import prepare_finish
from aiida_fuse2.launch.presets import installed_model
from aiida_fuse2.query import finishes
from aiida_fuse2.query.refinements import FINISH_TYPE
from aiida_fuse2.report.collect import collect
from aiida_fuse2.report.page import payload
from aiida_fuse2.workchains.search import Fuse2WorkChain
from tests.protocols.test_models import own

QUERIES = Path(__file__).parents[2] / "docs" / "howto" / "query.md"


@pytest.fixture
def search(finished):
    """A search of its own: others expect theirs to have no answer."""
    return finished(seed=17, max_structures=6)


@pytest.fixture
def finish(search):
    """The answer of a search; it is made once in this process."""
    known = finishes.newest_finish(search)
    return known or run_get_node(prepare_finish([search], best=3, overrides={"window": 1.0}))[1]


def test_inputs_are_those_of_the_search(call, search):
    inputs = json.loads(
        call("finish", search.pk, "--best", 2, "--set", "settings.energy=0.005", "--dry-run", "--json").stdout
    )
    assert inputs["settings"]["energy"] == 0.005
    assert len(inputs["structures"]) == 2
    assert inputs["searches"] == [search.uuid]
    assert inputs["tiers"]["t00"]["settings"]["calculator"] == "ase.calculators.emt.EMT"


def test_another_potential_gives_an_answer_of_its_own(call, search, finish, tmp_path):
    path = own(tmp_path, elements=["Cu", "Au"])
    inputs = json.loads(call("finish", search.pk, "--model", path, "--dry-run", "--json").stdout)
    settings = inputs["tiers"]["t00"]["settings"]
    assert (settings["model"], settings["weights"]["package"]) == ("emt-plain", "ase")
    other = own(tmp_path)
    assert "was not trained with Au" in call("finish", search.pk, "--model", other, "--dry-run", code=2).output
    path = own(tmp_path, elements=["Cu", "Au"])
    given = prepare_finish([search], best=1, model=installed_model(str(path)), overrides={"window": 1.0})
    _, node = run_get_node(given)
    assert finishes.phases(node)[0]["energy"] == pytest.approx(finishes.phases(finish)[0]["energy"], abs=1e-3)
    assert finishes.newest_finish(search).pk == finish.pk  # not the newer one, whose energies are of another potential
    assert f"finish {node.pk} with emt-plain: finished" in call("show", node.pk).output


def test_the_answer_is_shown(call, search, finish):
    rows = finishes.phases(finish)
    output = call("show", finish.pk).output
    assert f"finish {finish.pk} with EMT: finished" in output
    assert f"1. {rows[0]['statement']}" in output
    assert f"{rows[0]['density']:.2f}" in output
    shown = json.loads(call("show", finish.pk, "--json").stdout)
    assert shown["phases"] == rows
    assert finishes.newest_finish(search).pk == finish.pk
    output = call("show", search.pk).output
    assert output.index(f"answer (finish {finish.pk})") < output.index("relaxed to")
    assert json.loads(call("show", search.pk, "--json").stdout)["answer"]["phases"] == rows
    status = call("status", search.pk).output
    assert f"best phase  {rows[0]['energy']:.4f} eV/atom {rows[0]['spacegroup_symbol']} (" in status
    without_cell = {key: value for key, value in rows[0].items() if key not in {"pk", "uuid"}}
    assert json.loads(call("status", search.pk, "--json").stdout)["searches"][0]["answer"] == without_cell
    line = next(line for line in call("status", "-a").output.splitlines() if line.split()[0] == str(search.pk))
    assert f"{rows[0]['energy']:.4f} {rows[0]['spacegroup_symbol']}" in line
    assert call("status", finish.pk).output == f"finish {finish.pk} of 3 structures: finished\n"
    assert f"finish {finish.pk} with EMT: finished" in call("watch", finish.pk).output


def test_a_phase_is_shown_in_detail(call, search, finish):
    (row, *_) = rows = finishes.phases(finish)
    output = call("show", search.pk, "--structure", 1).output
    assert f"phase 1 of finish {finish.pk}, EMT" in output
    assert f"{row['a']:.3f}, {row['b']:.3f}, {row['c']:.3f} Å" in output
    for site in row["sites"]:
        assert f"{site['element']:<6}{site['multiplicity']}{site['letter']}" in output
    assert "moment" not in output  # EMT has none
    assert [line for line in output.splitlines() if line.endswith("answer")]
    shown = json.loads(call("show", finish.pk, "--structure", 1, "--json").stdout)
    assert shown["sites"] == row["sites"]
    given = finish.inputs.structures
    assert {m["pk"] for m in shown["members"]} == {given[m["member"]].pk for m in row["members"]}
    assert [m["n_atoms"] for m in shown["members"]] == [len(given[m["member"]].get_ase()) for m in row["members"]]
    wrong = call("show", search.pk, "--structure", len(rows) + 1, code=1).output
    assert f"there is no phase {len(rows) + 1}" in wrong


def test_end_is_told_in_words(call, search, finish):
    rows = finishes.phases(finish)
    shown = json.loads(call("show", search.pk, "--json").stdout)
    end = shown["conclusion"]
    assert f"{rows[0]['spacegroup_symbol']}" in end["found"]
    assert f"{rows[0]['energy']:.4f} eV/atom" in end["found"]
    assert end["sure"].startswith("Best found by")
    for command in ("show", "watch"):
        lines = call(command, search.pk).stdout.splitlines()
        assert lines[-3:-1] == [f"found: {end['found']}", f"how sure: {end['sure']}"]
        assert lines[-1].startswith("next: more structures: `aiida-fuse2 continue")
    assert "Best found by" not in "".join(lines[:-3])
    assert shown["structures"][0]["phase"] == 1


def test_proposed_command_goes_on(call, search):
    """The search has reached two of its limits."""
    (step, *_) = json.loads(call("show", search.pk, "--json").stdout)["conclusion"]["next"]
    assert step["purpose"] == "more structures"
    _, *words = step["command"].split()
    settings = json.loads(call(*words, "--dry-run", "--json").stdout)["settings"]
    assert settings["max_structures"] == 12


def test_structures_have_their_phases(search, finish):
    frame, table = query.explored(search), query.phases(search)
    assert table["rank"].tolist() == [row["rank"] for row in finishes.phases(finish)]
    assert query.phases(finish.uuid).equals(table)
    for row in finishes.phases(finish):
        own = frame[frame["phase"] == row["rank"]]
        assert {member["label"] for member in row["members"]} <= set(own["label"])
    first = frame["duplicate_of"].where(frame["duplicate_of"].astype(bool), frame["label"])
    assert frame["phase"].groupby(first).nunique(dropna=False).eq(1).all()  # equal ones have one phase
    assert query.phases(orm.load_node(search.pk)).loc[0, "type"] == finishes.phases(finish)[0]["type"]


def test_phases_of_all_searches_are_found_by_type(search, finish):
    """As the page on queries has it for perovskites; without a library the type is unknown."""
    blocks = [text.split("```")[0] for text in QUERIES.read_text().split("```python\n")]
    (block,) = [text for text in blocks if "%perovskite%" in text]
    assert len(block.splitlines()) == 4
    found = {}
    exec(block.replace("perovskite", "UNKNOWN"), {"orm": orm}, found)  # noqa: S102
    own = [row for row in finishes.phases(finish) if row["delta"] < 0.05]
    assert own
    assert {row["uuid"] for row in own} <= {node.uuid for node, _ in found["found"]}
    assert all(values["delta"] < 0.05 and values["type"] == "unknown type" for _, values in found["found"])
    exec(block, {"orm": orm}, found)  # noqa: S102
    assert found["found"] == []


def test_report_has_the_phases(call, search, finish, tmp_path):
    values = payload(collect(search, number=3))
    rows = finishes.phases(finish)
    assert [row["pk"] for row in values["answer"]] == [row["pk"] for row in rows]
    assert values["summary"]["best"]["energy"] == rows[0]["energy"]
    assert values["summary"]["best"]["group"] == rows[0]["spacegroup_symbol"]
    shown = values["structures"][rows[0]["label"]]
    assert len(shown["sites"]) == rows[0]["n_atoms_conventional"]
    assert f"_space_group_IT_number {rows[0]['spacegroup']}" in shown["cif"]
    assert shown["file"] == f"Cu3Au_{rows[0]['spacegroup_symbol'].replace('/', '_')}.cif"
    assert {row[14] for row in values["ranked"]} >= {row["rank"] for row in rows}
    assert [heading for heading, _ in values["conclusion"]] == ["found", "how sure", "next"]
    assert collect(search, number=1).patterns[0].name.startswith("1. ")


def test_archive_has_the_answer(call, search, finish, tmp_path):
    call("export", search.pk, "-o", tmp_path / "whole.aiida")
    text = (tmp_path / "whole.README.md").read_text()
    (row, *_) = finishes.phases(finish)
    assert f"finish `{finish.uuid}`" in text
    assert f"| 1 | {row['energy']:.5f} | 0.00 | {row['spacegroup_symbol']} ({row['spacegroup']}) |" in text
    with get_format().open(tmp_path / "whole.aiida", "r") as reader:
        uuids = reader.querybuilder().append(orm.WorkChainNode, project="uuid").all(flat=True)
    assert finish.uuid in uuids


@pytest.mark.parametrize("file_format", ["cif", "poscar", "extxyz"])
def test_phases_are_written_with_their_symmetry(call, search, finish, tmp_path, file_format):
    rows = finishes.phases(finish)
    written = json.loads(call("structures", search.pk, "--format", file_format, "-o", tmp_path, "--json").stdout)
    assert [row["uuid"] for row in written] == [row["uuid"] for row in rows]
    name = {"cif": "cif", "poscar": "vasp", "extxyz": "extxyz"}[file_format]
    assert written[0]["path"].endswith(f"Cu3Au_{rows[0]['spacegroup_symbol'].replace('/', '_')}.{name}")
    atoms = read(written[0]["path"], format="vasp" if file_format == "poscar" else file_format)
    assert len(atoms) == rows[0]["n_atoms_conventional"]
    assert space_group(atoms, 1e-3)[0] == rows[0]["spacegroup"]
    if file_format == "cif":
        assert f"_space_group_IT_number {rows[0]['spacegroup']}" in (tmp_path / written[0]["path"]).read_text()
    with (tmp_path / "Cu3Au_phases.csv").open(newline="") as handle:
        table = list(csv.DictReader(handle))
    assert [row["file"] for row in table] == [Path(row["path"]).stem for row in written]
    assert [float(row["energy"]) for row in table] == [row["energy"] for row in rows]
    assert [row["statement"] for row in table] == [row["statement"] for row in rows]
    assert table[0]["density"] == str(rows[0]["density"])
    assert not {"rungs", "members", "sites", "primitive"} & set(table[0])
    other = {"cif": "poscar", "poscar": "extxyz", "extxyz": "cif"}[file_format]
    call("structures", search.pk, "--format", other, "-o", tmp_path)  # the same table, with the same content
    assert len(list(tmp_path.iterdir())) == 2 * len(rows) + 1
    fewer = call("structures", search.pk, "-n", 1, "--format", other, "-o", tmp_path, code=1)
    assert "exists; overwrite with --force" in fewer.stderr
    relaxed = call("structures", search.pk, "--as-relaxed", "-n", 1, "--format", file_format, "-o", tmp_path)
    assert "Cu3Au_01_" in relaxed.output


def test_a_killed_search_is_finished(call, emt_builder):
    """As ``verdi process kill`` leaves it: no outputs, and what it had decided on."""
    killed = []

    def take_over(search, *values):
        original(search, *values)
        killed.append(search.node)
        search.kill("by hand")

    original = Fuse2WorkChain._take_over
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fuse2WorkChain, "_take_over", take_over)
        with pytest.raises(KilledError):
            run_get_node(emt_builder(seed=18, max_structures=6))
    (search,) = killed
    assert (search.is_killed, search.is_sealed, list(search.outputs)) == (True, True, [])
    assert "killed" in call("show", search.pk).stdout
    finish = run_get_node(prepare_finish([search], best=2, overrides={"window": 1.0}))[1]
    rows = finishes.phases(finish)
    assert rows
    assert {member["label"] for row in rows for member in row["members"]} == {
        row["label"] for row in query.ranked(search)[:2]
    }
    assert f"answer (finish {finish.pk})" in call("show", search.pk).stdout
    assert json.loads(call("show", search.pk, "--json").stdout)["structures"][0]["phase"] == 1


@pytest.mark.parametrize("command", [("finish",), ("refine", "--tiers", "chgnet")])
def test_a_search_killed_before_its_first_structure_has_nothing_to_finish(call, emt_builder, command):
    node = instantiate_process(get_manager().get_runner(), emt_builder()).node
    assert "no structure is relaxed and taken over yet" in call(*command, node.pk, "--dry-run", code=2).stderr
    node.set_process_state(ProcessState.KILLED)
    node.seal()
    message = " ".join(call(*command, node.pk, "--dry-run", code=2).stderr.split())
    assert f"PK = '{node.pk}': it ended before any structure was relaxed and taken over" in message


def test_an_answer_that_is_none_is_not_shown(call, search):
    """As an archive may bring one."""
    phases = [[], [3], {"rank": 1}, [{"rank": "1\x1b[31m"}], None]
    for wrong in phases:
        node = orm.WorkChainNode(process_type=FINISH_TYPE)
        node.set_exit_status(0)
        searches = orm.List([search.uuid]).store()
        node.base.links.add_incoming(searches, LinkType.INPUT_WORK, "searches")
        node.store()
        answer = orm.Dict({"phases": wrong, "failed": wrong}).store()
        answer.base.links.add_incoming(node, LinkType.RETURN, "answer")
        assert finishes.phases(node) == []
        assert finishes.failed(node) == []
        call("show", node.pk)
        call("status", "-a")
        delete_nodes([node.pk], dry_run=False)


def test_what_cannot_be_finished_is_one_line(call, search):
    assert "at least 1" in call("finish", search.pk, "--best", 0, "--dry-run", code=2).output
    assert "no such input" in call("finish", search.pk, "--set", "nonsense=1", "--dry-run", code=2).output
    assert "there is no node" in call("finish", 999999, "--dry-run", code=1).output
