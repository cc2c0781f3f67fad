"""Inner training: many networks at once, run by run."""

from ._config import InnerConfig as InnerConfig
from ._distributed import ALONE as ALONE
from ._distributed import LostContact as LostContact
from ._distributed import OtherFailed as OtherFailed
from ._distributed import Processes as Processes
from ._distributed import join as join
from ._losses import Losses as Losses
from ._run import InnerRun as InnerRun
from ._run import joined as joined
from ._unroll import Unrolled as Unrolled
from ._unroll import unroll as unroll
