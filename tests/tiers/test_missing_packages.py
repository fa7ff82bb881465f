"""Tiers whose packages are not installed name the extra."""

import subprocess
import sys

import pytest

CODE = """
import sys
for name in {packages!r}:
    sys.modules[name] = None
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.tiers import load_tier
try:
    load_tier({tier!r})
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("tier", "packages", "extra"), [("vasp", ["aiida_vasp"], "vasp"), ("qe", ["aiida_quantumespresso"], "qe")]
)
def test_a_missing_package_names_the_extra(tier, packages, extra):
    code = CODE.format(tier=tier, packages=packages)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install 'aiida-fuse2[{extra}]'" in done.stdout
