"""FUSE2 crystal structure prediction as an AiiDA plugin.

The package root imports nothing, so that the worker command runs where AiiDA is not installed.
"""

__version__ = "0.2.0"
