"""A package with a potential of the interface that the downloaded ones have, as a wheel that pip installs offline."""

from __future__ import annotations

import hashlib
import zipfile

import yaml

MODULE = """
from pathlib import Path
from ase.calculators.lj import LennardJones

class StandIn(LennardJones):
    def __init__(self, weights, device):
        depth, width = map(float, Path(weights).read_text().split())
        assert device == "cpu"
        super().__init__(epsilon=depth, sigma=width, rc=6.0)
"""

METADATA = "Metadata-Version: 2.1\nName: stand-in-potential\nVersion: 1.2\n"

WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def make_stand_in(folder, *, energy=None, sha256=None):
    """Write a wheel, weights, and the description of the potential; return the path of the description."""
    wheel = folder / "stand_in_potential-1.2-py3-none-any.whl"
    files = {
        "stand_in_potential/__init__.py": MODULE,
        "stand_in_potential-1.2.dist-info/METADATA": METADATA,
        "stand_in_potential-1.2.dist-info/WHEEL": WHEEL,
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("stand_in_potential-1.2.dist-info/RECORD", "".join(f"{name},,\n" for name in files))
    weights = folder / "weights.txt"
    weights.write_text("0.5 1.9")
    description = {
        "title": "Stand-in",
        "calculator": "stand_in_potential.StandIn",
        "arguments": {"weights": "{weights}", "device": "{device}"},
        "package": "stand-in-potential",
        "requirements": ["stand-in-potential==1.2"],
        "licence": "MIT",
        "citation": "none",
        "elements": ["H-Pu"],
        "models": {
            "small": {
                "functional": "none",
                "tested": "stand-in",
                "energy": energy,
                "weights": {
                    "url": weights.as_uri(),
                    "file": "weights-small.txt",
                    "megabytes": 0,
                    "sha256": sha256 or hashlib.sha256(weights.read_bytes()).hexdigest(),
                },
            }
        },
    }
    path = folder / "standin.yaml"
    path.write_text(yaml.safe_dump(description))
    return path
