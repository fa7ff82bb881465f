"""`setup`: what it makes, and what it leaves alone."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from aiida import orm

from aiida_fuse2.environment.codes import calculator_problem, ensure_code, ensure_computer
from aiida_fuse2.environment.profile import PROFILE_OPTIONS, SetupError, create_profile, load_search_profile


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "aiida-fuse2-worker"
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def run_command(folder, *arguments):
    """Run the command in an AiiDA folder of its own."""
    command = [str(Path(sys.executable).with_name("aiida-fuse2")), *arguments]
    env = {**os.environ, "AIIDA_PATH": str(folder)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_code_is_made_once(aiida_profile, aiida_localhost, program):
    label = aiida_localhost.label
    code, first = ensure_code("once", computer=label, worker=program)
    assert first.changed
    assert (str(code.filepath_executable), code.default_calc_job_plugin) == (str(program), "fuse2.relax")
    again, second = ensure_code("once", computer=label, worker=program)
    assert again.pk == code.pk
    assert not second.changed
    assert not second.is_problem


def test_code_with_another_path_is_left_alone(aiida_profile, aiida_localhost, program, worker_path):
    label = aiida_localhost.label
    code, _ = ensure_code("other", computer=label, worker=program)
    again, step = ensure_code("other", computer=label, worker=Path(worker_path))
    assert (again.pk, step.changed, step.is_problem) == (code.pk, False, True)
    assert str(orm.load_node(code.pk).filepath_executable) == str(program)
    program.unlink()
    _, gone = ensure_code("other", computer=label, worker=program)
    assert "not a program" in gone.text


@pytest.mark.parametrize("path", ["relative/worker", "/nonexistent/worker"])
def test_worker_that_cannot_be(aiida_profile, aiida_localhost, path):
    with pytest.raises(SetupError):
        ensure_code("never", computer=aiida_localhost.label, worker=Path(path))


def test_unknown_computer(aiida_profile):
    with pytest.raises(SetupError, match="verdi computer setup"):
        ensure_computer("cluster")


def test_worker_on_another_machine_needs_its_path(aiida_profile, aiida_computer_ssh):
    computer = aiida_computer_ssh(label="remote")
    with pytest.raises(SetupError, match="--worker"):
        ensure_code("remote", computer=computer.label)
    code, step = ensure_code("remote", computer=computer.label, worker=Path("/opt/bin/aiida-fuse2-worker"))
    assert step.changed
    assert calculator_problem(code, "nopackage.Potential") is None  # cannot be seen from here


def test_unknown_profile(aiida_profile):
    with pytest.raises(SetupError, match="there is no profile 'nope'"):
        load_search_profile("nope")


@pytest.mark.parametrize("name", ["a/b", "..", "", "-x"])
def test_bad_name_of_a_profile(aiida_profile, name):
    with pytest.raises(SetupError, match="no name"):
        create_profile(name)


def test_name_that_is_taken(aiida_profile):
    with pytest.raises(SetupError, match="exists already"):
        create_profile(aiida_profile.name)


def test_setup_of_an_existing_profile(call, aiida_profile, aiida_localhost, program):
    arguments = ("setup", "-n", "--no-daemon", "--computer", aiida_localhost.label, "--code-label", "cli")
    first = call(*arguments, "--worker", program).stdout
    assert f"= profile '{aiida_profile.name}' is there" in first
    assert "+ made code 'cli@" in first
    second = call(*arguments, "--worker", program).stdout
    assert "+" not in second.replace("core.", "")
    assert "daemon start" in second


def test_profile_and_new_profile_exclude_each_other(call, aiida_profile):
    assert "give one of them" in call("setup", "-p", aiida_profile.name, "--new-profile", "x", code=2).stderr


@pytest.mark.slow
def test_first_setup_and_a_separate_profile(tmp_path):
    before = run_command(tmp_path, "show", "1")
    assert before.returncode == 1
    assert "aiida-fuse2 setup" in before.stderr
    first = run_command(tmp_path, "setup", "-n", "--no-daemon")
    assert first.returncode == 0, first.stderr
    assert str(tmp_path) in first.stdout
    for made in ("+ made profile 'fuse2'", "+ made computer 'localhost'", "+ made code 'fuse2-worker@localhost'"):
        assert made in first.stdout
    config_path = tmp_path / ".aiida" / "config.json"
    first_profile = json.loads(config_path.read_text())["profiles"]["fuse2"]
    second = run_command(tmp_path, "setup", "-n", "--no-daemon", "--new-profile", "separate")
    assert second.returncode == 0, second.stderr
    config = json.loads(config_path.read_text())
    assert config["default_profile"] == "fuse2"
    assert config["profiles"]["fuse2"] == first_profile
    separate = config["profiles"]["separate"]
    assert separate["storage"]["backend"] == "core.sqlite_dos"
    assert separate["process_control"]["backend"] == "core.zeromq"
    assert separate["options"] == PROFILE_OPTIONS
    run = run_command(tmp_path, "-p", "separate", "run", "Cu3Au")
    assert run.returncode == 1
    assert "verdi -p separate daemon start" in run.stderr
