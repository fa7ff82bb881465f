"""Texts of others on a terminal: what it would obey, and the marks of rich, are shown and not obeyed."""

from __future__ import annotations

import io
import logging
import re
import warnings
from importlib.resources import files
from pathlib import Path

import click
import pytest
from aiida import orm
from aiida.common.links import LinkType
from click.testing import CliRunner
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from aiida_fuse2 import query
from aiida_fuse2.cli import cmd_root
from aiida_fuse2.cli.commands.refine import refined_table
from aiida_fuse2.cli.commands.status import finding_text
from aiida_fuse2.cli.params import options
from aiida_fuse2.cli.views.runs import target_lines
from aiida_fuse2.cli.views.tables import PlainConsole, ranked_table
from aiida_fuse2.core.errors import one_line
from aiida_fuse2.environment import diagnosis
from aiida_fuse2.environment.findings import Finding, Severity
from aiida_fuse2.query.targets import Target

EVIL = "\x1b]0;title\x07\x1b[31mred\x9b2J\r\x08\u202e[bold red]:smile:[link=https://example.org]x[/link][/]\x00"
SHOWN = (
    "\\x1b]0;title\\x07\\x1b[31mred\\x9b2J\\r\\x08\\u202e[bold red]:smile:[link=https://example.org]x[/link][/]\\x00"
)

ROW = {
    "rank": 1,
    "energy": -1.0,
    "delta": 0.0,
    "spacegroup_symbol_loose": EVIL,
    "spacegroup_loose": EVIL,
    "spacegroup_symbol": EVIL,
    "spacegroup": 1,
    "n_atoms": 1,
    "z": 1,
    "volume": 10.0,
    "found": 1,
    "targets": [EVIL],
    "move": "",
    "origin": EVIL,
    "label": EVIL,
    "pk": 1,
}
REFINED = {
    "rank": 1,
    "rank_before": 1,
    "energy": None,
    "energy_before": -1.0,
    "delta": None,
    "spacegroup_symbol_loose_before": EVIL,
    "spacegroup_loose_before": EVIL,
    "duplicate_of": None,
    "tier": EVIL,
    "status": EVIL,
    "pk": None,
}


def nothing_obeyed(text):
    """Return whether a text has nothing but printable characters and line ends."""
    return all(c.isprintable() or c == "\n" for c in text)


def printed(renderable, **how):
    """Return what a terminal of no colours gets."""
    stream = io.StringIO()
    PlainConsole(file=stream, width=1000, force_terminal=True, no_color=True).print(renderable, **how)
    return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())  # bold and dim are ours


def table_of(*cells):
    table = Table(*cells)
    table.add_row(*cells)
    return table


TARGET = Target(pk=1, name=EVIL, energy=-1.0, spacegroup=1, spacegroup_symbol=EVIL)
FINDING = Finding(subject="process", severity=Severity.PROBLEM, text=EVIL, command=EVIL)


@pytest.mark.parametrize(
    "renderable",
    [
        EVIL,
        table_of(EVIL, EVIL),
        Panel(EVIL, title=Text(EVIL), subtitle=Text(EVIL)),
        finding_text(FINDING),
        ranked_table([ROW], 1, width=1000),
        refined_table([REFINED]),
        "\n".join(target_lines([[TARGET]])),
    ],
    ids=["text", "table", "panel", "finding", "ranked", "refined", "targets"],
)
def test_tables_and_messages(renderable):
    text = printed(renderable)
    assert nothing_obeyed(text)
    assert SHOWN in text


def test_what_was_made_before_it_came_to_the_console():
    """Text loses some control characters when it is made; what is left is shown."""
    assert "\\x1b[31m" in printed(Text(EVIL))
    assert nothing_obeyed(printed(Text(EVIL)))


@pytest.fixture
def evil_search(search):
    """A search that has failed with a hostile message, of a composition of that kind."""
    settings = orm.Dict({**search.inputs.settings.get_dict(), "starts": "fgen"}).store()
    node = orm.WorkChainNode(process_type=query.PROCESS_TYPE)
    node.base.links.add_incoming(settings, LinkType.INPUT_WORK, "settings")
    node.set_process_state("waiting")
    node.set_process_label(EVIL)
    node.set_process_status(EVIL)
    node.store()
    yield node
    node.set_process_state("killed")


@pytest.mark.parametrize("command", ["show", "status", "watch"])
def test_commands_about_a_failed_search(call, evil_search, daemon_up, command):
    evil_search.set_process_state("finished")
    evil_search.set_exit_status(400)
    evil_search.set_exit_message(EVIL)
    result = call(command, evil_search.pk, code=None)
    assert result.exit_code == (command == "watch")
    assert nothing_obeyed(result.output)
    assert (SHOWN.partition("\\r")[2] in result.output) == (command != "status")
    assert nothing_obeyed(call(command, evil_search.pk, "--json", code=None).output)


@pytest.mark.parametrize("command", [("status",), ("doctor",), ("status", "--json"), ("doctor", "--json")])
def test_commands_about_a_paused_process(call, evil_search, monkeypatch, command):
    monkeypatch.setattr(diagnosis, "check_daemon", list)
    monkeypatch.setattr("aiida_fuse2.environment.processes._without_task", list)
    evil_search.pause()
    output = call(*command, code=None).output
    assert nothing_obeyed(output)
    assert "x1b[31mred" in output or "u001b[31mred" in output


def test_errors_warnings_and_logs(aiida_profile, monkeypatch):
    @cmd_root.command("hostile")
    @options.with_profile
    def hostile():
        options.echo(EVIL)
        warnings.warn(EVIL, stacklevel=1)
        logging.getLogger("aiida.hostile").warning("%s", EVIL)
        raise click.UsageError(EVIL)

    monkeypatch.setattr(
        warnings, "showwarning", lambda *values: click.echo(warnings.formatwarning(*values[:4]), err=True)
    )
    try:
        output = CliRunner().invoke(cmd_root, ["hostile"]).output
    finally:
        del cmd_root.commands["hostile"]
    assert nothing_obeyed(output)
    assert output.count(SHOWN) == 3
    assert f"Warning: {one_line(EVIL)}\n" in output


def test_content_of_files(monkeypatch, capsys):
    options.echo_content("1\t2\x07\n")
    assert capsys.readouterr().out == "1\t2\x07\n"  # for a file or a pipe
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    options.echo_content("1\t2\x1b[2J\n")
    assert capsys.readouterr().out == "1       2\\x1b[2J\n"


def test_commands_print_at_one_place():
    """Other ways to a terminal, which would have to escape by themselves, are not used."""
    ways = re.compile(r"\bclick\.echo\(|rich\.markup|from_markup|\bText[.(]|\bConsole\((?!Console)|(?<!\.)\bprint\(")
    sources = list(Path(str(files("aiida_fuse2.cli"))).rglob("*.py"))
    assert {path.name for path in sources if ways.search(path.read_text())} == {"options.py", "tables.py"}
