"""The file ``checkpoint``: read, taken for a directory's state, written again."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf import text_format  # noqa: F401  (read by the parser later: instrumented now)

from fuzz import goldens
from fuzz.contract import agree, attempt
from kvarn import protos
from kvarn.checkpoint.management import get_checkpoint_state, latest_checkpoint
from kvarn.errors import OpError
from kvarn.formats import checkpoint_state
from kvarn.io import MemoryFileSystem

LONGEST = 400
WORDS = (
    b"model_checkpoint_path",
    b"all_model_checkpoint_paths",
    b"all_model_checkpoint_timestamps",
    b"last_preserved_timestamp",
    b': "m-5"\n',
    b'"/m/ckpt-7"',
    b"\\303\\251",
    b"\\x41",
    b"\\U0010ffff",
    b"[1.5, 2]",
    b"1e309",
    b"-inf",
    b"nan",
    b"# c\n",
    b"../",
)


def check(data: bytes) -> None:
    fs = MemoryFileSystem()
    fs.directories.add("d")
    fs.files["d/checkpoint"] = bytearray(data)
    state = attempt(checkpoint_state.read_state, "d/checkpoint", fs)
    attempt(lambda: get_checkpoint_state("d", fs=fs), refusals=(OpError, ValueError))
    attempt(lambda: latest_checkpoint("d", fs=fs), refusals=(OpError, ValueError))
    if state is not None:
        checkpoint_state.write_state("d/again", state, fs)
        again = checkpoint_state.read_state("d/again", fs)
        agree("read again", protos.serialize(again), protos.serialize(state))


def seeds() -> Iterator[bytes]:
    yield from goldens.small_files("checkpoint*", 1000)
    yield b'model_checkpoint_path: "m-5"\n'
    yield (
        b"model_checkpoint_path: 'm' \"-5\"; # newest\n"
        b'all_model_checkpoint_paths: ["m-3", "m-5"],\n'
        b"all_model_checkpoint_timestamps: [1.5, 1700000000]\nlast_preserved_timestamp: 1e9\n"
    )
