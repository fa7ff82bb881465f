"""Recorded files of GULP, beside the checkout where they are; tests that need them skip elsewhere."""

from pathlib import Path

import pytest

RECORDED = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "gulp"

needs_recorded = pytest.mark.skipif(not RECORDED.exists(), reason="recorded files are not here")
