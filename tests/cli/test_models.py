"""Potentials by name: `model list`, `show`, `install`, `check`, and `--model` of the commands that relax."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from aiida import orm

from aiida_fuse2.environment.models import EXTRAS_KEY, record, remote_commands
from aiida_fuse2.environment.profile import SetupError
from aiida_fuse2.protocols.models import find_model
from tests.protocols.test_models import own
from tests.stand_in import make_stand_in

SEVENNET = find_model("sevennet-l3i5")
DIGEST = SEVENNET.weights.sha256


@pytest.fixture
def sevennet_code(worker_code, tmp_path):
    """A code as `model install sevennet-l3i5` makes one."""
    path = tmp_path / "aiida-fuse2-worker"
    path.symlink_to(worker_code.filepath_executable)
    computer, label = worker_code.computer, SEVENNET.code_label
    code = orm.InstalledCode(computer=computer, filepath_executable=str(path), label=label).store()
    record(code, SEVENNET, "0.13.0", DIGEST)
    yield code
    code.label = f"gone-{code.pk}"


def dry_run(call, *arguments):
    return yaml.safe_load(call(*arguments, "--dry-run").stdout)


def test_list_and_show(call, sevennet_code):
    rows = {row["name"]: row for row in json.loads(call("model", "list", "--json").stdout)["potentials"]}
    assert rows["sevennet-l3i5"]["code"] == sevennet_code.full_label
    assert (rows["sevennet-l3i5"]["version"], rows["sevennet-l3i5"]["sha256"]) == ("0.13.0", DIGEST)
    assert rows["mace-mpa-0"] | {"licence": "MIT", "tested": "stand-in", "code": None} == rows["mace-mpa-0"]
    assert rows["chgnet-0.3.0"]["code"].startswith("fuse2-worker@")
    shown = call("model", "list").output
    assert "mace-mpa-0" in shown
    assert "stand-in only" in shown
    text = call("model", "show", "sevennet").output
    assert "H-Bi, Ac-Pu" in text
    assert DIGEST in text
    assert "14.3 MB, part of sevenn" in text
    values = json.loads(call("model", "show", "orb-v3", "--json").stdout)
    assert values["licence"] == "Apache-2.0"
    assert values["weights"]["url"].startswith("https://orbitalmaterials")


def test_the_default_potential_may_be_missing(call, worker_code, monkeypatch):
    """In an environment with another potential only."""

    def code_of():
        rows = json.loads(call("model", "list", "--json").stdout)["potentials"]
        return next(row["code"] for row in rows if row["name"] == "chgnet-0.3.0")

    assert code_of() == worker_code.full_label
    monkeypatch.setattr("aiida_fuse2.environment.models._found_here", lambda _: None)
    assert code_of() is None
    assert "model install chgnet" in call("run", "MgO", "--model", "chgnet", "--dry-run", code=1).stderr


def test_run_takes_calculator_arguments_weights_and_code(call, sevennet_code):
    inputs = dry_run(call, "run", "MgO", "--protocol", "fast", "--model", "sevennet-l3i5")
    tier = inputs["tiers"]["t00"]
    assert (tier["name"], tier["codes"]["worker"]) == ("ase", sevennet_code.full_label)
    settings = tier["settings"]
    assert settings["calculator"] == "sevenn.calculator.SevenNetCalculator"
    assert settings["arguments"] == {"model": "7net-l3i5", "device": "{device}"}
    assert settings["model"] == "sevennet-l3i5"
    assert (settings["weights"]["version"], settings["weights"]["sha256"]) == ("0.13.0", DIGEST)
    assert settings["max_steps"] == 300  # of the protocol


def test_a_tier_of_several_has_the_potential(call, sevennet_code, worker_code):
    options = ("--tiers", "chgnet,ase", "--model", "sevennet", "--set", "tiers.ase.settings.fmax=0.02")
    tiers = dry_run(call, "run", "MgO", "--protocol", "fast", *options)["tiers"]
    assert tiers["t00"]["settings"]["calculator"] == "chgnet"
    assert tiers["t00"]["settings"]["weights"] is None
    assert tiers["t00"]["codes"]["worker"] != sevennet_code.full_label
    assert tiers["t01"]["settings"]["model"] == "sevennet-l3i5"
    assert tiers["t01"]["settings"]["fmax"] == 0.02
    assert tiers["t01"]["codes"]["worker"] == sevennet_code.full_label


def test_chgnet_by_name(call, worker_code):
    tier = dry_run(call, "run", "MgO", "--protocol", "fast", "--model", "chgnet-r2scan")["tiers"]["t00"]
    assert (tier["name"], tier["settings"]["model"], tier["settings"]["weights"]) == ("chgnet", "r2scan", None)


def test_a_file_of_the_user_with_a_code(call, worker_code, tmp_path):
    path = own(tmp_path)
    tier = dry_run(call, "run", "CuAl", "--protocol", "fast", "--model", path)["tiers"]["t00"]  # ASE is here
    assert tier["settings"]["calculator"] == "ase.calculators.emt.EMT"
    assert tier["settings"]["weights"]["package"] == "ase"
    assert tier["codes"]["worker"].startswith("fuse2-worker@")
    assert "was not trained with Au" in call("run", "Cu3Au", "--model", path, "--dry-run", code=2).output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "sevennet", "--set", "relax.settings.calculator=chgnet"], "--model sevennet sets it"),
        (["--model", "sevennet", "--set", "relax.settings.arguments={model: 7net-0}"], "relax.settings.arguments"),
        (["--model", "sevennet", "--tiers", "pair,chgnet"], "'ase', which --tiers must name once"),
        (["--model", "chgnet", "--tiers", "chgnet", "--set", "tiers.chgnet.settings.model=0.2.0"], "tiers.chgnet"),
        (["--model", "chgnet", "--tiers", "chgnet", "--set", "tiers.t00.settings.model=0.2.0"], "tiers.t00"),
        (["--model", "sevenet"], "must be one of chgnet-0.3.0"),
    ],
)
def test_contradictions(call, sevennet_code, options, message):
    assert message in call("run", "MgO", "--dry-run", *options, code=2).output


@pytest.mark.parametrize("command", ["run", "generate"])
def test_a_potential_that_is_not_installed(call, worker_code, daemon_up, command):
    result = call(command, "MgO", "--model", "mace-mpa-0", code=1)
    assert "aiida-fuse2 model install mace-mpa-0" in result.output


def test_generate_ranks_with_it(call, sevennet_code, daemon_up, monkeypatch):
    given = []

    def submit(builder):
        given.append(builder)
        raise SetupError("not submitted")

    monkeypatch.setattr("aiida_fuse2.cli.commands.generate.submit_inputs", submit)
    options = ("--protocol", "fast", "--starts", "symmetric", "--ranking", "single", "--model", "sevennet")
    assert "not submitted" in call("generate", "MgO", *options, code=1).output
    assert given[0].tier["model"] == "sevennet-l3i5"
    assert given[0].code.pk == sevennet_code.pk


def test_install_on_another_computer(call, aiida_computer_ssh, aiida_profile):
    computer = aiida_computer_ssh(label="far")
    worker = "/opt/sevennet/bin/aiida-fuse2-worker"
    output = call("model", "install", "sevennet-l3i5", "--computer", computer.label, "--worker", worker).output
    assert "sevenn==0.13.0" in output
    code = orm.load_code(f"fuse2-sevennet@{computer.label}")
    assert str(code.filepath_executable) == worker
    assert code.base.extras.get(EXTRAS_KEY)[0]["name"] == "sevennet-l3i5"
    assert remote_commands(SEVENNET, "sevennet-l3i5")[1] == "pip install -c requirements-worker.txt sevenn==0.13.0"
    code.label = "gone"


@pytest.fixture
def bare_python(tmp_path):
    """Python of an environment that has what this one has, and nothing of its own."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    return folder / "bin" / "python"


@pytest.fixture
def stand_in(call, aiida_localhost, worker_code, bare_python, tmp_path):
    """A potential that pip has installed from a wheel beside its description, in an environment of its own."""
    path = make_stand_in(tmp_path)
    offline = f"--no-index --find-links {tmp_path}"
    output = call("model", "install", path, "--python", bare_python, "--pip-args", offline).output
    assert "stand-in-potential==1.2" in output
    assert (bare_python.parents[1] / "share/aiida-fuse2/weights/weights-small.txt").read_text() == "0.5 1.9"
    yield path
    orm.load_code("fuse2-standin").label = f"gone-{tmp_path.name}"


def test_install_check_and_relax_with_a_stand_in(call, stand_in):
    first = json.loads(call("model", "check", stand_in, "--json").stdout)
    node = orm.load_node(first["pk"])
    assert first["is_right"] is None
    assert first["energy"] < -1
    digest = find_model(stand_in).weights.sha256
    weights = node.inputs.settings["weights"]  # name, version and checksum of a relaxation
    assert (node.inputs.settings["model"], weights["version"], weights["sha256"]) == ("standin-small", "1.2", digest)
    software = node.outputs.results.get_dict()["software"]
    assert (software["stand-in-potential"], software["weights"]) == ("1.2", digest)
    values = yaml.safe_load(stand_in.read_text())
    values["models"]["small"]["energy"] = first["energy"] + 0.01
    stand_in.write_text(yaml.safe_dump(values))
    assert "the energy differs" in call("model", "check", stand_in, code=1).output
    values["elements"] = ["Cu", "O"]
    stand_in.write_text(yaml.safe_dump(values))
    output = call("model", "check", stand_in, code=2).output
    assert "was not trained with Mg, and the check relaxes MgO" in " ".join(output.split())


def test_a_download_with_another_checksum_is_refused(call, worker_code, bare_python, tmp_path):
    path = make_stand_in(tmp_path, sha256="0" * 64)
    offline = f"--no-index --find-links {tmp_path}"
    result = call("model", "install", path, "--python", bare_python, "--pip-args", offline, code=1)
    assert "it is another file" in result.output
    assert not list(Path(bare_python.parents[1]).glob("share/aiida-fuse2/weights/*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sevennet-l3i5", "sevennet-0", "sevennet-mf-0", "chgnet-0.3.0", "chgnet-r2scan"])
def test_real_potentials_give_the_energies_of_their_description(call, worker_code, name):
    model = find_model(name)
    pytest.importorskip(model.package)
    found = json.loads(call("model", "check", name, "--json").stdout)
    assert found["is_right"]
    assert found["energy"] == pytest.approx(model.energy, abs=1e-4)
