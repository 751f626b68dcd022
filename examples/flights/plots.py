"""Figures, drawn without a display (a bare matplotlib Figure renders with Agg)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from examples.flights.evaluate import Evaluation, calibration_bins

SIZE = (5.0, 4.2)
POINTS = 400  # enough for a smooth line on a figure this small


def roc(evaluations: Mapping[str, Evaluation]) -> Figure:
    """One ROC curve per name."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for name, found in evaluations.items():
        false_alarms, hits, _ = roc_curve(found.late, found.probability)
        kept = np.unique(np.linspace(0, len(hits) - 1, POINTS).astype(int))
        axes.plot(false_alarms[kept], hits[kept], label=f"{name} ({found.overall.auc:.3f})")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="false alarms (share of punctual flights)", ylabel="found (share of late flights)", title="ROC")
    axes.legend(loc="lower right", fontsize="x-small")
    return figure


def calibration(evaluations: Mapping[str, Evaluation]) -> Figure:
    """Share of late flights against predicted probability, one line per name."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for name, found in evaluations.items():
        bins = calibration_bins(found.late, found.probability)
        label = f"{name} (error {found.overall.calibration_error:.3f})"
        axes.plot([row[0] for row in bins], [row[1] for row in bins], marker="o", markersize=3, label=label)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="predicted probability", ylabel="share of late flights", title="Calibration")
    axes.legend(loc="upper left", fontsize="x-small")
    return figure


def confusion(found: Evaluation) -> Figure:
    """Counts of predicted against real outcomes at the evaluation's threshold."""
    called = found.probability >= found.threshold
    counts = np.array(
        [[np.sum((found.late == real) & (called == said)) for said in (False, True)] for real in (False, True)]
    )
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
    axes.set_xticks([0, 1], ["punctual", "late"])
    axes.set_yticks([0, 1], ["punctual", "late"])
    axes.set(xlabel="predicted", ylabel="real", title=f"Confusion, late from {found.threshold:.2f}")
    return figure


def by_month(evaluations: Mapping[str, Evaluation]) -> Figure:
    """AUC of each month, one line per name."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for name, found in evaluations.items():
        axes.plot(
            list(found.by_month), [month.auc for month in found.by_month.values()], marker="o", markersize=3, label=name
        )
    axes.set(xlabel="month of 2013", ylabel="AUC", title="After training ended on 1 April")
    axes.legend(loc="best", fontsize="x-small")
    return figure
