"""Wide-and-deep with embedding variables: will a flight arrive more than 15 minutes late?

A plain TensorFlow 1 / DeepRec program:

    pip install '.[demo]'
    python -m kvarn run examples/flights.py --folder model

Every categorical feature and every cross of two has an embedding variable: a table from the 64-bit hash of
its text to a row that is there from the first flight that needs it.  Killed at any moment and started
again, it goes on from the newest checkpoint in the folder and ends with the same weights.
"""

import argparse
import json
import os
import sys
import time

import numpy as np
import tensorflow as tf
from flights_data import DENSE, FEATURES, load

parser = argparse.ArgumentParser()
parser.add_argument("--folder", default="flights_model", help="where checkpoints and the log go")
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--batch", type=int, default=512)
parser.add_argument("--save-steps", type=int, default=200)
parser.add_argument("--log-steps", type=int, default=50)
parser.add_argument("--steps", type=int, default=0, help="stop after so many steps (0: all epochs)")
options = parser.parse_args()
WIDTH = 8


def embedding_variable(name, width, initializer):
    return tf.get_embedding_variable(name, embedding_dim=width, key_dtype=tf.int64, initializer=initializer)


def layer(x, name, units):
    kernel = tf.get_variable(
        name + "/kernel", [x.shape[-1].value, units], initializer=tf.glorot_uniform_initializer(seed=7)
    )
    bias = tf.get_variable(name + "/bias", [units], initializer=tf.zeros_initializer())
    return tf.nn.bias_add(tf.matmul(x, kernel), bias)


# The model.
strings = tf.placeholder(tf.string, [None, len(FEATURES)], name="strings")
dense = tf.placeholder(tf.float32, [None, len(DENSE)], name="dense")
late = tf.placeholder(tf.float32, [None], name="late")
keys = tf.strings.to_hash_bucket_fast(strings, 2**63 - 1)

variables, wide, deep = {}, [], []
for i, feature in enumerate(FEATURES):
    with tf.variable_scope(feature):
        weight = embedding_variable("wide", 1, tf.zeros_initializer())
        vector = embedding_variable("deep", WIDTH, tf.random_normal_initializer(stddev=0.05, seed=i + 1))
    variables[feature] = vector
    wide.append(tf.nn.embedding_lookup(weight, keys[:, i]))
    deep.append(tf.nn.embedding_lookup(vector, keys[:, i]))
with tf.variable_scope("mlp"):
    hidden = tf.nn.relu(layer(tf.concat(deep, axis=1), "hidden1", 64))
    hidden = tf.nn.relu(layer(hidden, "hidden2", 32))
    # Weather and times stay linear: a network would learn the weather of the training months by heart.
    logit = tf.add_n(wide) + layer(hidden, "out", 1) + layer(dense, "linear", 1)
logit = tf.reshape(logit, [-1])
chance = tf.sigmoid(logit)
loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=late, logits=logit))

global_step = tf.train.get_or_create_global_step()
train_op = tf.train.AdagradOptimizer(0.1).minimize(loss, global_step=global_step)
counts = {feature: variable.total_count() for feature, variable in variables.items()}
saver = tf.train.Saver(max_to_keep=3)

# The order of the rows depends on the epoch alone, so a resumed run sees what it would have seen.
flights = load()
per_epoch = flights.train // options.batch
last_step = options.steps or per_epoch * options.epochs


def batch(step):
    epoch, place = divmod(step, per_epoch)
    order = np.random.RandomState(epoch).permutation(flights.train)
    rows = order[place * options.batch : (place + 1) * options.batch]
    return {strings: flights.strings[rows], dense: flights.dense[rows], late: flights.late[rows]}


def auc(truth, score):
    rank = np.empty(len(score))
    rank[np.argsort(score, kind="stable")] = np.arange(1, len(score) + 1)
    positive = truth.sum()
    return (rank[truth > 0.5].sum() - positive * (positive + 1) / 2) / (positive * (len(truth) - positive))


def held_out_auc(session):
    scores = []
    for start in range(flights.train, len(flights.late), 8192):
        rows = slice(start, start + 8192)
        scores.append(session.run(chance, {strings: flights.strings[rows], dense: flights.dense[rows]}))
    return auc(flights.late[flights.train :], np.concatenate(scores))


os.makedirs(options.folder, exist_ok=True)


def note(**what):
    """One line of the log: losses and key counts, saves, AUC, each with its step."""
    with open(os.path.join(options.folder, "log.jsonl"), "a") as log:
        log.write(json.dumps(what) + "\n")


def show_progress(step, mean_loss, keys):
    if not sys.stdout.isatty() and step != last_step:
        return  # a bar is for a terminal
    filled = 30 * step // last_step
    bar = "#" * filled + "." * (30 - filled)
    print(f"\r[{bar}] step {step}/{last_step}  loss {mean_loss:.4f}  {keys:,} keys ", end="", flush=True)


with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    newest = tf.train.latest_checkpoint(options.folder)
    if newest:
        saver.restore(session, newest)
    step = int(session.run(global_step))
    print(f"resumed from {newest}" if newest else "started", f"at step {step} of {last_step}", flush=True)
    losses = []
    while step < last_step:
        value, _ = session.run([loss, train_op], batch(step))
        step += 1
        losses.append(value)
        last = step == last_step
        if step % options.log_steps == 0 or last:
            keys_now = {feature: int(n[0]) for feature, n in session.run(counts).items()}
            mean_loss = float(np.mean(losses))
            note(step=step, loss=mean_loss, keys=keys_now)
            show_progress(step, mean_loss, sum(keys_now.values()))
            losses = []
        if step % options.save_steps == 0 or last:
            before = time.time()
            path = saver.save(session, os.path.join(options.folder, "flights.ckpt"), global_step=global_step)
            size = sum(os.path.getsize(path + end) for end in (".index", ".data-00000-of-00001", ".meta"))
            note(step=step, saved=path, seconds=time.time() - before, bytes=size)
        if step % (2 * options.save_steps) == 0 or last:
            note(step=step, auc=held_out_auc(session))
    print(f"\nheld-out AUC {held_out_auc(session):.4f} at step {step}", flush=True)
