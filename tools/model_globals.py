"""Writes the scanner's allow-list: the globals that harmless model pickles need, as the real libraries have them.

    ~/.cache/mlwright/peers/mlflow-3.17.2/bin/python -m tools.model_globals \\
        > src/mlwright/security/scanning/allowed.txt

It runs where the libraries are (`make peers`); the scanner itself imports none of them. Classes are found by their
bases, so that new estimators come along; everything else is named here one by one, because somebody looked at it.
The question to each: can calling it with any arguments, or setting its state to anything, run code of the pickle's
author? Not here for that reason, though models use them: `scipy.stats` distributions (their state holds source text
that is executed), `joblib.Memory` (makes folders), `torch.storage._load_from_bytes` (loads a pickle), `getattr`,
`operator.attrgetter`, `functools.reduce`, `map`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Iterable, Iterator

HEADER = """\
# Exact globals that a pickle may name; see allow.py. Written by tools/model_globals.py: change that, not this.
# Before a name, "&": may be referred to, not called; "@": may be made without calling its __init__.
"""

#: Modules of scikit-learn with nothing that a fitted model holds, or with side effects.
_LEFT_OUT = (
    ".tests", ".externals", ".datasets", ".experimental", ".callback", ".inspection", "._testing", "._mocking",
    "._plot", "conftest", "_build_utils", "estimator_checks", "_estimator_html", "_repr_html", "_test_common",
    "._response", ".parallel", "._pprint", ".deprecation", "._reingold_tilford", "._export", "._available_if",
)  # fmt: skip
#: Classes of these modules are plain data or compiled numeric code.
_WHOLE_MODULES = (
    "sklearn._loss._loss", "sklearn._loss.link", "sklearn._loss.loss", "sklearn.cluster._birch",
    "sklearn.cluster._bisect_k_means", "sklearn.cluster._hdbscan._tree", "sklearn.cluster._hierarchical_fast",
    "sklearn.ensemble._hist_gradient_boosting.common", "sklearn.ensemble._hist_gradient_boosting.predictor",
    "sklearn.gaussian_process.kernels", "sklearn.linear_model._sgd_fast", "sklearn.metrics._dist_metrics",
    "sklearn.metrics._scorer", "sklearn.model_selection._split", "sklearn.neighbors._ball_tree",
    "sklearn.neighbors._kd_tree", "sklearn.neighbors._quad_tree", "sklearn.neural_network._stochastic_optimizers",
    "sklearn.tree._criterion", "sklearn.tree._splitter", "sklearn.tree._tree", "sklearn.utils._bunch",
    "sklearn.utils._encode", "sklearn.utils._metadata_requests", "sklearn.utils._tags",
)  # fmt: skip
#: Functions that models refer to by name. Pure computations all of them.
_FUNCTION_MODULES = (
    "sklearn.metrics",
    "sklearn.metrics.pairwise",
    "sklearn.feature_selection",
    "sklearn.utils.extmath",
)
_NOT_PURE = {"pairwise_distances_chunked", "make_scorer", "get_scorer", "check_scoring", "deprecated", "delayed"}

_CURATED = """
_codecs encode
builtins object list dict tuple set frozenset bytes bytearray str int float complex bool slice range
copyreg _reconstructor __newobj__
collections OrderedDict defaultdict Counter deque
datetime date datetime time timedelta timezone
decimal Decimal
fractions Fraction
functools partial
uuid UUID SafeUUID
pathlib PurePath PurePosixPath PureWindowsPath Path PosixPath WindowsPath
pathlib._local PurePath PurePosixPath PureWindowsPath Path PosixPath WindowsPath
re _compile
joblib.numpy_pickle NumpyArrayWrapper

numpy &mean &median &sum &min &max &amin &amax &std &var &average &nanmean &nanmedian &clip &round &argmax &argmin
numpy dtype ndarray @matrix @recarray record
numpy._core.multiarray _reconstruct scalar
numpy.core.multiarray _reconstruct scalar
numpy._core.numeric _frombuffer
numpy.core.numeric _frombuffer
numpy.ma MaskedArray
numpy.ma.core MaskedArray _mareconstruct
numpy.matrixlib.defmatrix matrix
numpy.random._pickle __bit_generator_ctor __generator_ctor __randomstate_ctor
numpy.random._mt19937 MT19937
numpy.random._pcg64 PCG64 PCG64DXSM
numpy.random._philox Philox
numpy.random._sfc64 SFC64
numpy.random._generator Generator
numpy.random.mtrand RandomState
numpy.random.bit_generator SeedSequence __pyx_unpickle_SeedSequence
numpy.rec recarray record
numpy.dtypes BoolDType Int8DType Int16DType Int32DType Int64DType UInt8DType UInt16DType UInt32DType UInt64DType
numpy.dtypes Float16DType Float32DType Float64DType Complex64DType Complex128DType ObjectDType StrDType BytesDType
numpy.dtypes DateTime64DType TimeDelta64DType VoidDType StringDType

scipy.sparse csr_matrix csc_matrix coo_matrix bsr_matrix dia_matrix dok_matrix lil_matrix csr_array csc_array
scipy.sparse._csr csr_matrix csr_array
scipy.sparse._csc csc_matrix csc_array
scipy.sparse._coo coo_matrix coo_array
scipy.sparse._bsr bsr_matrix bsr_array
scipy.sparse._dia dia_matrix dia_array
scipy.sparse._dok dok_matrix dok_array
scipy.sparse._lil lil_matrix lil_array
scipy.sparse.csr csr_matrix
scipy.sparse.csc csc_matrix
scipy.sparse.coo coo_matrix
scipy._lib.array_api_compat.numpy._aliases &asarray
scipy.special &expit &logit &xlogy &erf
scipy.interpolate._interpolate interp1d
scipy.interpolate.interpolate interp1d
scipy.interpolate._bsplines BSpline

pandas DataFrame Series Index RangeIndex MultiIndex DatetimeIndex TimedeltaIndex PeriodIndex IntervalIndex
pandas CategoricalIndex Categorical CategoricalDtype StringDtype Interval Period Timestamp Timedelta
pandas Int8Dtype Int16Dtype Int32Dtype Int64Dtype UInt8Dtype UInt16Dtype UInt32Dtype UInt64Dtype
pandas Float32Dtype Float64Dtype BooleanDtype DatetimeTZDtype PeriodDtype IntervalDtype SparseDtype
pandas.arrays ArrowStringArray StringArray DatetimeArray TimedeltaArray PeriodArray IntervalArray BooleanArray
pandas.arrays IntegerArray FloatingArray SparseArray NumpyExtensionArray PandasArray
pandas.core.frame DataFrame
pandas.core.series Series
pandas.core.arrays.categorical Categorical
pandas.core.arrays.datetimes DatetimeArray
pandas.core.arrays.timedeltas TimedeltaArray
pandas.core.arrays.string_ StringArray StringDtype
pandas.core.arrays.string_arrow ArrowStringArray
pandas.core.arrays.integer IntegerArray Int8Dtype Int16Dtype Int32Dtype Int64Dtype
pandas.core.arrays.floating FloatingArray Float32Dtype Float64Dtype
pandas.core.arrays.boolean BooleanArray BooleanDtype
pandas.core.arrays.interval IntervalArray
pandas.core.arrays.period PeriodArray
pandas.core.arrays.numpy_ NumpyExtensionArray PandasArray
pandas.core.arrays.sparse.array SparseArray
pandas.core.dtypes.dtypes CategoricalDtype DatetimeTZDtype PeriodDtype IntervalDtype SparseDtype
pandas.core.flags Flags
pandas.core.indexes.base Index _new_Index
pandas.core.indexes.category CategoricalIndex
pandas.core.indexes.datetimes DatetimeIndex _new_DatetimeIndex
pandas.core.indexes.frozen FrozenList
pandas.core.indexes.interval IntervalIndex
pandas.core.indexes.multi MultiIndex
pandas.core.indexes.numeric Int64Index Float64Index UInt64Index
pandas.core.indexes.period PeriodIndex _new_PeriodIndex
pandas.core.indexes.range RangeIndex
pandas.core.indexes.timedeltas TimedeltaIndex
pandas.core.internals.blocks new_block
pandas.core.internals.managers BlockManager SingleBlockManager
pandas._libs.arrays NDArrayBacked __pyx_unpickle_NDArrayBacked
pandas._libs.internals BlockPlacement _unpickle_block
pandas &NA &NaT
pandas._libs.interval Interval __pyx_unpickle_IntervalMixin
pandas._libs.missing NAType
pandas._libs.tslibs.nattype NaTType _nat_unpickle
pandas._libs.tslibs.offsets BaseOffset Day Hour Minute Second Milli Micro Nano BusinessDay MonthEnd MonthBegin
pandas._libs.tslibs.offsets QuarterEnd QuarterBegin YearEnd YearBegin Week DateOffset
pandas._libs.tslibs.period Period
pandas._libs.tslibs.timedeltas Timedelta _timedelta_unpickle
pandas._libs.tslibs.timestamps Timestamp _unpickle_timestamp
pyarrow.lib _restore_array py_buffer type_for_alias
pytz _UTC _p

sklearn.calibration @_CalibratedClassifier
sklearn.cluster._kmeans &_kmeans_single_lloyd &_kmeans_single_elkan
sklearn.compose._column_transformer @make_column_selector
sklearn.impute._iterative @_ImputerTriplet
sklearn.linear_model._linear_loss @LinearModelLoss
sklearn.model_selection._search @ParameterGrid @ParameterSampler
sklearn.tree._tree Tree
sklearn.neighbors._ball_tree newObj
sklearn.neighbors._kd_tree newObj
sklearn.neighbors.ball_tree newObj BallTree
sklearn.neighbors.kd_tree newObj KDTree
sklearn.neighbors._dist_metrics newObj EuclideanDistance ManhattanDistance ChebyshevDistance MinkowskiDistance
sklearn.metrics._dist_metrics newObj EuclideanDistance ManhattanDistance ChebyshevDistance MinkowskiDistance
sklearn.ensemble._gb_losses BinomialDeviance MultinomialDeviance LeastSquaresError LeastAbsoluteError
sklearn.ensemble._gb_losses HuberLossFunction QuantileLossFunction ExponentialLoss
sklearn.utils Bunch
sklearn.utils.deprecation DeprecationDict

xgboost.core @Booster
xgboost.sklearn @XGBModel @XGBClassifier @XGBRegressor @XGBRanker @XGBRFClassifier @XGBRFRegressor
lightgbm.basic @Booster
lightgbm.sklearn @LGBMModel @LGBMClassifier @LGBMRegressor @LGBMRanker

torch Size @Tensor device &dtype &layout &memory_format Generator
torch &float16 &float32 &float64 &bfloat16 &half &float &double &int8 &int16 &int32 &int64 &uint8 &uint16 &uint32
torch &uint64 &bool
torch &complex32 &complex64 &complex128 &float8_e4m3fn &float8_e5m2 &float8_e4m3fnuz &float8_e5m2fnuz
torch &float8_e8m0fnu
torch &qint8 &quint8 &qint32 &quint4x2 &quint2x4 &short &int &long &strided &sparse_coo
torch &per_tensor_affine &per_tensor_symmetric &per_channel_affine &per_channel_symmetric
torch &per_channel_affine_float_qparams
torch &FloatStorage &DoubleStorage &HalfStorage &BFloat16Storage &LongStorage &IntStorage &ShortStorage
torch &CharStorage
torch &ByteStorage &BoolStorage &ComplexFloatStorage &ComplexDoubleStorage &QInt8Storage &QInt32Storage
torch &QUInt8Storage
torch &QUInt4x2Storage &QUInt2x4Storage
torch.storage &UntypedStorage &TypedStorage
torch._utils _rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state
torch._utils _rebuild_qtensor _rebuild_sparse_tensor _rebuild_meta_tensor_no_storage _rebuild_wrapper_subclass
torch._utils _rebuild_device_tensor_from_numpy _rebuild_device_tensor_from_cpu_tensor
torch._tensor Tensor _rebuild_from_type_v2
torch.nn.parameter Parameter Buffer UninitializedParameter
torch.serialization _get_layout
torch.torch_version TorchVersion
"""


def curated() -> Iterator[tuple[str, str]]:
    """The globals that are named above."""
    for line in _CURATED.splitlines():
        module, *names = line.split() or [""]
        for name in names:
            yield module, name


def sklearn_classes() -> Iterator[tuple[str, str]]:
    """Estimators, and the parts that they are made of."""
    package = importlib.import_module("sklearn")
    base = importlib.import_module("sklearn.base").BaseEstimator
    for found in pkgutil.walk_packages(package.__path__, "sklearn."):
        if any(part in found.name for part in _LEFT_OUT):
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            here = inspect.isclass(value) and value.__module__ == found.name and value.__qualname__ == name
            if here and (found.name in _WHOLE_MODULES or issubclass(value, base)):
                called = value.__reduce__ is not object.__reduce__  # else pickles make it without __init__
                yield found.name, name if called else f"@{name}"


def functions() -> Iterator[tuple[str, str]]:
    """Pure functions that models refer to: numpy's ufuncs, metrics, kernels, scores of features."""
    numpy = importlib.import_module("numpy")
    for name, value in vars(numpy).items():
        if isinstance(value, numpy.ufunc) and name == value.__name__:
            yield "numpy", f"&{name}"
    for name in sorted({each.__name__ for each in numpy.sctypeDict.values()}):
        yield "numpy", name
    for public in _FUNCTION_MODULES:
        for name, value in vars(importlib.import_module(public)).items():
            pure = not name.startswith("_") and name not in _NOT_PURE
            if pure and inspect.isroutine(value) and value.__module__.startswith("sklearn."):
                yield value.__module__, f"&{name}"


def render(pairs: Iterable[tuple[str, str]]) -> str:
    """The text of the file: a line for each module. Of two marks for one name the first counts."""
    modules: dict[str, dict[str, str]] = {}
    for module, name in pairs:
        modules.setdefault(module, {}).setdefault(name.lstrip("&@"), name)
    lines = [" ".join([module, *(names[bare] for bare in sorted(names))]) for module, names in modules.items()]
    return HEADER + "\n".join(sorted(lines)) + "\n"


def main() -> None:
    """Print the list."""
    warnings.simplefilter("ignore")
    print(render([*curated(), *sklearn_classes(), *functions()]), end="")


if __name__ == "__main__":
    main()
