"""Steps on parameters that are dealt to many processes: FSDP2 and tensor parallelism."""

from ._cut import check_shards as check_shards
from ._slots import init_slots as init_slots
from ._slots import like_shards as like_shards
from ._slots import write_slots as write_slots
from ._step import move as move
from ._team import Groups as Groups
from ._team import Teams as Teams
