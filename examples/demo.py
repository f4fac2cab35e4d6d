"""Train on real flights, be killed in the middle, restore, finish, and look at what was learnt.

Runs `flights.py` three times: once without interruption, once until it is killed with SIGKILL, once more
to go on from the newest checkpoint.  Then compares the two models bit for bit, prints how well they
predict beside a logistic regression on the same features, and draws `flights.png`.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import matplotlib as mpl
import numpy as np
from flights_data import FEATURES, load
from rich.console import Console
from rich.table import Table
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from kvarn import checkpoint

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = pathlib.Path(__file__).resolve().parent
OUTPUT = HERE.parent / "demo_output"
console = Console(highlight=False)


def start(folder: pathlib.Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "kvarn", "run", str(HERE / "flights.py"), "--folder", str(folder)]
    return subprocess.Popen(command, cwd=HERE)


def log_of(folder: pathlib.Path) -> list[dict]:
    path = folder / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    # The last line of a killed process may be cut.
    return [json.loads(line) for line in lines if line.endswith("}")]


def steps_in(folder: pathlib.Path) -> int:
    return max((entry["step"] for entry in log_of(folder)), default=0)


def finish(process: subprocess.Popen[bytes]) -> None:
    if process.wait() != 0:
        raise SystemExit(f"training failed with status {process.returncode}")


def kill_in_the_middle(folder: pathlib.Path, at_step: int) -> None:
    process = start(folder)
    while steps_in(folder) < at_step:
        if process.poll() is not None:
            raise SystemExit(f"training ended with status {process.returncode} before it could be killed")
        time.sleep(0.02)
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    console.print(f"\n[bold red]killed with SIGKILL[/] after step {steps_in(folder)}")


def tensors_of(prefix: str) -> dict[str, np.ndarray]:
    """All tensors; an embedding variable's rows in order of their keys, since a table has no order."""
    reader = checkpoint.load_checkpoint(prefix)
    tensors = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    for name in [n for n in tensors if n.endswith("-keys")]:
        order = np.argsort(tensors[name], kind="stable")
        tensors[name] = tensors[name][order]
        values = name.removesuffix("-keys") + "-values"
        tensors[values] = tensors[values][order]
    return tensors


def same_bits(a: str, b: str) -> bool:
    left, right = tensors_of(a), tensors_of(b)
    return left.keys() == right.keys() and all(left[n].tobytes() == right[n].tobytes() for n in left)


def logistic_regression_auc() -> float:
    """The yardstick: the same features, one-hot by hashing, and the same dense columns."""
    from scipy import sparse

    flights = load()
    hasher = FeatureHasher(n_features=2**18, input_type="string", alternate_sign=False)
    hashed = hasher.transform([s.decode() for s in row] for row in flights.strings)
    columns = sparse.hstack([hashed, sparse.csr_matrix(flights.dense)]).tocsr()
    model = LogisticRegression(C=0.1, max_iter=200)
    model.fit(columns[: flights.train], flights.late[: flights.train])
    score = model.decision_function(columns[flights.train :])
    return float(roc_auc_score(flights.late[flights.train :], score))


def draw(
    whole: list[dict], resumed: list[dict], yardstick: float, killed_at: int, path: pathlib.Path
) -> None:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    for log, style, label in ((whole, "-", "uninterrupted"), (resumed, "--", "killed and resumed")):
        entries = [e for e in log if "loss" in e]
        left.plot([e["step"] for e in entries], [e["loss"] for e in entries], style, label=label)
        entries = [e for e in log if "auc" in e]
        middle.plot([e["step"] for e in entries], [e["auc"] for e in entries], "o" + style, label=label)
    for axes in (left, middle):
        axes.axvline(killed_at, color="red", alpha=0.5, linewidth=1, label="SIGKILL")
    middle.axhline(yardstick, color="grey", linestyle=":", label="logistic regression")
    left.set(title="training loss", xlabel="step", ylabel="mean cross-entropy")
    middle.set(title="AUC, November and December", xlabel="step", ylabel="AUC", ylim=(0.68, 0.72))
    left.legend()
    middle.legend()
    entries = [e for e in whole if "keys" in e]
    largest = sorted(FEATURES, key=lambda f: -entries[-1]["keys"][f])[:6]
    for feature in largest:
        right.plot([e["step"] for e in entries], [e["keys"][feature] for e in entries], label=feature)
    right.set(title="keys in the six largest embedding variables", xlabel="step", ylabel="keys", yscale="log")
    right.legend()
    figure.savefig(path, dpi=110)


def report(log: list[dict]) -> None:
    keys = [e for e in log if "keys" in e][-1]["keys"]
    table = Table("embedding variable", "keys", title="keys per embedding variable")
    for feature in FEATURES:
        table.add_row(feature, f"{keys[feature]:,}")
    table.add_row("all", f"{sum(keys.values()):,}")
    console.print(table)
    saves = [e for e in log if "saved" in e]
    table = Table("checkpoint", "seconds", "bytes", title="saves")
    for entry in saves:
        name = pathlib.Path(entry["saved"]).name
        table.add_row(name, f"{entry['seconds']:.3f}", f"{entry['bytes']:,}")
    console.print(table)


def main() -> None:
    began = time.perf_counter()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    whole, broken = OUTPUT / "uninterrupted", OUTPUT / "killed_and_resumed"
    console.print("[bold]1.[/] training without interruption")
    finish(start(whole))
    last_step = steps_in(whole)
    console.print(f"[bold]2.[/] training again, to be killed about step {last_step * 60 // 100}")
    kill_in_the_middle(broken, last_step * 60 // 100)
    killed_at = steps_in(broken)
    newest = checkpoint.latest_checkpoint(str(broken))
    console.print(f"[bold]3.[/] a new process goes on from {pathlib.Path(newest).name}")
    finish(start(broken))

    console.print("[bold]4.[/] logistic regression on the same features, as a yardstick")
    yardstick = logistic_regression_auc()
    log, resumed_log = log_of(whole), log_of(broken)
    report(log)
    final = [checkpoint.latest_checkpoint(str(folder)) for folder in (whole, broken)]
    steps = [int(checkpoint.load_variable(prefix, "global_step")) for prefix in final]
    aucs = [[e for e in entries if "auc" in e][-1]["auc"] for entries in (log, resumed_log)]
    equal = same_bits(*final)
    draw(log, resumed_log, yardstick, killed_at, OUTPUT / "flights.png")
    console.print(f"global step: {steps[0]} uninterrupted, {steps[1]} killed and resumed")
    console.print(f"weights of the two: {'bit for bit equal' if equal else '[red]DIFFERENT[/]'}")
    console.print(
        f"held-out AUC: {aucs[0]:.4f} wide and deep (resumed: {aucs[1]:.4f}), "
        f"{yardstick:.4f} logistic regression"
    )
    subprocess.run([sys.executable, "-m", "kvarn", "ls", final[1]], check=True)
    console.print(f"curves: {OUTPUT / 'flights.png'}   ({time.perf_counter() - began:.0f} s)")
    if steps[0] != steps[1] or not equal or aucs[1] < yardstick - 0.002:
        raise SystemExit("the demo did not end as it must")


if __name__ == "__main__":
    main()
