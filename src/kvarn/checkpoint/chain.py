"""Full saves and increments as a chain: what is there, whether it is whole, and any step of it as a checkpoint.

    chain = Chain.open("/m")                      the folder of the full saves
    for link in chain.links: print(link.number, link.kind, link.steps)
    chain.verify().whole
    chain.at(500, "/n/model.ckpt-500")            full save + increments = a checkpoint like any other
    chain.compact("/n/model.ckpt-last")           the same for the newest save

Works on files alone.  Where each save stands is in its manifest (`kvarn.formats.manifest`); the names of the
files do not matter.  A step is made of one full save and the increments that lead from it to the step, and
what does not belong to it, is missing, there twice or not what its successors were made on is refused by its
number.  Increments of DeepRec have no manifest: a session recovers from those, this does not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kvarn.checkpoint.findings import Finding
from kvarn.checkpoint.management import get_checkpoint_state
from kvarn.checkpoint.verbs.progress import Progress
from kvarn.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OpError,
)
from kvarn.formats import manifest as manifests
from kvarn.formats.bundle.naming import committed_index, index_filename
from kvarn.formats.embedding_increment import FOLDER
from kvarn.formats.manifest import FULL, INCREMENT, Manifest
from kvarn.io import FileSystem, Path, as_path, directory_of, file_system_of

if TYPE_CHECKING:
    from kvarn.checkpoint.replay import Replay

# Kinds of findings.
GAP = "gap"
FORK = "fork"
REPEAT = "repeat"
FOREIGN = "foreign"
MANIFEST = "manifest"
DAMAGE = "damage"

_STEP = re.compile(r"-(\d+)\Z")


@dataclass(frozen=True, slots=True)
class Link:
    """One save of a chain.

    Attributes:
      prefix: of its checkpoint.
      manifest: what its manifest says.
      digest: of its manifest; its children name it.
    """

    prefix: str
    manifest: Manifest
    digest: str

    @property
    def number(self) -> int:
        return self.manifest.number

    @property
    def kind(self) -> str:
        return self.manifest.kind

    @property
    def step(self) -> int | None:
        """The last step that is in it; None if unknown."""
        return self.manifest.step

    def __str__(self) -> str:
        return f"{self.number}{_of_step(self.step)}"


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What `Chain.verify` found.

    Attributes:
      findings: all of them, by number; notes are not ``broken``.
      restorable: numbers of the saves that can be had with `Chain.at`.
    """

    chain: str
    findings: tuple[Finding, ...]
    restorable: tuple[int, ...]

    @property
    def whole(self) -> bool:
        return not any(finding.broken for finding in self.findings)


class Chain:
    """The saves of one chain, as the files of a folder tell.  It is read once; open it again after a save.

    Attributes:
      id: 32 hex digits, drawn when the chain began.
      links: its saves by number.
      foreign: saves of other chains in the same folders.
      unread: prefixes of checkpoints without manifest, or with one that cannot be read, and why.
    """

    def __init__(
        self,
        chain: str,
        links: Iterable[Link],
        foreign: Iterable[Link],
        unread: dict[str, str],
        newest: tuple[str, ...],
        fs: FileSystem,
    ) -> None:
        self.id = chain
        self.links = tuple(sorted(links, key=lambda link: (link.number, link.prefix)))
        self.foreign = tuple(sorted(foreign, key=lambda link: (link.manifest.chain, link.number)))
        self.unread = unread
        self._newest = newest
        self.fs = fs

    @classmethod
    def open(cls, path: Path, fs: FileSystem | None = None) -> Chain:
        """The chain of a folder, or of a checkpoint by its prefix.

        Increments are looked for in the folder itself and in ``.incremental_checkpoint`` below it.  Of
        several chains in a folder it is that of the newest full save, by the state file or by step.

        Raises:
          NotFoundError: there is no manifest, or the prefix has none.
          DataLossError: the manifest of the prefix is damaged.
        """
        name = as_path(path)
        files = fs or file_system_of(name)
        chosen: Link | None = None
        if files.is_directory(name) and not files.exists(index_filename(name)):
            folder = name
        else:
            name = name.removesuffix(".index")
            folder = directory_of(name)
            if not files.exists(manifests.manifest_filename(name)):
                raise NotFoundError.of(
                    f"'{name}' is neither a folder nor the prefix of a save with a manifest",
                    path=name,
                    hint="Name the folder of the full saves, or one of their prefixes, as 'model.ckpt-100'.",
                )
            chosen = Link(name, *manifests.read_manifest(name, files))
        if os.path.basename(folder) == FOLDER:
            folder = os.path.dirname(folder) or "."
        links: list[Link] = []
        unread: dict[str, str] = {}
        newest: list[str] = []
        for directory in (folder, os.path.join(folder, FOLDER)):
            if files.is_directory(directory):
                _scan(directory, files, links, unread)
                newest += _newest_of(directory, files)
        if not links:
            raise NotFoundError.of(
                f"no checkpoint in '{folder}' has a manifest that can be read",
                path=folder,
                hint="Manifests are written by kvarn's Saver for models with embedding variables"
                + (f"; {next(iter(unread.values()))}" if unread else "."),
            )
        chain = (chosen or _newest_full(links, newest)).manifest.chain
        return cls(
            chain,
            [link for link in links if link.manifest.chain == chain],
            [link for link in links if link.manifest.chain != chain],
            unread,
            tuple(newest),
            files,
        )

    @property
    def last(self) -> Link:
        """The save of the greatest number."""
        return self.links[-1]

    # -- along the chain ---------------------------------------------------------------------------

    def path(self, step: int | None = None) -> list[Link]:
        """The full save and the increments that make up a step, in their order.

        Only manifests and the digests of indexes are looked at here.

        Args:
          step: the last step of one of the saves; by default that of the newest save.

        Raises:
          InvalidArgumentError: no save ends with that step.
          NotFoundError: a save on the way is missing.
          FailedPreconditionError: a save on the way is there twice, or belongs to a fork; or a newer save is
            of another chain.
          DataLossError: an index on the way is not the one that was saved.
        """
        return self.path_to(self._newest_link() if step is None else self._link_of(step))

    def path_to(self, link: Link) -> list[Link]:
        """As `path`, for a save of the chain."""
        found = [link]
        while True:
            self._check_alone(link)
            self._check_index(link)
            if link.kind == FULL:
                return found[::-1]
            link = self._parent(link)
            found.append(link)

    def _parent(self, link: Link) -> Link:
        parent = link.manifest.parent
        assert parent is not None, "increments have one"
        candidates = [other for other in self.links if other.number == parent.number]
        if not candidates:
            raise self._gap(link)
        for other in candidates:
            if other.digest == parent.digest:
                return other
        other = candidates[0]
        raise FailedPreconditionError.of(
            f"increment {link} was made on another {_noun(parent.kind)} {parent.number} than '{other.prefix}': "
            f"the chain {self.id[:8]} forks there",
            path=link.prefix,
            hint="Two runs have gone on from the same save. Keep the files of one of them in the folder.",
        )

    def _gap(self, link: Link) -> OpError:
        parent = link.manifest.parent
        assert parent is not None
        below = [other for other in self.links if other.number < parent.number]
        what = f"{_noun(parent.kind)} {parent.number}"
        between = f"between {below[-1]} and {link}" if below else f"before {link}"
        strange = [other for other in self.foreign if other.number == parent.number]
        why = "".join(
            f"; '{other.prefix}' is number {other.number} of another chain, {other.manifest.chain[:8]}"
            for other in strange
        ) or "".join(f"; {text}" for text in list(self.unread.values())[:3])
        return NotFoundError.of(
            f"{what} is missing {between}{_of_step(parent.step, ', of ')}{why}",
            path=link.prefix,
            hint="Bring its files back, or take a step that needs it not: `kvarn chain ls` lists them.",
        )

    def _check_alone(self, link: Link) -> None:
        others = [o for o in self.links if o.number == link.number and o.prefix != link.prefix]
        if not others:
            return
        same = others[0].digest == link.digest
        raise FailedPreconditionError.of(
            f"number {link} is there twice, '{link.prefix}' and '{others[0].prefix}'"
            + ("" if same else f", and they differ: the chain {self.id[:8]} forks there"),
            path=others[0].prefix,
            hint="Move the one that does not belong here out of the folder.",
        )

    def _check_index(self, link: Link) -> None:
        """Raises if the index is not that which the manifest was written for."""
        path = index_filename(link.prefix)
        if not self.fs.exists(path):
            raise NotFoundError.of(
                f"{_noun(link.kind)} {link} has lost its index '{path}'",
                path=path,
                hint="Bring the file back, or take a step that needs it not: `kvarn chain ls` lists them.",
            )
        # A save over it that was cut off may hold already, under another name.
        path += committed_index(self.fs, link.prefix)
        found = manifests.digest(manifests.read_bounded(path, self.fs))
        if found != link.manifest.index_digest:
            raise DataLossError.of(
                f"'{path}' is not the index that {_noun(link.kind)} {link} was saved with",
                path=path,
                hint="It was damaged, written anew or changed for another: take another copy. By itself it may well "
                "restore.",
            )

    def _newest_link(self) -> Link:
        last = self.last
        for other in self.foreign:
            if other.step is not None and (last.step is None or other.step > last.step):
                raise FailedPreconditionError.of(
                    f"'{other.prefix}' is number {other} of another chain, {other.manifest.chain[:8]}, and newer "
                    f"than the last of this one, {last}",
                    path=other.prefix,
                    hint="Move the files of one chain out of the folder, or ask for a step.",
                )
        known = {os.path.basename(link.prefix) for link in self.links}
        for name in self._newest:
            step = _STEP.search(name)
            if name not in known and (step is None or last.step is None or int(step[1]) > last.step):
                raise self._not_in_the_chain(name)
        return last

    def _not_in_the_chain(self, name: str) -> OpError:
        """What to raise of a checkpoint that a state file calls the newest."""
        unread = {p: why for p, why in self.unread.items() if os.path.basename(p) == name}
        steps = [link.step for link in self.links if link.step is not None and self._can_be_had(link)]
        ways = [f"Ask for a step, such as {steps[-1]}."] if steps else []
        if any(self.fs.exists(index_filename(prefix)) for prefix in unread):
            # As a save leaves it that is cut off before its manifest.
            ways.insert(
                0, "restore it by itself: `Saver.restore`, for an increment `incremental_restore` then"
            )
        else:
            ways.insert(0, "bring its files back")
        return NotFoundError.of(
            f"the state file names '{name}' as the newest, which is not in the chain; its last save is {self.last}"
            + "".join(f"; {why}" for why in unread.values()),
            path=name,
            hint=" ".join(ways),
        )

    def _has_manifest(self, prefix: str) -> bool:
        return self.fs.exists(manifests.manifest_filename(prefix))

    def _is_newest(self, prefix: str) -> bool:
        return os.path.basename(prefix) in self._newest

    def _can_be_had(self, link: Link) -> bool:
        try:
            self.path_to(link)
        except OpError:
            return False
        return True

    def _link_of(self, step: int) -> Link:
        found = [link for link in self.links if link.step == step]
        if found:
            return found[-1]
        strange = [link for link in self.foreign if link.step == step]
        known = ", ".join(str(link.step) for link in self.links if link.step is not None)
        raise InvalidArgumentError.of(
            f"no save of the chain {self.id[:8]} ends with step {step}; there are {known or 'none with a step'}"
            + "".join(
                f"; '{link.prefix}' is number {link.number} of another chain, {link.manifest.chain[:8]}"
                for link in strange
            )
            + "".join(f"; {text}" for text in list(self.unread.values())[:3]),
            path=self.last.prefix,
            hint="Ask for one of these steps.",
        )

    # -- the verbs ---------------------------------------------------------------------------------

    def at(
        self,
        step: int | None,
        output: Path,
        *,
        partitions: int | None = None,
        overwrite: bool = False,
        output_fs: FileSystem | None = None,
        progress: Progress | None = None,
    ) -> Replay:
        """Writes the state after a step as a full checkpoint (V2, one data file).

        Embedding variables are put together by key: rows of later increments replace those before, keys
        that were removed are gone.  Ordinary variables are those of the last increment that has them.  All
        that is read is compared with its checksums before the checkpoint is there.

        Args:
          step: the last step of one of the saves; None for that of the newest.
          partitions: parts of all embedding variables, 0 for unpartitioned; by default those of the last link.
          overwrite: replace another checkpoint of that prefix.
          output_fs: where it goes, by default what the path says.
          progress: called with bytes done and bytes in all.

        Raises:
          as `path`, and
          AlreadyExistsError: the output exists.
          DataLossError: a file on the way is damaged; nothing is left of the output then.
        """
        from kvarn.checkpoint.replay import replay_links

        return replay_links(
            self.path(step),
            output,
            partitions=partitions,
            overwrite=overwrite,
            fs=self.fs,
            output_fs=output_fs,
            progress=progress,
        )

    def compact(
        self,
        output: Path,
        *,
        partitions: int | None = None,
        overwrite: bool = False,
        output_fs: FileSystem | None = None,
        progress: Progress | None = None,
    ) -> Replay:
        """Writes the state after the newest save as a full checkpoint; as `at` without a step."""
        return self.at(
            None,
            output,
            partitions=partitions,
            overwrite=overwrite,
            output_fs=output_fs,
            progress=progress,
        )

    def verify(self, *, progress: Progress | None = None) -> ChainReport:
        """Looks at every save of the chain: its manifest, its place in the chain, all its bytes.

        A save that was removed by the retention of its Saver is not missing unless another needs it.
        """
        from kvarn.checkpoint.verbs.verify import verify

        findings = [
            # A checkpoint beside the chain does not break it; what was to be its newest save does.
            Finding(
                MANIFEST, text, None, prefix, broken=self._has_manifest(prefix) or self._is_newest(prefix)
            )
            for prefix, text in sorted(self.unread.items())
        ]
        findings += [
            Finding(
                FOREIGN,
                f"'{link.prefix}' is number {link} of another chain, {link.manifest.chain[:8]}",
                file=link.prefix,
                broken=False,
            )
            for link in self.foreign
        ]
        damaged: set[str] = set()
        for link in self.links:
            report = verify(link.prefix, fs=self.fs, progress=progress)
            for finding in report.findings:
                if finding.broken:
                    damaged.add(link.prefix)
                    text = f"{_noun(link.kind)} {link}: {finding.text}"
                    findings.append(Finding(DAMAGE, text, finding.name, finding.file, finding.offset))
        restorable = []
        told: set[str] = set()
        for link in self.links:
            try:
                path = self.path_to(link)
            except OpError as error:
                if error.without_hint not in told:
                    told.add(error.without_hint)
                    findings.append(Finding.of_error(_kind_of(error), error))
                continue
            if not any(other.prefix in damaged for other in path):
                restorable.append(link.number)
        return ChainReport(self.id, tuple(findings), tuple(sorted(set(restorable))))


def _scan(directory: str, fs: FileSystem, links: list[Link], unread: dict[str, str]) -> None:
    names = set(fs.list_directory(directory))
    prefixes = {name.removesuffix(manifests.SUFFIX) for name in names if name.endswith(manifests.SUFFIX)}
    indexed = {name.removesuffix(".index") for name in names if name.endswith(".index")}
    for name in sorted(prefixes | indexed):
        prefix = os.path.join(directory, name)
        if name not in prefixes:
            unread[prefix] = f"'{prefix}' has no manifest"
            continue
        try:
            links.append(Link(prefix, *manifests.read_manifest(prefix, fs)))
        except OpError as error:
            unread[prefix] = error.without_hint


def _newest_of(directory: str, fs: FileSystem) -> list[str]:
    """The name of the checkpoint that the state file of a folder calls the newest."""
    try:
        state = get_checkpoint_state(directory, fs=fs)
    except ValueError:
        state = None
    return [] if state is None else [os.path.basename(state.model_checkpoint_path)]


def _newest_full(links: list[Link], newest: list[str]) -> Link:
    """The full save that a folder is about: what its state file names, or the last by step."""
    full = [link for link in links if link.kind == FULL] or links
    named = [link for link in full if os.path.basename(link.prefix) in newest]
    return max(named or full, key=lambda link: (-1 if link.step is None else link.step, link.number))


def _noun(kind: str) -> str:
    return "increment" if kind == INCREMENT else "full save"


def _of_step(step: int | None, before: str = " (") -> str:
    if step is None:
        return ""
    return f"{before}step {step}" + (")" if before.endswith("(") else "")


def _kind_of(error: OpError) -> str:
    if isinstance(error, NotFoundError):
        return GAP
    if isinstance(error, DataLossError):
        return DAMAGE
    return FORK if "fork" in error.without_hint else REPEAT
