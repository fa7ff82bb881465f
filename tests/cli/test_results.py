"""`show`, `structures`, `watch` and `stop` on a finished search, and the display of one that runs."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.tools import delete_nodes
from ase.build import bulk
from ase.io import read, write
from rich.console import Console

from aiida_fuse2 import query
from aiida_fuse2.cli.views import progress as live
from aiida_fuse2.cli.views.ranked import target_line
from aiida_fuse2.core.crystal.symmetry import SymmetryError, find_symmetry
from aiida_fuse2.core.search.state import FoundTarget
from aiida_fuse2.export.structures import cif_text, file_name, to_text
from aiida_fuse2.io.trials import from_extxyz
from aiida_fuse2.query.stopping import STOP_EXTRA
from aiida_fuse2.query.targets import Target
from tests.report.powders import measured

from .test_report import data_of


def changed(reached, **values):
    from dataclasses import replace

    return replace(reached, **values)


# --- show ---


def test_show_as_json_agrees_with_the_outputs(call, search):
    shown = json.loads(call("show", search.pk, "--json").stdout)
    ranked = search.outputs.ranked["structures"]
    assert [row["label"] for row in shown["structures"]] == [row["label"] for row in ranked]
    assert shown["structures_tried"] == 8
    assert shown["exit_status"] == 0
    assert shown["evidence"]["tried"] == 8
    for row in shown["structures"]:
        node = orm.load_node(row["pk"])
        assert (node.uuid, node.label) == (row["uuid"], row["label"])


def test_show_table(call, search):
    rows = query.ranked(search)
    text = call("show", search.uuid[:8], "-n", 1).stdout
    assert "Cu3Au" in text
    assert f"{rows[0]['energy']:.4f}" in text
    assert rows[0]["label"] in text
    assert f"{rows[0]['spacegroup_symbol_loose']} ({rows[0]['spacegroup_loose']})" in text
    assert f"and {len(rows) - 1} more" in text
    assert f"\nhow sure: {' '.join(query.evidence(search.pk).text().splitlines())}\n" in text


RELAXED = "relaxed to 0.1 eV/Å with EMT; saddle points and shallow slopes may be among them"


def test_what_is_shown_says_to_what_it_was_relaxed(call, search, emt_builder, tmp_path):
    assert f"\n{RELAXED}\n" in call("show", search.pk).stdout
    assert json.loads(call("show", search.pk, "--json").stdout)["relaxed_to"] == RELAXED
    assert f"\n{RELAXED}\n" in call("watch", search.pk).stdout
    written = call("structures", search.pk, "-n", 1, "-o", tmp_path)
    assert written.stderr == f"All were {RELAXED}\n"
    arguments = ("structures", search.pk, "-n", 1, "-o", tmp_path, "--force", "--json")
    assert json.loads(call(*arguments).stdout)[0]["relaxed_to"] == RELAXED


def test_a_search_that_goes_on_with_another_limit_names_both(search):
    later = orm.WorkChainNode(process_type=query.PROCESS_TYPE)
    settings = orm.Dict({**search.inputs.tiers["t00"]["settings"].get_dict(), "fmax": 0.02}).store()
    later.base.links.add_incoming(search.outputs.state, LinkType.INPUT_WORK, "state")
    later.base.links.add_incoming(settings, LinkType.INPUT_WORK, "tiers__t00__settings")
    later.base.links.add_incoming(orm.Str("ase").store(), LinkType.INPUT_WORK, "tiers__t00__name")
    later.store()
    try:
        limits = "0.1 eV/Å with EMT, then to 0.02 eV/Å with EMT"
        assert query.relaxed_to(later) == RELAXED.replace("0.1 eV/Å with EMT", limits)
    finally:
        delete_nodes([later.pk, settings.pk], dry_run=False)


def test_show_looks_for_a_target(call, search, tmp_path):
    best = search.outputs.structure
    write(tmp_path / "known.cif", best.get_ase())
    shown = json.loads(call("show", search.pk, "--json", "--target", tmp_path / "known.cif").stdout)
    (target,) = shown["targets"]
    assert (target["name"], target["delta_target"]) == ("known", None)
    assert target["rms"] < 0.05
    assert shown["structures"][0]["targets"] == ["known"]
    text = call("show", search.pk, "--target", tmp_path / "known.cif").stdout
    assert f"found after {target['structure_number']} structures" in text
    assert [line.split()[-1] for line in text.splitlines() if " known " in line and line.strip()[0].isdigit()][
        -1
    ] == str(best.pk)
    write(tmp_path / "other.cif", bulk("Cu", "fcc", a=3.6))
    result = call("show", search.pk, "--target", tmp_path / "other.cif", code=2)
    assert "the search is one for Cu3Au" in result.stderr


def test_progress_tells_of_targets(search, search_settings):
    reached = query.progress(search.pk)
    found = FoundTarget("g00001_w000_t000", 5, -3.0, 0.0123)
    shown = changed(reached, targets=("a", "b"), state=changed(reached.state, targets={"a": found}))
    expected = "target a found after 5 structures (rms 0.012 Å, -3.0000 eV/atom); b not among 8 so far"
    line = live.generation_line(shown, shown.state, search_settings("Cu3Au"))
    assert line.endswith(expected)


@pytest.mark.parametrize("command", ["show", "structures", "watch", "stop"])
def test_what_is_not_a_search(call, search, command):
    result = call(command, search.inputs.settings.pk, code=1)
    expected = "a search or a refinement" if command == "structures" else "a search"
    assert f"is not {expected} but a Dict" in result.stderr
    assert "there is no node" in call(command, 10**9, code=1).stderr
    assert "there is no node" in call(command, "nonsense", code=1).stderr


@pytest.mark.parametrize(
    ("above", "text"),
    [
        (None, "not found"),
        (-0.0495, "lies 49.5 meV/atom below your best: the search missed it"),
        (0.0032, "not found; lies 3.2 meV/atom above your best"),
        (-1e-6, "not found; lies 0.0 meV/atom above your best"),
    ],
)
def test_target_that_was_not_found(above, text):
    target = Target(name="spinel", pk=1, spacegroup=227, spacegroup_symbol="Fd-3m", above_best=above)
    assert target_line(target) == f"target spinel (Fd-3m (227)): {text}"


# --- structures ---


@pytest.mark.parametrize(("file_format", "suffix"), [("cif", "cif"), ("poscar", "vasp"), ("extxyz", "extxyz")])
def test_files_hold_the_structures_as_relaxed(call, search, tmp_path, file_format, suffix):
    arguments = ("structures", search.pk, "-n", 2, "--format", file_format, "-o", tmp_path / "new", "--json")
    written = json.loads(call(*arguments).stdout)
    assert len(written) == 2
    for row in written:
        assert row["path"].endswith(f".{suffix}")
        name = row["path"].removeprefix(f"{tmp_path}/new/")
        assert name.startswith(f"Cu3Au_{row['rank']:02d}_")
        assert f"{row['energy']:.4f}" in name
        atoms = read(row["path"], format="vasp" if suffix == "vasp" else suffix)
        expected = orm.load_node(row["pk"]).get_ase()
        assert sorted(atoms.symbols) == sorted(expected.symbols)
        assert np.allclose(atoms.cell.cellpar(), expected.cell.cellpar(), atol=1e-5)


def test_symmetrised_files(call, search, tmp_path):
    call("structures", search.pk, "-n", 1, "-o", tmp_path, "--symprec", 0.1)
    row = query.ranked(search)[0]
    expected = find_symmetry(orm.load_node(row["pk"]).get_ase(), 0.1)
    text = next(tmp_path.glob("*.cif")).read_text()
    assert re.search(rf"_space_group_IT_number +{expected.number}\n", text)
    call("structures", search.pk, "-n", 1, "-o", tmp_path, "--symprec", 0.1, "--format", "poscar")
    atoms = read(next(tmp_path.glob("*.vasp")), format="vasp")
    assert find_symmetry(atoms, 1e-4).number == expected.number


@pytest.fixture
def distorted(aiida_profile):
    """A row of a cubic perovskite with atoms up to 0.03 Å from their places."""
    from ase.spacegroup import crystal

    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
    atoms = crystal(["Sr", "Ti", "O"], sites, spacegroup=221, cellpar=[3.905] * 3 + [90] * 3)
    atoms.positions += np.random.default_rng(1).uniform(-0.015, 0.015, atoms.positions.shape)
    node = orm.StructureData(ase=atoms).store()
    groups = {
        "spacegroup": 1,
        "spacegroup_symbol": "P1",
        "spacegroup_loose": 221,
        "spacegroup_symbol_loose": "Pm-3m",
    }
    return {"rank": 1, "energy": -8.4, "label": "g", "found": 1, "uuid": node.uuid, **groups}


@pytest.mark.parametrize(("symprec", "symbol"), [(None, "Pm-3m"), (0.001, "P1"), (0.1, "Pm-3m")])
def test_name_has_the_space_group_of_the_content(distorted, symprec, symbol):
    name = file_name("SrTiO3", distorted, "cif", symprec=symprec)
    assert name == f"SrTiO3_01_{symbol}_-8.4000.cif"
    text = to_text(distorted, "cif", symprec=symprec)
    written = "P 1" if symprec is None or symbol == "P1" else "P m -3 m"  # as relaxed, it is written without symmetry
    assert re.search(rf"_space_group_name_H-M(_alt)?\s+'{re.escape(written)}'\n", text)


def test_space_groups_in_an_extended_xyz_file(distorted):
    [atoms] = from_extxyz(to_text(distorted, "extxyz"))
    assert (atoms.info["spacegroup"], atoms.info["spacegroup_loose"]) == (1, 221)
    [atoms] = from_extxyz(to_text(distorted, "extxyz", symprec=0.1))
    assert (atoms.info["spacegroup"], atoms.info["spacegroup_symbol"]) == (221, "Pm-3m")
    assert atoms.info["symprec"] == 0.1
    assert "spacegroup_loose" not in atoms.info
    assert find_symmetry(atoms, 1e-4).number == 221


def test_files_are_not_overwritten(call, search, tmp_path):
    call("structures", search.pk, "-n", 1, "-o", tmp_path)
    path = next(tmp_path.iterdir())
    path.write_text("mine")
    assert f"{path} exists; overwrite" in call("structures", search.pk, "-n", 2, "-o", tmp_path, code=1).stderr
    assert path.read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1
    call("structures", search.pk, "-n", 2, "-o", tmp_path, "--force")
    assert path.read_text() != "mine"


def test_a_structure_that_symmetry_makes_another_crystal_of_is_written_as_relaxed(call, search, tmp_path, monkeypatch):
    best = search.outputs.structure.get_ase()

    def refuse_best(atoms, *, symprec=None):
        if symprec is not None and len(atoms) == len(best) and np.allclose(atoms.positions, best.positions):
            raise SymmetryError("another_crystal", "why")
        return cif_text(atoms, symprec=symprec)

    monkeypatch.setattr("aiida_fuse2.export.structures.cif_text", refuse_best)
    result = call("structures", search.pk, "-n", 2, "-o", tmp_path, "--symprec", 0.1)
    assert result.stderr.splitlines()[0] == "structure 1 is written as relaxed, in P1: why"
    first, second = (path.read_text() for path in sorted(tmp_path.glob("*.cif")))
    assert "'P 1'" in first
    assert "_space_group_IT_number" in second


def test_symbol_in_a_file_name():
    row = {"rank": 3, "energy": -1.0, "spacegroup_symbol_loose": "P6_3/mmc"}
    assert file_name("Mn", row, "cif") == "Mn_03_P6_3_mmc_-1.0000.cif"


# --- watch and stop ---


def test_watch_a_finished_search(call, search):
    text = call("watch", search.pk).stdout
    assert "finished" in text
    assert query.ranked(search)[0]["label"] in text


def test_watch_as_json(call, search):
    shown = json.loads(call("watch", search.pk, "--json").stdout)
    assert shown["process_state"] == "finished"
    assert shown["structures"]


@pytest.mark.parametrize(("status", "code"), [(0, 0), (700, 0), (301, 1), (401, 1), (None, 1)])
def test_exit_code_of_watch(call, search, monkeypatch, status, code):
    state = "finished" if status is not None else "killed"
    reached = changed(query.progress(search.pk), exit_status=status, process_state=state, exit_message="why")
    monkeypatch.setattr("aiida_fuse2.cli.views.progress.follow", lambda *_: reached)
    text = call("watch", search.pk, code=code).stdout
    assert ("why" in text) == (status != 0)


def test_interrupt_leaves_the_search_running(call, search, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("aiida_fuse2.cli.views.progress.follow", interrupt)
    text = call("watch", search.pk).stdout
    assert f"aiida-fuse2 watch {search.pk}" in text
    assert f"verdi process status {search.pk}" in text


def test_stop(call, search, monkeypatch):
    assert "has ended already" in call("stop", search.pk, code=1).stderr
    monkeypatch.setattr(orm.WorkChainNode, "is_terminated", False)
    assert "exit status 700" in call("stop", search.pk).stdout
    assert search.base.extras.get(STOP_EXTRA) is True
    search.base.extras.delete(STOP_EXTRA)


# --- progress ---


def test_best_found_has_the_loose_space_group_of_its_results(search):
    """Extras can be lost, or written by others."""
    structure = search.outputs.structure
    row = structure.creator.outputs.results["by_label"][structure.label]
    extras = structure.base.extras
    known = extras.get("fuse2")
    extras.set("fuse2", {**known, "spacegroup_symbol_loose": "Pm-3m", "spacegroup_loose": 221})
    try:
        best = query.progress(search.pk).best
    finally:
        extras.set("fuse2", known)
    expected = f"{row['spacegroup_symbol_loose']} ({row['spacegroup_loose']})"
    assert live.best_text(best) == f"{search.outputs.energy.value:.4f} eV/atom {expected}"


def running(search, **values):
    return changed(query.progress(search.pk), process_state="waiting", phase="relaxing generation 4", **values)


def test_panel(search):
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    settings = query.search_settings(search)
    console.print(live.panel(running(search), settings, "the daemon is not running; start it"))
    text = console.file.getvalue()
    for part in ("relaxing generation 4", "8 of 8", "structures per hour", "does not advance", "eV/atom", "Ctrl-C"):
        assert part in text


def test_one_line_per_generation_without_a_terminal(search, monkeypatch):
    settings = query.search_settings(search)
    ended = query.progress(search.pk)
    earlier = changed(ended.state, generation=1, tried=4)
    reports = iter(
        [running(search, state=None), running(search, state=earlier), running(search), running(search), ended]
    )
    problems = iter(["no daemon", None])
    monkeypatch.setattr(live, "progress", lambda _: next(reports))
    monkeypatch.setattr(live, "daemon_problem", lambda: next(problems))
    monkeypatch.setattr(live, "DAEMON_POLLS", 2)
    monkeypatch.setattr(live, "POLL_INTERVAL", 0)
    console = Console(file=io.StringIO(), width=160)
    assert live.follow(search.pk, settings, console) is ended
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 3
    assert "no daemon" in lines[0]
    assert lines[1].startswith("generation 0: 4 of 8 structures")
    assert lines[2].startswith(f"generation {ended.state.generation - 1}: 8 of 8 structures")


# --- powder patterns ---


@pytest.fixture
def pattern(search, tmp_path):
    """A measured pattern of the second best structure of the search, in a lattice 1 % larger."""
    atoms = orm.load_node(query.ranked(search)[1]["pk"]).get_ase()
    made = measured(atoms, np.random.default_rng(1), scale=1.01, noise=0.02, background=0.1)
    path = tmp_path / "measured.xy"
    path.write_text("\n".join(f"{x:.3f} {y:.3f}" for x, y in zip(made.two_theta, made.intensity, strict=True)))
    return path


def test_show_and_structures_by_a_measured_pattern(call, search, pattern, tmp_path):
    second = query.ranked(search)[1]
    shown = json.loads(call("show", search.pk, "--pattern", pattern, "--rank-by", "pattern", "--json").stdout)
    best = shown["structures"][0]
    assert (best["pk"], best["rank"]) == (second["pk"], 2)
    assert best["pattern"]["scale"] == pytest.approx(1.01, abs=2e-3)
    similar = [row["pattern"]["similarity"] for row in shown["structures"]]
    assert similar == sorted(similar, reverse=True)
    text = call("show", search.pk, "--pattern", pattern).stdout
    assert re.search(r"pattern +peaks", text)
    assert f"{best['pattern']['similarity']:.2f}" in text
    assert "measured.xy: structure 2 fits best" in text
    arguments = ("--pattern", pattern, "--rank-by", "pattern", "-n", 1, "-o", tmp_path / "new", "--json")
    (written,) = json.loads(call("structures", search.pk, *arguments).stdout)
    assert written["pk"] == second["pk"]


def test_report_compares_with_the_first_measured_pattern(call, search, pattern, tmp_path):
    page = tmp_path / "page.html"
    call("report", search.pk, "-o", page, "-n", 2, "--xrd", pattern, "--wavelength", "1.5418")
    values = data_of(page.read_text())
    second = next(row for row in values["ranked"] if row[0] == 2)
    assert second[15] == max(row[15] or 0 for row in values["ranked"]) > 0.8
    assert re.fullmatch(r"\d+/\d+", second[16])
    assert [row[15] for row in values["ranked"] if row[11] not in values["structures"]] == [None] * (
        len(values["ranked"]) - sum(row[11] in values["structures"] for row in values["ranked"])
    )
    assert "1.5418 Å" in values["plots"]["diffraction"]["layout"]["xaxis"]["title"]["text"]


def test_options_of_patterns_that_cannot_be(call, search, pattern, tmp_path):
    assert "needs a --pattern" in call("show", search.pk, "--rank-by", "pattern", code=2).stderr
    assert "pattern = " in call("show", search.pk, "--pattern", tmp_path / "no.xy", code=2).stderr
    refused = call("structures", search.pk, "--pattern", pattern, "--wavelength", "Cu", code=2).stderr
    assert "wavelength = " in refused
