#!/usr/bin/env python3
"""Every estimator of scikit-learn, fitted, by pickle and joblib; and what numpy, pandas and SciPy pickle besides.

usage: gen_estimators.py OUTDIR
"""
import os, pickle, sys, warnings
warnings.filterwarnings("ignore")
import joblib, numpy as np, pandas as pd, scipy.sparse as sp
from sklearn.utils import all_estimators
from sklearn.utils._test_common.instance_generator import _construct_instances
out = sys.argv[1]; os.makedirs(out)
X = abs(np.random.RandomState(0).randn(60, 4)) + .1; y = (X[:, 0] > .8).astype(int)
def put(name, value):
    with open(f"{out}/{name}.pkl", "wb") as file: pickle.dump(value, file)
    joblib.dump(value, f"{out}/{name}.joblib")
for name, cls in all_estimators():
    try: estimator = next(iter(_construct_instances(cls)))
    except Exception: continue
    for data in (X, X[:, 0]):
        try: estimator.fit(data, y); break
        except Exception: pass
    put(name, estimator)
put("frame", pd.DataFrame({"c": pd.Categorical(["a", "b"]), "i": pd.array([1, None], dtype="Int64"), "s": pd.array(["x", None], dtype="string"),
    "t": pd.to_datetime(["2024", "2025"]).tz_localize("UTC"), "p": pd.period_range("2024", periods=2, freq="M"), "v": pd.interval_range(0, 2)}))
put("multi", pd.Series([1, 2], index=pd.MultiIndex.from_tuples([(1, 2), (3, 4)])))
put("sparse", [sp.random(5, 5, .5, form) for form in ("csr", "csc", "coo", "lil", "dok", "dia", "bsr")])
put("arrays", [np.ma.array([1, 2], mask=[0, 1]), np.rec.array([(1, 2.)], dtype=[("a", int), ("b", float)]), np.array(["2024"], dtype="M8[ns]"),
    np.random.RandomState(1), np.random.default_rng(1), np.matrix([1]), np.array(["a", 1], dtype=object), np.asfortranarray(np.eye(300))])
for packing in ("zlib", "gzip", "bz2", "xz", "lzma"): joblib.dump({"x": np.eye(50)}, f"{out}/{packing}.joblib", compress=(packing, 3))
