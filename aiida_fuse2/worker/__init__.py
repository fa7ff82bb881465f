"""The programs on the target machine: batch jobs that relax or generate structures, without AiiDA."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
