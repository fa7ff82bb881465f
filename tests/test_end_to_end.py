"""What a user does, with the real commands: set up, search SrTiO3 with CHGNet through a daemon, look, export."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiida_fuse2.core.potentials.installed import installed_version

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
    is_there = installed_version("sevenn") is not None
    assert ("energies of sevennet-l3i5, the second potential" in table) == is_there

    options = ("-n", "1", "--as-relaxed", "--output", "cifs", "--json")
    written = json.loads(shell("aiida-fuse2", "structures", *options).stdout)
    from ase.io import read

    from aiida_fuse2.core.potentials.chgnet.torch_backend import TorchChgnet

    crystal = read(shell.folder / written[0]["path"])
    assert crystal.get_chemical_formula(mode="hill") == "O3SrTi"
    again = TorchChgnet("0.3.0").evaluate(crystal.numbers, crystal.positions, crystal.cell.array)
    assert again.energy / len(crystal) == pytest.approx(written[0]["energy"], abs=0.001)
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


PSEUDOS = Path("/usr/share/espresso/pseudo")
"""Of Debian's quantum-espresso-data."""

COARSE = {
    "settings": {"pseudo_family": "lda", "kpoints_distance": 0.6, "fmax": 0.1, "pressure_tolerance": 1.0},
    "options": {"withmpi": False},
}
"""Tells structures of MgO apart, and no more."""


@pytest.fixture(scope="module")
def quantum_espresso(shell):
    """Set up pw.x and two pseudopotentials as a user does; return the options that name them."""
    pytest.importorskip("aiida_quantumespresso")
    program = shutil.which("pw.x")
    if program is None or not PSEUDOS.is_dir():
        pytest.skip("Debian's quantum-espresso is not installed")
    (shell.folder / "pseudos").mkdir()
    for element, name in (("Mg", "Mg.pz-n-vbc.UPF"), ("O", "O.pz-rrkjus.UPF")):
        shutil.copy(PSEUDOS / name, shell.folder / "pseudos" / f"{element}.upf")
    cutoffs = {element: {"cutoff_wfc": 30, "cutoff_rho": 240} for element in ("Mg", "O")}
    (shell.folder / "cutoffs.json").write_text(json.dumps(cutoffs))
    (shell.folder / "coarse.yaml").write_text(json.dumps({"tiers": {"qe": COARSE}}))
    shell("aiida-fuse2", "setup", "-n")
    of_code = ("--filepath-executable", program, "--default-calc-job-plugin", "quantumespresso.pw")
    shell("verdi", "code", "create", "core.code.installed", "-n", "--label", "pw", "--computer", "localhost", *of_code)
    shell("aiida-pseudo", "install", "family", "pseudos", "lda", "-F", "pseudo.family.cutoffs", "-P", "pseudo.upf")
    shell("aiida-pseudo", "family", "cutoffs", "set", "-s", "normal", "-u", "Ry", "lda", "cutoffs.json")
    return ("--tier-code", "qe=pw@localhost", "--overrides", "coarse.yaml")


LIMITS = ("--protocol=fast", "--max-atoms=2", "--max-structures=2", "--population=2", "--walkers=1", "--seed=2")


def energy_of_pw(shell, pk):
    """Energy that pw.x printed last for a structure, eV/atom, and volume, Å³/atom."""
    code = (
        "from aiida import orm; from ase import units; "
        f"text = orm.load_node({pk}).creator.outputs.retrieved.get_object_content('aiida.out'); "
        "lines = [l for l in text.splitlines() if l.startswith('!')]; "
        "print(float(lines[-1].split()[-2]) * units.Ry / 2)"
    )
    (shell.folder / "printed.py").write_text(code)
    return float(shell("verdi", "run", "printed.py").stdout.split()[-1])


def test_a_search_whose_energies_are_those_of_quantum_espresso(shell, quantum_espresso):
    ran = shell("aiida-fuse2", "run", "MgO", *LIMITS, "--tiers", "chgnet,qe", *quantum_espresso, "--json")
    found = json.loads(ran.stdout)
    assert found["exit_status"] == 0
    assert found["structures_tried"] == 2
    best = found["structures"][0]
    assert (best["spacegroup"], best["n_atoms"]) == (225, 2)
    assert 17 < best["volume"] < 20  # rocksalt; caesium chloride is denser
    assert best["energy"] == pytest.approx(energy_of_pw(shell, best["pk"]), abs=1e-4)
