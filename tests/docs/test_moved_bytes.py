"""The count of what a step on cut parameters moves still runs, and agrees with its formula."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "moved_bytes.py"


def test_exchanges_are_those_of_the_formula():
    command = [sys.executable, str(SCRIPT), "--processes", "2", "--width", "32"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    head, _, *rows = [line.split(" | ") for line in done.stdout.splitlines()]
    sent, formula = head.index("bytes"), head.index("formula")
    assert {row[1] for row in rows} == {"untrained", "small"}
    for row in rows:
        assert row[sent] == row[formula]
