"""Records and event files: TensorFlow's bytes, damage, and writes that fail."""

from __future__ import annotations

import contextlib
import struct
import time
from pathlib import Path

import pytest

from kvarn import errors, protos
from kvarn.formats import events as event_files
from kvarn.formats.events import EventsWriter
from kvarn.formats.tfrecord import FOOTER_BYTES, HEADER_BYTES, framed, read_records
from kvarn.io import MemoryFileSystem
from kvarn.testing.files import FaultyFileSystem, SimulatedCrash

RECORDED = Path(__file__).parents[2] / "golden" / "summaries" / "tensorflow_1.15.5.tfevents"


def event(step: int) -> bytes:
    return protos.Event(step=step).SerializeToString()


def steps(path, fs=None) -> list[int]:
    return [protos.Event.FromString(record).step for record in read_records(path, fs)]


def test_records_are_tensorflows():
    records = list(read_records(RECORDED))
    assert b"".join(framed(r) for r in records) == RECORDED.read_bytes()
    assert protos.Event.FromString(records[0]).file_version == "brain.Event:2"


def test_a_record_by_hand():
    # The masked CRC-32C of eight zero bytes and of nothing (rfc3720, table B.4, and the mask of 0).
    assert framed(b"") == bytes(8) + struct.pack("<I", 0x07980329) + struct.pack("<I", 0xA282EAD8)


@pytest.mark.parametrize("sizes", [[], [0], [1, 0, 7], [1 << 18, 3], [300_000, 300_000, 1]])
def test_round_trip(tmp_path, sizes):
    data = [bytes([i % 251]) * size for i, size in enumerate(sizes)]
    (tmp_path / "f").write_bytes(b"".join(framed(d) for d in data))
    assert list(read_records(tmp_path / "f")) == data


def test_every_cut_is_noticed(tmp_path):
    whole = framed(b"first") + framed(b"second")
    first = HEADER_BYTES + 5 + FOOTER_BYTES
    for size in range(len(whole)):
        (tmp_path / "f").write_bytes(whole[:size])
        found = []
        if size in (0, first):
            found.extend(read_records(tmp_path / "f"))
        else:
            with pytest.raises(
                errors.DataLossError, match=rf"^truncated record at {0 if size < first else first} of"
            ):
                found.extend(read_records(tmp_path / "f"))
        assert found == ([b"first"] if size >= first else [])


def test_every_changed_byte_is_noticed(tmp_path):
    whole = framed(b"data")
    for i in range(len(whole)):
        changed = bytearray(whole)
        changed[i] ^= 1
        (tmp_path / "f").write_bytes(changed)
        where = 0 if i < HEADER_BYTES else HEADER_BYTES
        with pytest.raises(errors.DataLossError, match=rf"^corrupted record at {where} of"):
            list(read_records(tmp_path / "f"))


def test_a_length_takes_no_memory_that_the_file_has_not(tmp_path):
    from kvarn.formats.checksum import crc32c, mask

    length = struct.pack("<Q", 1 << 62)
    (tmp_path / "f").write_bytes(length + struct.pack("<I", mask(crc32c(length))) + b"x")
    with pytest.raises(errors.DataLossError, match=r"^truncated record at 0 of"):
        list(read_records(tmp_path / "f"))


def test_no_file():
    with pytest.raises(errors.NotFoundError):
        list(read_records("/no/such/file"))


def test_file_names_and_first_event(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1234567.75)
    monkeypatch.setattr(event_files.socket, "gethostname", lambda: "host")
    writer = EventsWriter(tmp_path / "events", ".suffix")
    assert not list(tmp_path.iterdir())
    writer.open()
    assert writer.path == str(tmp_path / "events.out.tfevents.0001234567.host.suffix")
    (first,) = read_records(writer.path)
    assert protos.Event.FromString(first) == protos.Event(wall_time=1234567, file_version="brain.Event:2")
    writer.close()


def test_no_file_is_emptied(tmp_path, monkeypatch):
    """TensorFlow takes the same name for two files of one second, and the first one is lost."""
    monkeypatch.setattr(time, "time", lambda: 100.0)
    writers = [EventsWriter(tmp_path / "events") for _ in range(2)]
    for round_ in range(2):
        for i, writer in enumerate(writers):
            writer.write(event(10 * round_ + i + 1))
        for writer in writers:
            writer.close()
    files = sorted(tmp_path.iterdir())
    assert [f.name.split(".")[3] for f in files] == [f"{secs:010d}" for secs in range(100, 104)]
    assert [steps(f) for f in files] == [[0, 1], [0, 2], [0, 11], [0, 12]]


def test_no_file_is_emptied_that_will_appear_when_it_is_closed(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 100.0)
    fs = MemoryFileSystem(renames=False)
    writers = [EventsWriter("/logs/events", fs=fs) for _ in range(2)]
    for i, writer in enumerate(writers):
        writer.write(event(i + 1))
    for writer in writers:
        writer.flush()
        writer.close()
    assert sorted(steps(path, fs) for path in fs.glob("/logs/*")) == [[0, 1], [0, 2]]


def test_flush_puts_all_events_on_disk():
    fs = FaultyFileSystem()
    fs.make_directories("/logs")
    fs.sync_directory("/")
    writer = EventsWriter("/logs/events", fs=fs)
    for i in range(3):
        writer.write(event(i))
        writer.flush()
        for state in fs.after_crash():
            (path,) = state.glob("/logs/*")
            assert steps(path, state) == [0, *range(i + 1)]


@pytest.mark.parametrize("torn", [False, True])
def test_a_crash_loses_no_flushed_event(torn):
    def run(stop_at):
        fs = FaultyFileSystem(stop_at, torn=torn)
        flushed = []
        try:
            fs.make_directories("/logs")
            writer = EventsWriter("/logs/events", fs=fs)
            for i in range(1, 5):
                writer.write(event(i))
                writer.flush()
                flushed.append(i)
            writer.close()
        except SimulatedCrash:
            pass
        return fs, flushed

    for stop_at in range(1, run(None)[0].operations + 1):
        fs, flushed = run(stop_at)
        for path in fs.glob("/logs/*"):
            records = []
            with contextlib.suppress(errors.DataLossError) if torn else contextlib.nullcontext():
                records.extend(read_records(path, fs))
            found = [protos.Event.FromString(record).step for record in records]
            assert found[1 : len(flushed) + 1] == flushed
        assert fs.glob("/logs/*") or not flushed


@pytest.mark.parametrize("torn", [False, True])
def test_after_a_failed_write_events_go_into_a_new_file(torn, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 100.0)
    clean = FaultyFileSystem()
    first = EventsWriter("/events", fs=clean)
    first.write(event(1))
    first.flush()
    append_of_event = clean.operations - 1
    first.close()
    fs = FaultyFileSystem(append_of_event, error=True, torn=torn)
    writer = EventsWriter("/events", fs=fs)
    writer.write(event(1))
    with pytest.raises(
        errors.UnavailableError, match=r"\tFailed to flush 1 events to /events\.out\.tfevents\.0000000100"
    ):
        writer.flush()
    writer.write(event(2))
    writer.close()
    _, new = sorted(fs.glob("/events*"))
    assert steps(new, fs) == [0, 2]


def test_a_file_that_disappears(tmp_path):
    writer = EventsWriter(tmp_path / "events")
    writer.write(event(1))
    Path(writer.path).unlink()
    with pytest.raises(errors.UnknownError) as raised:
        writer.flush()
    assert raised.value.message == (
        f"The events file {writer.path} has disappeared.\n\tFailed to flush 1 events to {writer.path}"
    )
    writer.close()


def test_what_is_much_does_not_wait_for_a_flush(tmp_path):
    writer = EventsWriter(tmp_path / "events")
    writer.write(protos.Event(graph_def=bytes(1 << 17)).SerializeToString())
    assert Path(writer.path).stat().st_size > 1 << 17
    writer.close()


def test_a_folder_that_cannot_be_written_to(tmp_path):
    with pytest.raises(errors.NotFoundError):
        EventsWriter(tmp_path / "none" / "events").open()
