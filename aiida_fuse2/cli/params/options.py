"""Options, arguments and the handling of errors that the commands share."""

from __future__ import annotations

import functools
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from aiida_fuse2.core.errors import Fuse2Error, one_line, printable_lines

R = TypeVar("R")
C = TypeVar("C", bound=Callable[..., Any])

FAILED = 1
"""Exit code of a command that could not do what was asked, and of a search that failed."""

BAD_INPUT = 2
"""Exit code for bad input, as click has it."""

PROFILE_KEY = "aiida_fuse2.profile"
"""Key in click's context of the profile that was named before the command."""


def together(*options: Callable[[Any], Any]) -> Callable[[C], C]:
    """Return the decorator that adds several options to a command, in this order."""

    def decorate(command: C) -> C:
        decorated: C = functools.reduce(lambda f, option: option(f), reversed(options), command)
        return decorated

    return decorate


def set_option(example: str) -> Callable[[C], C]:
    """Return the option that sets any input.

    Args:
        example: such as ``settings.cutoff=7.2``.
    """
    text = f"Set any input, e.g. {example}; can be repeated, and wins over everything else."
    return click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help=text)


KNOWN = click.option(
    "--known",
    "known",
    multiple=True,
    metavar="KEY=VALUE",
    help="What is known of the structure, which its proposals then have: space_groups=62, z=4 or density=5.12 (g/cm3); "
    "can be repeated.",
)
PROFILE = click.option("-p", "--profile", "profile", metavar="NAME", help="AiiDA profile; the default one if omitted.")
SEARCH = click.argument("search", metavar="PK")
SEARCHES = click.argument("searches", metavar="PK...", nargs=-1, required=True)
NEWEST_SEARCH = click.argument("search", metavar="[PK]", required=False)
TARGET = click.option(
    "--target",
    "targets",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Known structure (CIF, POSCAR or extxyz): the search reports when it finds it. Can be repeated.",
)
STOP_AT_TARGET = click.option(
    "--stop-at-target/--no-stop-at-target", default=None, help="Stop after the generation that finds a target."
)
PROTOCOL = click.option("--protocol", metavar="NAME", help="fast, balanced (default) or stringent.")
CODE = click.option(
    "--code",
    "code_label",
    default="fuse2-worker",
    show_default=True,
    metavar="LABEL",
    help="The worker, by label (which comes first), label@computer, PK or UUID; see setup.",
)
OVERRIDES = click.option(
    "--overrides",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML file of inputs that win over the protocol.",
)
MODEL = click.option(
    "--model",
    metavar="NAME|FILE",
    help="Potential that relaxes, by name (sevennet-l3i5; see `model list`) or from a YAML file of your own; with its "
    "code, unless --code names one.",
)
WALKERS = click.option("--walkers", type=int, metavar="N", help="Number of walkers: chains of basin hopping.")
TRIALS_PER_STEP = click.option(
    "--trials-per-step", type=int, metavar="N", help="Structures that a walker tries in a step."
)
PROTOTYPES = click.option(
    "--prototypes",
    metavar="GROUP|ARCHIVE|FOLDER|PK",
    help="Library of structure types for the generator prototypes and for names: a library by name or PK (see "
    "`prototypes list`), or structures to make one of: a group, an AiiDA archive, a file or folder. By default the "
    "packaged one.",
)
MAX_ATOMS = click.option("--max-atoms", type=int, metavar="N", help="Largest number of atoms of a structure.")
SEED = click.option("--seed", type=int, metavar="N", help="Seed of all random decisions.")
POLICY = click.option(
    "--policy",
    metavar="NAME",
    help="fixed (default): moves, starts and sizes are drawn by the weights of the settings; bandit: the search learns "
    "which of them pay.",
)
POLICY_FROM = click.option(
    "--policy-from",
    metavar="PK",
    help="Begin with what the search PK has learned, with less weight; implies --policy bandit.",
)
SECOND = click.option(
    "--second",
    metavar="NAME",
    help="Potential that relaxes the phases of the answer again and orders them: a name of `model list`, or none. By "
    "default sevennet-l3i5 after CHGNet, where it is installed.",
)
PROCESSES = click.option(
    "--processes", type=int, metavar="N", help="Structures that a job relaxes side by side; default: its cores."
)
JOBS = click.option("--jobs", type=int, metavar="N", help="Jobs that relax side by side.")
WAIT = click.option("--wait/--no-wait", default=True, help="Whether to show progress until the search ends.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Print the inputs and submit nothing.")
HTML_PAGE = click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write an HTML page too."
)
OVERWRITE_PAGE = click.option("--force", is_flag=True, help="Overwrite the page.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def starts_option(default: str | None = None) -> Callable[[C], C]:
    """Return the option for the generators of the starting structures."""
    return click.option(
        "--starts",
        metavar="NAMES",
        default=default,
        show_default=default is not None,
        help="Generators of the starting structures, with their shares if there are several: symmetric or "
        "fgen=0.7,gnoa=0.3. They are prototypes, symmetric, gnoa, fgen, fgen_paper, and provided (your structures).",
    )


GENERATOR_OPTIONS = together(
    click.option("--network", metavar="NAME", help="Graph network of gnoa: chgnet or megnet."),
    click.option(
        "--network-model",
        metavar="NAME",
        help="Weights of megnet, by name or PK; by default the newest installed. See `model list`.",
    ),
    click.option("--optimizer", metavar="NAME", help="Optimiser of gnoa: random, swarm or tpe."),
    click.option("--space-groups", metavar="NUMBERS", help="Space groups of gnoa, e.g. 1, 2-230 or '16-74, 225'."),
    click.option("--trials-per-z", type=int, metavar="N", help="Structures that gnoa proposes for each Z."),
    click.option("--pool-size", type=int, metavar="N", help="Structures of a pool."),
    click.option("--ranking", metavar="HOW", help="Rank a pool by the search's potential: none, single or relaxed."),
    click.option("--pool-processes", type=int, metavar="N", help="Processes of the job that makes a pool."),
)
"""Options of pools and generators."""

BUDGET = together(
    click.option("--max-structures", type=int, metavar="N", help="Stop after this many structures in all."),
    click.option(
        "--max-cpu-hours", type=float, metavar="H", help="Stop after this CPU time of the relaxations in all."
    ),
    click.option("--max-wall-hours", type=float, metavar="H", help="Stop this long after the submission."),
    click.option(
        "--stop-chance",
        type=float,
        metavar="P",
        help="Stop when each random structure since the best was lower with a mean chance below P, e.g. 0.005, with "
        "95 % confidence.",
    ),
)
"""Options that end a search."""


WAVELENGTH = click.option(
    "--wavelength",
    metavar="Å|NAME",
    default="CuKa",
    show_default=True,
    help="Wavelength of measured powder patterns in Å, or a radiation such as CuKa1 or MoKa.",
)
PATTERN = together(
    click.option(
        "--pattern",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Measured powder pattern, two theta and intensity in two columns: how well each structure explains it.",
    ),
    WAVELENGTH,
    click.option(
        "--rank-by",
        type=click.Choice(["energy", "pattern"]),
        default="energy",
        show_default=True,
        help="Order: lowest energy, or best fit to the --pattern, of the 100 lowest structures.",
    ),
)
"""Options of a measured powder pattern."""


class CommandError(click.ClickException):
    """An error shown in one line."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(one_line(message))
        self.exit_code = exit_code


@contextmanager
def _warnings_for_people() -> Iterator[None]:
    """Show warnings for the user in one line, without the line of code."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if category is UserWarning:
            click.echo(f"Warning: {one_line(message)}", err=True)
        else:
            shown(message, category, *place, **options)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def reported_errors() -> Iterator[None]:
    """Show errors for the user in one line, without a traceback."""
    try:
        with _warnings_for_people():
            yield
    except click.ClickException as error:
        error.message = printable_lines(error.message)
        raise
    except (click.exceptions.Exit, click.exceptions.Abort):
        raise
    except Exception as error:
        from aiida.common.exceptions import AiidaException

        from aiida_fuse2.cli.utils.troubles import trouble_text

        if isinstance(error, Fuse2Error | AiidaException):
            raise CommandError(str(error), BAD_INPUT if isinstance(error, ValueError) else FAILED) from error
        text = trouble_text(error)
        if text is None:
            raise
        raise CommandError(text) from error


def named_code(code_label: str) -> str | None:
    """Return the code that the user has named, or None if it is the default one."""
    source = click.get_current_context().get_parameter_source("code_label")
    return None if source is click.core.ParameterSource.DEFAULT else code_label


def given_profile(profile: str | None) -> str | None:
    """Return the profile named with this command, or before it, or None."""
    known: str | None = click.get_current_context().meta.get(PROFILE_KEY)
    return known if profile is None else profile


def hint(command: str, program: str = "aiida-fuse2") -> str:
    """Return a command to type next, with the profile if one was named."""
    profile = click.get_current_context().meta.get(PROFILE_KEY)
    return f"{program} {command}" if profile is None else f"{program} -p {profile} {command}"


def with_profile(function: Callable[..., R]) -> Callable[..., R]:
    """Load the profile before a command runs."""

    @PROFILE
    @functools.wraps(function)
    def wrapper(*args: Any, profile: str | None, **kwargs: Any) -> R:
        from aiida_fuse2.environment.profile import load_search_profile

        chosen = given_profile(profile)
        load_search_profile(chosen)
        log_to_stderr()
        click.get_current_context().meta[PROFILE_KEY] = chosen
        return function(*args, **kwargs)

    return wrapper


def log_to_stderr() -> None:
    """Let AiiDA log to standard error: its handler would put warnings in front of the JSON of a command.

    Log messages and warnings of Python can contain names that others chose: they are shown as ``echo`` shows them.
    """
    from aiida.cmdline.utils.log import CliHandler
    from aiida.manage import get_manager

    get_manager().get_profile_storage()  # AiiDA makes all handlers again when it is opened
    named = [log for log in logging.Logger.manager.loggerDict.values() if isinstance(log, logging.Logger)]
    for handler in {handler for log in named for handler in log.handlers if isinstance(handler, CliHandler)}:
        handler.addFilter(_as_error)
    warnings.formatwarning = _plain_warning


def _as_error(record: logging.LogRecord) -> bool:
    """Mark a record for standard error unless it names its stream, as the output of AiiDA does."""
    record.err = getattr(record, "err", True)
    record.msg, record.args = printable_lines(record.getMessage()), ()
    return True


_FORMAT_WARNING = warnings.formatwarning


def _plain_warning(*values: Any, **named: Any) -> str:
    return printable_lines(_FORMAT_WARNING(*values, **named))


def echo_json(values: Any) -> None:
    """Print plain values as JSON."""
    click.echo(json.dumps(values, indent=2))


def echo(text: object, *, err: bool = False) -> None:
    """Print a text that can contain names that others chose; control characters are shown as escapes.

    Args:
        text: text of one line or several.
        err: whether to print it on the standard error.
    """
    click.echo(printable_lines(text), err=err)


def echo_content(content: str) -> None:
    """Print the content of a file: as it is, but on a terminal with control characters as escapes."""
    is_seen = click.get_text_stream("stdout").isatty()
    click.echo(printable_lines(content.expandtabs()) if is_seen else content, nl=False)
