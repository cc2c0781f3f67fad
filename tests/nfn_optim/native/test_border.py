"""What native code throws becomes an error of Python's, from every function and every thread."""

import ctypes
import re
from pathlib import Path

import pytest

import nfn_optim.native
from nfn_optim.native import Library

SOURCES = Path(nfn_optim.native.__file__).parent
FUNCTION = re.compile(r'^extern "C" (\w+) (\w+)\([^{;]*\) (try )?\{.*?^\}(.*?\n\})?', re.S | re.M)
GUARDED = " catch (...) {\n  return nfn::outcome();\n}"

THROWING = """
#include "border.h"
#include <vector>

extern "C" int no_memory(long count) try {
  std::vector<float> much(count);
  return much.empty() ? nfn::DONE : nfn::FAILED;
} catch (...) {
  return nfn::outcome();
}

extern "C" int of_threads(int bad) try {
  nfn::Caught caught;
#pragma omp parallel for num_threads(2)
  for (int i = 0; i < 4; ++i) caught.run([&] { if (i == bad) throw std::runtime_error("bad"); });
  caught.pass_on();
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}
"""


@pytest.fixture
def throwing(tmp_path, monkeypatch, native_step):
    monkeypatch.setenv("NFN_CACHE", str(tmp_path))
    (tmp_path / "throwing.cpp").write_text(THROWING)
    return Library(tmp_path / "throwing.cpp")


def test_what_is_thrown_is_an_error_that_names_the_function(throwing):
    for count in (1 << 45, 1 << 62):  # no such memory, and more than there can be
        with pytest.raises(MemoryError, match=r"too little memory for native code \(no_memory\)"):
            throwing.call("no_memory", ctypes.c_long(count))
    throwing.call("no_memory", ctypes.c_long(0))


def test_threads_pass_on_what_is_thrown(throwing):
    for bad in range(4):
        with pytest.raises(RuntimeError, match=r"native code failed \(of_threads\)"):
            throwing.call("of_threads", bad)
    throwing.call("of_threads", -1)


def test_no_function_lets_out_what_is_thrown():
    text = "".join(path.read_text() for path in SOURCES.rglob("*.cpp"))
    functions = list(FUNCTION.finditer(text))
    assert len(functions) == text.count('extern "C"') > 5
    for match in functions:
        kind, name, guard, end = match.groups()
        assert (kind, guard) == ("int", "try "), name
        assert end == GUARDED, name
