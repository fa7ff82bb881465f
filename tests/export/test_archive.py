"""An export holds what it says, is refused where it would break, and opens in a clean profile."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState, run_get_node
from aiida.tools.archive import import_archive
from click.testing import CliRunner

from aiida_fuse2 import query
from aiida_fuse2.environment.processes import mend
from aiida_fuse2.export import archive
from aiida_fuse2.launch import continuation
from aiida_fuse2.protocols.models import find_model
from aiida_fuse2.report.collect import collect, search_figures
from aiida_fuse2.report.comparison import compare
from aiida_fuse2.report.page import payload, render
from aiida_fuse2.workchains.runs import Fuse2RunsWorkChain

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "howto" / "export.md"


def without_keys(values, *names):
    return {key: value for key, value in values.items() if key not in names}


def test_whole_search_opens_in_a_clean_profile(search, tmp_path, aiida_config_tmp, aiida_profile_factory):
    written = archive.export(search, tmp_path / "search.aiida")
    uuid, energy = search.uuid, search.outputs.energy.value
    data = collect(search, number=5)
    before = payload(data)
    best = [row["uuid"] for row in query.ranked(search)]
    tables = without_pk(query.explored(search))
    with aiida_profile_factory(aiida_config_tmp):
        import_archive(written.archive)
        imported = query.load_search(uuid)
        again = collect(imported, number=5)
        after = payload(again)
        assert render(again).startswith("<!DOCTYPE html>")
        assert again.explored.equals(data.explored)
        assert after["lineage"] == before["lineage"]
        assert after["structures"] == before["structures"]
        assert after["software"] == before["software"]
        assert without_keys(after["summary"], "pk", "elapsed") == without_keys(before["summary"], "pk", "elapsed")
        assert without_pk(query.explored(uuid)).equals(tables)
        group = orm.load_group(written.group)
        assert {node.uuid for node in group.nodes} == set(best)
        assert min(node.base.extras.get("fuse2")["energy"] for node in group.nodes) == energy


def without_pk(frame):
    return frame.drop(columns="pk")


def test_only_the_best_with_what_they_were_made_from(search, tmp_path, aiida_config_tmp, aiida_profile_factory):
    written = archive.export(search, tmp_path / "best.aiida", best=1)
    line = query.lineage(search.outputs.structure)["uuid"].tolist()
    uuid, best = search.uuid, search.outputs.structure.uuid
    with aiida_profile_factory(aiida_config_tmp):
        import_archive(written.archive)
        assert [node.uuid for node in orm.load_group(written.group).nodes] == [best]
        assert orm.QueryBuilder().append(orm.WorkChainNode).count() == 0
        for ancestor in line:
            assert orm.load_node(ancestor).creator.is_finished_ok
        with pytest.raises(query.NoSearchError):
            query.load_search(uuid)
        with pytest.raises(query.NoSearchError, match="was not made by a search"):
            query.lineage(orm.load_node(best))


def test_search_that_goes_on_brings_the_earlier_one(search, tmp_path, aiida_config_tmp, aiida_profile_factory):
    _, longer = run_get_node(continuation.prepare_continuation(search, more=2).builder)
    written = archive.export(longer, tmp_path / "longer.aiida")
    uuid, earlier = longer.uuid, search.uuid
    table = without_pk(query.explored(longer))
    labels = {group.label for group in (orm.load_group(f"fuse2/{u}") for u in (uuid, earlier))}
    assert len(table) > len(query.explored(search))
    with aiida_profile_factory(aiida_config_tmp):
        import_archive(written.archive)
        assert without_pk(query.explored(uuid)).equals(table)
        assert labels <= {group.label for group in orm.Group.collection.all()}
        data = collect(query.load_search(uuid), number=5)
        assert f"continues from search {orm.load_node(earlier).pk}" in data.status
        assert len(data.rows) == 10


@pytest.mark.slow
def test_runs_are_exported_and_compared_together(emt_builder, tmp_path, aiida_config_tmp, aiida_profile_factory):
    builder = Fuse2RunsWorkChain.builder_of_search(emt_builder(max_structures=4, seed=2), runs=2)
    _, runs = run_get_node(builder)
    written = archive.export(runs, tmp_path / "runs.aiida")
    assert "## 2 runs of the search" in written.readme.read_text()
    uuid, uuids = runs.uuid, [search.uuid for search in query.run_searches(runs)]
    (before,) = figures(runs)
    assert before.searches == tuple(search.pk for search in query.run_searches(runs))
    with aiida_profile_factory(aiida_config_tmp):
        import_archive(written.archive)
        imported = query.load_search_or_runs(uuid)
        assert [search.uuid for search in query.run_searches(imported)] == uuids
        (after,) = figures(imported)
        assert replace(after, searches=before.searches) == before


def figures(runs):
    found = [search_figures(search) for search in query.run_searches(runs)]
    return compare(found, baseline=found[0].experiment, tolerance=0.001)


def test_description_has_numbers_versions_and_works_to_cite(search, tmp_path):
    written = archive.export(search, tmp_path / "search.aiida")
    text = written.readme.read_text()
    assert search.uuid in text
    assert f"{search.outputs.energy.value:.5f}" in text
    assert "10.1039/D4FD00094C" in text
    assert "CHGNet" not in text  # this search used EMT
    assert "ase.calculators.emt.EMT" in text
    assert re.search(r"aiida-fuse2 \d", text)
    assert query.ranked(search)[0]["uuid"] in text
    assert "report" in text
    assert "; relaxed to 0.1 eV/Å with EMT; saddle points and shallow slopes may be among them." in text
    settings = yaml.safe_load(written.optimade.read_text())
    entry = settings["entries"][0]
    assert entry["entry_paths"] == {"aiida_file": "search.aiida", "aiida_group": written.group}
    for definition in entry["property_definitions"]:
        (item,) = definition["aiida_query"]
        builder = orm.QueryBuilder().append(orm.Group, filters={"label": written.group}, tag="group")
        builder.append(orm.StructureData, with_group="group", project=item["project"])
        assert all(value is not None for value in builder.all(flat=True))


def test_ways_to_the_best_that_are_written_down(search, tmp_path, capsys):
    """A group has no order: neither the description nor the manual may rely on one."""
    written = archive.export(search, tmp_path / "search.aiida")
    group = orm.load_group(written.group)
    nodes = list(group.nodes)
    group.clear()
    for row in query.ranked(search)[::-1]:
        group.add_nodes(orm.load_node(row["uuid"]))
    (code,) = re.findall(r"```python\n(.*?)```", written.readme.read_text(), flags=re.DOTALL)
    exec(code.replace("load_profile()\n", ""), {})  # noqa: S102 - our own
    energies = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines() if line.startswith(("-", "0"))]
    assert energies[: len(nodes)] == [row["energy"] for row in query.ranked(search)]
    (code,) = re.findall(r"```python\n(.*?)```", MANUAL.read_text(), flags=re.DOTALL)
    found = {}
    exec(code.replace("fuse2/UUID/best", written.group), found)  # noqa: S102 - our own
    assert found["structure"].uuid == search.outputs.structure.uuid


def test_works_to_cite_follow_what_was_used():
    relax, pair = {"calculator": "chgnet"}, {"calculator": "pair"}
    cited = " ".join(archive.citations([{"generator": "symmetric"}], [("gulp", {}, None), ("chgnet", relax, None)]))
    assert all(name in cited for name in ("CHGNet", "PyXtal", "GULP", "FUSE"))
    assert "Quantum ESPRESSO" not in cited
    sevennet = find_model("sevennet-0").relax_settings
    assert "acs.jctc.4c00190" in " ".join(archive.citations([], [("ase", sevennet, None)]))
    assert "PyXtal" not in " ".join(archive.citations([{"generator": "fgen"}], [("chgnet", pair, None)]))
    gnoa = {"generator": "gnoa", "gnoa": {"network": "megnet"}}
    cited = " ".join(archive.citations([gnoa, {"generator": "unknown"}], [("pair", pair, None), ("unknown", {}, None)]))
    assert "Chem. Mater. 31" in cited
    assert "Nat. Commun. 13" in cited
    assert "CHGNet" not in cited


def test_group_follows_a_second_export(search, tmp_path):
    first = archive.export(search, tmp_path / "a.aiida", best=1)
    assert orm.load_group(first.group).count() == 1
    second = archive.export(search, tmp_path / "b.aiida", best=2)
    assert second.group == first.group
    assert orm.load_group(first.group).count() == 2


def calls(caller, kind, link, *, state=None, checkpoint=None, **options):
    """A process that another one has called."""
    node = kind(**options)
    node.base.links.add_incoming(caller, link_type=link, link_label=f"called_{kind.__name__}")
    if state is not None:
        node.set_process_state(state)
    if checkpoint is not None:
        node.set_checkpoint(checkpoint)
    return node.store()


def test_orphans_are_named_with_their_cure_at_any_depth(aiida_profile, aiida_localhost):
    """A step of the search itself, one of its tiers, and a job below a process that these have called."""
    search = orm.WorkChainNode(process_type=query.PROCESS_TYPE).store()
    tiers = calls(search, orm.WorkChainNode, LinkType.CALL_WORK, state=ProcessState.FINISHED)
    dft = calls(tiers, orm.WorkChainNode, LinkType.CALL_WORK, state=ProcessState.EXCEPTED)
    steps = [calls(caller, orm.CalcFunctionNode, LinkType.CALL_CALC) for caller in (search, tiers)]
    job = calls(dft, orm.CalcJobNode, LinkType.CALL_CALC, computer=aiida_localhost)
    orphans = [*(step.pk for step in steps), job.pk]
    search.set_process_state(ProcessState.FINISHED)
    for node in (dft, tiers, search):
        node.seal()
    named = ", ".join(str(pk) for pk in orphans)
    with pytest.raises(archive.NotExportableError, match=rf"{named}; .*aiida-fuse2 doctor --mend"):
        archive.check_exportable(search)
    (done,) = [finding for finding in mend() if finding.search is None and str(search.pk) in finding.text]
    assert done.text.endswith(f"search {search.pk}: {named}")
    assert {row["pk"] for row in archive.check_exportable(search)} == {tiers.pk, dft.pk, *orphans}
    assert not mend()


def test_what_goes_on_below_an_ended_search_is_left_to_the_daemon(aiida_profile):
    """Tiers with a checkpoint can be taken up again, and so what they have called is not sealed."""
    search = orm.WorkChainNode(process_type=query.PROCESS_TYPE).store()
    tiers = calls(search, orm.WorkChainNode, LinkType.CALL_WORK, state=ProcessState.WAITING, checkpoint="a checkpoint")
    step = calls(tiers, orm.CalcFunctionNode, LinkType.CALL_CALC)
    search.set_process_state(ProcessState.KILLED)
    search.seal()
    assert not mend()
    assert not step.is_sealed
    with pytest.raises(archive.NotExportableError, match=f"kill: {tiers.pk}, {step.pk};.*verdi process repair"):
        archive.check_exportable(search)
    tiers.set_process_state(ProcessState.KILLED)
    tiers.delete_checkpoint()
    assert len(mend()) == 1
    archive.check_exportable(search)


def test_running_and_empty_searches_are_refused(emt_builder, tmp_path):
    from aiida.engine.utils import instantiate_process
    from aiida.manage import get_manager

    node = instantiate_process(get_manager().get_runner(), emt_builder()).node
    with pytest.raises(archive.NotExportableError, match=f"aiida-fuse2 stop {node.pk}"):
        archive.export(node, tmp_path / "search.aiida")
    node.set_process_state(ProcessState.KILLED)
    node.seal()
    with pytest.raises(archive.NotExportableError, match="has no structure"):
        archive.export(node, tmp_path / "search.aiida")


def test_command(search, tmp_path, monkeypatch):
    from aiida_fuse2.cli import cmd_root

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aiida_fuse2.environment.profile.load_search_profile", lambda _: None)

    def call(*arguments):
        return CliRunner().invoke(cmd_root, ["export", str(search.pk), *arguments])

    done = call("--best", "1")
    assert done.exit_code == 0, done.output
    stem = f"Cu3Au_{search.pk}"
    assert done.stdout.split() == [f"{stem}.aiida", f"{stem}.README.md", f"{stem}.optimade.yaml"]
    again = call("--best", "1")
    assert again.exit_code == 1
    assert "--force" in again.stderr
    assert call("--best", "1", "--force").exit_code == 0
    assert np.all([(tmp_path / name).stat().st_size for name in done.stdout.split()])
