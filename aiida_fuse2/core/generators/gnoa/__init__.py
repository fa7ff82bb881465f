"""``gnoa``: a graph network and an optimiser propose structures (the paper's section 2.1).

Cheng, Gong, Yin, Nat. Commun. 2022, 13, 1492, DOI 10.1038/s41467-022-29241-4. A structure is a vector: lattice,
space group, Wyckoff assignment, free coordinates. An optimiser minimises the energy per atom that a graph network
predicts for the structure as it is, not relaxed; a structure that is not a plausible crystal gets a penalty, without
the network.
"""

from __future__ import annotations

from .generator import Gnoa

__all__ = ["Gnoa"]
