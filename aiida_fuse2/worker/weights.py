"""Weights of potentials in the environment of the worker: downloaded, and checked."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from aiida_fuse2.core.errors import Fuse2Error, InputError, one_line
from aiida_fuse2.core.potentials.installed import found_weights, sha256_of, weights_path
from aiida_fuse2.core.settings import Weights
from aiida_fuse2.protocols.models import Model

SCHEMES = ("https", "http", "file")

TIMEOUT = 60
"""Longest wait for an answer of a server, s."""

BLOCK = 1024**2
"""Bytes that are read at a time."""


class DownloadError(Fuse2Error):
    """Weights cannot be downloaded."""


def provide_weights(model: Model) -> Weights:
    """Download the weights of a potential into this environment, if they are no part of its package, and check them.

    Args:
        model: a potential whose package is installed here.

    Returns:
        Version of the package and SHA-256 of the weights, as found.

    Raises:
        DownloadError: if they cannot be downloaded.
        InputError: if package or weights are missing, or others than those described.
    """
    asked = model.weights_with(None, None)
    if model.weights is not None and model.weights.url is not None:
        path = weights_path(asked)
        if path is not None and not path.is_file():
            _download(model.weights.url, path, asked.sha256)
    return found_weights(asked)


def _download(url: str, path: Path, sha256: str | None) -> None:
    """Store the content of an address in a file, which exists only once it is complete and checked."""
    if urlsplit(url).scheme not in SCHEMES:
        raise InputError("weights.url", url, f"must begin with one of {', '.join(SCHEMES)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, part.open("wb") as stream:  # noqa: S310 - checked
            while block := answer.read(BLOCK):
                stream.write(block)
        found = sha256_of(part)
        if sha256 is not None and found != sha256:
            raise InputError("weights.sha256", sha256, f"{url} has the SHA-256 {found}: it is another file")
        part.replace(path)
    except (OSError, urllib.error.URLError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise DownloadError(f"{url} cannot be downloaded: {one_line(error)}") from error
    finally:
        part.unlink(missing_ok=True)
