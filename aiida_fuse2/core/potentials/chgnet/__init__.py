"""CHGNet with its published weights, computed faster than by its own package.

B. Deng et al., Nat. Mach. Intell. 2023, 5, 1031, DOI 10.1038/s42256-023-00716-3.
"""
