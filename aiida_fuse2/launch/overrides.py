"""Changes to a protocol in the form that users write: a YAML file, or ``key=value``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from aiida_fuse2.core.errors import InputError, one_line, shown_value
from aiida_fuse2.core.settings import KnownSettings
from aiida_fuse2.protocols import MAX_DEPTH, merge

_PLAIN = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "binary", "timestamp"))

MAX_OVERRIDES_LENGTH = 100_000
"""Longest YAML that is read, characters; the whole default protocol has three thousand."""


def parse_known(text: str) -> dict[str, Any]:
    """Return nested values for something known of the structure, such as ``density=5.12`` or ``z=2,4``.

    Raises:
        InputError: if it is no assignment, or its value is no YAML.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or key not in KnownSettings.model_fields:
        names = ", ".join(KnownSettings.model_fields)
        raise InputError("--known", text, f"must be KEY=VALUE, e.g. density=5.12; keys are {names}")
    in_brackets = f"[{value}]" if key in {"cell", "z"} and "," in value and not value.startswith("[") else value
    return {"settings": {"known": {key: load_yaml(in_brackets, field="--known", shown=text)}}}


def parse_assignment(text: str) -> dict[str, Any]:
    """Return nested values for an assignment such as ``settings.acceptance.temperature=0.05``.

    Raises:
        InputError: if it is no assignment, or its value is no YAML.
    """
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise InputError("--set", text, "must be KEY=VALUE, e.g. settings.acceptance.temperature=0.05")
    if len(keys) > MAX_DEPTH:
        raise InputError("--set", text, f"is nested deeper than {MAX_DEPTH} levels")
    nested = load_yaml(value, field="--set", shown=text)
    for key in reversed(keys):
        nested = {key: nested}
    return dict(nested)


def read_overrides(path: Path) -> dict[str, Any]:
    """Read nested inputs from a YAML file.

    Raises:
        InputError: if the file cannot be read, or does not hold a mapping.
    """
    try:
        if not path.is_file():  # reading a pipe or a device may never end
            raise InputError("--overrides", str(path), "is not a file" if path.exists() else "there is no such file")
        with path.open(encoding="utf-8") as stream:
            text = stream.read(MAX_OVERRIDES_LENGTH + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("--overrides", str(path), f"cannot be read as YAML ({one_line(error)})") from error
    values = load_yaml(text, field="--overrides", shown=str(path))
    if values is not None and not isinstance(values, Mapping):
        raise InputError("--overrides", str(path), "must hold a mapping, e.g. `settings: {max_atoms: 10}`")
    return dict(values or {})


def load_yaml(text: str, *, field: str, shown: str) -> Any:
    """Return the plain values of a YAML text; texts that expand beyond their length are refused.

    Keys are texts as they are written, so that ``1`` is a move and ``No`` an element.

    Args:
        text: YAML without anchors, tags of Python or keys given twice.
        field: field named in the error.
        shown: value named in the error.

    Raises:
        InputError: if the text is anything else, too long or too deep.
    """
    if len(text) > MAX_OVERRIDES_LENGTH:
        raise InputError(field, shown, f"is longer than {MAX_OVERRIDES_LENGTH} characters")
    try:
        _check_events(text)
        return yaml.load(text, Loader=_UniqueKeysLoader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:  # dates that do not exist, ...
        raise InputError(field, shown, f"cannot be read as YAML ({one_line(error)})") from error


def _check_events(text: str) -> None:
    """Refuse aliases, which multiply the content of a text, and deep nesting, before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"the alias *{event.anchor} is not taken; write its value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"it is nested deeper than {MAX_DEPTH} levels")


class _UniqueKeysLoader(yaml.SafeLoader):
    """A safe loader whose keys are texts; it refuses a key given twice, since its first value would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        self.flatten_mapping(node)
        for key_node, _ in node.value:
            if key_node.tag in _PLAIN:
                key_node.tag = self.DEFAULT_SCALAR_TAG
        mapping = super().construct_mapping(node, deep=deep)
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.YAMLError(f"the key {shown_value(key)} is given twice")
            seen.add(key)
        return mapping


def merge_all(*changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values merged from left to right: the last one wins."""
    merged: dict[str, Any] = {}
    for values in changes:
        merged = merge(merged, values)
    return merged
