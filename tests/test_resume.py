"""kill -9 and resume: real processes, random moments, equal to the last bit (tests/kill_and_resume.py does it)."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_killed_at_random_moments_and_resumed_is_bit_identical(tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("kill_and_resume.py")), str(tmp_path), "6"]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["kills"] == 6 and found["identical"] == found["runs"] >= 1
    assert len(set(found["steps_killed_at"])) > 2  # not always at the same place
