"""Search of experiments, runs and logged models in MLflow's query language.

`search_runs`, `search_experiments` and `search_logged_models` answer one page each.
"""

from mlwright.kernel.search.page import MAX_RESULTS, Page
from mlwright.tracking.search.experiments import ExperimentRow, search_experiments
from mlwright.tracking.search.models import DatasetFilter, LoggedModelRow, ModelOrder, search_logged_models
from mlwright.tracking.search.reader import Reader
from mlwright.tracking.search.runs import search_runs
from mlwright.tracking.search.steps import RunRow
from mlwright.tracking.spec import ViewType

__all__ = [
    "MAX_RESULTS",
    "DatasetFilter",
    "ExperimentRow",
    "LoggedModelRow",
    "ModelOrder",
    "Page",
    "Reader",
    "RunRow",
    "ViewType",
    "search_experiments",
    "search_logged_models",
    "search_runs",
]
