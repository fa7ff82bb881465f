"""``aiida-fuse2 setup``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_fuse2.cli.params.options import PROFILE, PROFILE_KEY, echo, given_profile, hint
from aiida_fuse2.cli.root import cmd_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiida_fuse2.environment.profile import Step


@cmd_root.command("setup")
@PROFILE
@click.option(
    "--new-profile", metavar="NAME", help="Make a separate profile of this name, in addition to existing ones."
)
@click.option(
    "--computer",
    default="localhost",
    show_default=True,
    metavar="LABEL",
    help="Label of the computer on which jobs run.",
)
@click.option(
    "--code-label",
    default="fuse2-worker",
    show_default=True,
    metavar="LABEL",
    help="Label of the code of the worker.",
)
@click.option(
    "--worker",
    type=click.Path(path_type=Path),
    help="Absolute path of aiida-fuse2-worker on the computer; by default the one installed beside this command.",
)
@click.option(
    "--daemon-workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Workers of the daemon, if it has to be started.",
)
@click.option("--daemon/--no-daemon", default=True, help="Whether to start the daemon if it does not run.")
@click.option("-n", "--non-interactive", is_flag=True, help="Never ask questions.")
def cmd_setup(
    *,
    profile: str | None,
    new_profile: str | None,
    computer: str,
    code_label: str,
    worker: Path | None,
    daemon_workers: int,
    daemon: bool,
    non_interactive: bool,
) -> None:
    """Set up what a search needs: profile, computer, code, daemon.

    A profile (SQLite, ZeroMQ: no service to install) is made only if there is none, or with
    --new-profile. Existing parts stay as they are. Run the command again at any time to list them.
    """
    from aiida_fuse2.storage.disk import configuration_folder

    echo(f"AiiDA folder: {configuration_folder()} ({_where_from()})")
    _echo(_setup_profile(given_profile(profile), new_profile, ask=not non_interactive and sys.stdin.isatty()))
    for step in _setup_rest(computer, code_label, worker, daemon_workers if daemon else None):
        _echo(step)
    click.get_current_context().meta[PROFILE_KEY] = new_profile or given_profile(profile)
    echo(f"\nNext: {hint('run SrTiO3 --protocol fast')}")


def _where_from() -> str:
    path = os.environ.get("AIIDA_PATH")
    return "AIIDA_PATH is not set" if path is None else f"AIIDA_PATH={path}"


def _setup_profile(profile: str | None, new_profile: str | None, *, ask: bool) -> Step:
    """Make or load the profile."""
    from aiida_fuse2.environment.profile import PROFILE_NAME, Step, create_profile, load_search_profile, profile_names

    if profile is not None and new_profile is not None:
        raise click.UsageError("--profile names an existing profile and --new-profile a new one: give one of them")
    names = profile_names()
    if new_profile is None and names:
        loaded = load_search_profile(profile)
        return Step(changed=False, text=f"profile {loaded.name!r} is there")
    name = new_profile or profile or PROFILE_NAME
    if ask:
        click.confirm(f"Make the profile {name!r} (SQLite, ZeroMQ)?", default=True, abort=True)
    return create_profile(name)


def _setup_rest(computer: str, code_label: str, worker: Path | None, daemon_workers: int | None) -> Iterator[Step]:
    """Set up computer, code and daemon, and yield each step when it is done."""
    from aiida_fuse2.environment.codes import computer_label, ensure_code, ensure_computer
    from aiida_fuse2.environment.daemon import ensure_daemon, start_command
    from aiida_fuse2.environment.profile import Step

    computer = computer_label(computer)
    yield ensure_computer(computer)
    _, code = ensure_code(code_label, computer=computer, worker=worker)
    yield code
    if daemon_workers is None:
        yield Step(changed=False, text=f"daemon: not started; `{start_command()}` does it")
        return
    daemon = ensure_daemon(daemon_workers)
    yield daemon
    if code.changed and not daemon.changed:
        text = "if the daemon is older than this installation of aiida-fuse2: `verdi daemon restart`"
        yield Step(changed=False, text=text)


def _echo(step: Step) -> None:
    mark, colour = ("!", "yellow") if step.is_problem else ("+", "green") if step.changed else ("=", None)
    click.secho(f"{mark} ", fg=colour, nl=False)
    echo(step.text)
