"""The symmetry of networks: its description, weight-space tuples, the group action, the tracer."""

from ._alone import with_alone as with_alone
from ._chain import infer_chain as infer_chain
from ._features import WeightSpaceFeatures as WeightSpaceFeatures
from ._heads import Heads as Heads
from ._matrices import Matrices as Matrices
from ._permute import permute as permute
from ._permute import random_permutations as random_permutations
from ._spec import NetworkSpec as NetworkSpec
from ._spec import Shape as Shape
from ._spec import SpecError as SpecError
from ._wrappers import WRAPPERS as WRAPPERS
from ._wrappers import without_wrappers as without_wrappers
