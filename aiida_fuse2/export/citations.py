"""The works to cite for a search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators import get_generator
from aiida_fuse2.core.settings import stored_starts
from aiida_fuse2.protocols.models import find_model
from aiida_fuse2.query.relaxation import tier_of
from aiida_fuse2.query.tiers import UsedTier

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
        "A. Togo, First-principles phonon calculations with Phonopy and Phono3py, J. Phys. Soc. Jpn. 92, 012001 "
        "(2023), https://doi.org/10.7566/JPSJ.92.012001"
    ),
    (
        "A. H. Larsen et al., The atomic simulation environment, J. Phys. Condens. Matter 29, 273002 (2017), "
        "https://doi.org/10.1088/1361-648X/aa680e"
    ),
)


def _of_model(relax: Mapping[str, Any]) -> list[str]:
    """Return the work to cite for a potential by name; that of a file of the user is not known here."""
    if relax.get("weights") is None:
        return []
    try:
        return [find_model(str(relax.get("model"))).citation]
    except InputError:
        return []


def citations(searches: Iterable[Mapping[str, Any]], tiers: Iterable[UsedTier]) -> list[str]:
    """Return the works to cite for searches: those that are always cited, then those of their tiers and generators.

    Args:
        searches: stored settings of each search.
        tiers: tiers of all of them.
    """
    found = list(ALWAYS_CITED)
    for name, relax, _ in tiers:
        tier = tier_of(name, relax)
        found += () if tier is None else tier.citations
        found += _of_model(relax)
    for settings in searches:
        for name in stored_starts(settings):
            try:
                found += get_generator(name).citations(settings)
            except InputError:  # its package is not installed
                continue
    return list(dict.fromkeys(found))
