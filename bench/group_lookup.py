"""26 embedding variables, looked up by one group op and by 26 calls of embedding_lookup_sparse, in turn.

    python group_lookup.py [--rows 2048] [--ids 3] [--reps 9]

Seconds of a session run, the lookup alone and with gradients and Adagrad, on one thread. The limit of the group are
the single lookups: x_limit_cpu below 1 is what the group saves. Both give the same rows, which is looked at first.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from common import emit, mix_keys, zipf_cdf, zipf_ranks

import kvarn as tf
from kvarn import _native

VARIABLES, DIM, KEYS = 26, 16, 200_000
RUNS = 10


def sparse_ids(rows, ids, seed):
    """A feed of each variable: `ids` keys a row, zipf 1.05."""
    ranks = zipf_ranks(zipf_cdf(KEYS, 1.05), VARIABLES * rows * ids, seed)
    return mix_keys(ranks).reshape(VARIABLES, rows * ids)


def build(rows, ids, combiner, n_kinds):
    """Placeholder, and the two ways: each the outputs and a step of training."""
    keys = tf.placeholder(tf.int64, [VARIABLES, rows * ids])
    where = np.stack([np.repeat(np.arange(rows), ids), np.tile(np.arange(ids), rows)], 1)
    ways = {}
    for way in ("single", "group"):
        variables = [
            tf.get_embedding_variable(
                f"{way}_{i}", DIM, initializer=tf.constant_initializer(0.01 * (i % n_kinds))
            )
            for i in range(VARIABLES)
        ]
        sparse = [tf.SparseTensor(where, keys[i], [rows, ids]) for i in range(VARIABLES)]
        if way == "group":
            found = tf.nn.group_embedding_lookup_sparse(variables, sparse, [combiner] * VARIABLES)
        else:
            found = [
                tf.nn.embedding_lookup_sparse(v, s, None, combiner=combiner)
                for v, s in zip(variables, sparse, strict=True)
            ]
        loss = tf.add_n([tf.reduce_sum(rows_ * rows_) for rows_ in found])
        ways[way] = (found, tf.train.AdagradOptimizer(0.01).minimize(loss))
    return keys, ways


def seconds(session, fetch, feeds, keys):
    """Wall and CPU seconds of a run."""
    wall, cpu = time.perf_counter(), time.process_time()
    for feed in feeds:
        session.run(fetch, {keys: feed})
    return (time.perf_counter() - wall) / len(feeds), (time.process_time() - cpu) / len(feeds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--ids", type=int, default=3)
    parser.add_argument("--reps", type=int, default=9)
    parser.add_argument("--combiner", default="mean")
    options = parser.parse_args()
    _native.set_num_threads(1)
    keys, ways = build(options.rows, options.ids, options.combiner, 5)
    feeds = [sparse_ids(options.rows, options.ids, seed) for seed in range(RUNS)]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for feed in feeds:
            rows = session.run([found for found, _ in ways.values()], {keys: feed})
            for one, other in zip(*rows, strict=True):
                np.testing.assert_array_equal(one, other)
        for what, at in (("lookup", 0), ("train", 1)):
            samples = {way: [] for way in ways}
            for rep in range(options.reps + 1):
                for way, fetches in ways.items():
                    fetch = [x.op for x in fetches[0]] if at == 0 else fetches[1]
                    taken = seconds(session, fetch, feeds, keys)
                    if rep:
                        samples[way].append(taken)
            emit(
                "group",
                f"{what} {options.rows}x{options.ids}",
                "group",
                samples["group"],
                limit_name="26 lookups",
                limit=samples["single"],
            )


if __name__ == "__main__":
    main()
