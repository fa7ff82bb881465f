"""What was found when everything that a search depends on was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from aiida.manage import get_manager


class Severity(StrEnum):
    """How much a finding matters."""

    FINE = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: profile, disk, daemon, broker, code, process or search.
        severity: whether the user has to do something.
        text: what was found, for people.
        command: what mends it, or None.
        search: primary key of the search (runs, refinement) that it holds up, or None where it concerns all or none.
    """

    subject: str
    severity: Severity
    text: str
    command: str | None = None
    search: int | None = None


def fine(subject: str, text: str) -> Finding:
    """Return what is as it should be."""
    return Finding(subject=subject, severity=Severity.FINE, text=text)


def note(subject: str, text: str, command: str | None = None) -> Finding:
    """Return what the user should know."""
    return Finding(subject=subject, severity=Severity.NOTE, text=text, command=command)


def problem(subject: str, text: str, command: str | None, search: int | None = None) -> Finding:
    """Return what the user has to do something about."""
    return Finding(subject=subject, severity=Severity.PROBLEM, text=text, command=command, search=search)


def verdi(command: str) -> str:
    """Return a command of AiiDA for the loaded profile."""
    return f"verdi -p {get_manager().get_profile().name} {command}"
