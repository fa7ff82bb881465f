"""The picture of a crystal: atoms of the cell and on its faces, bonds, polyhedra."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from numpy.typing import NDArray

from .bonding import Bond, Polyhedron, bonds_and_polyhedra

ON_FACE = 0.02
"""Fractional distance from a face of the cell within which an atom is drawn on the opposite face too."""

RADIUS_FACTOR = 0.34
"""Radius of a drawn atom, as a multiple of its covalent radius."""

ALIKE = 100.0
"""Distance between two colours (red, green, blue, 0-255) below which they are nearly the same."""

SOFTENING, GREY = 0.22, 190
"""Part of grey in the colours, for the pure ones are too bright side by side, and its level out of 255."""

SPECIAL = 8
"""An atom whose fractional coordinates are multiples of one over this may become the origin."""

SPECIAL_WITHIN = 1e-3
"""Largest difference from such a multiple."""

Image = tuple[int, int, int, int]
"""Index of an atom of the cell, and the lattice translation of its copy."""


def view(atoms: Atoms) -> dict[str, Any]:
    """Return the picture of one cell in plain values; pictures of several cells are shifted copies of it.

    Atoms are wrapped into the cell, and those on its faces are on each of them. Polyhedra of the cations in the cell
    are complete, with atoms outside of it.

    Returns:
        ``cell``: the three vectors, Å; ``elements``: symbol, colour (#rrggbb) and radius (Å) of each; ``sites``: index
        of the element and position (Å) of each atom of the cell; ``images``: index of the site and lattice translation
        of each drawn atom, of which the first ``inside`` are in the cell; ``bonds``: pairs of indices into ``images``;
        ``links``: the bonds to other cells that this picture lacks, each as two sites and a lattice translation;
        ``shapes``: triangles and edges of the polyhedron of a site, indices of its corners; ``polyhedra``: index of
        the shape, then those of the centre and of the corners in ``images``.
    """
    atoms, inside = _images(atoms)
    bonds, polyhedra = bonds_and_polyhedra(atoms)
    images, drawn, placed = _completed(inside, bonds, polyhedra)
    symbols = sorted(set(atoms.symbols), key=lambda symbol: -covalent_radii[chemical_symbols.index(symbol)])
    colours = distinct_colours(symbols)
    return {
        "cell": _rounded(atoms.cell.array),
        "elements": [_element(symbol, colours[symbol]) for symbol in symbols],
        "sites": [
            [symbols.index(symbol), *place]
            for symbol, place in zip(atoms.symbols, _rounded(atoms.positions), strict=True)
        ],
        "images": [list(image) for image in images],
        "inside": len(inside),
        "bonds": drawn,
        "links": _links(bonds, [(images[a], images[b]) for a, b in drawn]),
        "shapes": [[[*map(list, hull.faces)], [*map(list, hull.edges)]] for hull in polyhedra],
        "polyhedra": placed,
    }


def centred(atoms: Atoms) -> Atoms:
    """Return a symmetric cell with its origin on an atom, as most figures have it; unchanged where none is suitable.

    Suitable are atoms in special positions, of which the element with the fewest atoms in the cell, then the largest,
    is taken: Sr is at the corners of SrTiO3, and Mg at those of the spinel MgAl2O4.

    Args:
        atoms: conventional cell, its atoms exactly in their positions.
    """
    places = atoms.get_scaled_positions()
    special = np.abs(places - np.round(places * SPECIAL) / SPECIAL).max(axis=1) < SPECIAL_WITHIN
    if not special.any():
        return atoms
    counts = dict(zip(*np.unique(atoms.numbers, return_counts=True), strict=True))
    away = np.abs(places - np.round(places)).sum(axis=1)

    def rank(index: int) -> tuple[float, ...]:
        number = atoms.numbers[index]
        return float(counts[number]), -float(covalent_radii[number]), round(float(away[index]), 3), index

    origin = min(np.flatnonzero(special).tolist(), key=rank)
    moved = atoms.copy()
    moved.set_scaled_positions(places - places[origin])
    return moved


def _element(symbol: str, colour: str) -> dict[str, Any]:
    radius = round(RADIUS_FACTOR * float(covalent_radii[chemical_symbols.index(symbol)]), 3)
    return {"symbol": symbol, "colour": colour, "radius": radius}


def distinct_colours(symbols: Sequence[str]) -> dict[str, str]:
    """Return the colour (#rrggbb) of each element: that of VESTA or, where another has nearly the same, that of Jmol.

    Args:
        symbols: elements; the last ones keep the colours of VESTA.
    """
    vesta, jmol = _colours()
    taken: dict[str, NDArray[np.float64]] = {}
    for symbol in reversed(symbols):
        choices = [table[symbol] for table in (vesta, jmol) if symbol in table] or [np.full(3, GREY)]
        apart = [
            min((float(np.linalg.norm(rgb - other)) for other in taken.values()), default=ALIKE) for rgb in choices
        ]
        taken[symbol] = choices[0] if apart[0] >= ALIKE else choices[int(np.argmax(apart))]
    soft = {symbol: (1 - SOFTENING) * rgb + SOFTENING * GREY for symbol, rgb in taken.items()}
    return {symbol: "#" + "".join(f"{round(float(part)):02x}" for part in rgb) for symbol, rgb in soft.items()}


@cache
def _colours() -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Return red, green and blue, 0-255, of the elements in VESTA and in Jmol."""
    from pymatgen.vis.structure_vtk import EL_COLORS

    vesta = {symbol: np.array(rgb, dtype=float) for symbol, rgb in EL_COLORS["VESTA"].items()}
    return vesta, {symbol: 255.0 * rgb for symbol, rgb in zip(chemical_symbols, jmol_colors, strict=False)}


def _images(atoms: Atoms) -> tuple[Atoms, list[Image]]:
    """Return the cell with its atoms wrapped into it, and the atoms in it and on its faces."""
    scaled = atoms.get_scaled_positions(wrap=True)
    scaled = np.where(scaled > 1 - ON_FACE, scaled - 1, scaled)
    wrapped = atoms.copy()
    wrapped.positions = scaled @ atoms.cell.array
    images: list[Image] = []
    for index, place in enumerate(scaled):
        a, b, c = ((0, 1) if x < ON_FACE else (0,) for x in place)
        images += [(index, *shift) for shift in product(a, b, c)]
    return wrapped, images


def _completed(
    inside: Sequence[Image], bonds: Sequence[Bond], polyhedra: Sequence[Polyhedron]
) -> tuple[list[Image], list[list[int]], list[list[int]]]:
    """Return the drawn atoms with the corners of all polyhedra, and bonds and polyhedra as indices of these atoms."""
    images = {image: number for number, image in enumerate(inside)}
    placed = []
    for shape, hull in enumerate(polyhedra):
        for image in (image for image in inside if image[0] == hull.centre):
            corners = [_moved(j, shift, image) for j, shift in hull.corners]
            placed.append([shape, images[image], *(images.setdefault(corner, len(images)) for corner in corners)])
    from_site: dict[int, list[Bond]] = {}
    for bond in bonds:
        from_site.setdefault(bond[0], []).append(bond)
    drawn = set()
    for image in inside:
        for _, j, shift in from_site.get(image[0], ()):
            if (other := images.get(_moved(j, shift, image))) is not None:
                drawn.add((min(images[image], other), max(images[image], other)))
    return list(images), sorted(map(list, drawn)), placed


def _links(bonds: Sequence[Bond], drawn: Sequence[tuple[Image, Image]]) -> list[list[int]]:
    """Return the bonds of which no copy is drawn, each as two sites and the lattice translation between them."""
    known = set()
    for one, other in drawn:
        a, b, c = (y - x for x, y in zip(one[1:], other[1:], strict=True))
        known |= {(one[0], other[0], (a, b, c)), (other[0], one[0], (-a, -b, -c))}
    return [[i, j, *shift] for i, j, shift in bonds if (i, j, shift) not in known]


def _moved(site: int, shift: tuple[int, int, int], image: Image) -> Image:
    """Return the copy of an atom that has a place relative to the copy of another one."""
    return site, shift[0] + image[1], shift[1] + image[2], shift[2] + image[3]


def _rounded(values: NDArray[np.float64]) -> list[list[float]]:
    return [[round(float(value), 3) for value in row] for row in values]
