"""W6: start-up, footprint, graph building and session overhead of a module that is used like TensorFlow:
the interpreter's TensorFlow (1.x or 2.x), or kvarn with `--module kvarn`."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from common import *  # noqa

MODULE = "kvarn" if "kvarn" in sys.argv else "tensorflow"
SHORT = {"kvarn": "kvarn", "tensorflow": "tf"}[MODULE]
PRE = """
import os, time, warnings; warnings.filterwarnings('ignore')
os.environ['TF_CPP_MIN_LOG_LEVEL']='3'; os.environ['CUDA_VISIBLE_DEVICES']='-1'
def rss():
    for l in open('/proc/self/status'):
        if l.startswith('VmRSS'): return int(l.split()[1])*1024
"""
IMPORT = (
    PRE
    + """
t=time.perf_counter(); c=time.process_time(); r=rss()
import MODULE as tf
print('@', time.perf_counter()-t, time.process_time()-c, rss(), rss()-r, tf.__version__)
"""
)
BASE = PRE + "print('@', 0, 0, rss(), 0, 0)"
NUMPY = (
    PRE
    + """
t=time.perf_counter(); c=time.process_time(); r=rss()
import numpy
print('@', time.perf_counter()-t, time.process_time()-c, rss(), rss()-r, numpy.__version__)
"""
)
MAKE = (
    PRE
    + """
import sys, numpy as np, MODULE as tf
tf1 = tf if hasattr(tf, 'Session') else tf.compat.v1
with tf.Graph().as_default(), tf1.Session() as s:
    vs=[tf1.get_variable('layer%02d'%i, initializer=np.full((1024,), i, np.float32), use_resource=True) for i in range(64)]
    s.run(tf1.global_variables_initializer())
    tf1.train.Saver(vs).save(s, sys.argv[1], write_meta_graph=False, write_state=False)
"""
)
READ = (
    PRE
    + """
import sys, MODULE as tf
v = tf.train.load_variable(sys.argv[1], 'layer07')
assert v[0] == 7
print('@', 0, time.process_time(), rss(), 0, 0)
"""
)
GRAPH = (
    PRE
    + """
import sys, MODULE as tf
v = tf.__version__
tf = tf if hasattr(tf, 'Session') else tf.compat.v1
getattr(tf, 'disable_v2_behavior', lambda: 0)()
def med(x):
    x = sorted(x); return x[len(x)//2]
def build(n):
    t=time.perf_counter(); c=time.process_time()
    g = tf.Graph()
    with g.as_default():
        p = tf.placeholder(tf.float32, []); q = tf.placeholder(tf.float32, []); x = p
        for _ in range(n): x = tf.multiply(x, q)  # (a chain of unary ops would be fused to one)
    return g, {p: 1.0, q: 1.0}, x, time.perf_counter()-t, time.process_time()-c
build(10)
g, fd, x, tb, tbc = build(1000)
b = [build(1000)[3:] for _ in range(3)]
s = tf.Session(graph=g)
t=time.perf_counter(); c=time.process_time(); s.run(x, fd); t1=time.perf_counter()-t; c1=time.process_time()-c
w=[]
for _ in range(50):
    t=time.perf_counter(); c=time.process_time(); s.run(x, fd); w.append((time.perf_counter()-t, time.process_time()-c))
with tf.Graph().as_default():
    k = tf.constant(3.0); q = tf.placeholder(tf.float32, []); y = tf.identity(q)
    s = tf.Session()
    def per(f, n=2000):
        for _ in range(200): f()
        r=[]
        for _ in range(5):
            t=time.perf_counter(); c=time.process_time()
            for _ in range(n//5): f()
            r.append(((time.perf_counter()-t)/(n//5), (time.process_time()-c)/(n//5)))
        return med(r)
    a = per(lambda: s.run(k)); f = per(lambda: s.run(y, {q: 1.0}))
    call = s.make_callable(y, feed_list=[q]); h = per(lambda: call(1.0))
print('@@', ' '.join('%.9f %.9f' % z for z in [med(b), (t1, c1), med(w), a, f, h]), v)
"""
)


def child(code, *argv):
    code = code.replace("MODULE", MODULE)
    t = now()
    o = subprocess.check_output(
        [sys.executable, "-c", code] + list(argv), stderr=subprocess.DEVNULL, universal_newlines=True
    )
    t = now() - t
    l = [x for x in o.splitlines() if x.startswith("@")]
    return t, (l[-1].split()[1:] if l else None)


def main():
    a = args(reps=5, only=("all", "graph"), module=("tensorflow", "kvarn"))
    P = "W6"
    if a.only == "graph":
        return graph(a, P, SHORT + child(IMPORT)[1][4])
    imp, imprss, base, basew, npw, npr = [], [], [], [], [], []
    name = None
    for i in range(a.reps + 1):
        w, r = child(BASE)
        base.append(int(r[2]))
        basew.append(w)
        w, r = child(NUMPY)
        npw.append(float(r[0]))
        npr.append(int(r[2]))
        w, r = child(IMPORT)
        name = SHORT + r[4]
        if i:
            imp.append((float(r[0]), float(r[1])))
            imprss.append(int(r[2]))
    basew, npw = basew[1:], npw[1:]
    emit(P, "import", name, imp, limit_name="import numpy", limit=npw)
    emit(P, "RSS after import", name, imprss, unit="B", limit_name="bare python", limit=base)
    emit(
        P, "RSS after import (against numpy)", name, imprss, unit="B", limit_name="python + numpy", limit=npr
    )
    import sysconfig

    site = sysconfig.get_paths()["purelib"]
    tot = sum(os.path.getsize(f) for f in tree_files(site) if os.path.isfile(f) and not os.path.islink(f))
    own = sum(
        os.path.getsize(f)
        for m in (MODULE, MODULE + "_core")
        for f in tree_files(os.path.join(site, m))
        if os.path.isfile(f) and not os.path.islink(f)
    )
    emit(P, "installed bytes, site-packages", name, [float(tot)], unit="B")
    emit(P, "installed bytes, the package itself", name, [float(own)], unit="B")
    with Scratch("disk") as d:
        ck = os.path.join(d, "m")
        subprocess.check_call([sys.executable, "-c", MAKE.replace("MODULE", MODULE), ck], stderr=subprocess.DEVNULL)
        S = []
        for i in range(a.reps + 1):
            w, r = child(READ, ck)
            if i:
                S.append((w, float(r[1])))
        emit(P, "process start to one tensor read", name, S, limit_name="python -c pass", limit=basew)
    graph(a, P, name)


def graph(a, P, name):
    G = []
    for i in range(a.reps):
        w, r = child(GRAPH)
        G.append([float(x) for x in r[:12]])
    for k, c, n in (
        (0, "build, per op (1,000-op graph)", 1000.0),
        (2, "first run of the 1,000-op graph", 1.0),
        (4, "later run, per op (chain of 1,000 scalar multiplies)", 1000.0),
        (6, "session.run of a constant", 1.0),
        (8, "session.run, scalar feed and fetch", 1.0),
        (10, "make_callable, scalar feed and fetch", 1.0),
    ):
        emit(P, c, name, [(g[k] / n * 1e6, g[k + 1] / n * 1e6) for g in G], unit="us")


main()
