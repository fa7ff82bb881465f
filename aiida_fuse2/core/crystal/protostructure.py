"""Protostructure labels: anonymous formula, Pearson symbol, space group, Wyckoff letters of each element, elements.

They are those of pymatgen, e.g. ``A2BC4_cF56_227_d_a_e:Al-Mg-O``; atoms of rhombohedral crystals are counted in the
hexagonal cell. Without the elements, and in a form that does not depend on which is which, it is the label of the
isopointal type.
"""

from __future__ import annotations

import warnings

from ase import Atoms

UNREADABLE = "Invalid"
"""Beginning of what pymatgen returns for a structure that it cannot label."""


def bare(atoms: Atoms) -> Atoms:
    """Return numbers, positions and cell of a periodic structure."""
    return Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=True)


def protostructure_label(atoms: Atoms, symprec: float) -> str | None:
    """Return the protostructure label of a structure; None if it has none.

    Args:
        atoms: the structure; not changed.
        symprec: tolerance of spglib, Å.
    """
    from pymatgen.analysis.prototypes import get_protostructure_label_from_spg_analyzer
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of its own deprecations
        try:
            analyzer = SpacegroupAnalyzer(
                AseAtomsAdaptor.get_structure(bare(atoms)), symprec=symprec, angle_tolerance=-1
            )
            label = get_protostructure_label_from_spg_analyzer(analyzer)
        except Exception:  # noqa: BLE001 - spglib and pymatgen raise many kinds; without a label nothing is lost
            return None
    return None if label.startswith(UNREADABLE) else label


def type_label(label: str) -> str:
    """Return what the protostructure labels of all isopointal structures have in common.

    Args:
        label: protostructure label.
    """
    from pymatgen.analysis.prototypes import get_prototype_from_protostructure

    return str(get_prototype_from_protostructure(label))
