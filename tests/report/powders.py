"""Known polymorphs, and measured powder patterns made of them: noise, background, shifts, other lattices, texture."""

from __future__ import annotations

import numpy as np
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from aiida_fuse2.report.patterns import Pattern


def crystal(group, cell, sites):
    """The structure of a space group.

    Args:
        group: symbol.
        cell: a, b, c (Å), alpha, beta, gamma (degrees); missing ones are as in a cubic or orthorhombic cell.
        sites: element and fractional coordinates of each.
    """
    a, b, c, *angles = [*cell, *[cell[-1]] * 2][:3] if len(cell) < 3 else cell
    lattice = Lattice.from_parameters(a, b, c, *(angles or (90, 90, 90)))
    species, places = zip(*sites, strict=True)
    return AseAtomsAdaptor.get_atoms(Structure.from_spacegroup(group, lattice, species, places))


TIO2 = {
    "rutile": crystal("P4_2/mnm", (4.594, 4.594, 2.959), [("Ti", (0, 0, 0)), ("O", (0.3053, 0.3053, 0))]),
    "anatase": crystal("I4_1/amd", (3.785, 3.785, 9.514), [("Ti", (0, 0, 0)), ("O", (0, 0, 0.2081))]),
    "brookite": crystal(
        "Pbca",
        (9.174, 5.449, 5.138),
        [("Ti", (0.1290, 0.0972, 0.8629)), ("O", (0.0101, 0.1486, 0.1824)), ("O", (0.2304, 0.1130, 0.5371))],
    ),
    "columbite": crystal("Pbcn", (4.541, 5.493, 4.906), [("Ti", (0, 0.171, 0.25)), ("O", (0.271, 0.381, 0.414))]),
    "baddeleyite": crystal(
        "P2_1/c",
        (4.64, 4.76, 4.81, 90, 99.2, 90),
        [("Ti", (0.279, 0.055, 0.209)), ("O", (0.078, 0.347, 0.325)), ("O", (0.447, 0.758, 0.480))],
    ),
    "fluorite": crystal("Fm-3m", (4.80,), [("Ti", (0, 0, 0)), ("O", (0.25, 0.25, 0.25))]),
}
SIO2 = {
    "quartz": crystal(
        "P3_221", (4.913, 4.913, 5.405, 90, 90, 120), [("Si", (0.4697, 0, 0)), ("O", (0.4135, 0.2669, 0.1191))]
    ),
    "beta quartz": crystal(
        "P6_222", (4.997, 4.997, 5.455, 90, 90, 120), [("Si", (0.5, 0, 0)), ("O", (0.2078, 0.4156, 0.5))]
    ),
    "cristobalite": crystal(
        "P4_12_12", (4.971, 4.971, 6.922), [("Si", (0.3003, 0.3003, 0)), ("O", (0.2392, 0.1044, 0.1787))]
    ),
    "beta cristobalite": crystal("Fd-3m", (7.13,), [("Si", (0, 0, 0)), ("O", (0.125, 0.125, 0.125))]),
    "tridymite": crystal(
        "P6_3/mmc",
        (5.052, 5.052, 8.27, 90, 90, 120),
        [("Si", (1 / 3, 2 / 3, 0.062)), ("O", (1 / 3, 2 / 3, 0.25)), ("O", (0.5, 0, 0))],
    ),
    "stishovite": crystal("P4_2/mnm", (4.180, 4.180, 2.666), [("Si", (0, 0, 0)), ("O", (0.3062, 0.3062, 0))]),
    "keatite": crystal(
        "P4_32_12",
        (7.464, 7.464, 8.620),
        [
            ("Si", (0.3268, 0.1204, 0.2486)),
            ("Si", (0.4111, 0.4111, 0)),
            ("O", (0.4453, 0.1270, 0.3980)),
            ("O", (0.1150, 0.1230, 0.2950)),
            ("O", (0.3370, 0.2980, 0.1440)),
        ],
    ),
}
MGAL2O4 = {
    "spinel": crystal("Fd-3m", (8.083,), [("Mg", (0, 0, 0)), ("Al", (0.625,) * 3), ("O", (0.3873,) * 3)]),
    "calcium titanate": crystal(
        "Cmcm",
        (2.78, 9.22, 9.39),
        [
            ("Mg", (0, 0.389, 0.25)),
            ("Al", (0, 0.134, 0.070)),
            ("O", (0.5, 0, 0)),
            ("O", (0, 0.726, 0.118)),
            ("O", (0, 0.046, 0.25)),
        ],
    ),
    "olivine": crystal(
        "Pnma",
        (9.42, 5.48, 4.43),
        [
            ("Al", (0, 0, 0)),
            ("Al", (0.272, 0.25, 0.987)),
            ("Mg", (0.090, 0.25, 0.427)),
            ("O", (0.090, 0.25, 0.787)),
            ("O", (0.434, 0.25, 0.217)),
            ("O", (0.163, 0.034, 0.278)),
        ],
    ),
    "thiogallate": crystal(
        "I-4",
        (5.55, 5.55, 10.05),
        [("Mg", (0, 0, 0)), ("Al", (0, 0, 0.5)), ("Al", (0, 0.5, 0.25)), ("O", (0.27, 0.26, 0.14))],
    ),
    "potassium nickel fluoride": crystal(
        "I4/mmm",
        (3.6, 3.6, 10.2),
        [("Mg", (0, 0, 0)), ("Al", (0, 0, 0.355)), ("O", (0, 0.5, 0)), ("O", (0, 0, 0.155))],
    ),
}
for one in MGAL2O4.values():  # the volume alone tells them not apart
    one.set_cell(one.cell.array * np.cbrt(9.43 * len(one) / one.get_volume()), scale_atoms=True)
POLYMORPHS = {"TiO2": TIO2, "SiO2": SIO2, "MgAl2O4": MGAL2O4}


def measured(
    atoms, rng, *, scale=1.0, shift=0.0, noise=0.0, background=0.0, width=0.15, texture=1.0, axis=(0, 0, 1), step=0.02
):
    """A measured pattern of a structure, Cu Kα, 10 to 80 degrees two theta.

    Args:
        atoms: the structure.
        rng: for the noise.
        scale: of its lattice parameters.
        shift: of the zero, degrees.
        noise: counting statistics: standard deviation of the highest intensity over it.
        background: of amorphous glass and air, over the highest intensity.
        width: of a line at half its height, degrees.
        texture: parameter r of March and Dollase: 1 is none, below 1 are plates.
        axis: the normal of the plates.
        step: of the points, degrees.
    """
    scaled = atoms.copy()
    scaled.set_cell(atoms.cell.array * scale, scale_atoms=True)
    structure = AseAtomsAdaptor.get_structure(scaled)
    found = XRDCalculator(wavelength="CuKa").get_pattern(structure, two_theta_range=(8, 82))
    rotations = [op.rotation_matrix for op in SpacegroupAnalyzer(structure, 0.01).get_point_group_operations()]
    to_cartesian = structure.lattice.reciprocal_lattice.matrix
    normal = np.array(axis) @ to_cartesian
    heights = []
    for height, families in zip(found.y, found.hkls, strict=True):
        weights = [
            _march_dollase(families_of["hkl"], rotations, to_cartesian, normal, texture) for families_of in families
        ]
        heights.append(height * np.mean(weights))
    grid = np.arange(10.0, 80.0, step)
    sigma = width / 2.3548
    lines = np.exp(-0.5 * ((grid[:, None] - shift - np.asarray(found.x)) / sigma) ** 2) @ np.array(heights)
    counts = lines / lines.max() + background * (0.4 + np.exp(-grid / 25) + 0.3 * np.exp(-(((grid - 24) / 6) ** 2)))
    if noise:
        photons = 1 / noise**2
        counts = rng.poisson(counts * photons) / photons
    return Pattern(name="measured.xy", two_theta=grid, intensity=100 * counts / counts.max())


def _march_dollase(hkl, rotations, to_cartesian, normal, r):
    index = np.array([hkl[0], hkl[1], hkl[-1]])
    family = {tuple(np.rint(index @ rotation).astype(int)) for rotation in rotations}
    vectors = np.array(sorted(family)) @ to_cartesian
    cosines = vectors @ normal / np.linalg.norm(vectors, axis=1) / np.linalg.norm(normal)
    return np.mean((r**2 * cosines**2 + (1 - cosines**2) / r) ** -1.5)
