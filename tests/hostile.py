"""Archives as somebody might send them who means harm: a search of ours, changed where it would run or show something.

An archive holds nodes as text in a database, so all that AiiDA imports can be written freely: UUIDs, users, extras,
labels, options, links. The computer stays the user's own: its UUID is in every archive that he has given away.
"""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from aiida import orm
from aiida.common.links import LinkType
from aiida.tools.archive import create_archive

from aiida_fuse2.launch.models import GROUP, PUBLISHED_NAME

DATABASE = "db.sqlite3"

SCRIPT = "<script>document.title='hostile'</script><img src=x onerror=\"document.title='hostile'\">"
"""Markup that shows itself in the title of a page."""

ESCAPES = "\x1b[2J\x1b]0;hostile\x07\x9b31m\u202ehostile\r\n[bold]x[/bold]"
"""What a terminal obeys: it is cleared, gets a title and a colour, writes backwards; and markup of tables."""

MODEL = "models"
"""Beginning of the label of a group of models here; on its way it becomes that of installed models."""

Values = dict[str, object]


def _planted_options(node: Values, command: str) -> None:
    """Options of jobs that run a command: those of a search, of each of its jobs, and of each tier."""
    attributes = node["attributes"]
    hostile = {"prepend_text": command, "append_text": command, "custom_scheduler_commands": command}
    hostile |= {"environment_variables": {"BASH_ENV": "/dev/null"}, "queue_name": "hostile"}
    metadata_inputs = attributes.get("metadata_inputs") or {}
    if attributes.get("process_label") == "Fuse2WorkChain":
        metadata = metadata_inputs.setdefault("generate", {}).setdefault("metadata", {})
        metadata.setdefault("options", {}).update(hostile)
    if "resources" in attributes:  # options of a job or, as a node of their own, of a tier
        attributes.update(hostile)


def _planted_calculator(node: Values, command: str) -> None:
    """Settings of relaxing whose calculator is any callable of Python."""
    if "calculator" in node["attributes"]:
        node["attributes"] |= {"calculator": "subprocess.getoutput", "arguments": {"cmd": command}}


def _planted_code(node: Values, command: str) -> None:
    """A code, on the computer of the user, that runs a command before the worker, and in its place."""
    if node["node_type"].startswith("data.core.code"):
        node["attributes"] |= {"prepend_text": command, "append_text": command}


def _planted_markup(node: Values, _: str) -> None:
    """Markup wherever a text comes from: labels, names of tiers, symbols of space groups, details, reasons."""
    node["label"] = node["label"] and SCRIPT
    _replace_texts(node, SCRIPT)


def _planted_escapes(node: Values, _: str) -> None:
    """The same with what a terminal obeys."""
    node["label"] = node["label"] and ESCAPES
    node["description"] = ESCAPES
    _replace_texts(node, ESCAPES)


SHOWN = frozenset(
    {
        "spacegroup_symbol",
        "spacegroup_symbol_loose",
        "detail",
        "origin",
        "potential",
        "exit_message",
        "process_status",
        "reason",
        "tier",
    }
)
"""Keys of texts that commands show."""


def _replace_texts(node: Values, text: str) -> None:
    def replaced(value: object, *, is_shown: bool) -> object:
        if isinstance(value, dict):
            return {key: replaced(item, is_shown=key in SHOWN) for key, item in value.items()}
        if isinstance(value, list):
            return [replaced(item, is_shown=is_shown) for item in value]
        return text if is_shown and isinstance(value, str) else value

    node["attributes"] = replaced(node["attributes"], is_shown=False)


EDITS: dict[str, Callable[[Values, str], None]] = {
    "options": _planted_options,
    "calculator": _planted_calculator,
    "code": _planted_code,
    "markup": _planted_markup,
    "escapes": _planted_escapes,
}

PLANTS = (*EDITS, "model", "cycle")
"""What can be planted. ``model``: weights whose layers run code, in the group of installed models, under the name of
the published ones. ``cycle``: the search goes on from its own last state."""


def hostile_archive(
    search: orm.WorkChainNode, path: Path, *, marker: Path, plants: Collection[str], weights: bytes = b""
) -> str:
    """Write an archive with a search like one of ours, in which something is planted.

    Args:
        search: finished, in the loaded profile; it stays as it is.
        path: of the archive.
        marker: file that exists once anything planted has run.
        plants: of ``PLANTS``.
        weights: content of the planted model.

    Returns:
        UUID of the search in the archive; all nodes have other ones than here.
    """
    entities: list[object] = [search]
    if "model" in plants:
        model = orm.SinglefileData.from_bytes(weights, filename="weights.zip", label=PUBLISHED_NAME).store()
        group = orm.Group(label=f"{MODEL}-{model.uuid}").store()
        group.add_nodes([model])
        entities.append(group)
    with TemporaryDirectory() as folder:
        plain, database = Path(folder) / "plain.aiida", Path(folder) / DATABASE
        create_archive(entities, filename=plain, overwrite=True)
        with zipfile.ZipFile(plain) as archive:
            contents = {info: archive.read(info) for info in archive.infolist()}
        database.write_bytes(next(data for info, data in contents.items() if info.filename == DATABASE))
        uuid = _edit(database, str(search.uuid), plants, f"touch {marker}")
        with zipfile.ZipFile(path, "w") as archive:
            for info, data in contents.items():
                archive.writestr(info, database.read_bytes() if info.filename == DATABASE else data)
    if "model" in plants:
        orm.Group.collection.delete(group.pk)
    return uuid


def _edit(database: Path, search: str, plants: Collection[str], command: str) -> str:
    """Change the database of an archive, and return the new UUID of the search."""
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("UPDATE db_dbgroup SET label = ? WHERE label LIKE ?", (GROUP, f"{MODEL}-%"))
        nodes = connection.execute("SELECT id, uuid, node_type, label, description, attributes, extras FROM db_dbnode")
        rows = nodes.fetchall()
        groups = connection.execute("SELECT uuid FROM db_dbgroup").fetchall()
        renamed = {uuid: str(uuid4()) for uuid in [*(row[1] for row in rows), *(row[0] for row in groups)]}

        def other(text: str) -> str:
            for before, after in renamed.items():
                if before in text:
                    text = text.replace(before, after)
            return text

        for pk, uuid, node_type, label, description, attributes, extras in rows:
            node: Values = {"node_type": node_type, "label": label, "description": description}
            node["attributes"] = json.loads(other(attributes))
            for plant in plants if label != PUBLISHED_NAME else ():
                EDITS.get(plant, lambda *_: None)(node, command)
            values = (renamed[uuid], node["label"], node["description"], json.dumps(node["attributes"]), other(extras))
            connection.execute(
                "UPDATE db_dbnode SET uuid = ?, label = ?, description = ?, attributes = ?, extras = ? WHERE id = ?",
                (*values, pk),
            )
        for (uuid,) in groups:
            connection.execute("UPDATE db_dbgroup SET uuid = ? WHERE uuid = ?", (renamed[uuid], uuid))
        if "cycle" in plants:
            _continue_from_itself(connection, renamed[search])
    connection.close()
    return renamed[search]


def _continue_from_itself(connection: sqlite3.Connection, search: str) -> None:
    """Let a search have its own last state as its input."""
    (pk,) = connection.execute("SELECT id FROM db_dbnode WHERE uuid = ?", (search,)).fetchone()
    found = connection.execute("SELECT output_id FROM db_dblink WHERE input_id = ? AND label = 'state'", (pk,))
    (state,) = found.fetchone()
    values = (state, pk, "state", LinkType.INPUT_WORK.value)
    connection.execute("INSERT INTO db_dblink (input_id, output_id, label, type) VALUES (?, ?, ?, ?)", values)
