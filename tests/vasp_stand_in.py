"""A stand-in for VASP: reads POSCAR, INCAR, KPOINTS and POTCAR, relaxes with EMT, and writes VASP's files.

    cd FOLDER && python vasp_stand_in.py [FAULT[@ATOMS]] ...

The files are OUTCAR, vasprun.xml and CONTCAR, with what VASP 6 writes into them of energies, forces, stresses and
geometries. With PSTRESS the energy of an ionic step has pressure times volume in it, as VASP's has.

Faults, of all cells or of those with so many atoms: ``scf`` (no step finds its ground state), ``slow`` (each ionic
relaxation ends at NSW), ``killed`` (the files end in mid-run), ``nan``, ``stars``, ``silent`` (nothing is written).
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.optimize import BFGS

KBAR = 0.1 * units.GPa
NELM = 60


@dataclass
class Step:
    """An ionic step: energy (eV), forces (eV/Å) and stress (kbar, positive where the cell is pressed)."""

    atoms: Atoms
    energy: float
    forces: np.ndarray
    stress: np.ndarray


@dataclass
class Run:
    """What VASP was asked, and what came of it."""

    tags: dict[str, str]
    steps: list[Step] = field(default_factory=list)
    n_electronic: int = 8

    def number(self, tag: str, default: float) -> float:
        return float(self.tags.get(tag, default))

    @property
    def nelm(self) -> int:
        return int(self.number("NELM", NELM))


def read_tags(text: str) -> dict[str, str]:
    """Return the tags of an INCAR."""
    pairs = [line.split("#")[0].split("=", 1) for line in text.splitlines() if "=" in line]
    return {key.strip().upper(): value.strip() for key, value in pairs}


def check_inputs(folder: Path, atoms: Atoms) -> None:
    """Stop where the POTCAR has other elements than the POSCAR, or there are no k points."""
    elements = re.findall(r"VRHFIN\s*=\s*([A-Z][a-z]?)", (folder / "POTCAR").read_text())
    blocks = [s for i, s in enumerate(atoms.symbols) if i == 0 or atoms.symbols[i - 1] != s]
    if elements != blocks:
        sys.exit(f"ERROR: the POTCAR has {elements}, the POSCAR {blocks}")
    if len((folder / "KPOINTS").read_text().split()) < 5:
        sys.exit("ERROR: KPOINTS")


def relax(atoms: Atoms, run: Run, *, slow: bool) -> None:
    """Relax atoms and cell as IBRION, ISIF, NSW, EDIFFG and PSTRESS say, and keep each step."""
    pressure, n_steps = run.number("PSTRESS", 0.0) * KBAR, int(run.number("NSW", 0))
    atoms.calc = EMT()

    def keep() -> None:
        pressed = -atoms.get_stress(voigt=False) / KBAR
        volume_term = pressure * atoms.get_volume()
        run.steps.append(Step(Atoms(atoms), atoms.get_potential_energy() + volume_term, atoms.get_forces(), pressed))

    if run.number("IBRION", -1) < 0 or n_steps == 0:
        keep()
        return
    moved = FrechetCellFilter(atoms, scalar_pressure=pressure) if run.number("ISIF", 2) == 3 else atoms
    optimiser = BFGS(moved, logfile=None, maxstep=0.2)
    fmax = 0.0 if slow else abs(run.number("EDIFFG", -0.03)) / 2
    for _ in optimiser.irun(fmax=fmax, steps=n_steps - 1):
        keep()


def varray(name: str, rows: np.ndarray, indent: str) -> str:
    lines = [f"{indent} <v>  {' '.join(f'{x:15.8f}' for x in row)} </v>" for row in rows]
    return "\n".join([f'{indent}<varray name="{name}" >', *lines, f"{indent}</varray>"])


def structure_xml(atoms: Atoms, name: str = "") -> str:
    cell = np.asarray(atoms.cell)
    label = f' name="{name}"' if name else ""
    return "\n".join(
        [
            f" <structure{label} >",
            "  <crystal>",
            varray("basis", cell, "   "),
            f'   <i name="volume">  {atoms.get_volume():14.8f} </i>',
            varray("rec_basis", np.asarray(atoms.cell.reciprocal()), "   "),
            "  </crystal>",
            varray("positions", atoms.get_scaled_positions(wrap=False), "  "),
            " </structure>",
        ]
    )


def energy_xml(energy: float) -> str:
    names = ("e_fr_energy", "e_wo_entrp", "e_0_energy")
    return "\n".join(["  <energy>", *(f'   <i name="{n}">  {energy:14.8f} </i>' for n in names), "  </energy>"])


def calculation_xml(step: Step, run: Run) -> str:
    electronic = step.energy - run.number("PSTRESS", 0.0) * KBAR * step.atoms.get_volume()
    scstep = "\n".join(["  <scstep>", energy_xml(electronic), "  </scstep>"])
    return "\n".join(
        [
            " <calculation>",
            *[scstep] * run.n_electronic,
            structure_xml(step.atoms),
            varray("forces", step.forces, "  "),
            varray("stress", step.stress, "  "),
            energy_xml(step.energy),
            " </calculation>",
        ]
    )


def atoms_xml(atoms: Atoms) -> str:
    kinds = list(dict.fromkeys(atoms.get_chemical_symbols()))
    rows = "\n".join(f"    <rc><c>{s:2s}</c><c>{kinds.index(s) + 1:4d}</c></rc>" for s in atoms.get_chemical_symbols())
    types = "\n".join(
        f"    <rc><c>{list(atoms.symbols).count(k):4d}</c><c>{k:2s}</c><c>  1.0</c><c>  1.0</c><c> PAW {k} </c></rc>"
        for k in kinds
    )
    return "\n".join(
        [
            " <atominfo>",
            f"  <atoms>{len(atoms):8d} </atoms>",
            f"  <types>{len(kinds):8d} </types>",
            '  <array name="atoms" >',
            '   <dimension dim="1">ion</dimension>',
            '   <field type="string">element</field>',
            '   <field type="int">atomtype</field>',
            f"   <set>\n{rows}\n   </set>",
            "  </array>",
            '  <array name="atomtypes" >',
            '   <dimension dim="1">type</dimension>',
            '   <field type="int">atomspertype</field>',
            '   <field type="string">element</field>',
            "   <field>mass</field>",
            "   <field>valence</field>",
            '   <field type="string">pseudopotential</field>',
            f"   <set>\n{types}\n   </set>",
            "  </array>",
            " </atominfo>",
        ]
    )


def vasprun(run: Run) -> str:
    """Return vasprun.xml."""
    first, last = run.steps[0].atoms, run.steps[-1].atoms
    incar = "\n".join(f'  <i type="string" name="{tag}"> {value}</i>' for tag, value in run.tags.items())
    return "\n".join(
        [
            '<?xml version="1.0" encoding="ISO-8859-1"?>',
            "<modeling>",
            " <generator>",
            '  <i name="program" type="string">vasp </i>',
            '  <i name="version" type="string">6.0.0  </i>',
            '  <i name="subversion" type="string">stand-in of the tests </i>',
            " </generator>",
            f" <incar>\n{incar}\n </incar>",
            " <kpoints>",
            '  <generation param="Gamma">',
            '   <v type="int" name="divisions">       1        1        1 </v>',
            "  </generation>",
            varray("kpointlist", np.zeros((1, 3)), "  "),
            varray("weights", np.ones((1, 1)), "  "),
            " </kpoints>",
            " <parameters>",
            '  <separator name="electronic" >',
            f'   <i name="ENMAX">  {run.number("ENCUT", 0.0):14.8f}</i>',
            f'   <i type="int" name="NELM">  {run.nelm:6d}</i>',
            "  </separator>",
            '  <separator name="ionic" >',
            f'   <i type="int" name="NSW">  {int(run.number("NSW", 0)):6d}</i>',
            "  </separator>",
            " </parameters>",
            atoms_xml(first),
            structure_xml(first, "initialpos"),
            *(calculation_xml(step, run) for step in run.steps),
            structure_xml(last, "finalpos"),
            "</modeling>\n",
        ]
    )


def outcar(run: Run, seconds: float) -> str:
    """Return OUTCAR."""
    lines = [
        " vasp.6.0.0 stand-in of the tests",
        f"   NELM   = {run.nelm:6d};   NELMIN=  2; NELMDL= -5     # of ELM steps",
        f"   NSW    = {int(run.number('NSW', 0)):6d}    number of steps for IOM",
        f"   IBRION = {int(run.number('IBRION', -1)):6d}    ionic relax: 0-MD 1-quasi-New 2-CG",
    ]
    for number, step in enumerate(run.steps, 1):
        lines += [f"{'-' * 39} Iteration {number:6d}({n:4d})  {'-' * 39}" for n in range(1, run.n_electronic + 1)]
        lines += [
            "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)",
            f"  free  energy   TOTEN  = {step.energy:18.8f} eV",
            "",
            f"  energy  without entropy= {step.energy:16.8f}  energy(sigma->0) = {step.energy:16.8f}",
        ]
    lines += [
        " General timing and accounting informations for this job:",
        " ========================================================",
        "",
        f"                  Total CPU time used (sec): {seconds:12.3f}",
        f"                            User time (sec): {seconds:12.3f}",
        f"                          System time (sec): {0.0:12.3f}",
        f"                         Elapsed time (sec): {seconds:12.3f}",
        "",
        f"                   Maximum memory used (kb): {1000.0:12.0f}.",
    ]
    return "\n".join(lines) + "\n"


def chosen_fault(words: list[str], n_atoms: int) -> str:
    """Return the fault that is asked for with so many atoms."""
    for word in words:
        name, _, atoms = word.partition("@")
        if not atoms or int(atoms) == n_atoms:
            return name
    return ""


def main() -> None:
    started, folder = time.process_time(), Path.cwd()
    atoms = read(folder / "POSCAR", format="vasp")
    fault = chosen_fault(sys.argv[1:], len(atoms))
    if fault == "silent":
        sys.exit(1)
    check_inputs(folder, atoms)
    run = Run(read_tags((folder / "INCAR").read_text()))
    relax(atoms, run, slow=fault == "slow")
    if fault == "scf":
        run.n_electronic = run.nelm
    if fault == "nan":
        for step in run.steps:
            step.energy = float("nan")
    xml, text = vasprun(run), outcar(run, time.process_time() - started)
    if fault == "killed":
        xml, text = xml[: xml.rindex("<structure")], text[: text.rindex("General timing")]
    if fault == "stars":
        xml = re.sub(r'(name="e_\w+">) +[-0-9.]+', r"\1  **************", xml)
    (folder / "vasprun.xml").write_text(xml)
    (folder / "OUTCAR").write_text(text)
    write(folder / "CONTCAR", run.steps[-1].atoms, format="vasp", direct=True)
    print(" running on    1 total cores")
    print(" reached required accuracy - stopping structural energy minimisation" if fault != "slow" else " NSW reached")


if __name__ == "__main__":
    main()
