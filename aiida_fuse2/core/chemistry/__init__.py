"""Compositions, radii and volumes."""
