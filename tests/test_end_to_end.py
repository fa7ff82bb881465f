"""What a user does, with the real commands: set up, search SrTiO3 with CHGNet through a daemon, look, export."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PEROVSKITE_ENERGY = -8.4236
"""Cubic SrTiO3 with CHGNet 0.3.0, eV/atom; nothing lies lower by more than a milli-electronvolt."""

WORST_ENERGY = -8.0
"""The best of ten structures lies below this, eV/atom."""

pytestmark = [pytest.mark.slow, pytest.mark.daemon]


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Run commands of this environment on a folder without any AiiDA profile; ends its daemon."""
    pytest.importorskip("chgnet")
    folder = tmp_path_factory.mktemp("user")
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "AIIDA_PATH": str(folder), "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    environment["COLUMNS"] = "140"

    def run(*command, check=True):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    run.folder = folder
    yield run
    run("verdi", "daemon", "stop", check=False)


def test_a_composition_in_its_crystal_structure_out(shell):
    refused = shell("aiida-fuse2", "show", check=False)
    assert refused.returncode != 0
    assert "aiida-fuse2 setup" in refused.stderr

    first, second = shell("aiida-fuse2", "setup", "-n").stdout, shell("aiida-fuse2", "setup", "-n").stdout
    assert "made profile" in first
    assert "made" not in second

    limits = ("--max-atoms", "5", "--max-structures", "10", "--population", "8", "--walkers", "2")
    ran = shell("aiida-fuse2", "run", "SrTiO3", "--protocol", "fast", *limits, "--json")
    found = json.loads(ran.stdout)
    assert found["exit_status"] == 0
    assert found["structures_tried"] == 10
    best = found["structures"][0]
    # ten structures need not include the perovskite, and which do depends on the processor's arithmetic
    assert PEROVSKITE_ENERGY - 0.002 < best["energy"] < WORST_ENERGY

    table = shell("aiida-fuse2", "show").stdout
    assert f"{best['energy']:.4f}" in table

    written = json.loads(shell("aiida-fuse2", "structures", "-n", "1", "--output", "cifs", "--json").stdout)
    from ase.io import read

    from aiida_fuse2.core.potentials.chgnet.torch_backend import TorchChgnet

    crystal = read(shell.folder / written[0]["path"])
    assert crystal.get_chemical_formula(mode="hill") == "O3SrTi"
    again = TorchChgnet("0.3.0").evaluate(crystal.numbers, crystal.positions, crystal.cell.array)
    assert again.energy / len(crystal) == pytest.approx(best["energy"], abs=0.001)
    assert abs(again.forces).max() < 0.1

    report = shell("verdi", "process", "report", str(found["pk"])).stdout
    assert report.count("generation ") >= 2
    shell("verdi", "archive", "create", "--nodes", str(found["pk"]), "--", "search.aiida")
    assert (shell.folder / "search.aiida").stat().st_size > 10_000


def test_bad_input_is_refused_in_one_line(shell):
    for arguments, hint in (
        (("SrTiXx",), "composition"),
        (("SrTiO3", "--max-atoms", "4"), "5 atoms"),
        (("SrTiO3", "--code", "nothing"), "aiida-fuse2 setup"),
    ):
        done = shell("aiida-fuse2", "run", *arguments, check=False)
        assert done.returncode in (1, 2)
        assert hint in done.stderr
        assert "Traceback" not in done.stderr
