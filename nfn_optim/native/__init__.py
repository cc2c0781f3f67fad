"""All native code: compiled once a machine, when it is first needed, and kept.

Everything that it computes, torch computes too. `$NFN_NATIVE=0` turns all of it off.
"""

from ._gate import Expected as Expected
from ._gate import are_dense as are_dense
from ._gate import are_plain as are_plain
from ._gate import check as check
from ._gate import dense as dense
from ._gate import fit as fit
from ._gate import has_memory as has_memory
from ._gate import has_own_entries as has_own_entries
from ._gate import is_copy as is_copy
from ._gate import is_transformed as is_transformed
from ._gate import pointer as pointer
from ._gate import pointers as pointers
from ._gate import table as table
from ._loader import BuildError as BuildError
from ._loader import CompileFailed as CompileFailed
from ._loader import Library as Library
from ._loader import NoCompiler as NoCompiler
from ._loader import TurnedOff as TurnedOff
from ._memory import keep_memory as keep_memory
