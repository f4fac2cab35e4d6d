"""Chains as files: whatever happened to them, a step is what the model was, or is refused by number."""

from __future__ import annotations

import copy
import os
import re

import numpy as np
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kvarn.checkpoint.chain import Chain
from kvarn.checkpoint.replay import Replay
from kvarn.errors import OpError
from kvarn.formats.embedding_increment import FOLDER
from kvarn.formats.manifest import SUFFIX
from kvarn.io import MemoryFileSystem
from kvarn.testing.chains import ChainFiles, Row, TableModel, stored_state

KEYS = (-1, 0, 3, 5, 1003, 2003, 999, -(2**31), 2**31 - 1)
# A key gets a row, is counted by a filter (which an evicted key may be again), or is evicted.
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(KEYS), st.sampled_from(["row", "row", "filtered", "evicted"]), st.integers(1, 99)
    ),
    max_size=5,
)
# How a refusal names the save that is missing or wrong; or there is none left to name.
NUMBERED = re.compile(
    r"(number|increment|full save) \d+|ends with step \d+|no checkpoint in 'm' has a manifest"
)


class ChainMachine(RuleBasedStateMachine):
    """Inserts, updates, evicts, re-inserts, re-partitions and saves; harm done to files is undone after it was
    seen what it does."""

    @initialize(int32=st.booleans(), slots=st.booleans(), changes=CHANGES)
    def begin(self, int32: bool, slots: bool, changes: list[tuple[int, str, int]]) -> None:
        self.fs = MemoryFileSystem()
        dims = {"": 2, "/Adagrad": 3} if slots else {"": 1}
        self.model = TableModel(slots=dims, key_dtype=np.int32 if int32 else np.int64)
        self.files = ChainFiles(self.fs, "m", self.model)
        self.step = 0
        self.train_and_save(changes, "full", 0)

    @rule(
        changes=CHANGES,
        kind=st.sampled_from(["full", "increment", "increment", "cumulative"]),
        parts=st.integers(0, 3),
    )
    def train_and_save(self, changes: list[tuple[int, str, int]], kind: str, parts: int) -> None:
        for key, what, number in changes:
            if what == "evicted":
                self.model.remove(key)
            else:
                self.model.put(key, None if what == "filtered" else float(number), number, self.step)
        self.step += 10
        self.files.save(self.step, full=kind == "full", parts=parts, cumulative=kind == "cumulative")

    @rule(parts=st.none() | st.integers(0, 3))
    def restore(self, parts: int | None) -> None:
        for step in [*self.files.states, None]:
            done, error = self.written(step, parts)
            assert done is not None, error
            assert done.step == (self.step if step is None else step)
            assert stored_state("out/m", self.model, self.fs) == self.files.states[done.step]
        report = Chain.open("m", self.fs).verify()
        assert report.whole, report
        assert len(report.restorable) == len(self.files.states)

    def written(self, step: int | None, parts: int | None = None) -> tuple[Replay | None, str]:
        for path in [path for path in self.fs.files if path.startswith("out")]:
            del self.fs.files[path]
        try:
            chain = Chain.open("m", self.fs)
            return chain.at(step, "out/m", partitions=parts, output_fs=self.fs), ""
        except OpError as error:
            assert not any(path.startswith("out") for path in self.fs.files)
            return None, error.without_hint

    # -- harm ------------------------------------------------------------------------------------------

    def see(self, harmed: dict[str, bytearray]) -> None:
        """Every step of a chain with other files is right, or refused by number."""
        whole = self.fs.files
        self.fs.files = harmed
        for step in [*self.files.states, None]:
            done, error = self.written(step)
            if done is None:
                assert NUMBERED.search(error), error
                event(re.sub(r"'[^']*'|[0-9a-f]{8}|\d+", "…", error.partition(";")[0])[:70])
                continue
            if done.chain != self.files.chain:
                # Nothing was left of this one.
                assert stored_state("out/m", self.model, self.fs) == {3: Row(77.0, 1, 0)}
                continue
            assert step in (None, done.step)
            assert stored_state("out/m", self.model, self.fs) == self.files.states[done.step or 0]
        self.fs.files = whole

    def files_of(self, prefix: str) -> dict[str, bytearray]:
        """Suffix and content of the files of a save."""
        return {
            os.path.splitext(p)[1]: f for p, f in self.fs.files.items() if os.path.splitext(p)[0] == prefix
        }

    def draw_save(self, data: st.DataObject) -> str:
        return data.draw(
            st.sampled_from(sorted(p.removesuffix(SUFFIX) for p in self.fs.files if SUFFIX in p))
        )

    @precondition(lambda self: self.step > 20)
    @rule(data=st.data())
    def lose_a_file(self, data: st.DataObject) -> None:
        lost = data.draw(st.sampled_from(sorted(self.fs.files)))
        self.see({path: file for path, file in self.fs.files.items() if path != lost})

    @precondition(lambda self: self.step > 20)
    @rule(data=st.data())
    def lose_a_save(self, data: st.DataObject) -> None:
        lost = self.draw_save(data)
        self.see({p: file for p, file in self.fs.files.items() if os.path.splitext(p)[0] != lost})

    @precondition(lambda self: self.step > 20)
    @rule(data=st.data())
    def swap_two_files(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.fs.files)))
        kind = os.path.splitext(path)[1]
        other = data.draw(st.sampled_from(sorted(p for p in self.fs.files if p.endswith(kind))))
        self.see({**self.fs.files, path: self.fs.files[other], other: self.fs.files[path]})

    @precondition(lambda self: self.step > 20)
    @rule(data=st.data())
    def swap_two_saves_whole(self, data: st.DataObject) -> None:
        """Names mean nothing: all stays as it is."""
        one, other = self.draw_save(data), self.draw_save(data)
        renamed = {}
        for path, file in self.fs.files.items():
            stem, rest = os.path.splitext(path)
            renamed[{one: other, other: one}.get(stem, stem) + rest] = file
        whole, self.fs.files = self.fs.files, renamed
        self.restore(None)
        self.fs.files = whole

    @precondition(lambda self: self.step > 20)
    @rule(data=st.data())
    def copy_a_save(self, data: st.DataObject) -> None:
        copied = self.files_of(self.draw_save(data))
        self.see({**self.fs.files, **{f"m/{FOLDER}/copy{kind}": file for kind, file in copied.items()}})

    @precondition(lambda self: self.step > 20)
    @rule(data=st.data(), at=st.floats(0, 1, exclude_max=True))
    def damage_a_file(self, data: st.DataObject, at: float) -> None:
        path = data.draw(st.sampled_from(sorted(p for p in self.fs.files if self.fs.files[p])))
        changed = bytearray(self.fs.files[path])
        changed[int(at * len(changed))] ^= 0x41
        self.see({**self.fs.files, path: changed})

    @precondition(lambda self: self.step > 20)
    @rule(full=st.booleans(), later=st.integers(-1, 1), in_place=st.booleans(), data=st.data())
    def bring_a_save_of_another_chain(
        self, full: bool, later: int, in_place: bool, data: st.DataObject
    ) -> None:
        other = TableModel(slots=self.model.slots, key_dtype=self.model.key_dtype)
        other.put(3, 77.0)
        fs = MemoryFileSystem()
        files = ChainFiles(fs, "m", other, chain="f" * 32)
        files.save(self.step - 1, full=True)
        prefix = files.save(self.step + later, full=full)
        target = self.draw_save(data) if in_place else prefix + "x"
        self.see(
            self.fs.files
            | {
                target + os.path.splitext(path)[1]: file
                for path, file in fs.files.items()
                if os.path.splitext(path)[0] == prefix
            }
        )

    @precondition(lambda self: self.step > 20)
    @rule(full=st.booleans())
    def two_runs_go_on_from_the_same_save(self, full: bool) -> None:
        """Their numbers are the same, their content is not; nothing that both may have made is given out."""
        before = dict(self.fs.files)
        state = self.held()
        self.train_and_save([(3, "row", 97)], "full" if full else "increment", 0)
        one = {path: file for path, file in self.fs.files.items() if path not in before}
        self.fs.files = dict(before)
        self.put_back(state)
        self.train_and_save([(3, "row", 98)], "increment", 0)
        self.train_and_save([(5, "row", 96)], "increment", 0)
        self.fs.files |= {
            os.path.splitext(p)[0] + "-again" + os.path.splitext(p)[1]: f for p, f in one.items()
        }
        for step in (self.step - 10, self.step):
            done, error = self.written(step)
            assert done is None
            assert "forks" in error
        self.fs.files = before
        self.put_back(state)

    def held(self) -> list[tuple[object, dict[str, object]]]:
        return [
            (o, {k: copy.copy(v) for k, v in vars(o).items() if k not in ("fs", "model")})
            for o in (self.files, self.model)
        ] + [(self, {"step": self.step})]

    def put_back(self, state: list[tuple[object, dict[str, object]]]) -> None:
        for owner, members in state:
            for name, value in members.items():
                setattr(owner, name, copy.copy(value))


ChainMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
test_chain_files = ChainMachine.TestCase
