"""The experiments of the paper: their inputs with VASP, what is missing, and two of them from the command to tables."""

from __future__ import annotations

import hashlib
import io
import json
import re

import pytest
import yaml
from aiida import orm
from aiida.engine import run_get_node
from click.testing import CliRunner

from aiida_fuse2 import query
from aiida_fuse2.core.generators.gnoa.assignments import plan_assignments
from aiida_fuse2.core.potentials.megnet.archive import make_archive, read_archive
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.io.trials import from_extxyz
from aiida_fuse2.launch.models import install_megnet
from aiida_fuse2.protocols import experiment_names
from aiida_fuse2.query.structures import explored_structures
from aiida_fuse2.tiers import load_tier
from aiida_fuse2.tiers.vasp import protocol_overrides
from tests.core.potentials.megnet.models import CONFIG, HAS_TENSORFLOW, HDF5, trained
from tests.potcars import ENMAX
from tests.workchains.comparing import rows_of
from tests.worker.test_gulp import stand_in

from .conftest import COARSE, needs_pw

SMALL = (
    "--runs",
    1,
    "--max-atoms",
    4,
    "--population",
    2,
    "--max-structures",
    4,
    "--seed",
    3,
    "--set",
    "settings.gnoa.formula_units=[1,2]",
    "--trials-per-z",
    12,
    "--pool-size",
    6,
    "--pool-processes",
    1,
)
"""Sizes of a test."""

ONE_CORE = "{resources: {num_machines: 1}, withmpi: false, max_wallclock_seconds: 600}"

MGO = "morse\nMg O 0.9 1.6 2.10 0.0 7.0\nMg Mg 0.05 1.3 3.2 0.0 7.0\nO O 0.05 1.3 3.1 0.0 7.0\n"
"""Pair potentials of Mg and O that bind like with unlike."""


@pytest.fixture
def call(aiida_profile, monkeypatch):
    """A function that calls the command, and runs here what it submits; its arguments can be parts of one."""
    from aiida_fuse2.cli import cmd_root

    monkeypatch.setattr("aiida_fuse2.environment.profile.load_search_profile", lambda _: None)
    monkeypatch.setattr("aiida_fuse2.environment.daemon.require_daemon", lambda: None)
    monkeypatch.setattr("aiida.engine.submit", lambda builder: run_get_node(builder)[1])

    def run(*arguments, code=0):
        done = CliRunner().invoke(cmd_root, [str(argument) for argument in arguments])
        assert done.exit_code == code, (done.output, done.exception)
        return done

    return run


@pytest.fixture
def vasp_options(potcars, vasp_code):
    """Options that let the tier VASP run with the stand-in."""
    names = {element: element for element in ENMAX}
    return (
        "--tier-code",
        f"vasp={vasp_code().full_label}",
        "--set",
        f"tiers.vasp.settings.potential_family={potcars}",
        "--set",
        f"tiers.vasp.settings.potentials={json.dumps(names)}",
        "--set",
        f"tiers.vasp.options={ONE_CORE}",
    )


@pytest.fixture
def gulp_options(worker_code, potential, tmp_path):
    """Options that let the tier GULP run with the stand-in."""
    label = f"gulp-{tmp_path.name}"
    program = str(stand_in(tmp_path, ""))
    code = orm.InstalledCode(computer=worker_code.computer, filepath_executable=program, label=label).store()
    return ("--tier-code", f"gulp={code.full_label}")


@pytest.fixture
def megnet(aiida_profile, tmp_path):
    """Weights of MEGNet, which the experiments need."""
    path = tmp_path / "mine.hdf5"
    path.write_bytes(HDF5)
    path.with_name("mine.hdf5.json").write_bytes(CONFIG)
    install_megnet(str(path), sha256=hashlib.sha256(HDF5).hexdigest())


@pytest.fixture
def options_of(vasp_options, gulp_options, potential, megnet):
    """The options that an experiment cannot do without."""

    def found(name):
        needs_library = name in {"mlgen", "fgen-spp", "mlgen-spp"}
        return (
            *vasp_options,
            *(gulp_options if name.endswith("-spp") else ()),
            *(("--pair-library", potential.pk) if needs_library else ()),
        )

    return found


# --- inputs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", experiment_names())
def test_inputs_are_those_of_the_paper(call, options_of, name):
    shown = call("run", "CuAu", "--experiment", name, *options_of(name), "--seed", 5, "--dry-run").stdout
    inputs = yaml.safe_load(shown)
    search, tiers = inputs["search"], [inputs["search"]["tiers"][key] for key in sorted(inputs["search"]["tiers"])]
    assert (inputs["runs"], search["experiment"], search["settings"]["seed"]) == (3, name, 5)
    before = {"": [], "spp": ["gulp"], "chgnet": ["chgnet"]}[name.partition("-")[2]]
    assert [tier["name"] for tier in tiers] == [*before, "vasp"]
    if before == ["chgnet"]:
        assert (tiers[0]["settings"]["fmax"], tiers[0]["settings"]["max_steps"]) == (0.05, 2000)
    if before == ["gulp"]:
        assert tiers[0]["settings"]["max_gnorm"] == 0.1
    vasp = load_tier("vasp")
    settings = parse_settings(vasp.settings_model, tiers[-1]["settings"])
    given = protocol_overrides(settings, settings.encut_factor * max(ENMAX["Cu"], ENMAX["Au"]))
    assert given["vasp"]["parameters"]["incar"] == {"gga": "pe", "encut": round(1.3 * ENMAX["Cu"], 3)}
    assert given["vasp"]["kpoints_spacing"] == pytest.approx(0.3 / 6.283185307)
    relaxing = given["relax_settings"]
    assert relaxing["steps"] * relaxing["convergence_max_iterations"] == 220
    assert relaxing["force_cutoff"] == 0.03
    ranking = search.get("ranking", {}).get("settings", {})
    expected = {"mlgen": "pair", "mlgen-spp": "pair", "mlgen-chgnet": "chgnet"}.get(name)
    assert ranking.get("calculator") == expected
    assert (search.get("ranking", {}).get("potential") is not None) == (expected == "pair")
    if name.startswith("mlgen"):
        of_search = parse_settings(SearchSettings, search["settings"])
        histories = [(piece.z, piece.trials) for piece in plan_assignments(of_search, of_search.initial_limit)]
        assert histories == [(z, 5000) for z in range(1, 9)]


@pytest.mark.parametrize(
    ("name", "left_out", "text"),
    [
        ("fgen", "vasp", r"needs the code of vasp: --tier-code vasp=LABEL"),
        ("fgen-spp", "gulp", r"needs the code of gulp: --tier-code gulp=LABEL"),
        ("fgen-spp", "--pair-library", r"the tier 'gulp' needs a library"),
        ("mlgen", "--pair-library", r"a pool ranked by 'pair' needs a library: --pair-library"),
        ("fgen-SPP", None, r"must be one of fgen, mlgen, fgen-spp, mlgen-spp, fgen-chgnet, mlgen-chgnet"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_submitted(call, options_of, name, left_out, text):
    given = list(options_of(name.lower()))
    for place in range(len(given) - 2, -1, -2):
        if left_out is not None and (given[place] == left_out or str(given[place + 1]).startswith(f"{left_out}=")):
            del given[place : place + 2]
    refused = call("run", "CuAu", "--experiment", name, *given, code=2).stderr
    assert re.search(text, refused), refused
    assert len(refused.strip().splitlines()) == 1


def test_other_options_win(call, worker_code, megnet, potential):
    base = ("run", "CuAu", "--dry-run", "--experiment")
    search = yaml.safe_load(call(*base, "mlgen-chgnet", "--tiers", "chgnet").stdout)["search"]
    assert list(search["tiers"]) == ["t00"]
    assert search["ranking"]["settings"]["calculator"] == "chgnet"
    options = ("--tiers", "pair,chgnet", "--pair-library", potential.pk, "--rank-by", "chgnet", "--ranking", "single")
    search = yaml.safe_load(call(*base, "mlgen-spp", *options).stdout)["search"]
    assert search["ranking"]["settings"]["calculator"] == "chgnet"
    assert search["settings"]["pool"]["ranking"] == "single"
    options = ("--tiers", "chgnet", "--starts", "fgen", "--walkers", 4, "--runs", 1)
    search = yaml.safe_load(call(*base, "mlgen-chgnet", *options).stdout)["search"]
    assert "ranking" not in search  # there is no pool
    assert search["settings"]["walkers"] == 4


# --- whole experiments --------------------------------------------------------------------------------


@pytest.fixture
def call_daemon(aiida_profile, started_daemon_client, monkeypatch):
    """A function that calls the command, whose processes a daemon runs."""
    from aiida_fuse2.cli import cmd_root

    monkeypatch.setattr("aiida_fuse2.environment.profile.load_search_profile", lambda _: None)

    def run(*arguments):
        done = CliRunner().invoke(cmd_root, [str(argument) for argument in arguments])
        assert done.exit_code == 0, (done.output, done.exception)
        return done

    return run


@pytest.fixture
def network_options(aiida_profile):
    """Options of the network of a pool: MEGNet with weights that know no physics, or CHGNet without TensorFlow."""
    if not HAS_TENSORFLOW:
        pytest.importorskip("chgnet")
        return ("--network", "chgnet")
    network = read_archive(trained()[0])
    config = json.dumps(network.config).encode()
    archive = make_archive(network.hdf5, config, elements=("Cu", "Au"), source="test")
    weights = orm.SinglefileData(io.BytesIO(archive.to_bytes()), filename="weights.zip").store()
    return ("--network-model", weights.pk)


def search_of(call, *arguments):
    """Run an experiment with one run, and return its search."""
    done = json.loads(call("run", *arguments, "--json").stdout)
    runs = orm.load_node(done["pk"])
    assert runs.is_finished_ok, runs.exit_message
    (search,) = query.single_searches(runs)
    assert search.is_finished_ok, search.exit_message
    return search


@pytest.mark.daemon
@pytest.mark.slow
@pytest.mark.timeout(1800)  # many processes, and the machine may be busy
def test_experiments_with_vasp_give_the_tables_of_the_paper(call_daemon, options_of, network_options):
    call, spp = call_daemon, options_of("mlgen-spp")
    ml = search_of(call, "CuAu", "--experiment", "mlgen-spp", *SMALL, *spp, *network_options)
    plain = search_of(call, "CuAu", "--experiment", "fgen-spp", *SMALL, *spp)
    (job,) = [node for node in ml.called if node.process_label == "GenerateCalculation"]
    network = job.outputs.summary["generators"]["gnoa"]["network"]
    assert network.startswith("megnet " if HAS_TENSORFLOW else "chgnet ")
    pool = from_extxyz(job.outputs.pool.get_content())
    assert job.outputs.summary["ranking"] | {"cpu_seconds": 0} == {
        "by": "relaxed",
        "potential": "pair potential",
        "dropped": job.outputs.summary["ranking"]["dropped"],
        "cpu_seconds": 0,
    }
    energies = [atoms.get_potential_energy() for atoms in pool]
    assert energies == sorted(energies)
    rows = {search.pk: rows_of(search) for search in (ml, plain)}
    for search in (ml, plain):
        found = query.explored(search)
        assert (found["potential"] == "vasp 6.0.0").all()  # never an energy of the ranking, or of GULP
        assert (found["energy_gulp"] != found["energy"]).all()
        assert search.outputs.structure.creator.process_label == "VaspCalculation"
        assert len(explored_structures(search.pk)) == len(found) > 0
    assert {row["origin"] for row in rows[ml.pk] if row["generation"] == 0} == {"gnoa"}
    assert {row["origin"] for row in rows[plain.pk] if row["generation"] == 0} == {"fgen_paper"}
    compared = call("compare", ml.pk, plain.pk, "--baseline", plain.pk, "--json").stdout
    tables = {table["title"].split(":")[0]: table for table in json.loads(compared)["tables"]}
    seconds = {pk: sum(row["cpu_seconds"] for row in found) / len(found) for pk, found in rows.items()}
    assert tables["Tables 1 and 3"]["columns"] == ["mlgen-spp"]
    assert tables["Tables 1 and 3"]["rows"] == [["CuAu", [pytest.approx(seconds[plain.pk] / seconds[ml.pk])]]]
    assert tables["Tables 2 and 4"]["columns"] == ["mlgen-spp", "fgen-spp"]
    lowest = [search.outputs.energy.value for search in (ml, plain)]
    assert tables["Tables 2 and 4"]["rows"][0][1] == pytest.approx(lowest)
    first = min(row["energy"] for row in rows[ml.pk] if row["generation"] == 0 and row["status"] == "converged")
    assert tables["Table 6"]["columns"] == ["mlgen-spp"]
    assert tables["Table 6"]["rows"][0][1] == [pytest.approx(1000 * (lowest[0] - first), abs=0.01)]
    shown = call("compare", ml.pk, plain.pk, "--baseline", plain.pk, "--tables").stdout
    assert f"{lowest[0]:.2f}" in shown
    assert "Table 6" in shown


@needs_pw
@pytest.mark.daemon
@pytest.mark.slow
@pytest.mark.timeout(1800)  # many processes, and the machine may be busy
def test_fgen_spp_ends_with_quantum_espresso(call_daemon, gulp_options, family, pw_code):
    library = orm.SinglefileData.from_string(MGO, filename="MgO.lib").store()
    settings = json.dumps({**COARSE, "kpoints_distance": 0.9, "pseudo_family": family, "restarts": 2})
    options = (
        *gulp_options,
        "--pair-library",
        library.pk,
        "--tiers",
        "gulp,qe",
        "--tier-code",
        f"qe={pw_code().full_label}",
        "--set",
        f"tiers.qe.settings={settings}",
        "--set",
        f"tiers.qe.options={ONE_CORE}",
    )
    small = ("--runs", 1, "--max-atoms", 2, "--population", 1, "--max-structures", 2, "--seed", 1)
    call = call_daemon
    search = search_of(call, "MgO", "--experiment", "fgen-spp", *small, *options)
    found = query.explored(search)
    assert found["potential"].str.startswith("pw.x").all()
    assert (found["energy_gulp"] != found["energy"]).all()
    assert search.inputs.experiment.value == "fgen-spp"
    compared = json.loads(call("compare", search.pk, "--json").stdout)
    assert compared["baseline"] == "fgen-spp"
    tables = {table["title"].split(":")[0]: table for table in compared["tables"]}
    assert tables["Tables 2 and 4"]["rows"] == [["MgO", [pytest.approx(search.outputs.energy.value)]]]
    assert "Table 6" not in tables  # nothing was generated by a network
