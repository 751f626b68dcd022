"""The classifiers: what they see, and that a learning curve ends where training ends."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from examples.flights import models
from examples.flights.features import CATEGORIES, SCHEDULE, WEATHER
from examples.flights.models import BOOSTING, CANDIDATES, SWEEP, Candidate

LEGAL = {*SCHEDULE, *WEATHER}
SMALL = {"max_iter": 12, "learning_rate": 0.3, "max_leaf_nodes": 4, "min_samples_leaf": 5, "max_features": 1.0}


def rows(count: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    """Made-up inputs in which weekend flights of one carrier are late more often; wind is sometimes unknown."""
    random = np.random.default_rng(7)
    frame = pd.DataFrame({name: random.normal(size=count) for name in (*SCHEDULE, *WEATHER)})
    for name in CATEGORIES:
        frame[name] = random.choice(["A", "B", "C"], count).astype(object)
    frame["weekday"] = random.integers(0, 7, count).astype(float)
    frame.loc[::3, "wind_gust"] = np.nan
    late = (frame["carrier"].eq("A") & (frame["weekday"] > 3)).to_numpy() ^ (random.random(count) < 0.1)
    return frame, late


def test_candidates_see_only_what_is_known_at_the_decision() -> None:
    for candidate in CANDIDATES:
        assert set(candidate.columns) <= LEGAL
    assert len({candidate.name for candidate in CANDIDATES}) == len(CANDIDATES)


def test_quick_candidates_have_no_golden_figure() -> None:
    assert [candidate.golden_auc for candidate in models.QUICK_CANDIDATES] == [None] * 3


def test_sweep_settings_have_names_of_their_own() -> None:
    names = {models.sweep_candidate(setting).name for setting in SWEEP}
    assert len(names) == len(SWEEP) == 4


@pytest.mark.parametrize("candidate", [*CANDIDATES[:3], Candidate("small boosting", BOOSTING, models.BOTH, SMALL)])
def test_curve_ends_at_the_fitted_model(candidate: Candidate) -> None:
    inputs, late = rows()
    steps = list(models.learn(candidate, inputs, late, inputs))
    numbers = [step for step, _ in steps]
    assert numbers == sorted(set(numbers))
    fitted = models.late_probability(models.fit(candidate, inputs, late), inputs)
    # A solver that is stopped and resumed ends near, not at, the same place.
    tolerance = 0.02 if candidate.family == models.LOGISTIC else 1e-9
    assert np.abs(steps[-1][1] - fitted).max() < tolerance


def test_boosting_has_a_point_for_every_round() -> None:
    inputs, late = rows()
    candidate = Candidate("small boosting", BOOSTING, models.BOTH, SMALL)
    assert [step for step, _ in models.learn(candidate, inputs, late, inputs)] == list(range(1, 13))


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_unseen_categories_and_nulls_are_no_error(candidate: Candidate) -> None:
    inputs, late = rows()
    strange = inputs.head(4).assign(carrier="??", temp=np.nan, wind_gust=np.nan)
    probability = models.late_probability(models.fit(candidate, inputs, late), strange)
    assert np.all((probability >= 0) & (probability <= 1))


def test_fits_are_repeatable() -> None:
    inputs, late = rows()
    first, second = (models.late_probability(models.fit(CANDIDATES[4], inputs, late), inputs) for _ in range(2))
    assert np.array_equal(first, second)
