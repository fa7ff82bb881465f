"""Potentials computed by this package itself, from published parameters; as calculators of ASE in ``calculators``."""
