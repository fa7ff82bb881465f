"""What to cite for a search."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiida_fuse2.core.settings import CHGNET as CHGNET_NAME

FUSE2 = (
    "C. M. Collins, H. M. Sayeed, G. R. Darling, J. B. Claridge, T. D. Sparks, M. J. Rosseinsky, Integration of "
    "generative machine learning with the heuristic crystal structure prediction code FUSE, Faraday Discuss. (2024), "
    "https://doi.org/10.1039/D4FD00094C"
)

ALWAYS_CITED = (
    FUSE2,
    (
        "S. P. Huber et al., AiiDA 1.0, a scalable computational infrastructure for automated reproducible workflows "
        "and data provenance, Sci. Data 7, 300 (2020), https://doi.org/10.1038/s41597-020-00638-4"
    ),
    (
        "S. P. Ong et al., Python Materials Genomics (pymatgen), Comput. Mater. Sci. 68, 314 (2013), "
        "https://doi.org/10.1016/j.commatsci.2012.10.028"
    ),
    (
        "A. Togo, K. Shinohara, I. Tanaka, Spglib: a software library for crystal symmetry search, Sci. Technol. Adv. "
        "Mater. Methods 4, 2384822 (2024), https://doi.org/10.1080/27660400.2024.2384822"
    ),
    (
        "A. H. Larsen et al., The atomic simulation environment, J. Phys. Condens. Matter 29, 273002 (2017), "
        "https://doi.org/10.1088/1361-648X/aa680e"
    ),
)

CHGNET = (
    "B. Deng et al., CHGNet as a pretrained universal neural network potential for charge-informed atomistic "
    "modelling, Nat. Mach. Intell. 5, 1031 (2023), https://doi.org/10.1038/s42256-023-00716-3"
)

PYXTAL = (
    "S. Fredericks, K. Parrish, D. Sayre, Q. Zhu, PyXtal: a Python library for crystal structure generation and "
    "symmetry analysis, Comput. Phys. Commun. 261, 107810 (2021), https://doi.org/10.1016/j.cpc.2020.107810"
)

GNOA = (
    "G. Cheng, X.-G. Gong, W.-J. Yin, Crystal structure prediction by combining graph network and optimization "
    "algorithm, Nat. Commun. 13, 1492 (2022), https://doi.org/10.1038/s41467-022-29241-4"
)

MEGNET = (
    "C. Chen, W. Ye, Y. Zuo, C. Zheng, S. P. Ong, Graph networks as a universal machine learning framework for "
    "molecules and crystals, Chem. Mater. 31, 3564 (2019), https://doi.org/10.1021/acs.chemmater.9b01294"
)

CITED_BY_PROCESS = {
    "fuse2.gulp": "J. D. Gale, A. L. Rohl, The General Utility Lattice Program (GULP), Mol. Simul. 29, 291 (2003), "
    "https://doi.org/10.1080/0892702031000104887",
    "vasp": "G. Kresse, J. Furthmüller, Phys. Rev. B 54, 11169 (1996), https://doi.org/10.1103/PhysRevB.54.11169",
    "quantumespresso": "P. Giannozzi et al., J. Phys. Condens. Matter 29, 465901 (2017), "
    "https://doi.org/10.1088/1361-648X/aa8f79",
}
"""Further works, by the beginning of the entry point of a process that was called."""


def citations(
    calculators: Collection[str], settings: Mapping[str, Any], below: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return the works that a search rests on.

    Args:
        calculators: of the tiers.
        settings: of the search.
        below: processes that it has called, with their ``process_type``.
    """
    found = list(ALWAYS_CITED)
    generator = settings.get("generator")
    network = settings.get("gnoa", {}).get("network") if generator == "gnoa" else None
    if CHGNET_NAME in {*calculators, network}:
        found.insert(1, CHGNET)
    if generator == "symmetric":
        found.append(PYXTAL)
    if generator == "gnoa":
        found.append(GNOA)
    if network == "megnet":
        found.append(MEGNET)
    names = {str(row["process_type"]).partition(":")[2] for row in below}
    found += [text for start, text in CITED_BY_PROCESS.items() if any(name.startswith(start) for name in names)]
    return found
