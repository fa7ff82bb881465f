"""A stand-in for GULP: reads its input, relaxes with the embedded engine, and prints in its format.

    python gulp_stand_in.py [--fault NAME] < main.gin > main.gout

Faults: ``truncated`` (killed in mid-output), ``error``, ``steps``, ``time``, ``no_minimum``, ``stars``, ``nan``,
``silent`` (nothing but an exit code), ``hang``.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units

from aiida_fuse2.core.potentials.pair import PairEvaluator, PairLibrary, read_library
from aiida_fuse2.core.relaxers.optimiser import Limits, minimise

RULE = "-" * 80
STARS = "*" * 80
BANNER = f"""{STARS}
*                       GENERAL UTILITY LATTICE PROGRAM                        *
{STARS}
* Version = 0.0.0 * Last modified =  stand-in of the tests                     *
{STARS}
"""
LIMITS = ("maxcyc", "stepmx", "gmax", "gtol", "ftol", "xtol")
NUMBERS = {"cutp", "pressure", "time"}


class InputRefusedError(Exception):
    """What GULP reports as an error."""


@dataclass
class Input:
    """An input of GULP in the grammar that we write."""

    keywords: list[str]
    name: str
    atoms: Atoms
    library: PairLibrary
    options: dict[str, float]


def read_input(text: str, folder: Path) -> Input:
    """Return an input; everything that the help file does not describe is an error."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputRefusedError("input file is empty")
    keywords, rest = lines[0], lines[1:]
    vectors, symbols, scaled, name, library = [], [], [], "", None
    options: dict[str, float] = {}
    while rest:
        words = rest.pop(0)
        if words[0] == "name":
            (name,) = words[1:]
        elif words == ["vectors"]:
            vectors = [[float(value) for value in rest.pop(0)] for _ in range(3)]
        elif words == ["fractional"]:
            while rest and len(rest[0]) == 5 and rest[0][1] == "core":
                symbol, _, *place = rest.pop(0)
                symbols.append(symbol)
                scaled.append([float(value) for value in place])
        elif words[0] == "library":
            library = read_library((folder / words[1]).read_text())
        elif words[0] in LIMITS and words[1] == "opt":
            options[words[0]] = float(words[2])
        elif words[0] in NUMBERS:
            options[words[0]] = float(words[1])
        else:
            raise InputRefusedError(f"unknown option {words[0]}")
    if not symbols or library is None:
        raise InputRefusedError("no structure or no library")
    return Input(keywords, name, Atoms(symbols, scaled_positions=scaled, cell=vectors, pbc=True), library, options)


def show(line: str = "") -> None:
    sys.stdout.write(line + "\n")


def show_start(given: Input) -> None:
    """Print what GULP prints before it computes."""
    sys.stdout.write(BANNER)
    if "opti" in given.keywords:
        show("*  optimise     - perform optimisation run                                     *")
    show(f"{STARS}\n\n  Job Started  at 00:00.00  1st January   2026\n")
    show(f"  Total number atoms/shells = {len(given.atoms):7d}\n")
    show("  Cartesian lattice vectors (Angstroms) :\n")
    show_vectors(given.atoms.cell.array)
    show("\n  Fractional coordinates of asymmetric unit :\n")
    show_table(given.atoms, "     0.00000    1.000000")
    show(f"\n  Output for configuration   1 : {given.name}\n")


def show_vectors(cell: np.ndarray) -> None:
    for row in cell:
        show("    " + "".join(f"{value:12.6f}" for value in row))


def show_table(atoms: Atoms, last: str, stars: bool = False) -> None:
    show(
        f"{RULE}\n   No.  Atomic        x           y          z\n"
        f"        Label       (Frac)      (Frac)     (Frac)\n{RULE}"
    )
    for number, (symbol, place) in enumerate(zip(atoms.symbols, atoms.get_scaled_positions(), strict=True), start=1):
        numbers = "   ".join("************" if stars else f"{value:9.6f}" for value in place)
        show(f"{number:6d}  {symbol:<5} c  {numbers}{last}")
    show(RULE)


def show_energy(energy: float, word: str, stars: bool = False) -> None:
    value = "*" * 20 if stars else f"{energy:20.8f}"
    show(f"\n  Components of {word} : \n\n{RULE}\n  Interatomic potentials     = {value} eV\n{RULE}")
    show(f"  Total lattice {word}       = {value} eV\n{RULE}\n")


MESSAGES = {
    "steps": "Maximum number of function calls has been reached",
    "time": "CPU limit has been exceeded - restart optimisation",
    "no_minimum": "Conditions for a minimum have not been satisfied. However",
}


def run(given: Input, fault: str) -> None:
    """Compute and print."""
    show_start(given)
    engine = PairEvaluator(given.library)
    pressure = given.options.get("pressure", 0.0) * units.GPa
    word = "enthalpy" if pressure else "energy"
    atoms = given.atoms
    geometry = atoms.numbers, atoms.positions, atoms.cell.array
    start = engine.evaluate(*geometry).energy + pressure * atoms.get_volume()
    show_energy(start, word)
    if fault == "truncated":
        return
    if "opti" in given.keywords:
        found = minimise(
            engine,
            *geometry,
            Limits(
                fmax=given.options.get("gtol", 0.001),
                max_evaluations=int(given.options.get("maxcyc", 1000)),
                max_displacement=0.25,
                max_strain=0.06,
                pressure=pressure,
                relax_cell="conv" not in given.keywords,
            ),
        )
        final = Atoms(atoms.symbols, positions=found.positions, cell=found.cell, pbc=True)
        fault = fault or ("" if found.converged else "steps")
        enthalpy = found.energy + pressure * final.get_volume()
        show(f"  Cycle: {found.steps:6d} Energy: {enthalpy:16.6f}  Gnorm: {1.0:13.6f}  CPU:    0.010\n\n")
        show(f"  **** {MESSAGES.get(fault, 'Optimisation achieved')} ****\n\n")
        value = {"stars": "*" * 16, "nan": "NaN"}.get(fault, f"{enthalpy:16.8f}")
        show(f"  Final {word} = {value} eV\n  Final Gnorm  = {5.0 if fault else 0.0001:16.8f}")
        show_energy(enthalpy, word, stars=fault == "stars")
        show("  Final fractional coordinates of atoms :\n")
        show_table(final, "    0.000000")
        if "conv" not in given.keywords:
            show("\n  Final Cartesian lattice vectors (Angstroms) :\n")
            show_vectors(final.cell.array)
            show()
    show(f"  Total CPU time                                                  {0.01:.4f}\n{RULE}\n\n")
    show("  Job Finished at 00:00.01  1st January   2026")


def main() -> int:
    fault = sys.argv[sys.argv.index("--fault") + 1] if "--fault" in sys.argv else ""
    if fault == "silent":
        sys.stderr.write("Illegal instruction\n")
        return 132
    if fault == "hang":
        time.sleep(60)
    try:
        if fault == "error":
            raise InputRefusedError("incorrect potential input")
        run(read_input(sys.stdin.read(), Path.cwd()), fault)
    except InputRefusedError as error:
        sys.stdout.write(BANNER)
        show(
            f"\n{'!' * 80}\n!! ERROR : {error}\n{'!' * 80}\n\n Program terminated by processor     0 in      getkeyword"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
