"""The commands: one module of ``commands`` each, which adds them to the root."""

from __future__ import annotations

COMMANDS = (
    "benchmark",
    "compare",
    "continuing",
    "export",
    "finish",
    "generate",
    "hull",
    "model",
    "potentials",
    "prototypes",
    "refine",
    "report",
    "run",
    "setup",
    "show",
    "status",
    "structures",
    "watch",
)
