"""How sure one can be that a model is no worse than another one, on the same rows."""

from typing import NamedTuple

from mlwright.registry.gates import statistics
from mlwright.registry.gates.metrics import METRICS, Rows
from mlwright.registry.gates.names import ROC_AUC
from mlwright.registry.gates.spec import Check, Interval, judged


class Question(NamedTuple):
    """How sure an answer must be. `seed` makes it the same each time."""

    confidence: float
    seed: int

    def shared(self, count: int) -> "Question":
        """The same for one of so many answers that shall all hold together (Bonferroni)."""
        return Question(1 - (1 - self.confidence) / max(count, 1), self.seed)


def needs_scores(metric: str) -> bool:
    """Whether a metric is one of probabilities."""
    return metric == ROC_AUC or METRICS[metric].needs_scores


def lacks_scores(metric: str, *models: Rows) -> bool:
    """Whether a metric cannot be computed because a model's probabilities are not known."""
    return needs_scores(metric) and any(rows.scores is None for rows in models)


def worse_by_at_most(margin: float, name: str, metric: str, mine: Rows, its: Rows, question: Question) -> Check:
    """Whether the metric of `mine` is worse than that of `its` by at most the margin."""
    higher_is_better = metric == ROC_AUC or METRICS[metric].higher_is_better
    least, most = (-margin, None) if higher_is_better else (None, margin)
    return judged(name, f"worse by at most {margin:g}", _difference(metric, mine, its, question), least, most)


def _difference(metric: str, mine: Rows, its: Rows, question: Question) -> Interval:
    if metric == ROC_AUC:
        return statistics.roc_auc_difference(mine, its, question.confidence)
    found = statistics.difference(METRICS[metric], mine, its, *question)
    if metric != "accuracy_score":
        return found
    exact = statistics.mcnemar(mine, its)
    only = f"{exact.only_candidate} rows only right here, {exact.only_baseline} only there"
    return found._replace(method=f"{found.method}; McNemar's exact test: p = {exact.p_value:.3g}, {only}")
