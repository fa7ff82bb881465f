"""Potentials computed by this package itself, from published parameters."""
