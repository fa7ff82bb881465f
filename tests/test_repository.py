"""The repository around the package: entry points, pins, sizes, versions, Makefile."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import aiida_fuse2

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAX_FILE_SIZE = 1_000_000
TESTED_EXTRAS = ("chgnet", "dev", "megnet", "optimade", "prototypes", "qe", "sevennet", "vasp")

ENTRY_POINTS = [
    pytest.param(value, id=f"{group}:{name}")
    for group, points in {"scripts": PROJECT["scripts"], **PROJECT["entry-points"]}.items()
    for name, value in points.items()
]

IMPORT_WITHOUT_AIIDA = """
import importlib, pkgutil, sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"aiida", "kiwipy", "plumpy"}:
            raise RuntimeError(f"imports {name}")

sys.meta_path.insert(0, Refuse())
for root in sys.argv[1:]:
    package = importlib.import_module(root)
    print(root)
    for info in pkgutil.walk_packages(getattr(package, "__path__", []), root + "."):
        if info.name.rsplit(".")[-1] != "__main__":
            importlib.import_module(info.name)
            print(info.name)
"""


def run(*command, cwd=ROOT, **environment):
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def import_without_aiida(*modules):
    return run(sys.executable, "-c", IMPORT_WITHOUT_AIIDA, *modules, PYTHONPATH=str(ROOT))


@pytest.mark.parametrize("value", ENTRY_POINTS)
def test_entry_point_loads(value):
    module, _, attribute = value.partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))


def test_core_worker_and_benchmarks_import_no_aiida():
    done = import_without_aiida("aiida_fuse2.core", "aiida_fuse2.worker", "aiida_fuse2.benchmarks")
    assert done.returncode == 0, done.stderr
    assert {"aiida_fuse2.core.crystal.slicing", "aiida_fuse2.worker", "aiida_fuse2.benchmarks.plots"} <= set(
        done.stdout.split()
    )


@pytest.mark.parametrize("module", ["aiida.orm", "plumpy"])
def test_import_without_aiida_would_notice(module):
    done = import_without_aiida(module)
    assert done.returncode != 0
    assert f"imports {module.split('.')[0]}" in done.stderr


def test_no_large_file_is_under_version_control():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    assert listed.returncode == 0, listed.stderr
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert ROOT / "pyproject.toml" in paths
    assert [str(p) for p in paths if p.is_file() and p.stat().st_size > MAX_FILE_SIZE] == []


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == aiida_fuse2.__version__
    assert f"\n## [{aiida_fuse2.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_constraints_pin_what_is_tested():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", str(pin)) for pin in pins)  # one version, no address
    assert versions["torch"] == "2.13.0"  # a CPU build of no other is at hand wherever the tests run
    extras = [text for extra in TESTED_EXTRAS for text in PROJECT["optional-dependencies"][extra]]
    wanted = [Requirement(text) for text in [*PROJECT["dependencies"], *extras]]
    assert [str(w) for w in wanted if versions.get(canonicalize_name(w.name)) not in w.specifier] == []


def test_ci_runs_all_tests():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    targets = re.findall(r"^make ([\w-]+) ", script.read_text(), re.MULTILINE)
    assert targets == ["lint", "test", "test-slow"]


@pytest.fixture
def make(tmp_path):
    """Run make in a folder that has nothing but the Makefile and empty, old files of requirements."""
    if shutil.which("make") is None:
        pytest.skip("no make")
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    # The settings of a `make test` around this one are in the environment: its VENV must not be cleaned.
    settings = [
        "PYTHON=python3",
        "VENV=.venv",
        "EXTRAS=chgnet,dev,optimade,prototypes,qe,sevennet,vasp",
        "PIP_ARGS=",
        "PYTEST_ARGS=",
    ]
    return lambda *arguments: run("make", *settings, *arguments, cwd=tmp_path, MAKEFLAGS="")


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("target", ["demo", "test", "test-slow"])
def test_make_says_which_python_it_needs(make, tmp_path, target):
    executable(tmp_path / "python-old", '[ "$1" = --version ] && echo Python 3.9.1 && exit; exit 1')
    done = make(target, "PYTHON=./python-old")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer; ./python-old is: Python 3.9.1" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_keeps_aiida_data_in_the_checkout(make, tmp_path):
    executable(tmp_path / ".venv/bin/pip", "")
    executable(tmp_path / ".venv/bin/python", 'echo "$AIIDA_PATH|$*"')
    executable(tmp_path / ".venv/bin/aiida-fuse2", 'echo "$AIIDA_PATH|$*"')
    first, again, demo = make("test"), make("test"), make("demo")
    for done, folder in ((first, ".aiida-test"), (again, ".aiida-test"), (demo, ".demo")):
        assert done.returncode == 0, done.stderr
        assert f"AIIDA_PATH={tmp_path / folder}\n" in done.stdout
    assert f"{tmp_path}/.aiida-test|-m pytest" in first.stdout
    assert "-m slow" not in first.stdout
    assert re.search(rf"{tmp_path}/.aiida-test\|-m pytest .*-m slow", make("test-slow").stdout)
    assert f"{tmp_path}/.demo|run SrTiO3" in demo.stdout
    assert "-m pip install" in first.stdout
    assert "-m pip install" not in again.stdout + demo.stdout


def test_make_installs_again_when_the_pins_change(make, tmp_path):
    executable(tmp_path / ".venv/bin/pip", "")
    executable(tmp_path / ".venv/bin/python", 'echo "$*"')
    assert "-m pip install" in make("setup").stdout
    assert "-m pip install" not in make("setup").stdout
    (stamp,) = (tmp_path / ".venv").glob(".installed*")
    os.utime(stamp, (1, 1))
    os.utime(tmp_path / "constraints.txt", (2, 2))
    assert "-c constraints.txt -e .[chgnet,dev,optimade,prototypes,qe,sevennet,vasp]" in make("setup").stdout
    assert "-m pip install" not in make("setup").stdout
    assert "-e .[dev]" in make("setup", "EXTRAS=dev").stdout


def test_make_clean_removes_only_what_make_made(make, tmp_path):
    for folder in (".aiida-test", ".demo", "docs/_build", ".pytest_cache"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "docs" / "index.md").touch()
    executable(tmp_path / ".venv/bin/pip", "")
    done = make("clean")
    assert done.returncode == 0, done.stderr
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if not p.is_dir()}
    kept = {".venv/bin/pip", "docs/index.md"}  # somebody else's environment stays
    assert left == {"Makefile", "constraints.txt", "pyproject.toml", *kept}
    assert (tmp_path / ".demo").is_dir()
    (tmp_path / ".venv" / ".made-by-aiida-fuse2").touch()
    assert make("clean", "clean-demo").returncode == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Makefile", "constraints.txt", "docs", "pyproject.toml"]
