"""Nodes by primary key, by UUID or its beginning, or by label."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import TypeVar

from aiida import orm
from aiida.common.exceptions import NotExistent

LARGEST_KEY = 2**63 - 1
"""Largest primary key; databases hold whole numbers of 64 bits."""

UUID_BEGINNING = 8
"""Number of digits that are more likely the beginning of a UUID than a primary key that does not exist."""

_HEXADECIMAL = re.compile(r"[0-9a-f-]+", re.IGNORECASE)

T = TypeVar("T")


def node_identifier(text: str) -> int | str:
    """Return a primary key as a number, and any other identifier (a label, a UUID or its beginning) as it is.

    Raises:
        ValueError: if the number is too large for a primary key; it would end the session with the database.
    """
    try:
        number = int(text)
    except ValueError:
        return text
    if abs(number) > LARGEST_KEY:
        raise ValueError("no primary key is so large")
    return number


def identified(text: str, load: Callable[..., T], *, by_label: Callable[[str], T], label_first: bool) -> T:
    """Return the entity that a text names: by primary key, by UUID or its beginning, or by label.

    A number is a primary key if one exists, then the beginning of a UUID if it has at least eight digits.

    Args:
        text: text of a user.
        load: loader of AiiDA, which takes ``pk`` and ``uuid``.
        by_label: function that loads by label.
        label_first: whether a label comes before the others rather than after them. ``2024!`` is a label in any case.

    Raises:
        NotExistent: if there is none.
        MultipleObjectsError: if several have this label or begin with this text.
        ValueError: if the number is too large for a primary key.
    """
    if text.endswith("!"):
        return by_label(text[:-1])
    if label_first:
        with contextlib.suppress(NotExistent):
            return by_label(text)
    try:
        number = node_identifier(text)
    except ValueError:
        with contextlib.suppress(NotExistent):
            return by_label(text)
        raise
    if isinstance(number, int):
        with contextlib.suppress(NotExistent):
            return load(pk=number)
    if _HEXADECIMAL.fullmatch(text) and (isinstance(number, str) or len(text) >= UUID_BEGINNING):
        with contextlib.suppress(NotExistent):
            return load(uuid=text)
    return by_label(text)


def load_node(identifier: int | str) -> orm.Node:
    """Return a node by primary key, by UUID or its beginning, even one without a letter, or by label.

    Raises:
        NotExistent: if there is none.
        MultipleObjectsError: if several begin with this text, or have this label.
        ValueError: if the number is too large for a primary key.
    """
    return identified(
        str(identifier), orm.load_node, by_label=lambda label: orm.load_node(label=label), label_first=False
    )


def load_group(identifier: str) -> orm.Group:
    """Return a group by label, which may be a number, by primary key, or by UUID or its beginning.

    Raises:
        NotExistent: if there is none.
        MultipleObjectsError: if several have this label or begin with this text.
        ValueError: if the number is too large for a primary key.
    """
    return identified(identifier, orm.load_group, by_label=lambda label: orm.load_group(label=label), label_first=True)
