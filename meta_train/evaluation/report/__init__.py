"""What an evaluation measured: values, JSON, a page with pictures."""

from ._json import from_json as from_json
from ._json import to_json as to_json
from ._measure import end_of as end_of
from ._measure import measure as measure
from ._over_tasks import versus as versus
from ._page import to_markdown as to_markdown
from ._page import write_page as write_page
from ._plots import draw_panels as draw_panels
from ._results import Curve as Curve
from ._results import Evaluation as Evaluation
from ._results import Group as Group
from ._results import Measured as Measured
from ._results import Row as Row
from ._results import TaskInfo as TaskInfo
