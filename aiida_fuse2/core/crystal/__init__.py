"""Crystals: slicing, symmetry, uniqueness, validity."""
