"""Compiles a model to ONNX and proves it on rows: `python -s compile_onnx.py REQUEST`, within the model's environment.

REQUEST is JSON (`mlwright.serving.compiling`). Writes `model.onnx` and `report.json` into its folder `target`. Standard
library, and what the model and its converter need: https://onnx.ai/sklearn-onnx/
"""

import csv
import importlib
import importlib.util
import json
import re
import sys
import time
import traceback
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

#: The newest opsets that onnxruntime of the last two years runs.
_OPSET = {"": 19, "ai.onnx.ml": 3}
_NOISE = 0.05
_LIBRARIES = ("lightgbm", "numpy", "onnx", "onnxmltools", "onnxruntime", "scikit-learn", "skl2onnx", "xgboost")
_FLOATS, _INTEGERS = {"double", "float"}, {"long", "integer"}


class Refusal(Exception):
    """The model is not compiled; says why."""


def main() -> None:
    """See the module."""
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    began = time.perf_counter()
    try:
        report = _compiled(asked)
    except Refusal as refusal:
        report = {"verdict": "refused", "reason": str(refusal)}
    except Exception as error:  # the boundary of the model and its converter: whatever they raise is why
        traceback.print_exc()
        report = {"verdict": "refused", "reason": f"{type(error).__name__}: {error}"[:2_000]}
    report |= {"versions": _versions(), "seconds": round(time.perf_counter() - began, 3), "seed": asked["seed"]}
    (Path(asked["target"]) / "report.json").write_text(json.dumps(report, indent=2, sort_keys=True), encoding="utf-8")


def _compiled(asked: dict[str, Any]) -> dict[str, Any]:
    numpy: Any = importlib.import_module("numpy")
    loaders: Any = importlib.import_module("modelworker.loaders")
    predict = loaders.load(Path(asked["folder"]), asked["loader"], asked["options"], asked["generic"]).predict
    model, asks = getattr(predict, "__self__", None), getattr(predict, "__name__", "")
    if model is None or asks not in {"predict", "predict_proba"}:
        raise Refusal("only models with scikit-learn's predict or predict_proba are compiled")
    stored = [_columns(Path(path), asked) for path in asked["rows"]]
    rows = {name: [value for table in stored for value in table[name]] for name in (stored[0] if stored else {})}
    count = len(next(iter(rows.values()), []))
    if not count:
        raise Refusal("there are no stored rows on which it could be proved")
    tables = [rows, _perturbed(numpy, rows, asked)]
    wanted = [_asked(predict, asked, table) for table in tables]
    is_classifier = asks == "predict" and hasattr(model, "predict_proba")
    chances = [_asked(model.predict_proba, asked, table) for table in tables] if is_classifier else []
    form, whole = _converted_somehow(model, asked)
    file = Path(asked["target"]) / "model.onnx"
    for graph in _graphs(whole, asks, wanted[0], getattr(model, "classes_", None)):
        answered = [_run(loaders, graph, file, asked, form, table) for table in tables]
        compared = [_compared("answers", *pair, asked) for pair in zip(answered, wanted, strict=True)]
        if not any(each["mismatches"] for each in compared):
            break
    if chances:
        compared += _by_chances(loaders, whole, asked, form, tables, chances)
    worst = [each for each in compared if each["mismatches"]]
    said = [f"{each['mismatches']} of {each['values']} {each['of']} (by {each['largest']:.3g})" for each in worst]
    return {
        "verdict": "refused" if worst else "same",
        "reason": f"it answers otherwise: {', '.join(said)}" if worst else "",
        "rows": {"stored": count, "perturbed": asked["perturbed"]},
        "compared": compared,
        "inputs": form.split()[0],
        "tolerance": asked["tolerance"],
    }


# --- rows -------------------------------------------------------------------------------------------------------------


def _columns(path: Path, asked: dict[str, Any]) -> dict[str, list[Any]]:
    """The model's inputs in a file of rows, by column; "" of a matrix has lists."""
    names = [name for name, _ in asked["columns"]]
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            read = list(csv.DictReader(file))
        found = {name: [each.get(name) for each in read] for name in names}
    elif path.suffix == ".parquet":
        table = importlib.import_module("pandas").read_parquet(path, columns=names or None)
        found = {name: table[name].tolist() for name in names or table.columns}
    else:
        found = _of_json(json.loads(path.read_text(encoding="utf-8")), names)
    if not names:
        return found
    missing = [name for name in names if name not in found or None in found[name]]
    if missing:
        raise Refusal(f"{path.name} lacks values of {', '.join(missing[:5])}")
    kinds = dict(asked["columns"])
    return {name: [_value(value, kinds[name]) for value in found[name]] for name in names}


def _of_json(document: Any, names: list[str]) -> dict[str, list[Any]]:
    """Rows in MLflow's words."""
    if isinstance(document, dict):
        for word in ("dataframe_split", "dataframe_records", "inputs", "instances"):
            document = document.get(word, document) if isinstance(document, dict) else document
    if isinstance(document, dict) and {"columns", "data"} <= document.keys():
        columns = [str(each) for each in document["columns"]]
        return {name: [row[place] for row in document["data"]] for place, name in enumerate(columns)}
    if isinstance(document, dict):
        return {str(name): list(values) for name, values in document.items()}
    if document and isinstance(document[0], dict):
        return {name: [row.get(name) for row in document] for name in names or document[0]}
    if names and document and isinstance(document[0], list) and len(document[0]) == len(names):
        return {name: [row[place] for row in document] for place, name in enumerate(names)}
    return {"": list(document)}


def _value(value: Any, kind: str) -> Any:
    if kind in _FLOATS:
        return float(value) if value != "" else float("nan")
    if kind in _INTEGERS:
        return int(value)
    if kind == "boolean":
        return value in {True, "true", "True", "1"}
    return str(value)


def _perturbed(numpy: Any, rows: dict[str, list[Any]], asked: dict[str, Any]) -> dict[str, list[Any]]:
    """Rows near the stored ones: numbers a few percent off, everything else as in some stored row."""
    random = numpy.random.default_rng(asked["seed"])
    kinds, found = dict(asked["columns"]), {}
    for name, values in rows.items():
        chosen = numpy.asarray(values, dtype=object if isinstance(values[0], str) else None)
        chosen = chosen[random.integers(0, len(values), asked["perturbed"])]
        if chosen.dtype.kind in "fiu":
            moved = chosen * (1 + _NOISE * random.standard_normal(chosen.shape))
            chosen = numpy.rint(moved).astype("int64") if kinds.get(name) in _INTEGERS else moved
        found[name] = chosen.tolist()
    return found


# --- asking -----------------------------------------------------------------------------------------------------------


def _asked(predict: Any, asked: dict[str, Any], table: dict[str, list[Any]]) -> Any:
    """What the model itself answers."""
    numpy: Any = importlib.import_module("numpy")
    given: Any
    if not asked["columns"]:
        given = numpy.asarray(table[""])
    elif importlib.util.find_spec("pandas") is not None:
        given = importlib.import_module("pandas").DataFrame(table)
    elif asked["matrix"]:
        given = _matrix(table)
    else:
        raise Refusal("its inputs are columns of several types, and there is no pandas")
    return numpy.asarray(predict(given))


def _matrix(table: dict[str, list[Any]]) -> Any:
    numpy: Any = importlib.import_module("numpy")
    return numpy.column_stack([numpy.asarray(values) for values in table.values()])


def _run(loaders: Any, graph: Any, file: Path, asked: dict[str, Any], form: str, table: dict[str, list[Any]]) -> Any:
    """What a graph answers, loaded from its file and asked as the serving host does it."""
    numpy: Any = importlib.import_module("numpy")
    file.write_bytes(graph.SerializeToString())
    predict = loaders.load(file.parent, "onnx", {"data": file.name}, {}).predict
    if not asked["columns"]:
        return predict(numpy.asarray(table[""]))
    return predict(_matrix(table) if form == "matrix" else {name: numpy.asarray(table[name]) for name in table})


# --- converting -------------------------------------------------------------------------------------------------------


def _forms(asked: dict[str, Any]) -> list[str]:
    """How the graph may take its inputs, the cheapest first. Whole numbers are also tried as floats."""
    columns = ["columns"] + ["columns as floats"] * any(kind in _INTEGERS for _, kind in asked["columns"])
    return ["matrix"] if not asked["columns"] else ["matrix", *columns] if asked["matrix"] else columns


def _converted_somehow(model: Any, asked: dict[str, Any]) -> tuple[str, Any]:
    """How the graph takes its inputs, and the graph, with all outputs that the converter makes."""
    failures = []
    for each in (model, *(step for _, step in getattr(model, "steps", ()))):
        _ease(each)
    for form in _forms(asked):
        try:
            return form, _with_names(_converted(model, asked, form), form, asked)
        except Exception as error:  # the boundary of the converter, which tells no reason by its types
            failures.append(f"{form}: {type(error).__name__}: {' '.join(str(error).split())}"[:500])
    raise Refusal(f"it cannot be converted: {'; '.join(failures)}")


def _with_names(graph: Any, form: str, asked: dict[str, Any]) -> Any:
    """The graph with its inputs named as the model's columns: the converter writes "a b" as "a_b"."""
    if form == "matrix":
        return graph
    names, inputs = [name for name, _ in asked["columns"]], [each.name for each in graph.graph.input]
    if len(inputs) != len(names):  # those that the model does not use are gone
        written = {re.sub(r"\W", "_", name, flags=re.A): name for name in names}
        names = [written[each] for each in inputs]
    known = dict(zip(inputs, names, strict=True))
    for each in graph.graph.input:
        each.name = known[each.name]
    for node in graph.graph.node:
        node.input[:] = [known.get(name, name) for name in node.input]
    return graph


def _ease(model: Any) -> None:
    """Bring a model into the form in which the converters know it; it has answered before."""
    if type(model).__name__.startswith("XGB"):  # they want the names f0, f1, …
        model.get_booster().feature_names = None
    baseline: Any = getattr(model, "_baseline_prediction", None)
    if getattr(baseline, "shape", None) == (1, 1):  # of scikit-learn 1.9, for which there is no converter yet
        model._baseline_prediction = baseline.ravel().tolist()[0]


def _converted(model: Any, asked: dict[str, Any], form: str) -> Any:
    is_booster = type(model).__module__.startswith("lightgbm.basic")
    types: Any = importlib.import_module(f"{'onnxmltools.convert' if is_booster else 'skl2onnx'}.common.data_types")
    if form == "matrix":
        width = len(asked["columns"]) or getattr(model, "n_features_in_", None)
        initial = [("inputs", types.FloatTensorType([None, width]))]
    else:
        initial = [(name, _type(types, kind, form)([None, 1])) for name, kind in asked["columns"]]
    if is_booster:
        tools: Any = importlib.import_module("onnxmltools")
        return tools.convert_lightgbm(model, initial_types=initial, target_opset=15, zipmap=False)
    _learn_of_others()
    converter: Any = importlib.import_module("skl2onnx")
    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    return converter.to_onnx(model, initial_types=initial, options=options, target_opset=_OPSET)


def _type(types: Any, kind: str, form: str) -> Any:
    if kind in _FLOATS or (kind in _INTEGERS and form == "columns as floats"):
        return types.FloatTensorType
    known = {"long": "Int64TensorType", "integer": "Int64TensorType", "boolean": "BooleanTensorType"}
    name = {**known, "string": "StringTensorType"}.get(kind)
    if name is None:
        raise Refusal(f"inputs of type {kind} are not compiled")
    return getattr(types, name)


def _learn_of_others() -> None:
    """Teach the converter of scikit-learn's models those of LightGBM and XGBoost, where they are installed."""
    if importlib.util.find_spec("onnxmltools") is None:
        return
    converter: Any = importlib.import_module("skl2onnx")
    shapes: Any = importlib.import_module("skl2onnx.common.shape_calculator")
    kinds = {
        "LGBM": (
            "lightgbm",
            "LightGbm",
            "onnxmltools.convert.lightgbm.operator_converters.LightGbm",
            "convert_lightgbm",
        ),
        "XGB": ("xgboost", "XGBoost", "onnxmltools.convert.xgboost.operator_converters.XGBoost", "convert_xgboost"),
    }
    for prefix, (library, spelled, module, function) in kinds.items():
        if importlib.util.find_spec(library) is None:
            continue
        theirs, convert = importlib.import_module(library), getattr(importlib.import_module(module), function)
        choices = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
        made = shapes.calculate_linear_classifier_output_shapes
        name = f"{prefix}Classifier"
        converter.update_registered_converter(getattr(theirs, name), f"{spelled}{name}", made, convert, options=choices)
        made, name = shapes.calculate_linear_regressor_output_shapes, f"{prefix}Regressor"
        split = {"split": None} if prefix == "LGBM" else None
        converter.update_registered_converter(getattr(theirs, name), f"{spelled}{name}", made, convert, options=split)


def _graphs(whole: Any, asks: str, answer: Any, classes: Any) -> Iterator[Any]:
    """Graphs with one output, of the type and shape of what the model answers.

    Where probabilities are equal, the converter's label may be another than scikit-learn's, which is the first of them.
    """
    outputs = [each.name for each in whole.graph.output]
    if classes is None and len(outputs) > 1:  # a booster of LightGBM answers the probability of the second class
        yield _told(whole, outputs[1], answer, second=answer.ndim == 1)
        return
    yield _told(whole, outputs[0 if asks == "predict" else -1], answer)
    if asks == "predict" and len(outputs) > 1 and getattr(classes, "ndim", 0) == 1:
        onnx: Any = importlib.import_module("onnx")
        graph = onnx.ModelProto()
        graph.CopyFrom(whole)
        is_text = classes.dtype.kind not in "iub"
        kind = onnx.TensorProto.STRING if is_text else onnx.TensorProto.INT64
        values = [str(each).encode() for each in classes] if is_text else [int(each) for each in classes]
        graph.graph.initializer.append(onnx.helper.make_tensor("known_classes", kind, [len(values)], values))
        make = onnx.helper.make_node
        graph.graph.node.append(make("ArgMax", [outputs[1]], ["first_best"], axis=1, keepdims=0, select_last_index=0))
        graph.graph.node.append(make("Gather", ["known_classes", "first_best"], ["best_class"], axis=0))
        del graph.graph.output[:]
        graph.graph.output.append(onnx.helper.make_tensor_value_info("best_class", kind, [None]))
        yield _told(graph, "best_class", answer)


def _told(whole: Any, name: str, answer: Any, *, second: bool = False) -> Any:
    """The graph with that output alone, or with its second column."""
    onnx: Any = importlib.import_module("onnx")
    graph = onnx.ModelProto()
    graph.CopyFrom(whole)
    (found,) = (each for each in graph.graph.output if each.name == name)
    is_text = answer.dtype.kind not in "fiub"
    kind = onnx.TensorProto.STRING if is_text else onnx.helper.np_dtype_to_tensor_dtype(answer.dtype)
    if found.type.tensor_type.elem_type != kind:
        if onnx.TensorProto.STRING in {kind, found.type.tensor_type.elem_type}:
            raise Refusal("it answers texts, and the graph does not, or the other way round")
        graph.graph.node.append(onnx.helper.make_node("Cast", [name], ["predictions_cast"], to=kind))
        name = "predictions_cast"
    if second:
        graph.graph.initializer.append(onnx.helper.make_tensor("second", onnx.TensorProto.INT64, [1], [1]))
        graph.graph.node.append(onnx.helper.make_node("Gather", [name, "second"], ["second_column"], axis=1))
        name = "second_column"
    shape = onnx.helper.make_tensor("predictions_shape", onnx.TensorProto.INT64, [answer.ndim], [-1, *answer.shape[1:]])
    graph.graph.initializer.append(shape)
    graph.graph.node.append(onnx.helper.make_node("Reshape", [name, "predictions_shape"], ["predictions"]))
    graph.graph.name = "model"  # the converter makes one up each time
    del graph.graph.output[:]
    graph.graph.output.append(onnx.helper.make_tensor_value_info("predictions", kind, [None, *answer.shape[1:]]))
    onnx.checker.check_model(graph)
    return graph


# --- comparing --------------------------------------------------------------------------------------------------------


def _compared(what: str, found: Any, wanted: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """How many values differ, and by how much.

    Labels may not. Numbers may by the tolerance times the number, or times what is usual (their root mean square) or 1
    where that is more: float32 has no more digits.
    """
    numpy: Any = importlib.import_module("numpy")
    found, wanted = numpy.asarray(found), numpy.asarray(wanted)
    if found.shape != wanted.shape:
        raise Refusal(f"its {what} have the shape {list(found.shape)}, not {list(wanted.shape)}")
    if wanted.dtype.kind == "f":
        apart = numpy.abs(found.astype("float64") - wanted.astype("float64"))
        usual = float(numpy.sqrt(numpy.nanmean(numpy.square(wanted)))) if wanted.size else 0.0
        allowed = asked["tolerance"] * numpy.maximum(numpy.abs(wanted), max(usual, 1.0))
        same = (apart <= allowed) | (numpy.isnan(found) & numpy.isnan(wanted))
        largest = float(numpy.nanmax(apart)) if apart.size else 0.0
    else:
        same = found.astype(wanted.dtype) == wanted
        largest = 0.0 if same.all() else 1.0
    return {"of": what, "values": int(wanted.size), "mismatches": int((~same).sum()), "largest": largest}


def _by_chances(
    loaders: Any, whole: Any, asked: dict[str, Any], form: str, tables: list[Any], chances: list[Any]
) -> list[dict[str, Any]]:
    """Classifiers that are asked for labels are compared by their probabilities, too: labels alone prove little."""
    if len(whole.graph.output) < 2:
        return []
    file, name = Path(asked["target"]) / "whole.onnx", whole.graph.output[1].name
    try:
        answered = [_run(loaders, whole, file, asked, form, table)[name] for table in tables]
    finally:
        file.unlink()
    return [_compared("probabilities", *pair, asked) for pair in zip(answered, chances, strict=True)]


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
