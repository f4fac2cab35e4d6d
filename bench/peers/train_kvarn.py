"""W5 with kvarn's embedding variables: the same model as the peers', through sess.run as a program would."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import numpy as np
import w5lib
from common import W5_BATCH, W5_CARD, W5_DENSE, W5_DIM, W5_MLP, mix_keys

import kvarn as tf

FILL_CHUNK = 200_000


class Adapter:
    name = "kvarn"
    version = tf.__version__
    dense = False

    def __init__(self, options):
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.set_random_seed(1)
            self.ids = tf.placeholder(tf.int64, [W5_BATCH, 26])
            self.numbers = tf.placeholder(tf.float32, [W5_BATCH, W5_DENSE])
            self.label = tf.placeholder(tf.float32, [W5_BATCH, 1])
            self.new_keys = tf.placeholder(tf.int64, [None])
            initializer = tf.random_uniform_initializer(-0.05, 0.05, seed=1)
            tables = [
                tf.get_embedding_variable(f"emb{f:02d}", embedding_dim=W5_DIM, initializer=initializer)
                for f in range(26)
            ]
            columns = tf.unstack(self.ids, axis=1)
            rows = [tf.nn.embedding_lookup(t, c) for t, c in zip(tables, columns, strict=True)]
            self.loss = self._loss(tf.stack(rows, axis=1))
            optimizer = tf.train.AdagradOptimizer(0.01, initial_accumulator_value=0.1)
            step = tf.train.get_or_create_global_step()
            self.train = optimizer.minimize(self.loss, global_step=step)
            # A zero gradient makes key and slot exist.
            zeros = tf.zeros([tf.shape(self.new_keys)[0], W5_DIM])
            self.fillers = [
                optimizer.apply_gradients([(tf.IndexedSlices(zeros, self.new_keys), table)])
                for table in tables
            ]
            init = tf.global_variables_initializer()
        threads = options.threads
        config = tf.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
        self.session = tf.Session(graph=self.graph, config=config)
        self.session.run(init)

    def _loss(self, stacked):
        x = tf.concat([tf.reshape(stacked, [W5_BATCH, 26 * W5_DIM]), self.numbers], 1)
        for i, units in enumerate((*W5_MLP, 1)):
            kernel = tf.get_variable(
                f"w{i}",
                [int(x.shape[1]), units],
                initializer=tf.glorot_uniform_initializer(seed=2),
                use_resource=True,
            )
            bias = tf.get_variable(f"b{i}", [units], initializer=tf.zeros_initializer(), use_resource=True)
            x = tf.matmul(x, kernel) + bias
            if i < len(W5_MLP):
                x = tf.nn.relu(x)
        linear = tf.get_variable("lin", [W5_DENSE, 1], initializer=tf.zeros_initializer(), use_resource=True)
        squares = tf.square(tf.reduce_sum(stacked, 1)) - tf.reduce_sum(tf.square(stacked), 1)
        logit = x + 0.5 * tf.reduce_sum(squares, 1, keepdims=True) + tf.matmul(self.numbers, linear)
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=self.label, logits=logit))

    def fill(self):
        for f, (filler, count) in enumerate(zip(self.fillers, W5_CARD, strict=True)):
            for start in range(0, count, FILL_CHUNK):
                ranks = np.arange(start, min(count, start + FILL_CHUNK), dtype=np.int64)
                self.session.run(filler, {self.new_keys: mix_keys(ranks + (f << 32))})

    def step(self, ids, numbers, label):
        feed = {self.ids: ids, self.numbers: numbers, self.label: label}
        return self.session.run([self.loss, self.train], feed)[0]


w5lib.run(Adapter)
