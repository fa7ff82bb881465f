"""Benchmarks of relaxations and of searches, in one process and without AiiDA."""
