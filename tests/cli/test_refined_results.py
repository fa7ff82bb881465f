"""Every command that takes a search takes a refinement: energies of its last tier, and never those of the search."""

from __future__ import annotations

import json

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.tools.archive import import_archive
from ase.io import read, write
from plumpy import ProcessState

from aiida_fuse2 import query
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.environment.prototypes import store_library
from aiida_fuse2.export.archive import works_to_cite
from aiida_fuse2.io.prototypes import library_to_text
from aiida_fuse2.launch.refinement import prepare_refinement
from aiida_fuse2.parsers.relax import EXTRAS_KEY
from aiida_fuse2.query.refinements import refined
from aiida_fuse2.query.results import refined_searches
from aiida_fuse2.tiers import TierChoice
from tests.core.generators.test_prototypes import LIBRARY, SOURCE

from .test_report import data_of

PRESSED = {
    "tiers": {
        "ase": {
            "settings": {
                "calculator": "ase.calculators.emt.EMT",
                "processes": 1,
                "fmax": 0.01,
                "max_steps": 200,
                "pressure": 20.0,
            }
        }
    }
}
"""The potential of the search under a pressure: its enthalpies are far from the energies of the search."""


def once(label, build):
    """Return the finished process of a builder, which is run once in this profile."""
    known = orm.QueryBuilder().append(orm.WorkChainNode, filters={"label": label}).first(flat=True)
    if known is not None:
        return known
    builder = build()
    builder.metadata.label = label
    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    return node


@pytest.fixture
def search(emt_builder):
    """A finished search of Cu3Au that began with prototypes, too."""
    library = store_library(library_to_text(LIBRARY), SOURCE)
    starts = {"starts": {"prototypes": 1, "fgen": 1}, "max_structures": 6, "seed": 3}
    return once("to be refined", lambda: emt_builder(library=library, **starts))


@pytest.fixture
def builder(search, worker_code):
    return prepare_refinement([search], TierChoice(names=["ase"]), code=worker_code, best=4, overrides=PRESSED)


@pytest.fixture
def refinement(builder):
    """A finished refinement of the four best structures of the search, under a pressure."""
    return once("refined", lambda: builder)


@pytest.fixture
def rows(refinement):
    """The rows of the refinement that have a rank, as it stores them."""
    return [row for row in refined(refinement) if row["rank"] is not None]


def test_ranked_and_explored_have_the_energies_of_the_refinement(search, refinement, rows):
    ranked = query.ranked(refinement)
    assert [(row["rank"], row["label"], row["energy"], row["uuid"]) for row in ranked] == [
        (row["rank"], row["label"], row["energy"], row["uuid"]) for row in rows
    ]
    before = {row["label"]: row for row in query.ranked(search)}
    for row in ranked:
        assert (row["search"], row["uuid_before"]) == (search.pk, before[row["parent"]]["uuid"])
        assert row["energy"] != before[row["parent"]]["energy"]
    frame = query.explored(refinement.pk)
    assert frame["label"].tolist() == ["r0000", "r0001", "r0002", "r0003"]
    assert frame["energy_before"].tolist() == [row["energy"] for row in query.ranked(search)[:4]]
    assert frame["energy"].min() == ranked[0]["energy"]
    assert [node.uuid for node in query.best(refinement, 9)] == [row["uuid"] for row in ranked]
    assert query.load_results(refinement.uuid).pk == refinement.pk
    assert query.is_refinement(refinement)
    assert not query.is_refinement(search)


def test_refined_structures_have_names(refinement):
    types = {row["rank_before"]: row["type"] for row in refined(refinement)}
    assert types[1] == "tetragonal (Cu3Au, tI8)"
    for row in query.ranked(refinement):
        assert row["type"]
        assert row["protostructure"].endswith(":Au-Cu")
        extras = orm.load_node(row["pk"]).base.extras.get(EXTRAS_KEY)
        assert (extras["type"], extras["parent"]) == (row["type"], row["parent"])
        assert extras["energy"] == row["energy"]


def test_show_has_the_types(call, refinement):
    assert " type" in call("show", refinement.pk).stdout
    assert "tetragonal" in call("show", refinement.pk).stdout


def test_a_lineage_goes_on_in_the_search(search, refinement):
    best = query.ranked(refinement)[0]
    line = query.lineage(best["uuid"])
    assert line["uuid"].iloc[-1] == best["uuid"]
    assert line["uuid"].iloc[-2] == best["uuid_before"]
    own = query.lineage(best["uuid_before"])
    assert line["label"].tolist() == [*own["label"], best["label"]]
    assert set(own["uuid"]) <= set(query.explored(search)["uuid"])


def test_structures(call, refinement, rows, tmp_path):
    written = json.loads(call("structures", refinement.pk, "-n", 9, "-o", tmp_path, "--json").stdout)
    assert [row["energy"] for row in written] == [row["energy"] for row in rows]
    assert written[0]["path"].startswith(f"{tmp_path}/Cu3Au_01_")
    assert f"_{rows[0]['energy']:.4f}.cif" in written[0]["path"]
    assert written[0]["relaxed_to"].startswith("relaxed to 0.01 eV/Å with EMT")
    call("structures", refinement.pk, "-n", 1, "-o", tmp_path, "--format", "extxyz")
    (path,) = tmp_path.glob("*.extxyz")
    info = read(path).info
    assert (info["type"], info["label"]) == (rows[0]["type"], rows[0]["label"])


def test_report(call, search, refinement, rows, tmp_path):
    target = tmp_path / "known.cif"
    write(target, refinement.outputs.structure.get_ase())
    call("report", refinement.pk, "-o", tmp_path / "page.html", "--target", target)
    page = (tmp_path / "page.html").read_text()
    values = data_of(page)
    assert f"<title>Cu3Au: refinement {refinement.pk}</title>" in page
    assert [row[12] for row in values["ranked"]] == [row["pk"] for row in rows]
    assert values["ranked"][0][1] == pytest.approx(rows[0]["energy"], abs=1e-5)
    assert values["ranked"][0][10] == f"refined from {rows[0]['label_before']}"
    assert values["ranked"][0][13] == rows[0]["type"]
    assert values["summary"]["origin"] == f"Structures of search {search.pk}, which had energies of EMT"
    assert (values["summary"]["tried"], values["path"], values["moves"]) == (4, None, [])
    texts = [text for line in values["plots"]["energy"]["data"] for text in line.get("text", ())]
    assert len(texts) == 4
    assert "walker" not in " ".join(texts)
    (found,) = values["targets"]
    first = min(row["label"] for row in refined(refinement) if rows[0]["label"] in {row["label"], row["duplicate_of"]})
    assert found["found"] == first  # in the order of the search
    assert found["delta_best"] == pytest.approx(0, abs=1e-4)
    assert [line["label"] for line in values["lineage"]] == [rows[0]["label"]]
    assert set(values["structures"]) == {row["label"] for row in rows}


def test_export_and_import(call, refinement, rows, tmp_path, request):
    archive = tmp_path / "refined.aiida"
    call("export", refinement.pk, "-o", archive)
    text = archive.with_suffix(".README.md").read_text()
    assert f"## The refinement\n\n`{refinement.uuid}` relaxed the 4 best structures" in text
    (search,) = refined_searches(refinement)
    assert f"`{search.uuid}`" in text
    assert f"| 1 |  | {rows[0]['energy']:.5f} | 0.00 |" in text
    assert "A. Founder, J. Alloys 1, 1" in works_to_cite(refinement)
    group = orm.load_group(f"fuse2/{refinement.uuid}/best")
    assert {node.uuid for node in group.nodes} == {row["uuid"] for row in rows}
    ranked = query.ranked(refinement)
    keys, uuid = ("rank", "energy", "uuid", "uuid_before", "type"), refinement.uuid
    with request.getfixturevalue("aiida_profile_factory")(request.getfixturevalue("aiida_config_tmp")):
        import_archive(archive)
        imported = query.load_results(uuid)
        assert [[row[k] for k in keys] for row in query.ranked(imported)] == [[row[k] for k in keys] for row in ranked]
        assert len(query.lineage(ranked[0]["uuid"])) >= 2


def test_compare_never_mixes_potentials(call, search, refinement, rows):
    found = json.loads(call("compare", search.pk, refinement.pk, "--json").stdout)
    first, second = found["experiments"]
    assert second["experiment"] == f"{query.search_settings(search).starts_text}, refined from EMT, EMT, 20 GPa"
    assert (first["energy"], second["energy"]) == (search.outputs.energy.value, rows[0]["energy"])
    assert first["is_lowest"]
    assert second["is_lowest"]  # each in its own potential
    assert (second["searches"], second["tried"], second["improvement"]) == ([refinement.pk], 4, None)
    (own,) = [row for row in found["searches"] if row["pk"] == refinement.pk]
    assert (own["kind"], own["seed"], own["potential"]) == ("refinement", None, "EMT, 20 GPa")
    shown = call("compare", refinement.pk, "--baseline", refinement.uuid).stdout
    assert f"{rows[0]['energy']:.4f}" in shown
    with pytest.raises(InputError, match=f"search {search.pk} has 0.0: energies cannot be compared"):
        query.combined([search, refinement])
    together = query.combined([refinement, refinement])
    assert [(row["energy"], row["runs"]) for row in together] == [(row["energy"], [0, 1]) for row in rows]


def test_compare_page(call, refinement, tmp_path):
    call("compare", refinement.pk, "-o", tmp_path / "compare.html")
    line, *_ = data_of((tmp_path / "compare.html").read_text())["plots"]["composition-0"]["data"]
    assert line["hovertemplate"].startswith(f"refinement {refinement.pk}<br>")


def test_hull_of_a_refinement_and_of_mixed_potentials(call, search, refinement, rows):
    (row,) = json.loads(call("hull", refinement.pk, "--end", "Cu3Au", "--json").stdout)
    assert (row["energy"], row["search"]) == (rows[0]["energy"], refinement.pk)
    refused = call("hull", search.pk, refinement.pk, "--end", "Cu3Au", code=1).stderr
    assert f"(EMT: {search.pk}; EMT, 20 GPa: {refinement.pk})" in " ".join(refused.split())


COMMANDS = ("structures", "report", "export", "compare", "hull")


@pytest.mark.parametrize("command", COMMANDS)
def test_other_nodes_are_refused_in_one_line(call, search, refinement, command, tmp_path):
    output = () if command in {"compare", "hull"} else ("-o", tmp_path / "out")
    structure = refinement.outputs.structure.pk
    for pk, message in (
        (987654321, "there is no node '987654321' in this profile"),
        (structure, f"node {structure} is not a search or a refinement but a StructureData"),
        (refinement.called[0].pk, f"node {refinement.called[0].pk} is not a search or a refinement but a "),
    ):
        refused = call(command, pk, *output, code=None)
        assert refused.exit_code in {1, 2}
        assert message in " ".join(refused.stderr.split())
        assert "Traceback" not in refused.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_refinement_without_a_result_says_so(call, builder, command, tmp_path):
    node = instantiate_process(get_manager().get_runner(), builder).node
    node.set_process_state(ProcessState.KILLED)
    node.seal()
    output = () if command in {"compare", "hull"} else ("-o", tmp_path / "out")
    asked = call(command, node.pk, *output, code=None)
    if command in {"report", "compare"}:  # without data, as of a search that has found nothing
        assert asked.exit_code == 0, asked.output
        return
    assert asked.exit_code == 1
    expected = {
        "structures": f"the refinement {node.pk} has no structure yet",
        "export": f"refinement {node.pk} has no structure",
        "hull": "have found no structure yet",
    }
    assert expected[command] in " ".join(asked.stderr.split())
