"""Under `make sanitize`, native code that touches other memory or has no meaning is reported."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    "-fsanitize" not in os.environ.get("NFN_CXXFLAGS", ""), reason="make sanitize runs it"
)

FAULTS = {
    "AddressSanitizer: heap-buffer-overflow": "int* x = new int[n]{}; return x[n];",
    "runtime error: signed integer overflow": "return n + 2147483647;",
}
RUN = """
import sys
from pathlib import Path
from nfn_optim.native import Library
Library(Path(sys.argv[1])).load().fault(4)
"""


@pytest.mark.parametrize(("report", "code"), FAULTS.items(), ids=FAULTS.keys())
def test_a_fault_ends_the_process(report, code, tmp_path):
    path = tmp_path / "fault.cpp"
    path.write_text(f'extern "C" int fault(int n) {{ {code} }}\n')
    command = [sys.executable, "-c", RUN, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode
    assert report in done.stderr
