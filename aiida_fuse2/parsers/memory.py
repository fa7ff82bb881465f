"""Memory of what has run in this profile: checksums among its global settings, which no archive can change."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from aiida import orm
from aiida.manage import get_manager
from sqlalchemy.exc import IntegrityError

from aiida_fuse2.core.errors import printable

KEY = "aiida_fuse2.ran."
"""Beginning of the names of global settings of the profile; each holds a checksum of something that has run here."""

CODE, OPTIONS, MODEL, FILE, SETTINGS = "code", "options", "model", "file", "settings"
"""Kinds of parts of a search that run something."""

WORKER = "worker"
"""The program of this package among those that codes start."""

MAX_SHOWN = 2000
"""Largest number of characters of a part that are shown."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a search that runs something, or decides what runs.

    Attributes:
        kind: kind of the part.
        where: path of the input.
        value: plain content; for files a checksum.
    """

    kind: str
    where: str
    value: Any

    @property
    def key(self) -> str:
        """Checksum of kind and content."""
        return KEY + sha256(json.dumps([self.kind, self.value], sort_keys=True, default=str).encode()).hexdigest()

    def __str__(self) -> str:
        """Return the part as text for people, safe for a terminal."""
        return printable(f"{self.where} = {json.dumps(self.value, sort_keys=True, default=str)}", MAX_SHOWN)


def has_run(part: Part) -> bool:
    """Return whether the same part has run in this profile."""
    try:
        get_manager().get_profile_storage().get_global_variable(part.key)
    except KeyError:
        return False
    return True


def remember(parts: Iterable[Part]) -> None:
    """Store that these parts run in this profile."""
    for part in parts:
        if not has_run(part):
            try:
                get_manager().get_profile_storage().set_global_variable(part.key, part.kind)
            except IntegrityError:  # another process has stored it meanwhile
                continue


def code_part(code: orm.AbstractCode, program: str = WORKER) -> Part:
    """Return a code in a role: all of it, with its files and its computer."""
    computer = None if code.computer is None else code.computer.uuid
    value = [program, code.node_type, computer, code.base.attributes.all, code.base.repository.hash()]
    return Part(kind=CODE, where=f"code {code.full_label}", value=value)


def model_part(weights: orm.SinglefileData) -> Part:
    """Return weights as a model that the user has installed, trained, or trusted."""
    return Part(kind=MODEL, where="weights", value=checksum(weights))


def checksum(node: orm.SinglefileData) -> str:
    """Return the SHA-256 of the content of a file."""
    return sha256(node.get_content(mode="rb")).hexdigest()
