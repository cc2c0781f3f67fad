"""The command `nfn-optim`."""

from ._main import main as main
