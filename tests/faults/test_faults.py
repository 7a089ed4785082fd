"""The short form of the campaign: each fault is made to happen once."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="signals, limits and /proc as Linux has them")
def test_every_fault_is_held():
    campaign = [sys.executable, Path(__file__).parent, "--short"]
    done = subprocess.run(campaign, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
