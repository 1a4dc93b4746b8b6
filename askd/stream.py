"""Training data that fits neither memory nor the feature cache: Parquet data sets of the Hub, read as the steps need them.

    stream = StreamData(["hub:librispeech_clean"], "train", model, processor, lanes=8, micro_batch_size=16, seed=0)
    stream.examples(step, lane)     # the same on any number of processes, and wherever the run was resumed

A step has ``lanes`` micro-batches; process r of N computes lanes r, r + N, ... Which rows lane j of step s holds is a
function of (data, seed, s, j) alone:

1. Each epoch draws an order of the row groups of all files, and of the rows inside each group.
2. All rows in that order are cut into one segment a lane, all equally long. So every row comes once an epoch, but for up to
   ``lanes * micro_batch_size - 1`` at the end, which differ from epoch to epoch; and a lane reads its own groups alone, so
   that N processes together read the data about once.
3. `WINDOW` micro-batches of a segment are sorted by the size of the encoded sound, so that little is padding, cut, and
   shuffled.

Only the footers are read at the start. A lane keeps the row groups of its present window in memory. A loader with several
workers reads each group once if a worker keeps to its lanes, and once a worker if it does not.

Rows that the source drops (`HubSource.drop`), and with ``skip_bad`` rows that cannot be used, change nothing of that plan:
another row of the same window, drawn by the same rule, stands in for each. `HubSource.shuffle` means nothing here.

Axes: ``M`` mel bands, ``T`` mel frames (10 ms).
"""

import dataclasses
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from askd.audio import read_audio
from askd.batches import encode_text
from askd.decoding import prompt_ids
from askd.domains import Domain, get_domain
from askd.errors import AskdError, ManifestError
from askd.features import log_mels
from askd.files import digest
from askd.hub import explaining, found_split, hub_record
from askd.hubsource import HubSource, parse_hub

WINDOW = 16  # micro-batches among which rows are sorted by length, as in `askd.batches.batch_plan`
OPENED_AT_ONCE = 16  # footers of a remote data set are read in so many threads. Ours


@dataclass(frozen=True)
class StreamedExample:
    """One row, ready to train on; `askd.batches.collate` takes it like an `askd.batches.Example`."""

    where: str  # for messages: "hub:librispeech_clean, split train.360, row 17"
    features: Tensor  # (M, T) float32
    tokens: tuple[int, ...]  # prompt, text, end
    prompt: int  # number of prompt tokens

    @property
    def frames(self) -> int:
        """Mel frames T."""
        return self.features.shape[-1]

    @property
    def label_tokens(self) -> int:
        """Tokens that are scored: the text and the end."""
        return len(self.tokens) - self.prompt


class _Group(NamedTuple):
    """A row group of a Parquet file."""

    part: int  # which of the sources
    file: str
    number: int  # in its file
    rows: int
    size_bytes: int
    first: int  # its first row, counted from the start of the split


class _Window(NamedTuple):
    """Rows of one lane among which micro-batches are made."""

    key: tuple[int, int, int]  # epoch, lane, its number in the segment
    tables: dict  # by group
    rows: list[tuple[int, int]]  # group, row of the group
    batches: np.ndarray  # (micro-batch, clip) -> position in rows


class StreamData:
    """The rows of one role of several Hub data sets, in an order of (seed, step, lane).

    It may be sent to worker processes, or forked; each opens files for itself and none is held open.
    """

    def __init__(
        self, domains: Sequence[Domain | str], role: str, model, processor, lanes: int, micro_batch_size: int, seed: int,
        skip_bad: bool = False,
    ):
        """Read the footers.

        Args:
            domains: Hub data sets in Parquet, as in `askd.domains.get_domain`; their rows are mixed in proportion.
            role: as in `askd.domains.load_clips`.
            model, processor: whose mel bands, prompt and tokens are used.
            lanes, micro_batch_size: micro-batches of a step, and clips of a micro-batch.
            seed: of the order.
            skip_bad: let another row stand in for one that cannot be used, and say how many there were.

        Raises:
            AskdError: a domain is not a Hub data set in Parquet, or has no such role; fewer rows than a step needs.
            UnknownName: no such domain, config, split or column; the message lists what exists.
            ManifestError: a file cannot be read, or lacks a column; it is named.
        """
        self.lanes, self.micro_batch_size, self.seed, self.skip_bad = lanes, micro_batch_size, seed, skip_bad
        self._model = SimpleNamespace(config=model.config, generation_config=model.generation_config)  # no weights to workers
        self._processor = processor
        self._parts: list[tuple[HubSource, str]] = []  # and its split
        self._groups: list[_Group] = []
        about = []
        for domain in domains:
            source = _hub_source(domain if isinstance(domain, Domain) else get_domain(domain), role)
            split, groups = _row_groups(source, role, len(self._parts))
            self._parts.append((source, split))
            self._groups += groups
            about += [source.audio, source.text, dict(source.replace), source.drop, source.casing]
            # without the revision in a remote address: any commit to the data set would change it
            about += [(re.sub("@[^/]+", "", _name(source, g.file), count=1), g.number, g.rows, g.size_bytes) for g in groups]
        self._sizes = np.array([g.rows for g in self._groups], np.int64)
        self.rows = int(self._sizes.sum())
        self.digest = digest(about, 24)  # of what there is to read; a folder may move
        self.steps_per_epoch = self.rows // (lanes * micro_batch_size)
        if not self.steps_per_epoch:
            raise AskdError(f"{self.rows} rows are fewer than one batch of {lanes * micro_batch_size}: choose a smaller batch")
        self.bad: dict[str, str] = {}  # rows that could not be used, as far as this process came, and why
        self._windows: dict[int, _Window] = {}  # by lane
        self._epoch = (-1,)  # and what `_order` gives for it

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_windows": {}, "_epoch": (-1,)}

    def examples(self, step: int, lane: int) -> list[StreamedExample]:
        """The micro-batch of a lane; steps count on through the epochs.

        Raises:
            ManifestError: a row or a file cannot be read, or not a single row of a window can be used; it is named.
            AskdError: the Hub is out of reach; it says what to do.
        """
        epoch, step = divmod(step, self.steps_per_epoch)
        number, batch = divmod(step, WINDOW)
        window = self._window(epoch, lane, number)
        found = [self._usable(window, int(position)) for position in window.batches[batch]]
        features = log_mels([samples for _, samples, _ in found], self._model.config.num_mel_bins)
        prompt = len(prompt_ids(self._model))
        return [StreamedExample(where, mel, tokens, prompt) for (where, _, tokens), mel in zip(found, features, strict=True)]

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Groups in the order of the epoch, and where each ends."""
        if self._epoch[0] != epoch:
            order = self._rng(epoch, 0).permutation(len(self._groups))
            self._epoch = epoch, order, np.cumsum(self._sizes[order])
        return self._epoch[1:]

    def _window(self, epoch: int, lane: int, number: int) -> _Window:
        last = self._windows.get(lane)
        if last and last.key == (epoch, lane, number):
            return last
        order, ends = self._order(epoch)
        segment, size = self.steps_per_epoch * self.micro_batch_size, WINDOW * self.micro_batch_size  # rows
        places = lane * segment + np.arange(number * size, min((number + 1) * size, segment))
        turns = np.searchsorted(ends, places, side="right")
        groups = order[turns]
        drawn = {g: self._rng(epoch, 1, g).permutation(self._sizes[g]) for g in dict.fromkeys(groups.tolist())}
        tables = {g: last.tables[g] for g in drawn if last and g in last.tables}
        self._windows.pop(lane, None)
        del last  # lets go of the other groups before the next are read
        for g in drawn.keys() - tables.keys():
            tables[g] = self._read(self._groups[g])
        starts = places - ends[turns] + self._sizes[groups]  # rows before this one in its group
        rows = [(g, int(drawn[g][i])) for g, i in zip(groups.tolist(), starts, strict=True)]
        by_size = np.argsort([tables[g][1][row] for g, row in rows], kind="stable").reshape(-1, self.micro_batch_size)
        batches = self._rng(epoch, 2, lane, number).permutation(by_size)
        self._windows[lane] = _Window((epoch, lane, number), {g: tables[g] for g in drawn}, rows, batches)
        return self._windows[lane]

    def _read(self, group: _Group) -> tuple:
        """The table of a row group with the two columns needed, and the size of each sound in bytes."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq
        from datasets.utils.file_utils import xopen

        source, split = self._parts[group.part]
        where = f"{source.where(split, group.first)} and the {group.rows - 1} after it ({_name(source, group.file)})"
        with explaining(source, where), xopen(group.file, "rb") as file:
            opened = pq.ParquetFile(file, pre_buffer=True)  # remote columns in few requests
            batches = opened.iter_batches(64, [group.number], [source.audio, source.text])  # no chunk beyond Arrow's 2 GB
            table = pa.Table.from_batches(batches)
            sound = table[source.audio]
            if pa.types.is_struct(sound.type):
                sound = pc.struct_field(sound, "bytes" if sound.type.get_field_index("bytes") >= 0 else "path")
            return table, pc.binary_length(sound.cast(pa.large_binary())).fill_null(0).to_numpy()

    def _usable(self, window: _Window, position: int) -> tuple[str, np.ndarray, tuple[int, ...]]:
        """The row at a position of the window, or the one that stands in for it: where it lies, samples, tokens."""
        for candidate in self._candidates(window, position):
            group, row = window.rows[candidate]
            if found := self._row(self._groups[group], row, window.tables[group][0]):
                return found
        source, split = self._parts[self._groups[group].part]
        why = next(iter(self.bad.values()), "the source drops their transcripts")
        raise ManifestError(f"{source.label}, split {split}: none of {len(window.rows)} rows read together can be used: {why}")

    def _candidates(self, window: _Window, position: int) -> Iterator[int]:
        yield position
        epoch, lane, number = window.key
        yield from self._rng(epoch, 3, lane, number, position).permutation(len(window.rows))

    def _row(self, group: _Group, row: int, table) -> tuple[str, np.ndarray, tuple[int, ...]] | None:
        """None when the source drops the row, or it cannot be used and may be skipped."""
        source, split = self._parts[group.part]
        where = source.where(split, group.first + row)
        if where in self.bad:
            return None
        try:
            with explaining(source, where):
                values = table.slice(row, 1).to_pylist()[0]
            record = hub_record(source, split, group.first + row, values)
            return record and (where, *self._decoded(record))
        except ManifestError as error:
            if not self.skip_bad:
                raise
            self.bad[where] = str(error)
            if len(self.bad).bit_count() == 1:  # 1, 2, 4, ...: never silent, and never thousands of lines
                print(f"left out {len(self.bad)} rows so far in process {os.getpid()}, the last: {error}", flush=True)
            return None

    def _decoded(self, record) -> tuple[np.ndarray, tuple[int, ...]]:
        try:
            return read_audio(record.audio), encode_text(self._model, self._processor, record.text)
        except AskdError as error:
            raise ManifestError(f"{record.where}: {error}") from None


def _hub_source(domain: Domain, role: str) -> HubSource:
    if domain.source != "hub":
        raise AskdError(f"{domain.name} is {domain.source}: only Hub data sets in Parquet are streamed. "
                        + _to_parquet(domain.path or domain.name, role))
    if role not in domain.roles:
        raise AskdError(f"{domain.name} has no {role!r} split to stream, only {', '.join(domain.roles)}")
    source = parse_hub(domain.hub)
    return source if domain.casing == "as_is" else dataclasses.replace(source, casing=domain.casing)


def _to_parquet(name: str, role: str) -> str:
    return ("Train on it without streaming, or convert it and name the new folder (hub:FOLDER): "
            f"askd.domains.get_domain({name!r}).to_dataset({role!r}).to_parquet('FOLDER/data/{role}-00000-of-00001.parquet')")


def _name(source: HubSource, file: str) -> str:
    """A file as messages and digests name it: a local one relative to its folder."""
    return os.path.relpath(file, source.path) if source.local and os.path.isabs(file) else file


def _row_groups(source: HubSource, role: str, part: int) -> tuple[str, list[_Group]]:
    """The split's name and its row groups, from the footers alone."""
    from tqdm.contrib.concurrent import thread_map

    split, _, _, builder = found_split(source, role)
    if builder is None or builder.name != "parquet":
        kind = builder.name if builder else "save_to_disk"
        raise AskdError(f"{source.label} lies here as {kind}: only Parquet is streamed. " + _to_parquet(source.label, role))
    files = list(builder.config.data_files[split])
    footers = thread_map(
        lambda file: _footer(source, file), files, max_workers=OPENED_AT_ONCE, desc=f"{source.label}: footers", unit="file",
        delay=2, leave=False,
    )
    found = [(file, number, *sizes) for file, footer in zip(files, footers, strict=True) for number, sizes in enumerate(footer)]
    firsts = itertools.accumulate((rows for _, _, rows, _ in found), initial=0)
    return split, [_Group(part, *group, first) for group, first in zip(found, firsts, strict=False) if group[2]]


def _footer(source: HubSource, file: str) -> list[tuple[int, int]]:
    """Rows and bytes of each row group of a file."""
    import pyarrow.parquet as pq
    from datasets.utils.file_utils import xopen

    name = _name(source, file)
    with explaining(source, f"{source.label}, file {name}"), xopen(file, "rb") as opened:
        parquet = pq.ParquetFile(opened)
        if lacking := {source.audio, source.text} - set(parquet.schema_arrow.names):
            raise ManifestError(f"{source.label}, file {name}: lacks the column {', '.join(sorted(lacking))}")
        groups = [parquet.metadata.row_group(i) for i in range(parquet.metadata.num_row_groups)]
        return [(group.num_rows, group.total_byte_size) for group in groups]
