"""Whole searches through programs in several tiers, what fails in them, and what a search is asked afterwards."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from click.testing import CliRunner

from aiida_fuse2 import query
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.export import archive
from aiida_fuse2.launch.finishing import prepare_finish
from aiida_fuse2.launch.refinement import prepare_refinement
from aiida_fuse2.query import finishes
from aiida_fuse2.query.structures import explored_structures
from aiida_fuse2.report.collect import collect, search_figures
from aiida_fuse2.report.page import payload, render
from aiida_fuse2.tiers import TierChoice
from tests.potcars import ENMAX
from tests.workchains.comparing import rows_of
from tests.worker.test_gulp import stand_in

from .changes import ASE
from .conftest import COARSE

ONE_CORE = {"resources": {"num_machines": 1}, "withmpi": False, "max_wallclock_seconds": 600}
NEUTRAL = {"settings": {"electrostatics": False}}
CHGNET = {"settings": {"fmax": 0.1, "processes": 1}}

_SEARCH: list[int] = []


def layered(formula):
    """Layers of one element each in their order, as a face-centred crystal has them along c."""
    symbols = Atoms(formula).get_chemical_symbols()
    places = [((i % 2) / 2, (i % 2) / 2, i / len(symbols)) for i in range(len(symbols))]
    cell = [2.75, 2.75, 1.9 * len(symbols)]
    return orm.StructureData(ase=Atoms(symbols, scaled_positions=places, cell=cell, pbc=True)).store()


def vasp(family, **settings):
    """Changes of the tier VASP, for the stand-in on one core."""
    own = {"potential_family": family, "potentials": {element: element for element in ENMAX}, "restarts": 1}
    return {"settings": {**own, **settings}, "options": ONE_CORE, "concurrent": 2}


def emt_energy(structure):
    """Energy of the potential that the stand-in for VASP has, eV/atom."""
    atoms = structure.get_ase()
    atoms.calc = EMT()
    return atoms.get_potential_energy() / len(atoms)


@pytest.fixture
def gulp_code(worker_code, tmp_path):
    """A factory of codes: the stand-in for GULP, with a fault or none."""

    def make(fault=""):
        program = stand_in(tmp_path, fault)
        label = f"gulp-{tmp_path.name}"
        code = orm.InstalledCode(computer=worker_code.computer, filepath_executable=str(program), label=label)
        return code.store()

    return make


@pytest.fixture
def search(tiers_builder):
    """A search through two tiers that has ended; made once for several tests."""
    if not _SEARCH:
        _, node = run_get_node(tiers_builder(max_structures=6, population_size=4))
        assert node.is_finished_ok, node.exit_message
        _SEARCH.append(node.pk)
    return orm.load_node(_SEARCH[0])


# --- what a search is asked -----------------------------------------------------------------------


def test_report_names_the_tiers_and_their_software(search):
    data = collect(search, number=3)
    assert [name for name, _ in data.tiers] == ["pair", "ase"]
    assert {"aiida-fuse2", "ase", "numpy"} <= set(data.software)
    assert all(isinstance(version, str) and "," not in version for version in data.software.values())
    page = payload(data)
    assert [title for title, _ in page["settings"]] == ["Search", "Tier 1: pair", "Tier 2: ase"]
    rows = rows_of(search)
    assert page["summary"]["cpu"] == pytest.approx(sum(row["cpu_seconds"] for row in rows), abs=0.01)
    assert page["summary"]["best"]["label"] == query.ranked(search)[0]["label"]
    assert render(data).startswith("<!DOCTYPE html>")


def test_figures_tell_searches_with_and_without_a_tier_apart(search):
    figures = search_figures(search)
    (library,) = figures.tiers_before
    assert library.startswith("pair ")
    assert figures.potential == "EMT"  # so that the lowest energies are compared
    assert figures.experiment == f"fgen, {library}, EMT"
    assert figures.tried == 6
    assert figures.energy == pytest.approx(search.outputs.energy.value)


def test_tables_and_lineage_go_through_the_tiers(search):
    frame = query.explored(search)
    assert {"energy_pair", "energy_ase", "cpu_seconds_pair", "tier"} <= set(frame.columns)
    assert frame["pk"].notna().all()
    (best,) = query.best(search)
    assert best.pk == search.outputs.structure.pk
    assert query.lineage(best)["uuid"].iloc[-1] == best.uuid


def test_export_says_what_gave_the_energies(search, tmp_path):
    written = archive.export(search, tmp_path / "search.aiida")
    text = written.readme.read_text()
    assert "energies from `ase.calculators.emt.EMT`, after relaxing with `pair`" in text
    assert f"numpy {np.__version__}" in text.partition("## Software")[2].partition("##")[0]
    assert "CHGNet" not in text
    called = {row["pk"] for row in archive.check_exportable(search)}
    assert {node.pk for node in search.called_descendants} == called


@pytest.mark.parametrize("command", [["show"], ["status"], ["compare"]])
def test_commands_know_searches_with_tiers(search, monkeypatch, command):
    from aiida_fuse2.cli import cmd_root

    monkeypatch.setattr("aiida_fuse2.environment.profile.load_search_profile", lambda _: None)
    done = CliRunner().invoke(cmd_root, [*command, str(search.pk), "--json"])
    assert done.exit_code == 0, done.output
    assert str(search.pk) in done.stdout


# --- programs -------------------------------------------------------------------------------------


@pytest.mark.daemon
@pytest.mark.slow
@pytest.mark.timeout(900)  # many processes, and the machine may be busy
def test_a_search_through_gulp_and_chgnet(tiers_builder, gulp_code, submit_and_await):
    pytest.importorskip("chgnet")
    tiers = {"gulp": NEUTRAL, "chgnet": CHGNET}
    builder = tiers_builder(("gulp", "chgnet"), tiers=tiers, codes={"gulp": gulp_code()}, max_atoms=2, max_structures=4)
    search = submit_and_await(builder, timeout=600)
    assert search.is_finished_ok, search.exit_message
    explored = query.explored(search)
    assert explored["potential"].str.startswith("chgnet 0.3.0").all()
    assert (explored["tier"] == "chgnet").all()
    assert (explored["energy_chgnet"] == explored["energy"]).all()
    assert (explored["energy_gulp"] != explored["energy"]).all()
    tiers = next(node for node in search.called if node.process_label == "RelaxTiersWorkChain")
    jobs = [node.process_label for node in tiers.called if isinstance(node, orm.CalcJobNode)]
    assert jobs == ["GulpOptimizeCalculation", "RelaxCalculation"]
    assert {"chgnet", "gulp"} <= set(collect(search, number=1).software)
    cited = archive.works_to_cite(search)
    assert any("GULP" in work for work in cited)


@pytest.mark.slow
def test_a_search_goes_on_where_gulp_is_killed(tiers_builder, gulp_code):
    """All structures fail in the first tier, so that the search ends and says why."""
    tiers = {"gulp": NEUTRAL, "ase": ASE}
    builder = tiers_builder(
        ("gulp", "ase"), tiers=tiers, codes={"gulp": gulp_code("truncated")}, max_atoms=2, max_structures=4
    )
    _, search = run_get_node(builder)
    assert search.exit_status == 401
    state = SearchState.from_dict(search.outputs.state.get_dict())
    assert (state.tried, state.failures) == (4, {"gulp: output_truncated": 4})
    assert "RelaxCalculation" not in {node.process_label for node in search.called_descendants}


@pytest.mark.daemon
@pytest.mark.slow
@pytest.mark.timeout(900)  # many processes, and the machine may be busy
def test_a_search_through_chgnet_and_vasp(tiers_builder, potcars, vasp_code, submit_and_await):
    pytest.importorskip("chgnet")
    tiers = {"chgnet": CHGNET, "vasp": vasp(potcars, fmax=0.1)}
    builder = tiers_builder(
        ("chgnet", "vasp"), tiers=tiers, codes={"vasp": vasp_code()}, max_atoms=2, max_structures=2, population_size=2
    )
    search = submit_and_await(builder, timeout=600)
    assert search.is_finished_ok, search.exit_message
    best = search.outputs.structure
    assert best.creator.process_label == "VaspCalculation"
    assert search.outputs.energy.value == pytest.approx(emt_energy(best), abs=1e-4)
    assert query.lineage(best)["uuid"].iloc[-1] == best.uuid
    explored = query.explored(search)
    assert (explored["potential"] == "vasp 6.0.0").all()
    assert (explored["energy_chgnet"] != explored["energy"]).all()
    assert search_figures(search).potential.startswith("vasp ")
    assert collect(search, number=1).software["vasp"] == "6.0.0"
    cited = archive.works_to_cite(search)
    assert any("Kresse" in work for work in cited)


@pytest.mark.slow
def test_a_search_with_vasp_names_what_fails_and_goes_on(tiers_builder, potcars, vasp_code):
    """Of four atoms it dies in VASP, of six it is not converged; the energy of the other is that of the stand-in."""
    builder = tiers_builder(
        ("ase", "vasp"),
        tiers={"ase": {"settings": {**ASE["settings"], "fmax": 0.1}}, "vasp": vasp(potcars)},
        codes={"vasp": vasp_code("killed@4", "scf@6")},
        structures=[layered("CuAu"), layered("Cu2Au2"), layered("Cu3Au3")],
        starts="provided",
        max_atoms=6,
        max_structures=3,
        population_size=3,
    )
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    rows = rows_of(search)
    state = SearchState.from_dict(search.outputs.state.get_dict())
    assert (len(rows), state.tried, state.explored) == (3, 3, 1)
    assert state.failures == {"vasp: vasp_not_finished": 1, "vasp: scf_not_converged": 1}
    assert len(explored_structures(search.pk)) == 1
    best = search.outputs.structure
    assert best.creator.process_label == "VaspCalculation"
    assert search.outputs.energy.value == pytest.approx(emt_energy(best), abs=1e-4)
    assert {row["tier"] for row in rows} == {"vasp"}
    assert max(search.outputs.history.get_array("cpu_seconds_vasp")) > 0
    assert orm.Group.collection.get(label=f"fuse2/{search.uuid}").count() == 1


@pytest.mark.slow
def test_a_search_counts_crashes_of_pw(tiers_builder, family, pw_code):
    pytest.importorskip("aiida_quantumespresso")
    rocksalt = orm.StructureData(ase=bulk("MgO", "rocksalt", a=4.2)).store()
    builder = tiers_builder(
        ("qe",),
        tiers={"qe": {"settings": {**COARSE, "pseudo_family": family, "restarts": 1}, "options": ONE_CORE}},
        codes={"qe": pw_code("kill -9 $$")},
        composition="MgO",
        structures=[rocksalt],
        starts="provided",
        max_structures=1,
        population_size=1,
    )
    _, search = run_get_node(builder)
    assert search.exit_status == 401
    assert search.outputs.state["failures"] == {"qe_crashed": 1}


@pytest.mark.slow
def test_a_search_with_vasp_ends_with_phases(tiers_builder, potcars, vasp_code, worker_code):
    """They are symmetrised, with the energies of VASP, and nothing else is computed; so are those of a refinement."""
    distorted = layered("CuAu").get_ase()
    distorted.rattle(0.01, seed=1)
    doubled = layered("CuAu").get_ase().repeat((2, 1, 1))
    changes, code = vasp(potcars, fmax=0.05), vasp_code()
    builder = tiers_builder(
        ("vasp",),
        tiers={"vasp": changes},
        codes={"vasp": code},
        structures=[orm.StructureData(ase=atoms).store() for atoms in (distorted, doubled)],
        starts="provided",
        finish=2,
        max_structures=2,
        population_size=2,
    )
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    finish = finishes.newest_finish(search)
    assert finish.caller.uuid == search.uuid
    assert [process.process_label for process in finish.called] == ["trials_of_structures", "conclude_answer"]
    (phase,) = finishes.phases(finish)
    assert phase["spacegroup_symbol"] == "P4/mmm"
    assert phase["statement"] == "P4/mmm; not relaxed within its symmetry: the last tier is VASP"
    assert (phase["n_atoms"], phase["found"], phase["potential"]) == (2, 2, "VASP")
    assert phase["energy"] in {row["energy"] for row in query.ranked(search)}
    assert query.relaxed_to(finish).startswith("relaxed to 0.05 eV/Å with VASP")
    choice = TierChoice(names=["vasp"], codes={"vasp": code})
    refine = prepare_refinement([search], choice, code=worker_code, best=1, overrides={"tiers": {"vasp": changes}})
    _, refinement = run_get_node(refine)
    assert refinement.is_finished_ok, refinement.exit_message
    _, again = run_get_node(prepare_finish([refinement]))
    assert again.is_finished_ok, again.exit_message
    (refined,) = query.phases(refinement).to_dict("records")
    assert (refined["spacegroup"], refined["statement"]) == (phase["spacegroup"], phase["statement"])
