"""The findings of the checks of everything that a search depends on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from aiida.manage import get_manager


class Severity(StrEnum):
    """How severe a finding is."""

    FINE = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: profile, disk, daemon, broker, code, process or search.
        severity: whether the user has to do something.
        text: finding, for the user.
        command: command that solves the problem, or None.
        search: primary key of the search (runs, refinement) that it holds up, or None if it concerns all or none.
    """

    subject: str
    severity: Severity
    text: str
    command: str | None = None
    search: int | None = None


def fine(subject: str, text: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(subject=subject, severity=Severity.FINE, text=text)


def note(subject: str, text: str, command: str | None = None) -> Finding:
    """Return a finding that the user should know."""
    return Finding(subject=subject, severity=Severity.NOTE, text=text, command=command)


def problem(subject: str, text: str, command: str | None, search: int | None = None) -> Finding:
    """Return a finding that the user has to act on."""
    return Finding(subject=subject, severity=Severity.PROBLEM, text=text, command=command, search=search)


def verdi(command: str) -> str:
    """Return a command of AiiDA for the loaded profile."""
    return f"verdi -p {get_manager().get_profile().name} {command}"
