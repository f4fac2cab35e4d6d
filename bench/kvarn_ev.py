"""kvarn's embedding variable as an adapter of evlib: W3, W4 and W7 through sess.run, as a program would."""

from __future__ import annotations

import os

import numpy as np
from common import W4_BATCH, W4_DIM

import kvarn as tf


class Adapter:
    name = "kvarn"
    version = tf.__version__

    def __init__(self, options, dim=W4_DIM, slot=None):
        """With `slot` False no optimizer exists, so that entries are values alone; as W7 without --slot."""
        if slot is None:
            slot = getattr(options, "slot", True) or options.workload != "W7"
        zeros = options.init == "zeros"
        initializer = tf.zeros_initializer() if zeros else tf.random_uniform_initializer(-0.05, 0.05, seed=1)
        if zeros:
            self.name += " (init zeros)"
        self.graph = tf.Graph()
        with self.graph.as_default():
            variable = tf.get_embedding_variable("v", embedding_dim=dim, initializer=initializer)
            self.ids = tf.placeholder(tf.int64, [None])
            self.emb = tf.nn.embedding_lookup(variable, self.ids)
            if slot:
                self.add_training(variable, dim)
            self.count = variable.total_count()
            self.saver = tf.train.Saver()
            self.init = tf.global_variables_initializer()
        threads = options.threads
        self.config = tf.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
        )
        self.open()

    def add_training(self, variable, dim):
        step = tf.train.get_or_create_global_step()
        optimizer = tf.train.AdagradOptimizer(0.01, initial_accumulator_value=0.1)
        fixed = np.random.RandomState(3).standard_normal((W4_BATCH, dim)).astype(np.float32)
        g = tf.get_variable("g", initializer=fixed, trainable=False, use_resource=True)
        loss = tf.reduce_sum(self.emb * g.read_value()[: tf.shape(self.ids)[0]])
        self.step = optimizer.minimize(loss, global_step=step, var_list=[variable])
        # A zero gradient makes key and slot exist.
        zero = tf.IndexedSlices(tf.zeros([tf.shape(self.ids)[0], dim]), self.ids)
        self.filler = tf.group(self.emb.op, optimizer.apply_gradients([(zero, variable)]))

    def open(self):
        self.s = tf.Session(graph=self.graph, config=self.config)
        self.s.run(self.init)

    def lookup(self, keys):
        self.s.run(self.emb.op, {self.ids: keys})

    insert = lookup

    def train(self, keys):
        self.s.run(self.step, {self.ids: keys})

    def fill(self, keys):
        self.s.run(self.filler, {self.ids: keys})

    def size(self):
        return int(self.s.run(self.count)[0])

    def save(self, folder):
        self.saver.save(self.s, os.path.join(folder, "m"), write_meta_graph=False, write_state=False)

    def reset(self):
        self.s.close()
        self.open()

    def restore(self, folder):
        self.saver.restore(self.s, os.path.join(folder, "m"))
