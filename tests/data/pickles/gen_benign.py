#!/usr/bin/env python3
"""Benign models: real sklearn/xgboost/lightgbm/pandas/numpy objects + torch-style zips (made without torch, same opcodes/globals)."""
import os, sys, json, io, pickle, zipfile, types, warnings, collections
warnings.filterwarnings("ignore")
import numpy as np, pandas as pd, joblib, cloudpickle
O=os.path.abspath(sys.argv[1] if len(sys.argv)>1 else "benign"); os.makedirs(O,exist_ok=True)
import shutil; shutil.rmtree(O); os.makedirs(O)
from sklearn import linear_model, ensemble, svm, neighbors, tree, naive_bayes, cluster, decomposition, preprocessing, pipeline, compose, neural_network, impute, feature_extraction, gaussian_process, calibration, isotonic, model_selection, discriminant_analysis, mixture, manifold
rng=np.random.RandomState(0); X=rng.randn(200,6); y=(X[:,0]+X[:,1]>0).astype(int); yr=X[:,0]*2+X[:,1]
M={
"logreg":linear_model.LogisticRegression().fit(X,y),"ridge":linear_model.Ridge().fit(X,yr),"sgd":linear_model.SGDClassifier().fit(X,y),
"lasso":linear_model.Lasso(.01).fit(X,yr),"rf":ensemble.RandomForestClassifier(20).fit(X,y),"gbc":ensemble.GradientBoostingClassifier(n_estimators=10).fit(X,y),
"hgb":ensemble.HistGradientBoostingClassifier(max_iter=10).fit(X,y),"iforest":ensemble.IsolationForest(n_estimators=10).fit(X),"extratrees":ensemble.ExtraTreesRegressor(10).fit(X,yr),
"adaboost":ensemble.AdaBoostClassifier(n_estimators=5).fit(X,y),"stack":ensemble.StackingClassifier([("a",linear_model.LogisticRegression()),("b",tree.DecisionTreeClassifier())]).fit(X,y),
"svc":svm.SVC(probability=False).fit(X,y),"knn":neighbors.KNeighborsClassifier(algorithm="kd_tree").fit(X,y),"balltree":neighbors.KNeighborsRegressor(algorithm="ball_tree").fit(X,yr),
"tree":tree.DecisionTreeClassifier().fit(X,y),"gnb":naive_bayes.GaussianNB().fit(X,y),"kmeans":cluster.KMeans(3,n_init=2).fit(X),"dbscan":cluster.DBSCAN().fit(X),
"pca":decomposition.PCA(2).fit(X),"nmf":decomposition.NMF(2,max_iter=50).fit(abs(X)),"scaler":preprocessing.StandardScaler().fit(X),"onehot":preprocessing.OneHotEncoder().fit(y[:,None]),
"mlp":neural_network.MLPClassifier((8,),max_iter=30).fit(X,y),"gp":gaussian_process.GaussianProcessRegressor().fit(X[:40],yr[:40]),"calib":calibration.CalibratedClassifierCV(linear_model.LogisticRegression()).fit(X,y),
"isotonic":isotonic.IsotonicRegression().fit(X[:,0],yr),"lda":discriminant_analysis.LinearDiscriminantAnalysis().fit(X,y),"gmm":mixture.GaussianMixture(2).fit(X),
"grid":model_selection.GridSearchCV(tree.DecisionTreeClassifier(),{"max_depth":[2,3]}).fit(X,y),
"tfidf":feature_extraction.text.TfidfVectorizer().fit(["alpha beta gamma","beta gamma delta"]),
"pipe":pipeline.Pipeline([("i",impute.SimpleImputer()),("s",preprocessing.StandardScaler()),("m",linear_model.LogisticRegression())]).fit(X,y),
"coltrans":compose.ColumnTransformer([("a",preprocessing.StandardScaler(),[0,1]),("b","passthrough",[2])]).fit(X),
"functiontrans":preprocessing.FunctionTransformer(np.log1p).fit(abs(X)),
"bagging":ensemble.BaggingClassifier(tree.DecisionTreeClassifier(),5).fit(X,y),
}
import xgboost as xgb, lightgbm as lgb
M["xgb_clf"]=xgb.XGBClassifier(n_estimators=5).fit(X,y); M["lgb_clf"]=lgb.LGBMClassifier(n_estimators=5,verbose=-1).fit(X,y); M["xgb_booster"]=M["xgb_clf"].get_booster()
M["df"]=pd.DataFrame({"a":[1,2],"b":["x","y"],"t":pd.to_datetime(["2024-01-01","2024-01-02"])}); M["series_cat"]=pd.Series(["a","b"],dtype="category")
M["nparr"]=X; M["dict_np5"]={f"w{i}":np.zeros(100) for i in range(20)}; M["plain"]={"a":[1,2.5,"x",None,True],"b":(1,2),"c":{1,2},"d":b"xx","e":bytearray(b"hello")}
M["datetime"]={"d":__import__("datetime").datetime(2024,1,1),"p":__import__("pathlib").PurePosixPath("/x"),"dec":__import__("decimal").Decimal("1.2"),"u":__import__("uuid").UUID(int=1),"od":collections.OrderedDict(a=1),"dd":collections.defaultdict(list,a=[1]),"ct":collections.Counter("aab")}
n=0; I=[]
def put(fn,b,kind="std"):
    open(os.path.join(O,fn),"wb").write(b); I.append({"file":"benign/"+fn,"kind":kind})
for k,m in M.items():
    put(k+".pkl",pickle.dumps(m,4))
for k in ("logreg","rf","pipe","hgb","nparr","dict_np5","plain","xgb_clf","kmeans","df"):
    put(k+"_p5.pkl",pickle.dumps(M[k],5)); put(k+"_p2.pkl",pickle.dumps(M[k],2))
    b=io.BytesIO(); joblib.dump(M[k],b); put(k+".joblib",b.getvalue())
for k in ("logreg","rf","pipe"):
    b=io.BytesIO(); joblib.dump(M[k],b,compress=("zlib",3)); put(k+"_z.joblib",b.getvalue())
put("float_p0.pkl",pickle.dumps({"x":1.5,"y":[1,2]},0))
np.save(os.path.join(O,"arr.npy"),X); I.append({"file":"benign/arr.npy","kind":"std"}); np.savez_compressed(os.path.join(O,"arr.npz"),a=X); I.append({"file":"benign/arr.npz","kind":"std"})
# cloudpickle: by-value function / class (MLflow PythonModel style): inherently code, kept apart
class _F: pass
src="def f(x):\n    return x*2\nclass PM:\n    def predict(self,ctx,x):\n        return [i*2 for i in x]\n"; ns={"__name__":"__main__"}; exec(src,ns)
import __main__
for q in ("f","PM"): setattr(__main__,q,ns[q]); ns[q].__module__="__main__"
put("cloudpickle_fn.pkl",cloudpickle.dumps(ns["f"]),"code"); put("cloudpickle_pymodel.pkl",cloudpickle.dumps(ns["PM"]()),"code")
put("functiontrans_cloud.pkl",cloudpickle.dumps(preprocessing.FunctionTransformer(ns["f"])),"code")
# torch-like zip: same globals and persistent ids as torch.save
def fake(mod,name):
    m=sys.modules.setdefault(mod,types.ModuleType(mod)); 
    if "." in mod: fake_parent=sys.modules.setdefault(mod.split(".")[0],types.ModuleType(mod.split(".")[0]))
    f=type(name,(),{}) if name[0].isupper() else types.FunctionType((lambda *a:None).__code__,{},name); f.__module__=mod; f.__qualname__=f.__name__=name; setattr(m,name,f); return f
rb=fake("torch._utils","_rebuild_tensor_v2"); rp=fake("torch._utils","_rebuild_parameter"); FS=fake("torch","FloatStorage"); HS=fake("torch","BFloat16Storage")
class St: 
    def __init__(s,k,n,c=FS): s.k,s.n,s.c=k,n,c
class T:
    def __init__(s,k,shape,c=FS): s.k,s.shape,s.c=k,shape,c
    def __reduce__(s):
        n=int(np.prod(s.shape)); st=tuple(int(np.prod(s.shape[i+1:])) for i in range(len(s.shape)))
        return rb,(St(s.k,n,s.c),0,s.shape,st,False,collections.OrderedDict())
class PK(pickle.Pickler):
    def persistent_id(s,o):
        if isinstance(o,St): return ("storage",o.c,str(o.k),"cpu",o.n)
def torchzip(sd):
    b=io.BytesIO(); PK(b,2).dump(sd); z=io.BytesIO(); zf=zipfile.ZipFile(z,"w"); zf.writestr("archive/data.pkl",b.getvalue())
    for k,t in sd.items():
        if isinstance(t,T): zf.writestr(f"archive/data/{t.k}",bytes(4*int(np.prod(t.shape))))
    zf.writestr("archive/version","3\n"); zf.close(); return z.getvalue()
put("state_dict.pt",torchzip(collections.OrderedDict((f"l{i}.weight",T(i,(16,16))) for i in range(12))))
put("state_dict.bin",torchzip(collections.OrderedDict((f"l{i}.weight",T(i,(16,16),HS)) for i in range(12))))
put("ckpt.ckpt",torchzip({"epoch":3,"loss":.1,"w":T(0,(4,4)),"opt":{"lr":1e-3}}))
try: from safetensors.numpy import save
except ImportError:
    def save(tensors):  # the same bytes where the package is not installed
        places,data={},b""
        for name,t in tensors.items(): places[name]={"dtype":"F32","shape":list(t.shape),"data_offsets":[len(data),len(data)+t.nbytes]}; data+=t.tobytes()
        head=json.dumps(places,separators=(",",":")).encode(); head+=b" "*(-len(head)%8); return len(head).to_bytes(8,"little")+head+data
put("w.safetensors",save({"a":X.astype("f4")}))
import skops.io as sio
put("pipe.skops",sio.dumps(M["pipe"]))
M["xgb_booster"].save_model(os.path.join(O,"m.ubj")); I.append({"file":"benign/m.ubj","kind":"std"}); M["xgb_booster"].save_model(os.path.join(O,"m.json")); I.append({"file":"benign/m.json","kind":"std"})
M["lgb_clf"].booster_.save_model(os.path.join(O,"m.txt")); I.append({"file":"benign/m.txt","kind":"std"})
json.dump(I,open(os.path.join(os.path.dirname(O),"benign.json"),"w"),indent=1); print(len(I),collections.Counter(x["kind"] for x in I))
