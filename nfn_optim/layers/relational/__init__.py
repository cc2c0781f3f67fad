"""NF-Layers whose weights belong to relations, so that they serve any depth, width and kernel."""

from ._linear import SharedNPLinear as SharedNPLinear
from ._pack import Block as Block
from ._pack import Pack as Pack
from ._pack import PackedFeatures as PackedFeatures
from ._parts import Means as Means
from ._parts import Slice as Slice
from ._parts import Terms as Terms
from ._parts import add_terms as add_terms
from ._pointwise import SharedPointwise as SharedPointwise
from ._roles import ParameterAxes as ParameterAxes
from ._roles import Roles as Roles
from ._roles import roles_of as roles_of
