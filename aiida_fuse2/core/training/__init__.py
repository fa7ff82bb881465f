"""Learning pair potentials, and training graph networks."""
