"""Libraries that the tests of pair potentials share."""

import numpy as np

TABLE = [(0.5, 20.0), (1.0, 6.0), (1.5, 1.5), (2.0, -0.5), (2.5, -0.8), (3.0, -0.4), (4.0, -0.1), (5.0, 0.0)]

MIXED = """
# every form, written in the several ways that GULP takes
spline cubic
Ca core O core 0.0 0.0 5.0
{table}
buck
O  core O  core 1000.0 0.3 20.0 0.0 6.0 0 0 0
buck ener
Ca Ca 900.0 0.31 &
   5.0 6.0
morse
Ti O 0.5 1.8 2.1 0.0 6.0
lennard 9 6
Ti core Ti core 50.0 10.0 0.5 6.0
general 1 6
Ca Ti 1.2D3 0.3 12.0 6.0
"""


def mixed_text():
    return MIXED.format(table="\n".join(f"{energy} {distance}" for distance, energy in TABLE))


def spline_text(pair="Ca core O core", head="spline cubic", rows=TABLE, header="0.0 0.0 5.0"):
    return f"{head}\n{pair} {header}\n" + "\n".join(f"{energy} {distance}" for distance, energy in rows) + "\n"


def crystal(seed=0, n=6, a=4.5):
    """A skew cell of Ca, Ti and O with no symmetry."""
    from ase import Atoms

    rng = np.random.default_rng(seed)
    cell = a * (np.eye(3) + 0.15 * rng.normal(size=(3, 3)))
    symbols = ["Ca", "Ti", "O"] * (n // 3)
    grid = np.stack(np.meshgrid(*[[0.0, 0.5]] * 3), axis=-1).reshape(-1, 3)[:n]
    return Atoms(symbols, scaled_positions=grid + 0.04 * rng.normal(size=grid.shape), cell=cell, pbc=True)
