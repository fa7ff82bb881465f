"""Hypothesis strategies for crystals, and comparisons of crystals."""

import numpy as np
from ase import Atoms
from ase.geometry import cellpar_to_cell
from ase.spacegroup import crystal
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

SPECIAL_FRACTIONS = (
    0.0,
    1 / 8,
    1 / 6,
    1 / 4,
    1 / 3,
    1 / 2,
    2 / 3,
    3 / 4,
    1 - 1e-16,
    1 - 1e-12,
    -1e-17,
    1e-12,
)
"""Places where slicing can go wrong: faces of boxes, and the last digits beside them."""

SPECIES = (3, 8, 20, 22, 74)


@st.composite
def cells(draw, *, min_length=3.0, max_length=9.0, max_shear=4):
    """Lattice vectors, shape (3, 3): a sound triclinic cell, then sheared by lattice vectors and rotated.

    With ``max_shear=0`` the angles lie between 60° and 120°; else the cell may be very skewed, but its
    lattice has no vector shorter than about half of ``min_length``.
    """
    lengths = draw(st.tuples(*[st.floats(min_length, max_length)] * 3))
    angles = draw(
        st.sampled_from([(90.0, 90.0, 90.0), (90.0, 90.0, 120.0), (90.0, 101.0, 90.0)])
        | st.tuples(*[st.floats(70.0, 110.0)] * 3)
    )
    cell = cellpar_to_cell([*lengths, *angles])
    if draw(st.booleans()):
        shear = np.eye(3)
        shear[1, 0], shear[2, 0], shear[2, 1] = draw(st.tuples(*[st.integers(-max_shear, max_shear)] * 3))
        cell = shear @ cell
    rotation, _ = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 99))).normal(size=(3, 3)))
    return cell @ (rotation * np.sign(np.linalg.det(rotation)))


@st.composite
def crystals(draw, *, min_atoms=1, max_atoms=10, min_species=1, special=True, images=True, cell=None):
    """Periodic ``Atoms`` of random composition in a random triclinic cell.

    Args:
        draw: given by hypothesis.
        min_atoms: fewest atoms.
        max_atoms: most atoms.
        min_species: fewest species, not above ``min_atoms``.
        special: whether atoms may lie on special places, and so coincide.
        images: whether atoms may lie outside of the cell.
        cell: strategy of the cell.
    """
    chosen = draw(cell if cell is not None else cells())
    count = draw(st.integers(min_atoms, max_atoms))
    species = draw(st.permutations(SPECIES))[: draw(st.integers(min_species, max(min_species, min(3, count))))]
    numbers = [
        *species[:min_species],
        *draw(st.lists(st.sampled_from(species), min_size=count, max_size=count)),
    ]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scaled = rng.random((count, 3))
    if special:
        places = st.none() | st.sampled_from(SPECIAL_FRACTIONS)
        fixed = draw(st.lists(places, min_size=3 * count, max_size=3 * count))
        scaled = np.where([f is None for f in fixed], scaled.ravel(), [f or 0.0 for f in fixed]).reshape(-1, 3)
    if images and draw(st.booleans()):
        scaled = scaled + rng.integers(-2, 3, size=(count, 3))
    return Atoms(numbers=numbers[:count], positions=scaled @ chosen, cell=chosen, pbc=True)


seeds = st.integers(0, 2**32 - 1)
"""Seeds of a numpy Generator."""


def garnet():
    """Ca3Al2Si3O12, Ia-3d, a = 11.845 Å: 160 atoms, many of them on special positions."""
    return crystal(
        ["Ca", "Al", "Si", "O"],
        [(1 / 8, 0, 1 / 4), (0, 0, 0), (3 / 8, 0, 1 / 4), (0.0381, 0.0449, 0.6514)],
        spacegroup=230,
        cellpar=[11.845] * 3 + [90] * 3,
    )


def pair_distances(a, b, cell):
    """Distance between Cartesian places ``a`` and ``b`` where they are lattice translations of each other.

    The fractional differences are taken to the nearest whole number, which is exact for distances near 0.
    """
    fractional = (np.asarray(a)[:, None] - np.asarray(b)) @ np.linalg.inv(cell)
    return np.linalg.norm((fractional - np.round(fractional)) @ cell, axis=-1)


def same_atoms(a, b, tolerance=1e-6):
    """Whether the atoms of two crystals with one cell agree up to order and lattice translations, in Å."""
    if sorted(a.numbers) != sorted(b.numbers) or not np.allclose(a.cell, b.cell, rtol=0, atol=tolerance):
        return False
    unlike = pair_distances(a.positions, b.positions, a.cell.array) > tolerance
    unlike |= a.numbers[:, None] != b.numbers
    rows, columns = linear_sum_assignment(unlike)
    return not unlike[rows, columns].any()
