"""The gate `validation`: verdicts follow from rows, and nothing but certainty passes."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlwright.kernel.errors import Invalid, MlwrightError
from mlwright.registry.gates.evaluation import Evaluation, paired, read
from mlwright.registry.gates.spec import Check, Columns, GateVerdict, Validation, conclude
from mlwright.registry.gates.validation import validate

COLUMNS = Columns(score="score", key="id")


def table(count: int, seed: int, skill: float = 1.5, bad: str = "") -> dict[str, list[str]]:
    """An evaluation of late flights; among those of the carrier `bad`, the model guesses."""
    random = np.random.default_rng(seed)
    late = random.random(count) < 0.3
    carrier = np.array(["AA", "B6", "UA"])[random.integers(0, 3, count)]
    strength = np.where(carrier == bad, 0, skill)
    score = 1 / (1 + np.exp(-(strength * (2 * late - 1) + random.normal(size=count))))
    return {
        "id": [str(number) for number in range(count)],
        "label": ["late" if each else "on time" for each in late],
        "prediction": ["late" if each > 0.5 else "on time" for each in score],
        "score": [repr(float(each)) for each in score],
        "carrier": carrier.tolist(),
    }


def stored(path: Path, columns: Mapping[str, Sequence[str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def loaded(path: Path, columns: Mapping[str, Sequence[str]]) -> Evaluation:
    return read(stored(path, columns), COLUMNS, "late")


def spec(text: str) -> Validation:
    return msgspec.json.decode(text, type=Validation)


def verdict(asked: str, candidate: Evaluation, baseline: Evaluation | None = None) -> GateVerdict:
    return validate(spec(asked), candidate, {"champion": baseline}, 1).verdict


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ('{"thresholds":[{"metric":"roc_auc","min":0.8}]}', GateVerdict.PASS),
        ('{"thresholds":[{"metric":"roc_auc","min":0.999}]}', GateVerdict.FAIL),
        ('{"thresholds":[{"metric":"log_loss","max":0.1}]}', GateVerdict.FAIL),
        ('{"thresholds":[{"metric":"expected_calibration_error","max":0.5}]}', GateVerdict.PASS),
        ('{"thresholds":[{"metric":"accuracy_score","min":0.5,"max":0.6}]}', GateVerdict.FAIL),
        ("{}", GateVerdict.INCONCLUSIVE),
    ],
)
def test_thresholds(tmp_path: Path, asked: str, expected: GateVerdict) -> None:
    assert verdict(asked, loaded(tmp_path / "e.csv", table(3_000, 1))) is expected


def test_what_straddles_a_threshold_is_inconclusive(tmp_path: Path) -> None:
    few = loaded(tmp_path / "e.csv", table(60, 1))
    value = float((few.rows.labels == few.rows.predictions).mean())
    assert verdict(f'{{"thresholds":[{{"metric":"accuracy_score","min":{value}}}]}}', few) is GateVerdict.INCONCLUSIVE


def test_no_worse_than_the_champion(tmp_path: Path) -> None:
    good, same, bad = (
        loaded(tmp_path / f"{number}.csv", table(5_000, 1, skill)) for number, skill in enumerate((1.5, 1.49, 0.8))
    )
    for metric in ("accuracy_score", "log_loss", "roc_auc", "f1_score"):
        asked = f'{{"noWorseThan":[{{"metric":"{metric}","margin":0.01}}]}}'
        assert verdict(asked, good, bad) is GateVerdict.PASS, metric
        assert verdict(asked, same, good) is GateVerdict.PASS, metric
        assert verdict(asked, bad, good) is GateVerdict.FAIL, metric
        assert verdict(asked, bad, None) is GateVerdict.PASS


def test_rows_are_paired_by_their_key(tmp_path: Path) -> None:
    first = table(500, 1)
    order = np.random.default_rng(0).permutation(500)
    shuffled = {name: [column[number] for number in order] for name, column in first.items()}
    mine, its = paired(loaded(tmp_path / "a.csv", first), loaded(tmp_path / "b.csv", shuffled))
    assert np.array_equal(mine.labels, its.labels)
    assert mine.scores is not None
    assert its.scores is not None
    assert np.array_equal(mine.scores, its.scores)


def test_evaluations_of_other_rows_decide_nothing(tmp_path: Path) -> None:
    one, other = loaded(tmp_path / "a.csv", table(500, 1)), loaded(tmp_path / "b.csv", table(500, 2))
    few = loaded(tmp_path / "c.csv", table(400, 1))
    asked = '{"noWorseThan":[{"metric":"accuracy_score"}]}'
    assert verdict(asked, one, other) is GateVerdict.INCONCLUSIVE
    assert verdict(asked, one, few) is GateVerdict.INCONCLUSIVE


def test_a_slice_that_is_bad_fails_though_the_whole_is_good(tmp_path: Path) -> None:
    found = loaded(tmp_path / "e.csv", table(6_000, 1, skill=2, bad="UA"))
    assert verdict('{"thresholds":[{"metric":"accuracy_score","min":0.6}]}', found) is GateVerdict.PASS
    asked = '{"slices":[{"columns":["carrier"],"thresholds":[{"metric":"accuracy_score","min":0.6}]}]}'
    answer = validate(spec(asked), found, {}, 1)
    assert answer.verdict is GateVerdict.FAIL
    assert "carrier = UA" in answer.reason
    assert [check.verdict for check in answer.checks] == [GateVerdict.PASS, GateVerdict.PASS, GateVerdict.FAIL]


def test_slices_too_small_to_judge_decide_nothing(tmp_path: Path) -> None:
    asked = '{"slices":[{"columns":["carrier"],"minRows":1000,"thresholds":[{"metric":"accuracy_score","min":0}]}]}'
    assert verdict(asked, loaded(tmp_path / "e.csv", table(300, 1))) is GateVerdict.INCONCLUSIVE


def test_fairness_by_group(tmp_path: Path) -> None:
    found = loaded(tmp_path / "e.csv", table(6_000, 1, skill=2, bad="UA"))
    for asked in ("demographicParity", "equalizedOdds"):
        assert verdict(f'{{"fairness":[{{"column":"carrier","{asked}":0.9}}]}}', found) is GateVerdict.PASS
        assert verdict(f'{{"fairness":[{{"column":"carrier","{asked}":0.01}}]}}', found) is GateVerdict.FAIL
    assert (
        verdict('{"fairness":[{"column":"carrier","equalizedOdds":1,"minRows":9999}]}', found)
        is GateVerdict.INCONCLUSIVE
    )


def test_without_probabilities_what_needs_them_is_inconclusive(tmp_path: Path) -> None:
    found = read(stored(tmp_path / "e.csv", table(500, 1)), Columns(), "late")
    for metric in ("roc_auc", "log_loss"):
        assert verdict(f'{{"thresholds":[{{"metric":"{metric}","min":0}}]}}', found) is GateVerdict.INCONCLUSIVE
        assert (
            verdict(f'{{"noWorseThan":[{{"metric":"{metric}","margin":1}}]}}', found, found) is GateVerdict.INCONCLUSIVE
        )


def test_answers_are_the_same_each_time(tmp_path: Path) -> None:
    found = loaded(tmp_path / "e.csv", table(2_000, 1))
    asked = spec('{"thresholds":[{"metric":"f1_score","min":0.5}],"fairness":[{"column":"carrier","equalizedOdds":1}]}')
    assert validate(asked, found, {}, 7) == validate(asked, found, {}, 7)


@pytest.mark.parametrize(
    "asked",
    [
        '{"thresholds":[{"metric":"acuracy","min":1}]}',
        '{"thresholds":[{"metric":"f1_score"}]}',
        '{"thresholds":[{"metric":"f1_score","min":1,"max":0}]}',
        '{"noWorseThan":[{"metric":"x"}]}',
        '{"slices":[{"columns":["a"],"thresholds":[{"metric":"x","min":1}]}]}',
        '{"fairness":[{"column":"a"}]}',
        '{"confidence":1}',
        '{"unknown":1}',
    ],
)
def test_questions_that_make_no_sense_are_refused(asked: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        spec(asked)


# --- the file -----------------------------------------------------------------------------------------------------


def test_numbers_are_read_as_numbers(tmp_path: Path) -> None:
    found = read(stored(tmp_path / "e.csv", {"label": ["1", "2.5"], "prediction": ["1e0", "3"]}), Columns(), "")
    assert found.rows.labels.tolist() == [1, 2.5]
    assert found.rows.scores is None
    assert found.keys is None


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = table(200, 1)
    typed = {name: list(map(float, column)) if name == "score" else column for name, column in columns.items()}
    parquet.write_table(pyarrow.table(typed), tmp_path / "e.parquet")
    one, other = read(tmp_path / "e.parquet", COLUMNS, "late"), loaded(tmp_path / "e.csv", columns)
    for mine, its in zip(one.rows, other.rows, strict=True):
        assert mine is not None
        assert its is not None
        assert np.array_equal(mine, its)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "name the columns"),
        (b"a,a\n1,2\n", "each once"),
        (b"label,prediction\n1\n", "line 2 has 1 columns"),
        (b"label,prediction\n1,1\nx,1\n", "line 3: 'x' is no number"),
        (b"label,prediction\n1,nan\n", "line 2: 'nan' is no finite number"),
        (b"label,guess\n1,1\n", "no column 'prediction'"),
        (b"label,prediction\n\xff,1\n", "no CSV"),
        (b"PAR1 broken", "no Parquet"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "e.csv"
    path.write_bytes(content)
    with pytest.raises(Invalid, match=complaint):
        read(path, Columns(), "")


def test_probabilities_and_keys_are_checked(tmp_path: Path) -> None:
    columns = table(10, 1)
    with pytest.raises(Invalid, match="between 0 and 1"):
        loaded(tmp_path / "a.csv", {**columns, "score": ["2"] * 10})
    with pytest.raises(Invalid, match="not different"):
        loaded(tmp_path / "b.csv", {**columns, "id": ["1"] * 10})


@given(content=st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_garbage_is_refused_and_nothing_else_happens(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("garbage") / "e.csv"
    path.write_bytes(b"label,prediction\n" + content)
    try:
        found = read(path, Columns(), "")
    except MlwrightError:
        return
    assert len(found.rows.labels) == len(found.rows.predictions)


# --- the conclusion -----------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(list(GateVerdict))))
def test_a_gate_is_as_good_as_its_worst_check(verdicts: list[GateVerdict]) -> None:
    found = conclude([Check("n", each, "r", "f") for each in verdicts])
    assert (found.verdict is GateVerdict.PASS) == (bool(verdicts) and set(verdicts) == {GateVerdict.PASS})
    assert (found.verdict is GateVerdict.FAIL) == (GateVerdict.FAIL in verdicts)
