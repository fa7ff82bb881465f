"""The wheel in an environment without a compiler: what is in it, and that it finds the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from aiida_fuse2.benchmarks.searches import SearchTask, run_task
from aiida_fuse2.core.potentials.chgnet import build
from aiida_fuse2.core.potentials.chgnet.build import BuildError, InstructionSet
from aiida_fuse2.io.names import JOB_FILE, POOL_FILE, RESULTS_FILE, SOFTWARE_FILE, TRIALS_FILE
from aiida_fuse2.io.trials import from_extxyz, trials_to_text
from tests.trials import make_trial

pytest.importorskip("chgnet")
pytest.importorskip("auditwheel", reason="auditwheel, which is for Linux only, is not installed")
try:
    build.find_compiler()
except BuildError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
SITES = [folder for folder in sys.path if folder.endswith("site-packages")]
"""Where the packages are that the environment of the tests has."""

FOLDER = f"aiida_fuse2/core/potentials/chgnet/{build.PACKAGED}/"
LIMITS = {"population_size": 6, "walkers": 2, "max_structures": 12, "trials_per_step": 2}


def run(*command, path=None, cwd=None, **environment):
    """Run a command that must succeed, where ``path`` is given with the commands of this folder alone."""
    env = {name: value for name, value in os.environ.items() if name not in {"CXX", "PYTHONPATH"}}
    env |= {"PATH": str(path)} if path else {}
    done = subprocess.run(
        [str(part) for part in command], env=env | environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """What ``make wheel`` makes: a source distribution, and the wheel that is built from it and named by auditwheel."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    (built,) = folder.glob("*-linux_*.whl")
    search_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", folder, built, path=search_path)
    built.unlink()
    return folder


@pytest.fixture(scope="module")
def wheel(dist):
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture
def environment(tmp_path):
    """An empty virtual environment: the folder of its commands, which are all that programs find."""
    venv.create(tmp_path / "venv", symlinks=True, with_pip=False)
    return tmp_path / "venv" / "bin"


def install(environment, *arguments):
    """Install into an environment with the pip of this one."""
    return run(sys.executable, "-m", "pip", "--python", environment / "python", "install", "-q", *arguments)


def site_of(environment):
    (site,) = environment.parent.glob("lib/python*/site-packages")
    return site


def files_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_wheel_has_the_kernels_and_a_tag_that_auditwheel_accepts(wheel):
    name = r"aiida_fuse2-[\d.]+-py3-none-(manylinux_2_\d+_\w+)\.whl"
    (tag,) = re.fullmatch(name, wheel.name).groups()
    said = run(sys.executable, "-m", "auditwheel", "show", wheel)
    assert f'consistent with the following platform tag: "{tag}"' in " ".join(said.split())
    kernels = {name for name in files_of(wheel) if name.endswith(".so")}
    assert kernels == {FOLDER + build._packaged_name(instruction_set) for instruction_set in build.instruction_sets()}


def test_without_a_compiler_the_wheel_has_no_kernel_and_suits_any_machine(tmp_path, environment):
    said = run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT, path=environment)
    (built,) = tmp_path.glob("*.whl")
    assert built.name.endswith("-py3-none-any.whl")
    assert not any(name.endswith(".so") for name in files_of(built))
    assert "the wheel has no native kernel, which is built at first use: there is no C++ compiler" in said


def test_an_editable_installation_compiles_nothing(tmp_path, environment):
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    compiler.chmod(0o700)
    command = (sys.executable, "-m", "pip", "--python", environment / "python", "install", "--no-deps", "-e", ROOT)
    run(*command, CXX=str(compiler))
    assert not (tmp_path / "ran").exists()
    code = "import aiida_fuse2; print(aiida_fuse2.__file__)"
    assert run(environment / "python", "-c", code, cwd=tmp_path).strip() == str(ROOT / "aiida_fuse2/__init__.py")
    assert [build.packaged(instruction_set) for instruction_set in InstructionSet] == [None] * 3


def test_the_wheel_searches_and_finds_what_a_checkout_finds(wheel, environment, tmp_path, monkeypatch):
    """Only the wheel is installed: the packages that it needs are those of the environment of the tests."""
    install(environment, "--no-deps", wheel)
    (site_of(environment) / "needs.pth").write_text("\n".join(SITES))
    home = tmp_path / "home"
    changes = [f"--set=settings.{name}={value}" for name, value in LIMITS.items()]
    run(
        *(environment / "aiida-fuse2", "benchmark", "search", "SrTiO3:5", "--out", tmp_path / "rows.jsonl"),
        *("--generators", "symmetric", "--protocol", "fast", "--cpu-seconds", "1000", *changes),
        path=environment,
        cwd=tmp_path,
        HOME=str(home),
        XDG_CACHE_HOME="",
        AIIDA_PATH=str(tmp_path),
        AIIDA_FUSE2_CACHE="",
    )
    (row,) = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
    assert not [file for file in home.rglob("*") if file.is_file() and not file.name.startswith("prototypes-")]
    assert row["potential"] == f"chgnet 0.3.0 native {build.best_instruction_set()}"
    assert (row["structures"], row["ended"]) == (12, "max_structures")

    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "cache"))
    task = SearchTask(
        composition="SrTiO3",
        max_atoms=5,
        generator="symmetric",
        seed=1,
        protocol="fast",
        overrides={"settings": LIMITS},
        budget=1000.0,
    )
    own = run_task(task)
    assert len(list((tmp_path / "cache").glob("chgnet-*"))) == 1  # built from the checkout
    courses = [[(i["structures"], i["energy"]) for i in row["course"]], [(i.structures, i.energy) for i in own.course]]
    assert courses[0] == courses[1]
    assert (row["evaluations"], row["failures"]) == (own.evaluations, own.failures)


def test_worker_installs_by_one_command_and_needs_no_aiida(
    wheel, environment, tmp_path, search_settings, relax_settings
):
    """As on a cluster, from the package index; PyTorch, which is large and of many builds, is left out."""
    needs = tmp_path / "requirements.txt"
    lines = (ROOT / "requirements-worker.txt").read_text().splitlines(keepends=True)
    needs.write_text("".join(line for line in lines if not line.startswith("torch==")))
    install(environment, "--no-deps", "-r", needs, wheel)
    assert not (site_of(environment) / "aiida").exists()
    search = search_settings(starts="symmetric", max_atoms=5, pool={"size": 3})
    worker = {"path": environment, "cwd": tmp_path, "HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    (tmp_path / JOB_FILE).write_text(json.dumps({"settings": search.model_dump(mode="json"), "pool_number": 0}))
    run(environment / "aiida-fuse2-worker", "generate", **worker)
    frames = from_extxyz((tmp_path / POOL_FILE).read_text())
    assert len(frames) == 3
    tier = relax_settings(processes=1)
    (tmp_path / JOB_FILE).write_text(json.dumps({"settings": tier.model_dump(mode="json"), "labels": None}))
    (tmp_path / TRIALS_FILE).write_text(trials_to_text([make_trial(i, atoms) for i, atoms in enumerate(frames)]))
    run(environment / "aiida-fuse2-worker", "relax", **worker)
    rows = [json.loads(line) for line in (tmp_path / RESULTS_FILE).read_text().splitlines()]
    assert {row["potential"] for row in rows} == {f"chgnet 0.3.0 native {build.best_instruction_set()}"}
    assert "converged" in {row["status"] for row in rows}
    assert "native kernel" not in json.loads((tmp_path / SOFTWARE_FILE).read_text())  # there is no problem
    assert not (tmp_path / "home").exists()
    missing = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(environment / "python"), "check"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    assert [line for line in missing if not line.startswith("aiida-fuse2 ") and "requires torch," not in line] == []
