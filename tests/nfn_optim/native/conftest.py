"""What tests of native code share."""

import ctypes
from collections.abc import Callable

import pytest

from nfn_optim.native import Library


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ctypes.CDLL]:
    """Compiles C++ that may include our headers, outside of the user's cache."""

    def compile(source: str) -> ctypes.CDLL:
        folder = tmp_path_factory.mktemp("compiled")
        file = folder / "source.cpp"
        file.write_text(source)
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("NFN_CACHE", raising=False)
            patch.setenv("XDG_CACHE_HOME", str(folder))
            return Library(file).load()

    return compile
