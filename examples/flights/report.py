"""Texts and tables for people: notes in Markdown, an HTML page, and the closing account."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import asdict

import pandas as pd
from matplotlib.figure import Figure

from examples.flights.evaluate import Evaluation
from examples.flights.features import Split
from examples.flights.models import Candidate

FIGURES = ("auc", "log_loss", "brier", "calibration_error", "average_precision")
TASK = (
    "Will a flight from New York arrive **more than 15 minutes late**? Decided 60 minutes before its scheduled "
    "departure, from the schedule and the weather known by then. Trained on labels known by 1 April 2013, scored on "
    "April to December."
)
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ccc;text-align:right}"
    "td:first-child,th:first-child{text-align:left}img{max-width:100%;width:28rem}"
)


def candidate_note(candidate: Candidate, part: Split) -> str:
    """Markdown description of one run."""
    return (
        f"# {candidate.name}\n\n{TASK}\n\n- inputs: {candidate.feature_set}\n"
        f"- rows: {int(part.train.sum()):,} for training, {int(part.test.sum()):,} for the test\n"
        f"- `valid_*` by step: trained up to 15 March, measured on the rest of March\n"
        f"- `month_*`: the step is the month of 2013\n"
    )


def sweep_note(settings: int) -> str:
    """Markdown description of the sweep's parent run."""
    return (
        f"# Sweep\n\n{settings} settings of gradient boosting on schedule + weather, one nested run each. The lowest "
        "log loss on the validation rows (second half of March) wins; it is refitted on all training rows here.\n"
    )


def months_table(found: Evaluation) -> pd.DataFrame:
    """Scores by month, one row each."""
    return pd.DataFrame([{"month": month, **asdict(scores)} for month, scores in found.by_month.items()]).round(5)


def ranking_table(evaluations: Mapping[str, Evaluation]) -> pd.DataFrame:
    """Test scores by model, best AUC first."""
    rows = [
        {"model": name} | {key: getattr(found.overall, key) for key in FIGURES} for name, found in evaluations.items()
    ]
    return pd.DataFrame(rows).sort_values("auc", ascending=False, ignore_index=True).round(4)


def comparison_note(evaluations: Mapping[str, Evaluation]) -> str:
    """Markdown: the task and the ranking."""
    ranking = ranking_table(evaluations)
    heads = [column.replace("_", " ") for column in ranking.columns]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    lines += ["| " + " | ".join(str(value) for value in row) + " |" for row in ranking.itertuples(index=False)]
    return f"# Late flights\n\n{TASK}\n\n" + "\n".join(lines) + "\n"


def html_page(ranking: pd.DataFrame, figures: Mapping[str, Figure]) -> str:
    """A page that stands alone: no script, pictures embedded."""
    table = ranking.to_html(index=False, border=0, float_format="{:.4f}".format)
    pictures = "\n".join(
        f'<img alt="{html.escape(name)}" src="{_embedded(figure)}">' for name, figure in figures.items()
    )
    task = html.escape(TASK.replace("**", ""))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Late flights</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>Late flights</h1><p>{task}</p>\n"
        f"{table}\n{pictures}\n</body></html>\n"
    )


def _embedded(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
