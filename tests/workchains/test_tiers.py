"""Structures through tiers: what each gave, what fails and goes on, one process per structure, searches with tiers."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from ase import Atoms
from ase.build import bulk

from aiida_fuse2 import query
from aiida_fuse2.calculations.gulp import GulpOptimizeCalculation
from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.core.relaxers.tiers import SingleTierSettings
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.search.trials import trial_label
from aiida_fuse2.environment.trust import UntrustedError
from aiida_fuse2.io.trials import from_extxyz, trials_to_text
from aiida_fuse2.launch.continuation import prepare_continuation
from aiida_fuse2.launch.inputs import check_inputs
from aiida_fuse2.protocols import merge, protocol_inputs
from aiida_fuse2.query.stopping import STOP_EXTRA, STOP_NOW
from aiida_fuse2.query.structures import explored_structures
from aiida_fuse2.query.targets import search_targets
from aiida_fuse2.report.collect import collect, search_figures
from aiida_fuse2.tiers import SingleTier, TierChoice, TierResult, build_tiers, registry
from aiida_fuse2.workchains.job_outputs import link_structures, structures_of
from aiida_fuse2.workchains.relax import RelaxTiersWorkChain
from aiida_fuse2.workchains.search import Fuse2WorkChain
from tests.conftest import emt_overrides
from tests.tiers.changes import ASE, EMT, faulty
from tests.trials import make_trial
from tests.worker.test_gulp import stand_in

from .comparing import rows_of


def label(index):
    return trial_label(0, 0, index)


@pytest.fixture
def trials(aiida_profile):
    """CuAu in two cells of different size, and Cu3Au."""
    tetragonal = Atoms("CuAu", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.45)], cell=[2.8, 2.8, 3.7], pbc=True)
    double = tetragonal.repeat((1, 1, 2))
    cubic = bulk("Cu", cubic=True, a=3.8)
    cubic.symbols[0] = "Au"
    frames = [tetragonal, double, cubic]
    text = trials_to_text(make_trial(i, atoms, parent="p" if i else "") for i, atoms in enumerate(frames))
    return orm.SinglefileData.from_string(text, filename="trials.extxyz").store()


@pytest.fixture
def build(worker_code, potential):
    """A factory of inputs of tiers for Cu and Au."""

    def make(names, *, codes=None, **overrides):
        choice = TierChoice(
            names=names, codes=codes or {}, potential=potential if {"pair", "gulp", "stand_in"} & set(names) else None
        )
        return build_tiers(choice, worker=worker_code, protocol="fast", overrides=overrides, elements={"Cu", "Au"})

    return make


def run(trials, tiers, **inputs):
    _, node = run_get_node(RelaxTiersWorkChain, trials=trials, tiers=tiers, **inputs)
    return node


# --- batches ------------------------------------------------------------------------------------


def test_two_tiers_give_what_the_job_of_one_gives(build, trials):
    node = run(trials, build(["pair", "ase"], ase=ASE))
    assert node.is_finished_ok, node.exit_message
    rows = node.outputs.results["by_label"]
    assert list(rows) == [label(0), label(1), label(2)]
    for row in rows.values():
        pair, ase = row["tiers"]
        assert [pair["name"], ase["name"], row["tier"]] == ["pair", "ase", "ase"]
        assert row["status"] == pair["status"] == ase["status"] == "converged"
        assert row["energy"] == ase["energy"] != pair["energy"]
        assert row["potential"] == EMT
        assert row["evaluations"] == pair["evaluations"] + ase["evaluations"]
        assert row["cpu_seconds"] == pytest.approx(pair["cpu_seconds"] + ase["cpu_seconds"])
    assert sorted(node.outputs.structures) == list(rows)
    returned = node.base.links.get_outgoing(link_type=LinkType.RETURN).all_link_labels()
    assert sorted(returned) == ["relaxed", "results", *(f"structures__{name}" for name in rows)]
    for name, structure in node.outputs.structures.items():
        assert structure.label == name
        assert structure.base.extras.get("fuse2")["tier"] == "ase"
        assert structure.base.extras.get("fuse2")["energy"] == rows[name]["energy"]
    first, second = [job for job in node.called if isinstance(job, orm.CalcJobNode)]
    assert "structures" not in first.outputs
    assert second.inputs.trials.creator.process_label == "next_trials"
    assert second.inputs.trials.creator.inputs.relaxed.uuid == first.outputs.relaxed.uuid
    begun = {f.info["label"]: f for f in from_extxyz(second.inputs.trials.get_content())}
    ended = {f.info["label"]: f for f in from_extxyz(first.outputs.relaxed.get_content())}
    assert begun[label(1)].cell.array == pytest.approx(ended[label(1)].cell.array)
    assert begun[label(1)].info["parent"] == "p"
    last = {f.info["label"]: f for f in from_extxyz(node.outputs.relaxed.get_content())}
    assert last[label(2)].cell.array == pytest.approx(node.outputs.structures[label(2)].get_ase().cell.array, abs=1e-6)


def test_a_step_that_runs_twice_links_no_structure_twice(aiida_profile):
    process = orm.WorkChainNode().store()
    structures = {label(i): orm.StructureData(ase=bulk("Cu", a=3.6 + i)).store() for i in range(3)}
    link_structures(process, {label(1): structures[label(1)]})
    link_structures(process, structures)
    links = process.base.links.get_outgoing().all()
    assert sorted(link.link_label for link in links) == [f"structures__{name}" for name in structures]
    assert {link.link_type for link in links} == {LinkType.RETURN}
    assert structures_of([process]) == structures
    link_structures(process, {})


@pytest.mark.slow
def test_structures_that_fail_leave_with_tier_and_reason(build, trials):
    tiers = build(["ase", "pair", "ase"], t00=faulty("NotFinite", limit=3), t01={}, t02=ASE)
    node = run(trials, tiers)
    assert node.is_finished_ok, node.exit_message
    rows = node.outputs.results["by_label"]
    assert [rows[label(i)]["tier"] for i in range(3)] == ["ase", "ase", "ase"]
    assert [len(rows[label(i)]["tiers"]) for i in range(3)] == [3, 1, 1]
    assert rows[label(0)]["status"] == "converged"
    assert {rows[label(i)]["status"] for i in (1, 2)} == {"energy_not_finite"}
    assert list(node.outputs.structures) == [label(0)]


def test_nothing_is_relaxed_further_where_all_have_failed(build, trials):
    node = run(trials, build(["ase", "pair"], ase=faulty("NotFinite", limit=0)))
    assert node.is_finished_ok, node.exit_message
    assert {row["tier"] for row in node.outputs.results["by_label"].values()} == {"ase"}
    assert "structures" not in node.outputs
    assert [n.process_label for n in node.called if isinstance(n, orm.CalcJobNode)] == ["RelaxCalculation"]


@pytest.mark.slow
def test_what_a_dead_job_had_finished_goes_on(build, trials):
    node = run(
        trials,
        build(["ase", "pair"], ase=faulty("EndsJobsOfLargeCells", limit=3)),
        labels=orm.List([label(0), label(2)]),
    )
    assert node.exit_status == 320
    assert "1 of 2" in node.exit_message
    assert "ase" in node.exit_message
    rows = node.outputs.results["by_label"]
    assert list(rows) == [label(0)]
    assert rows[label(0)]["tier"] == "pair"
    node = run(trials, build(["ase", "pair"], ase=faulty("EndsJobsOfLargeCells", limit=0)))
    assert node.exit_status == 310
    assert "results" not in node.outputs


@pytest.mark.slow
def test_what_kills_its_process_leaves_in_its_tier(build, trials):
    labels = orm.List([label(0), label(2)])
    node = run(trials, build(["ase", "pair"], ase=faulty("DiesOfLargeCells", limit=3)), labels=labels)
    assert node.is_finished_ok, node.exit_message
    rows = node.outputs.results["by_label"]
    assert (rows[label(0)]["tier"], rows[label(2)]["tier"]) == ("pair", "ase")
    assert (rows[label(0)]["status"], rows[label(2)]["status"]) == ("converged", "process_died")


def test_a_refused_input_is_told_as_such(build, trials):
    tiers = build(["ase"], ase={"settings": {**ASE["settings"], "calculator": "no.such.Calculator"}})
    node = run(trials, tiers)
    assert node.exit_status == 311
    assert "no.such" in node.exit_message


# --- one process per structure --------------------------------------------------------------------


class StandInSettings(SingleTierSettings):
    """Settings of the tier below."""

    electrostatics: bool


class StandInTier(SingleTier):
    """Structures one by one through the stand-in of GULP, whose outputs are those of a community plugin in kind."""

    name = "stand_in"
    settings_model = StandInSettings
    codes = ("worker", "gulp")
    takes_potential = True
    comparable = ("pressure",)

    @classmethod
    def check(cls, given, elements):
        if "Cl" in elements:
            raise InputError(given.where, cls.name, "no pseudopotential for Cl")

    @classmethod
    def inputs(cls, given, structure):
        parameters = protocol_inputs("optimize", name="gulp")["parameters"]
        parameters = merge(parameters, {"stages": [{"keywords": ["opti", "conp"]}], "min_contact": 0.1})
        return GulpOptimizeCalculation, {
            "code": given.codes["worker"],
            "gulp": given.codes["gulp"],
            "structure": structure,
            "potential": given.potential,
            "parameters": orm.Dict(parameters),
            "metadata": {"options": dict(given.options)},
        }

    @classmethod
    def collect(cls, node):
        if not node.is_finished_ok:
            return TierResult(status=f"exit_{node.exit_status}", detail=str(node.exit_message))
        return TierResult(status="converged", results=node.outputs.results, structure=node.outputs.structure)

    @classmethod
    def values(cls, results, **_):
        energy = results["energy"] * results["n_atoms"]
        return {"energy": energy, "cpu_seconds": results["cpu_seconds"], "evaluations": results["evaluations"]}


@pytest.fixture
def single(monkeypatch, tmp_path, worker_code):
    """Settings and codes of a tier that takes one structure at a time; ``fault`` is that of its program."""
    load = registry._load
    monkeypatch.setattr(registry, "_load", lambda name: StandInTier if name == StandInTier.name else load(name))
    monkeypatch.setattr(registry, "tier_names", lambda: ["ase", "pair", StandInTier.name])

    def make(fault=""):
        program = stand_in(tmp_path, fault)
        gulp = orm.InstalledCode(computer=worker_code.computer, filepath_executable=str(program), label="gulp").store()
        settings = {
            "pressure": 0.0,
            "min_contact": 0.1,
            "isolated_distance": 6.0,
            "report_symprec": [0.01, 0.1],
            "electrostatics": False,
        }
        return {"settings": settings}, {"stand_in.gulp": gulp}

    return make


def test_a_tier_of_single_structures_in_the_middle(build, trials, single):
    changes, codes = single()
    node = run(trials, build(["pair", "stand_in", "ase"], codes=codes, stand_in={**changes, "concurrent": 2}, ase=ASE))
    assert node.is_finished_ok, node.exit_message
    rows = node.outputs.results["by_label"]
    for row in rows.values():
        pair, one, ase = row["tiers"]
        assert [pair["status"], one["status"], ase["status"]] == ["converged"] * 3
        assert one["energy"] == pytest.approx(pair["energy"], abs=2e-3)  # the same potentials
        assert row["evaluations"] == pair["evaluations"] + one["evaluations"] + ase["evaluations"]
    singles = [job for job in node.called if job.process_label == "GulpOptimizeCalculation"]
    assert len(singles) == 3
    assert {job.inputs.structure.creator.process_label for job in singles} == {"split_trials"}


@pytest.mark.slow
def test_a_last_tier_of_single_structures(build, trials, single):
    changes, codes = single()
    node = run(trials, build(["stand_in"], codes=codes, stand_in=changes), labels=orm.List([label(1)]))
    assert node.is_finished_ok, node.exit_message
    (structure,) = node.outputs.structures.values()
    assert structure.creator.process_label == "GulpOptimizeCalculation"
    assert structure.base.extras.get("fuse2")["label"] == label(1)
    row = node.outputs.results["by_label"][label(1)]
    assert row["energy"] == pytest.approx(structure.creator.outputs.results["energy"])
    assert row["n_atoms"] == 4
    assert row["fingerprint"]


@pytest.mark.slow
def test_processes_that_fail_are_results(build, trials, single):
    changes, codes = single("error")
    node = run(trials, build(["stand_in", "ase"], codes=codes, stand_in=changes, ase=ASE))
    assert node.is_finished_ok, node.exit_message
    rows = node.outputs.results["by_label"]
    assert len(rows) == 3
    assert {row["tier"] for row in rows.values()} == {"stand_in"}
    assert "converged" not in {row["status"] for row in rows.values()}
    assert all(row["detail"] for row in rows.values())


def test_tiers_that_are_asked_to_stop_submit_nothing_else(build, trials, single, monkeypatch):
    changes, codes = single()
    begin_tier = RelaxTiersWorkChain.begin_tier

    def stop(self):
        begin_tier(self)
        if self.ctx.position == 1:
            self.node.base.extras.set(STOP_EXTRA, STOP_NOW)

    monkeypatch.setattr(RelaxTiersWorkChain, "begin_tier", stop)
    monkeypatch.delattr(RelaxTiersWorkChain, "_spec", raising=False)  # its outline holds the steps as they were
    node = run(trials, build(["pair", "stand_in"], codes=codes, stand_in=changes))
    assert node.exit_status == 310
    assert "GulpOptimizeCalculation" not in {called.process_label for called in node.called}


# --- input that is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "overrides", "message"),
    [
        (["spp"], {}, "must be one of ase, chgnet, gulp, pair"),
        ([], {}, "must name 1 to"),
        (["ase"], {}, "import path of a class"),
        (["chgnet"], {"chgnet": {"settings": {"calculator": EMT}}}, "other calculators are for the tier 'ase'"),
        (["chgnet"], {"pair": {}}, r"tiers.pair.*must be one of chgnet"),
        (["chgnet"], {"chgnet": {"setting": {}}}, r"tiers.chgnet.setting"),
        (["chgnet"], {"chgnet": {"settings": {"fmx": 1}}}, r"tiers.chgnet.settings.fmx"),
        (["chgnet"], {"chgnet": {"settings": {"fmax": -1}}}, r"tiers.chgnet.settings.fmax"),
        (["chgnet"], {"chgnet": {"concurrent": 2}}, "a process for each structure"),
        (["gulp"], {}, "needs the code of gulp: --tier-code gulp=LABEL"),
    ],
)
def test_bad_tiers_are_refused(build, names, overrides, message):
    with pytest.raises(InputError, match=message):
        build(names, **overrides)


def test_what_a_tier_cannot_do_is_refused_before_anything_runs(worker_code, potential, trials, build):
    with pytest.raises(InputError, match="aiida-fuse2 potential learn"):
        build_tiers(TierChoice(names=["pair"]), worker=worker_code, elements={"Cu"})
    with pytest.raises(InputError, match="no potential for Ag-Ag, Ag-Cu"):
        build_tiers(TierChoice(names=["pair"], potential=potential), worker=worker_code, elements={"Cu", "Ag"})
    with pytest.raises(InputError, match="takes a library"):
        build_tiers(TierChoice(names=["chgnet"], potential=potential), worker=worker_code, elements={"Cu"})
    with pytest.raises(InputError, match="CHGNet does not know Ra"):
        build_tiers(TierChoice(names=["chgnet"]), worker=worker_code, elements={"Cu", "Ra"})
    with pytest.raises(InputError, match="codes of ase are worker"):
        build(["ase"], codes={"ase.vasp": worker_code}, ase=ASE)
    tiers = build(["ase"], ase=ASE)
    with pytest.raises(ValueError, match="without a gap"):
        run(trials, {"t01": tiers["t00"]})
    with pytest.raises(ValueError, match="must be one of"):
        run(trials, {"t00": {**tiers["t00"], "nonsense": orm.Int(1)}})
    with pytest.raises(ValueError, match="at least one of the trials"):
        run(trials, tiers, labels=orm.List(["g00009_w000_t000"]))


# --- searches -----------------------------------------------------------------------------------


_FINISHED: dict[str, int] = {}


def made_once(key, builder):
    """Return a search that several tests look at; ``builder`` gives its inputs where it has not been run yet."""
    if key not in _FINISHED:
        _, search = run_get_node(builder())
        assert search.is_finished_ok, search.exit_message
        _FINISHED[key] = search.pk
    return orm.load_node(_FINISHED[key])


@pytest.fixture
def searched(tiers_builder):
    """A search of two generations with tiers and a target."""

    def builder():
        options = {"environment_variables": {"FUSE2_TEST": "1"}}
        inputs = tiers_builder(max_structures=6, tiers={"ase": {**ASE, "options": options}})
        known = Atoms("CuAu", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[2.8, 2.8, 3.7], pbc=True)
        inputs.targets = {"known": orm.StructureData(ase=known)}
        return inputs

    return made_once("tiers", builder)


@pytest.fixture
def single_tier_search(emt_builder):
    """A search of one generation with one tier."""
    return made_once("one", lambda: emt_builder("CuAu", max_atoms=4, max_structures=4, relax={"max_steps": 150}))


@pytest.mark.slow
def test_a_search_with_tiers(searched):
    search = searched
    (target,) = search_targets(search)
    assert (target.energy is not None, target.spacegroup) == (True, 123)
    rows = rows_of(search)
    assert len(rows) == 6
    relaxed = [row for row in rows if row["status"] == "converged"]
    explored = explored_structures(search.pk)
    assert sorted(explored) == sorted(row["label"] for row in relaxed)
    assert orm.Group.collection.get(label=f"fuse2/{search.uuid}").count() == len(explored)
    history = search.outputs.history
    assert {"energy_pair", "energy_ase", "status_pair", "status_ase", "tier"} <= set(history.get_arraynames())
    best = search.outputs.structure
    assert best.pk in {found["pk"] for found in explored.values()}
    assert best.creator.caller.process_label == "RelaxTiersWorkChain"
    assert query.ranked(search)[0]["pk"] == best.pk
    assert query.progress(search.pk).best.pk == best.pk
    first, last = collect(search, number=1).tier_figures
    assert (first.name, first.entered, last.name) == ("pair", 6, "ase")
    assert last.entered == first.converged
    assert sorted(energy for _, energy in last.energies) == sorted(row["energy"] for row in relaxed)
    assert search_figures(search).potential == "EMT"
    continued = prepare_continuation(search, more=2)
    _, later = run_get_node(continued.builder)
    assert later.is_finished_ok, later.exit_message
    assert len(rows_of(later)) == 8
    assert later.inputs.tiers.t00.settings.uuid == search.inputs.tiers.t00.settings.uuid
    changed = prepare_continuation(search, more=2, overrides={"tiers": {"ase": {"settings": {"fmax": 0.2}}}}).builder
    before = search.inputs.tiers.t01.settings.get_dict()
    assert changed.tiers["t01"]["settings"].get_dict() == {**before, "fmax": 0.2}
    assert changed.tiers["t00"]["settings"].get_dict() == search.inputs.tiers.t00.settings.get_dict()
    assert changed.tiers["t00"]["potential"].uuid == search.inputs.tiers.t00.potential.uuid
    with pytest.raises(InputError, match="the search has tiers: change their inputs"):
        prepare_continuation(search, more=2, overrides={"relax": {"settings": {"fmax": 0.2}}})
    with pytest.raises(InputError, match=f"calculator was '{EMT}', and is 'pair' now.*aiida-fuse2 refine {search.pk}"):
        prepare_continuation(search, more=2, tiers=TierChoice(names=["ase", "pair"]))
    with pytest.raises(InputError, match=r"pressure was 0.0, and is 5 now"):
        prepare_continuation(search, more=2, overrides={"tiers": {"ase": {"settings": {"pressure": 5}}}})
    with pytest.raises(InputError, match=r"tiers.chgnet"):
        prepare_continuation(search, more=2, overrides={"tiers": {"chgnet": {"settings": {}}}})


@pytest.mark.slow
def test_tiers_of_a_search_that_never_ran_here(searched, monkeypatch):
    """Own tiers have all that they had; of others the options are left out, and the rest is asked for."""
    own = prepare_continuation(searched, more=2, overrides={"tiers": {"ase": {"settings": {"fmax": 0.2}}}}).builder
    assert own.tiers["t01"]["options"]["environment_variables"] == {"FUSE2_TEST": "1"}
    monkeypatch.setattr("aiida_fuse2.parsers.memory.KEY", "forgotten.")
    with pytest.raises(UntrustedError) as caught:
        prepare_continuation(searched, more=2)
    assert [part.where for part in caught.value.parts] == ["tiers.t00.potential", "tiers.t01.settings"]
    prepared = prepare_continuation(searched, more=2, trust=True)
    (warning,) = prepared.warnings
    assert "tiers.t01.options" in warning
    assert "FUSE2_TEST" in warning
    assert "environment_variables" not in prepared.builder.tiers["t01"]["options"].get_dict()
    assert prepared.builder.tiers["t01"]["settings"].get_dict() == searched.inputs.tiers.t01.settings.get_dict()
    assert prepared.builder.tiers["t00"]["potential"].uuid == searched.inputs.tiers.t00.potential.uuid
    monkeypatch.setattr("aiida_fuse2.environment.trust._is_plain_worker", lambda _: False)
    monkeypatch.setattr("aiida_fuse2.launch.continuation.load_code", lambda: pytest.fail("asked for the worker"))
    with pytest.raises(pytest.fail.Exception):
        prepare_continuation(searched, more=2, trust=True)


@pytest.mark.slow
def test_a_search_goes_on_with_a_tier_before_that_which_gives_the_energies(single_tier_search, potential):
    search = single_tier_search
    choice = TierChoice(names=["pair", "ase"], potential=potential)
    builder = prepare_continuation(search, more=2, tiers=choice).builder
    assert builder.tiers["t01"]["settings"].get_dict() == search.inputs.tiers["t00"]["settings"].get_dict()
    assert builder.tiers["t01"]["codes"]["worker"].uuid == search.inputs.tiers["t00"]["codes"]["worker"].uuid
    _, later = run_get_node(builder)
    assert later.is_finished_ok, later.exit_message
    explored = query.explored(later)
    assert explored["energy_pair"].notna().tolist() == (explored["number"] > 4).tolist()
    assert explored["energy_pair"].notna().nunique() == 2
    assert later.outputs.history.get_array("energy_pair").shape == (6,)
    assert query.combined([search, later])
    builder = prepare_continuation(later, more=2, tiers=TierChoice(names=["ase"])).builder  # and without it again
    assert builder.tiers["t00"]["settings"].get_dict() == search.inputs.tiers["t00"]["settings"].get_dict()
    changes = {"relax": {"settings": {"pressure": 5.0}}}
    with pytest.raises(InputError, match=r"pressure was 0.0, and is 5.0 now"):
        prepare_continuation(search, more=2, tiers=choice, overrides=changes)


@pytest.mark.slow
def test_what_a_search_does_names_the_tier(tiers_builder, monkeypatch):
    """Looked at when the second tier has been submitted."""
    seen = []
    end_tier = RelaxTiersWorkChain.end_tier

    def look(self):
        seen.append(query.progress(self.node.caller.pk).phase)
        end_tier(self)

    monkeypatch.setattr(RelaxTiersWorkChain, "end_tier", look)
    monkeypatch.delattr(RelaxTiersWorkChain, "_spec", raising=False)  # its outline holds the steps as they were
    _, search = run_get_node(tiers_builder(max_structures=4, population_size=4))
    assert search.is_finished_ok, search.exit_message
    assert [text.partition(" (")[0] for text in seen] == [
        "relaxing generation 0 by pair",
        "relaxing generation 0 by ase",
    ]


@pytest.mark.slow
def test_a_search_counts_what_fails_in_its_tiers_and_goes_on(tiers_builder):
    """NaN energies in the first tier, and a job that dies of four atoms in the second."""
    builder = tiers_builder(
        ("ase", "ase"),
        tiers={"t00": faulty("NotFinite", limit=2), "t01": ASE},
        population_size=6,
        max_structures=6,
        size_bias=0.0,
    )
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    state = SearchState.from_dict(search.outputs.state.get_dict())
    assert state.tried == 6
    assert sum(state.failures.values()) == 6 - state.explored
    assert "ase: energy_not_finite" in state.failures
    assert set(state.failures) <= {"ase: energy_not_finite", "ase: isolated_parts"}  # EMT lets some starts fall apart
    assert 1 <= state.explored < 6


@pytest.mark.slow
def test_trials_of_a_job_that_died_in_a_tier_go_through_again(tiers_builder, tmp_path):
    marker = tmp_path / "died"
    builder = tiers_builder(
        tiers={"ase": faulty("DiesOnce", marker=str(marker), structure=1)}, population_size=4, max_structures=4
    )
    _, search = run_get_node(builder)
    assert search.is_finished_ok, search.exit_message
    assert marker.exists()
    first, second = [n for n in search.called if n.process_label == "RelaxTiersWorkChain"]
    assert first.exit_status == 320
    done = set(first.outputs.results["by_label"])
    assert len(done) == 1
    assert set(second.inputs.labels.get_list()).isdisjoint(done)
    assert len(rows_of(search)) == 4
    assert "job_ended_early" not in {row["status"] for row in rows_of(search)}


def test_a_search_needs_tiers_and_changes_name_them(tiers_builder, worker_code):
    builder = tiers_builder()
    builder.tiers = {}
    with pytest.raises(RefusedInputsError, match="tiers"):
        check_inputs(builder)
    with pytest.raises(InputError, match=r"tiers\.pair = .*: must be one of ase"):
        Fuse2WorkChain.get_builder_from_protocol(
            "CuAu", worker_code, "fast", {**emt_overrides(), "tiers": {"pair": {"settings": {"fmax": 0.1}}}}
        )


@pytest.mark.slow
def test_energies_of_other_tiers_are_not_compared(searched, single_tier_search, tiers_builder):
    found = query.combined([searched, single_tier_search])  # both are energies of EMT
    assert {run for row in found for run in row["runs"]} == {0, 1}
    other = instantiate_process(get_manager().get_runner(), tiers_builder(("pair",), tiers={})).node
    with pytest.raises(InputError, match="cannot be compared"):
        query.combined([searched, other])
