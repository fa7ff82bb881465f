"""Options, arguments and the handling of errors that the commands share."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from aiida_fuse2.core.errors import Fuse2Error, one_line

R = TypeVar("R")

FAILED = 1
"""Exit code of a command that could not do what was asked, and of a search that failed."""

BAD_INPUT = 2
"""Exit code for bad input, as click has it."""

PROFILE_KEY = "aiida_fuse2.profile"
"""Where click's context remembers the profile that was named before the command."""

PROFILE = click.option("-p", "--profile", "profile", metavar="NAME", help="AiiDA profile; the default one if left out.")
SEARCH = click.argument("search", metavar="PK")
NEWEST_SEARCH = click.argument("search", metavar="[PK]", required=False)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


class CommandError(click.ClickException):
    """An error shown in one line."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(one_line(message))
        self.exit_code = exit_code


@contextmanager
def reported_errors() -> Iterator[None]:
    """Show errors that are meant for people in one line, without a traceback."""
    from aiida.common.exceptions import AiidaException

    try:
        yield
    except (Fuse2Error, AiidaException) as error:
        raise CommandError(str(error), BAD_INPUT if isinstance(error, ValueError) else FAILED) from error


def given_profile(profile: str | None) -> str | None:
    """Return the profile named with this command, or before it, or None."""
    known: str | None = click.get_current_context().meta.get(PROFILE_KEY)
    return known if profile is None else profile


def hint(command: str, program: str = "aiida-fuse2") -> str:
    """Return a command to type next, with the profile where one was named."""
    profile = click.get_current_context().meta.get(PROFILE_KEY)
    return f"{program} {command}" if profile is None else f"{program} -p {profile} {command}"


def with_profile(function: Callable[..., R]) -> Callable[..., R]:
    """Load the profile before a command runs, and show its errors in one line."""

    @PROFILE
    @functools.wraps(function)
    def wrapper(*args: Any, profile: str | None, **kwargs: Any) -> R:
        with reported_errors():
            from aiida_fuse2.environment import load_search_profile

            chosen = given_profile(profile)
            load_search_profile(chosen)
            click.get_current_context().meta[PROFILE_KEY] = chosen
            return function(*args, **kwargs)

    return wrapper


def echo_json(values: Any) -> None:
    """Print plain values as JSON."""
    click.echo(json.dumps(values, indent=2))
