"""Directives of the reference pages: modules, settings, processes and commands, each read from the code itself.

They write Markdown, so they are used in Markdown pages. (``aiida.sphinxext`` has directives for
processes, but needs an AiiDA profile to build, and leaves out the exit codes.)
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

import click
from aiida.engine.processes.ports import PortNamespace
from docutils import nodes
from docutils.statemachine import StringList
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from aiida_fuse2.core import settings as settings_module
from aiida_fuse2.protocols import protocol_inputs, protocol_names

COMMAND = "aiida-fuse2"
HELP_WIDTH = 88
"""Columns of the help of a command."""

GENERAL_EXIT_CODES = 200
"""Exit codes below are AiiDA's own, the same for every process."""


class MarkdownDirective(SphinxDirective):
    """Parses the Markdown that a subclass writes."""

    required_arguments = 1
    optional_arguments = 1

    def lines(self) -> Iterator[str]:
        """Yield lines of Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Return the parsed lines."""
        container = nodes.container()
        self.state.nested_parse(StringList(list(self.lines()), source=""), self.content_offset, container)
        return list(container.children)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _row(*cells: object) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping) and len(value) > 3:
        return "1 each" if set(value.values()) == {1} else "see the protocol"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"`{text}`"


class SettingsDirective(MarkdownDirective):
    """Table of a settings class: ``{fuse2-settings} SearchSettings settings`` (class, place in the inputs).

    A class that is not in ``core.settings`` is named with its module, and a protocol file other than that of searches
    behind the place: ``{fuse2-settings} package.module:Class parameters gulp``. Without a place there are no defaults.
    """

    optional_arguments = 2

    def lines(self) -> Iterator[str]:
        """Yield a row for each setting, with its default in each protocol."""
        module, _, kind = self.arguments[0].rpartition(":")
        model: type[BaseModel] = getattr(importlib.import_module(module) if module else settings_module, kind)
        path = self.arguments[1].split(".") if len(self.arguments) > 1 else None
        file = self.arguments[2] if len(self.arguments) > 2 else "search"
        names = [] if path is None else list(protocol_names(file))
        values = {name: _inside(protocol_inputs(name, name=file), path or []) for name in names}
        yield _row("setting", "meaning", *names)
        yield _row("---", "---", *("---" for _ in names))
        for field, info in model.model_fields.items():
            if not isinstance(info.annotation, type) or not issubclass(info.annotation, BaseModel):
                shown = [_value(values[name][field]) if field in values[name] else "" for name in names]
                yield _row(f"`{field}`", info.description or "", *shown)


def _inside(values: Mapping[str, Any], path: list[str]) -> Mapping[str, Any]:
    for key in path:
        values = values[key]
    return values


class ProcessDirective(MarkdownDirective):
    """Inputs, outputs and exit codes of a process: ``{fuse2-process} module:Class``."""

    def lines(self) -> Iterator[str]:
        """Yield the tables."""
        module, _, name = self.arguments[0].partition(":")
        process = getattr(importlib.import_module(module), name)
        spec = process.spec()
        yield from [(process.__doc__ or "").strip().splitlines()[0], ""]
        yield from _port_table("input", spec.inputs)
        yield from _port_table("output", spec.outputs)
        codes = sorted(
            (c.status, label, c.message) for label, c in spec.exit_codes.items() if c.status >= GENERAL_EXIT_CODES
        )
        if codes:
            yield from [_row("exit status", "label", "message"), _row("---", "---", "---")]
            yield from (_row(status, f"`{label}`", message) for status, label, message in codes)


def _port_table(title: str, ports: PortNamespace) -> Iterator[str]:
    yield from [_row(title, "type", "required", "meaning"), _row("---", "---", "---", "---")]
    yield from _port_rows(ports, "")
    yield ""


def _port_rows(ports: PortNamespace, prefix: str, *, required: bool = True) -> Iterator[str]:
    for name, port in ports.items():
        if name in {"metadata", "monitors", "remote_folder", "remote_stash", "retrieved"}:
            continue  # AiiDA's own, the same for every process
        if isinstance(port, PortNamespace) and len(port):
            yield from _port_rows(port, f"{prefix}{name}.", required=required and port.required)
            continue
        kinds = port.valid_type if isinstance(port.valid_type, tuple) else (port.valid_type,)
        shown = " or ".join(kind.__name__ for kind in kinds if kind not in {None, type(None)})
        full = f"`{prefix}{name}{'.<label>' if isinstance(port, PortNamespace) else ''}`"
        yield _row(full, shown, "yes" if required and port.required else "no", " ".join((port.help or "").split()))


def modules_of(name: str) -> list[str]:
    """Return the name of a module, and of all modules in it if it is a package."""
    inside = getattr(importlib.import_module(name), "__path__", ())
    return [name, *(info.name for info in pkgutil.walk_packages(inside, f"{name}."))]


class ModulesDirective(SphinxDirective):
    """All of a module: ``{fuse2-modules} aiida_fuse2.core.moves``; a package has a section for each module in it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the documentation of the module, then the sections."""
        room, *inside = modules_of(self.arguments[0])
        return [*self._documentation(room), *(self._section(name, name.removeprefix(f"{room}.")) for name in inside)]

    def _section(self, name: str, title: str) -> nodes.section:
        section = nodes.section(ids=[nodes.make_id(name)], names=[name])
        self.state.document.note_explicit_target(section)
        section.extend([nodes.title(title, title), *self._documentation(name)])
        return section

    def _documentation(self, name: str) -> list[nodes.Node]:
        container = nodes.container()
        lines = ["```{eval-rst}", f".. automodule:: {name}", "```"]
        self.state.nested_parse(StringList(lines, source=""), self.content_offset, container)
        return list(container.children)


class CommandDirective(SphinxDirective):
    """Help of a command as it prints it: ``{fuse2-command} benchmark relax``; without a name of the root command."""

    optional_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Return the help as a literal block."""
        from aiida_fuse2.cli import cmd_root

        context = click.Context(cmd_root, info_name=COMMAND, terminal_width=HELP_WIDTH)
        for name in self.arguments:
            command = context.command.get_command(context, name) if isinstance(context.command, click.Group) else None
            if command is None:
                raise self.error(f"there is no command {name!r}")
            context = click.Context(command, info_name=name, parent=context, terminal_width=HELP_WIDTH)
        with context:
            text = context.get_help()
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("fuse2-modules", ModulesDirective)
    app.add_directive("fuse2-settings", SettingsDirective)
    app.add_directive("fuse2-process", ProcessDirective)
    app.add_directive("fuse2-command", CommandDirective)
    return {"parallel_read_safe": True}
