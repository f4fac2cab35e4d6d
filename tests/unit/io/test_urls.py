"""A path says which file system it is on; an ordinary one loads nothing for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kvarn import checkpoint, errors
from kvarn.formats.bundle import BundleWriter
from kvarn.io import LOCAL, as_path, directory_of, file_system_of, is_absolute, join_path
from kvarn.io.memory import MEMORY


@pytest.mark.parametrize(
    "path", ["m/model", "/m/model", "", ".", "C:/m", "a:b//c", "file:///m/model", "/a/s3://b"]
)
def test_ordinary_paths_are_local(path: str) -> None:
    assert file_system_of(path) is LOCAL


def test_files_by_url_are_plain_paths() -> None:
    assert as_path("file:///m/model") == "/m/model"
    assert file_system_of(Path("/m")) is file_system_of(b"/m") is LOCAL


def test_memory_is_one_place_for_the_process() -> None:
    assert file_system_of("memory://a/b") is file_system_of(b"memory://c") is MEMORY


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        ("s3://b/d/m", "s3://b/d"),
        ("s3://b/m", "s3://b"),
        ("s3://b", "s3://b"),
        ("memory://m", "memory://m"),
        ("/a/b", "/a"),
        ("/a", "/"),
        ("a", "."),
    ],
)
def test_directories(path: str, directory: str) -> None:
    assert directory_of(path) == directory


def test_joining() -> None:
    assert join_path("s3://b/d", "m") == "s3://b/d/m"
    assert join_path("s3://b/d", "s3://c/m") == "s3://c/m"
    assert join_path("/a", "/b") == "/b"
    assert [is_absolute(p) for p in ("a", "/a", "gs://b")] == [False, True, True]


@pytest.mark.parametrize("path", ["hdfs://host/m", "oss://b/m", "S3://b/m"])
def test_an_unknown_scheme_has_tensorflows_text(path: str) -> None:
    scheme = path.partition(":")[0]
    with pytest.raises(errors.UnimplementedError) as info:
        checkpoint.load_checkpoint(path)
    assert (
        str(info.value).splitlines()[0] == f"File system scheme '{scheme}' not implemented (file: '{path}')"
    )
    assert "s3, gs, az" in str(info.value)


def test_stores_are_told_by_their_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_USE_EMULATOR",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ):
        monkeypatch.delenv(name, raising=False)
    assert repr(file_system_of("gs://urls-b/m")) == "RemoteFileSystem('gs://urls-b')"
    assert file_system_of("gs://urls-b/other") is file_system_of("gs://urls-b")
    with pytest.raises(errors.InvalidArgumentError, match=r"az://urls-c; .*Account must be specified"):
        file_system_of("az://urls-c/m")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    assert repr(file_system_of("az://urls-c/m")) == "RemoteFileSystem('az://urls-c')"


def test_a_missing_library_names_the_extra() -> None:
    code = """
import sys
sys.modules["obstore"] = None
from kvarn import checkpoint, errors
try:
    checkpoint.load_checkpoint("s3://b/m")
except errors.UnimplementedError as e:
    print(e)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "obstore" in done.stdout
    assert "[remote]" in done.stdout


def test_local_and_memory_paths_load_no_remote_library(tmp_path: Path) -> None:
    code = """
import sys
import numpy as np
from kvarn import checkpoint
from kvarn.formats.bundle import BundleWriter
for prefix in ("m", "memory://d/m"):
    with BundleWriter(prefix) as writer:
        writer.add("w", np.ones(3))
    assert checkpoint.load_variable(prefix, "w").sum() == 3
assert not {"obstore", "kvarn.io.remote", "concurrent.futures"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_a_checkpoint_by_every_kind_of_path(tmp_path: Path) -> None:
    for number, prefix in enumerate([f"{tmp_path}/a", f"file://{tmp_path}/b", "memory://urls/run/m"]):
        with BundleWriter(prefix) as writer:
            writer.add("w", np.full(3, number))
        directory = prefix.rpartition("/")[0]
        checkpoint.update_checkpoint_state(directory, prefix)
        newest = checkpoint.latest_checkpoint(directory)
        assert newest == as_path(prefix)
        assert checkpoint.load_variable(directory, "w").tolist() == [number] * 3
        assert checkpoint.get_checkpoint_mtimes([prefix])[0] > 0
    checkpoint.remove_checkpoint("memory://urls/run/m")
    assert MEMORY.list_directory("memory://urls/run") == ["checkpoint"]


def test_a_state_file_may_name_checkpoints_elsewhere() -> None:
    with BundleWriter("memory://elsewhere/m") as writer:
        writer.add("w", np.zeros(2))
    checkpoint.update_checkpoint_state("memory://here", "memory://elsewhere/m")
    assert checkpoint.latest_checkpoint("memory://here") == "memory://elsewhere/m"
