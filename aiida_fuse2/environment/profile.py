"""The AiiDA profile of searches.

All functions can be called twice: existing parts stay as they are, and are reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiida.common.exceptions import AiidaException, ConfigurationError, MissingConfigurationError
from aiida.manage import configuration
from aiida.manage.configuration import Profile
from aiida.plugins import BrokerFactory

from aiida_fuse2.core.errors import Fuse2Error

PROFILE_NAME = "fuse2"

DEFAULT_EMAIL = "aiida@localhost"
"""Address of the user of a new profile if the configuration names none (as in ``verdi presto``)."""

PROFILE_OPTIONS = {
    "daemon.timeout": 30,
    "broker.task_timeout": 60,
    "runner.poll.interval": 1,
}
"""Options of a profile made here, in seconds: a busy machine answers slowly, and short jobs are checked often."""

_NAME = re.compile(r"[A-Za-z0-9][\w-]*")
"""Names of profiles that are also valid names of folders."""


class SetupError(Fuse2Error):
    """Something that a search needs is missing; the message says what to do."""


@dataclass(frozen=True)
class Step:
    """One part that was set up, or existed already.

    Attributes:
        changed: whether something was made or started.
        text: text for the user.
        is_problem: whether the user has to do something about it.
    """

    changed: bool
    text: str
    is_problem: bool = False


def profile_names() -> list[str]:
    """Return the names of the user's profiles; nothing is made if AiiDA was never configured."""
    try:
        return list(configuration.get_config().profile_names)
    except MissingConfigurationError:
        return []


def load_search_profile(name: str | None = None) -> Profile:
    """Load a profile: the named one, the one already loaded, or the default one.

    Raises:
        SetupError: if there is none.
    """
    names = profile_names()
    if not names:
        raise SetupError("there is no AiiDA profile yet; make one with `aiida-fuse2 setup`")
    if name is not None and name not in names:
        raise SetupError(f"there is no profile {name!r}, only {', '.join(names)}")
    loaded = configuration.get_profile()
    if name is None and loaded is None and configuration.get_config().default_profile_name is None:
        raise SetupError(f"no profile is the default one; name one with --profile: {', '.join(names)}")
    try:
        return configuration.load_profile(name, allow_switch=True)
    except ConfigurationError as error:
        raise SetupError(f"the profile cannot be loaded: {error}") from error


def create_profile(name: str = PROFILE_NAME) -> Step:
    """Make a profile with SQLite and the ZeroMQ broker, which need no service, and load it.

    It becomes the default profile only if there was none.

    Raises:
        SetupError: if the name is taken, or the profile cannot be made.
    """
    if not _NAME.fullmatch(name):
        raise SetupError(f"{name!r} is no name for a profile; use letters, digits, '-' and '_'")
    config = configuration.get_config(create=True)
    if name in config.profile_names:
        raise SetupError(f"a profile {name!r} exists already; use it with --profile {name}")
    is_first = not config.profile_names
    try:
        configuration.create_profile(
            config,
            name=name,
            email=configuration.get_config_option("autofill.user.email") or DEFAULT_EMAIL,
            storage_backend="core.sqlite_dos",
            storage_config={},
            broker_backend="core.zeromq",
            broker_config=BrokerFactory("core.zeromq").get_default_config(),
        )
    except (AiidaException, ValueError, OSError) as error:
        raise SetupError(f"the profile {name!r} cannot be made: {error}") from error
    for option, value in PROFILE_OPTIONS.items():
        config.set_option(option, value, scope=name)
    if is_first:
        config.set_default_profile(name, overwrite=True)
    config.store()
    configuration.load_profile(name, allow_switch=True)
    default = "; it is the default one" if is_first else f"; use it with --profile {name}"
    return Step(changed=True, text=f"made profile {name!r} (SQLite, ZeroMQ){default}")
