"""CHGNet with its published weights, computed faster than by its own package.

B. Deng et al., Nat. Mach. Intell. 2023, 5, 1031, DOI 10.1038/s42256-023-00716-3.
"""

from __future__ import annotations

CITATION = (
    "B. Deng et al., CHGNet as a pretrained universal neural network potential for charge-informed atomistic "
    "modelling, Nat. Mach. Intell. 5, 1031 (2023), https://doi.org/10.1038/s42256-023-00716-3"
)
