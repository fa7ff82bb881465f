"""`report`, `compare` and `hull` on a search that ran."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from aiida import orm
from aiida.engine import run_get_node
from ase.io import write

from aiida_fuse2 import query
from aiida_fuse2.core.crystal.symmetry import standard_cell
from aiida_fuse2.report.collect import collect, potential_name


def data_of(page):
    text = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, flags=re.DOTALL)
    return json.loads(text.group(1))


def test_page_agrees_with_the_search(call, search, tmp_path):
    target, pattern = tmp_path / "known.cif", tmp_path / "measured.xy"
    write(target, search.outputs.structure.get_ase())
    pattern.write_text("20 1\n30 5\n40 2\n")
    output = tmp_path / "new" / "page.html"
    arguments = ("report", search.pk, "-o", output, "-n", 3, "--target", target, "--xrd", pattern)
    assert call(*arguments).stdout.strip() == str(output)
    values = data_of(output.read_text())
    ranked = query.ranked(search)
    assert [row[11] for row in values["ranked"]] == [row["label"] for row in ranked]
    assert [row[12] for row in values["ranked"]] == [row["pk"] for row in ranked]
    assert values["summary"]["best"]["energy"] == ranked[0]["energy"]
    assert values["summary"]["tried"] == 8
    assert values["software"]
    assert values["relaxedTo"].startswith("relaxed to 0.1 eV/Å with EMT; saddle points")
    best = values["structures"][ranked[0]["label"]]
    assert best["targets"] == [["known.cif", pytest.approx(0, abs=1e-3)]]
    standard = standard_cell(search.outputs.structure.get_ase(), 0.1).atoms
    assert (best["conventional"], len(best["sites"])) == (True, len(standard))
    assert best["sizes"] == pytest.approx(standard.cell.cellpar(), abs=1e-3)
    (found,) = values["targets"]
    assert (found["name"], found["found"], found["energy"]) == ("known.cif", ranked[0]["label"], None)
    assert values["tiers"] == []
    assert len(values["structures"]) >= 3
    patterns = values["plots"]["diffraction"]["data"]
    assert [line["name"] for line in patterns[:-1]] == ["best structure", "target known.cif", "measured.xy"]
    traces = values["plots"]["walkers"]["data"]
    assert len(traces) == 2 * 2
    assert traces[0]["x"][-1] == 8
    assert values["lineage"][-1]["label"] == ranked[0]["label"]
    assert "exists; overwrite with --force" in call("report", search.pk, "-o", output, code=1).stderr
    call("report", search.pk, "-o", output, "--force")


@pytest.mark.parametrize(
    ("option", "content"), [("target", None), ("target", "data_x\n"), ("xrd", None), ("xrd", "no numbers")]
)
def test_bad_files_are_refused_before_the_page_is_made(call, search, tmp_path, option, content):
    path = tmp_path / "file.cif"
    if content is not None:
        path.write_text(content)
    result = call("report", search.pk, "-o", tmp_path / "page.html", f"--{option}", path, code=2)
    assert f"{option} = " in result.stderr
    assert not (tmp_path / "page.html").exists()


def test_target_of_another_composition_is_refused(call, search, tmp_path, perovskite):
    write(tmp_path / "other.cif", perovskite)
    result = call("report", search.pk, "-o", tmp_path / "page.html", "--target", tmp_path / "other.cif", code=2)
    assert "the search is one for Cu3Au" in result.stderr


def test_search_without_a_generation_has_a_page(emt_builder, call, tmp_path):
    """One that was killed before its first step: nothing but its inputs is there."""
    from aiida.engine.utils import instantiate_process
    from aiida.manage import get_manager
    from plumpy import ProcessState

    node = instantiate_process(get_manager().get_runner(), emt_builder()).node
    node.set_process_state(ProcessState.KILLED)
    call("report", node.pk, "-o", tmp_path / "page.html")
    values = data_of((tmp_path / "page.html").read_text())
    assert values["ranked"] == values["lineage"] == []
    assert values["plots"] == {}
    assert values["summary"]["status"].startswith("killed")
    assert query.explored(node).empty
    assert query.best(node) == []


@pytest.mark.parametrize("name", ["x" * 300, "file/page.html"])
def test_page_that_cannot_be_written(call, search, tmp_path, name):
    (tmp_path / "file").touch()
    for command in ("report", "compare", "export"):
        result = call(command, search.pk, "-o", f"{tmp_path}/{name}", code=1)
        assert "cannot write to" in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_collect_draws_only_what_is_asked_for(search):
    data = collect(search, number=1)
    assert data.ranked[0]["label"] in data.structures
    assert len(data.structures) <= 3


# --- compare and hull ---


def test_compare(call, search, tmp_path):
    page = tmp_path / "compare.html"
    found = json.loads(call("compare", search.pk, search.uuid, "-o", page, "--json").stdout)
    (row,) = found["experiments"]
    assert row["energy"] == search.outputs.energy.value
    assert (row["formula"], row["searches"], row["tried"], row["speedup"]) == ("Cu3Au", [search.pk], 8, 1)
    assert row["improvement"] <= 0
    assert data_of(page.read_text())["baseline"] == found["baseline"] == "fgen, EMT"
    assert "--force" in call("compare", search.pk, "-o", page, code=1).stderr
    text = call("compare", search.pk, "--baseline", search.pk).stdout
    assert f"{search.outputs.energy.value:.4f}" in text
    assert "1 of 1" in text


_ELEMENTS = {}


@pytest.fixture
def elements(emt_builder):
    """Finished searches of Cu and Au with EMT, run once in this process."""
    for formula in {"Cu", "Au"} - set(_ELEMENTS):
        _, node = run_get_node(emt_builder(formula, seed=1, max_structures=6, population_size=6, max_atoms=2))
        _ELEMENTS[formula] = node.pk
    return [orm.load_node(_ELEMENTS[formula]) for formula in ("Cu", "Au")]


def test_hull_of_one_composition_is_refused(call, search, tmp_path):
    output = tmp_path / "hull.html"
    refused = call("hull", search.pk, search.pk, "-o", output, code=2)
    assert "search the elements that are missing, Au, Cu, too" in refused.stderr
    assert (refused.stdout, output.exists()) == ("", False)
    assert "there is no search for it" in call("hull", search.pk, "--end", "Cu", code=2).stderr


def test_hull_over_the_elements_names_them_and_what_was_left_out(call, search, elements, tmp_path):
    copper, gold = elements
    refused = call("hull", search.pk, copper.pk, code=2)
    assert "search the elements that are missing, Au, too" in refused.stderr
    output = tmp_path / "hull.html"
    shown = call("hull", search.pk, copper.pk, gold.pk, "-o", output)
    assert "End members: Au, Cu\n" in shown.stdout
    assert "Left out" not in shown.output
    found = json.loads(call("hull", search.pk, copper.pk, gold.pk, "--json").stdout)
    assert [(row["formula"], row["is_end"]) for row in found] == [("Cu3Au", False), ("Cu", True), ("Au", True)]
    alloy = found[0]
    expected = search.outputs.energy.value - (3 * copper.outputs.energy.value + gold.outputs.energy.value) / 4
    assert alloy["formation"] == pytest.approx(expected)
    values = data_of(output.read_text())
    assert (values["potential"], values["ends"]) == ("EMT", ["Au", "Cu"])
    assert values["plots"]["hull"]["layout"]["yaxis"]["title"]["text"] == "Energy of formation (meV/atom)"
    assert [row["formula"] for row in values["rows"] if row["end"]] == ["Au", "Cu"]
    assert "exists; overwrite with --force" in call("hull", search.pk, "-o", output, code=1).stderr


def test_hull_names_searches_that_were_left_out_or_have_not_ended_well(call, search, elements, monkeypatch):
    from aiida_fuse2.report import collect as module

    copper, gold = elements
    figures, progress = module.search_figures, query.progress
    nothing = {gold.pk}
    monkeypatch.setattr(
        module,
        "search_figures",
        lambda node: replace(figures(node), **({"energy": None} if node.pk in nothing else {})),
    )
    refused = call("hull", search.pk, copper.pk, gold.pk, code=2)
    assert f"Left out: search {gold.pk} (Au), no structure found" in refused.stderr
    assert "search the elements that are missing, Au, too" in refused.stderr
    nothing.clear()
    states = {copper.pk: {"process_state": "running", "exit_status": None}, gold.pk: {"exit_status": 301}}
    monkeypatch.setattr(query, "progress", lambda pk: replace(progress(pk), **states.get(pk, {})))
    shown = call("hull", search.pk, copper.pk, gold.pk)
    assert f"Note: search {copper.pk} (Cu) has not ended" in shown.stdout
    assert f"Note: search {gold.pk} (Au) has failed" in shown.stdout


def test_hull_of_different_potentials_or_pressures_is_refused_with_the_searches(call, search, elements, monkeypatch):
    from aiida_fuse2.report import collect as module

    copper, gold = elements
    figures = module.search_figures
    other = {copper.pk: {"potential": "EMT, 2 GPa"}}
    monkeypatch.setattr(module, "search_figures", lambda node: replace(figures(node), **other.get(node.pk, {})))
    refused = call("hull", search.pk, copper.pk, gold.pk, code=1)
    used = f"(EMT: {search.pk}, {gold.pk}; EMT, 2 GPa: {copper.pk})"
    assert f"the searches used different potentials {used}" in " ".join(refused.stderr.split())


def test_the_higher_of_two_searches_is_left_out(call, search, elements, monkeypatch):
    from aiida_fuse2.report import collect as module

    copper, gold = elements
    figures = module.search_figures
    monkeypatch.setattr(
        module,
        "search_figures",
        lambda node: replace(figures(node), **({"formula": "Cu", "energy": 9.0} if node.pk == search.pk else {})),
    )
    shown = call("hull", search.pk, copper.pk, gold.pk).stdout
    assert f"Left out: search {search.pk} (Cu), another one for this composition is as low or lower" in shown
    assert "Left out" not in call("hull", copper.pk, gold.pk, gold.uuid).output


def test_calculators_of_one_name_in_different_packages_are_not_compared():
    names = {potential_name(("ase", {"calculator": path}, None)) for path in ("ase.calculators.emt.EMT", "mine.EMT")}
    assert names == {"EMT", "mine.EMT"}
    assert potential_name(("ase", {"calculator": "mine.EMT", "pressure": 2.0}, None)) == "mine.EMT, 2 GPa"
