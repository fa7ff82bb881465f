"""The documentation builds without a warning and leaves no module of the core out."""

import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aiida_fuse2.core

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


@pytest.mark.slow
def test_builds_without_warnings(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    command += ["-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "html")]
    env = {**os.environ, "AIIDA_PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    science = (tmp_path / "html" / "explanation" / "science.html").read_text()
    assert "Sub-modules and modules" in science
    core = (tmp_path / "html" / "reference" / "core.html").read_text()
    assert "aiida_fuse2.core.slicing.slice_structure" in core


def test_reference_has_every_module_of_the_core():
    package = aiida_fuse2.core
    modules = {info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")}
    page = (DOCS / "reference" / "core.md").read_text()
    listed = set(re.findall(r"automodule:: (\S+)", page))
    assert len(modules) > 20
    assert listed == modules


def test_links_between_files_of_the_readme_lead_somewhere():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
