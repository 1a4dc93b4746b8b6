"""Speech of the Hugging Face Hub, or a local copy of it, through `datasets`; and our clips as a `datasets.Dataset`.

    hub:librispeech_clean                                        a preset of data/hub_presets.yaml
    hub:librispeech_clean?train=train.360&dev=none               options are the fields of `HubSource`
    hub:some/corpus?split=validated&casing=sentence              one split alone (its role is ``all``), of any data set
    hub:./copies/my_corpus?text=sentence&speaker=client_id       a folder: Hub layout, audiofolder or save_to_disk

`datasets` reads the tables; sound is decoded by `askd.audio` (no torchcodec, no FFmpeg). Streaming, the default, reads a
group of rows at a time and only the shards it comes to; ``streaming=false`` first prepares all splits in the cache of
`datasets`, for several passes. Loading scripts are never run: a data set that still has one is read from the Parquet copy
that the Hub keeps of it (``revision=refs/convert/parquet``), where a config is a folder.
"""

import contextlib
import functools
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from askd.audio import G722, SAMPLING_RATE_HZ
from askd.clips import Clip
from askd.errors import AskdError, ManifestError, UnknownName
from askd.files import cache_dir
from askd.hubsource import HubSource
from askd.records import Record

PARQUET_COPY = "refs/convert/parquet"


def hub_records(
    source: HubSource, role_or_split: str, limit: int | None = None, seed: int = 0, skip_bad: bool = False,
) -> Iterator[Record]:
    """The recordings of a split, one after the other; no more than a group of rows and the window of the shuffle is in memory.

    Rows are numbered from 0, as in ``dataset[row]``. Texts are final: `HubSource.transcript` has been at them.

    Args:
        source: from `presets`, `parse_hub` or made by hand.
        role_or_split: one of ``source.roles``, or the name of a split.
        limit: how many at most; shards that are not needed for them are not opened.
        seed: of the shuffle, where ``source.shuffle`` asks for one.
        skip_bad: leave out rows without a transcript or sound, and say how many.

    Raises:
        UnknownName: no such config, split or column; the message lists what exists.
        ManifestError: a row without transcript or sound, or that cannot be read; it is named.
        AskdError: no such role; `datasets` is missing, the Hub out of reach, the data set gated or gone; it says what to do.
    """
    if limit is not None and limit < 1:
        raise AskdError(f"limit must be at least 1, not {limit}")
    opened, split = _open(source, role_or_split)
    rows = _rows(source, opened, split)
    if source.shuffle:
        rows = _shuffled(rows, source.shuffle, np.random.default_rng(seed))
    return _records(source, rows, split, limit, skip_bad)


def _records(source: HubSource, rows: Iterable, split: str, limit: int | None, skip_bad: bool) -> Iterator[Record]:
    good, bad, first = 0, 0, ""
    for row, values in rows:
        try:
            record = hub_record(source, split, row, values)
        except ManifestError as error:
            if not skip_bad:
                raise
            bad, first = bad + 1, first or str(error)
            continue
        if record is None:
            continue
        yield record
        good += 1
        if good == limit:
            break
    if bad:
        print(f"{source.label}, split {split}: left out {bad} rows, the first: {first}")


def _rows(source: HubSource, opened, split: str) -> Iterator[tuple[int, dict]]:
    rows = iter(opened)
    for row in itertools.count():
        with explaining(source, source.where(split, row)):
            values = next(rows, None)
        if values is None:
            return
        yield row, values


def _shuffled(rows: Iterable, size: int, rng: np.random.Generator) -> Iterator:
    """Each row drawn from a window of ``size``: unlike with `IterableDataset.shuffle` it keeps its number."""
    window = []
    for row in rows:
        if len(window) < size:
            window.append(row)
            continue
        i = int(rng.integers(size))
        drawn, window[i] = window[i], row
        yield drawn
    yield from (window[i] for i in rng.permutation(len(window)))


def hub_record(source: HubSource, split: str, row: int, values: dict) -> Record | None:
    """The recording of a row (its columns in ``values``); None when the source drops such transcripts."""
    where, text = source.where(split, row), values.get(source.text)
    if text is not None and not isinstance(text, str):
        raise ManifestError(f"{where}, column {source.text}: {type(text).__name__} instead of a transcript")
    text = source.transcript(text or "")
    if text is None:
        return None
    if not text:
        raise ManifestError(f"{where}, column {source.text}: empty transcript")
    audio = _sound(source, values.get(source.audio), f"{where}, column {source.audio}")
    name, speaker = (values.get(column) for column in (source.id_column, source.speaker))
    name = f"{split}-{row:07d}" if name in (None, "") else str(name)
    return Record(name, text, name if speaker in (None, "") else str(speaker), audio, where)


def _sound(source: HubSource, value: dict | str | bytes | None, where: str) -> Path | bytes:
    """The content when it is embedded, the file when it lies here; a remote file or a member of an archive is read."""
    content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, value)
    if content and isinstance(content, bytes):
        return content
    if not path:
        raise ManifestError(f"{where}: no sound")
    if "://" in path:
        from datasets.utils.file_utils import xopen

        with explaining(source, where), xopen(path, "rb") as file:
            return file.read()
    file = Path(source.path, path) if source.local else Path(path)
    if not file.is_file():
        raise ManifestError(f"{where}: the file {path} is missing")
    return file


def _datasets():
    try:
        import datasets
    except ImportError:
        raise AskdError("data sets of the Hub need the package datasets: pip install 'askd[hub]'") from None
    return datasets


def _open(source: HubSource, role: str) -> tuple:
    """The split, with the columns that are needed and the sound not decoded; and the split's name."""
    split, columns, opened, builder = found_split(source, role)
    if builder and builder.name == "parquet" and source.streaming:
        return _parquet_rows(builder.config.data_files[split], columns), split
    with explaining(source):
        if builder and not source.streaming:
            if isinstance(builder, _datasets().GeneratorBasedBuilder):
                builder = _builder(source, features=_datasets().Features(opened.features | {source.audio: _undecoded()}))
            builder.download_and_prepare()
            opened = builder.as_dataset(split)
        return opened.select_columns(columns).cast_column(source.audio, _undecoded()), split


def found_split(source: HubSource, role: str) -> tuple:
    """The split's name, the columns that are needed, the split as it lies there, and its builder (None of save_to_disk)."""
    if source.gone:
        raise AskdError(f"{source.id}: {source.gone}")
    datasets, wanted, builder = _datasets(), source.splits(role), None
    with explaining(source):
        if any(Path(source.path, name).is_file() for name in ("state.json", "dataset_dict.json")):  # by save_to_disk
            saved = datasets.load_from_disk(source.path)
            saved = saved if isinstance(saved, dict) else {str(saved.split or "train"): saved}
            split = _split_name(source, wanted, role, saved)
            opened = saved[split]
        else:
            builder = _builder(source)
            split = _split_name(source, wanted, role, builder.config.data_files)
            opened = builder.as_streaming_dataset(split)
            opened = opened if opened.features else opened._resolve_features()
        return split, _columns(source, opened.features), opened, builder


def _parquet_rows(files: Iterable[str], columns: list[str]) -> Iterator[dict]:
    """What ``as_streaming_dataset`` gives, but with one group of rows in memory: its scanner runs ahead by a whole shard."""
    import pyarrow.parquet
    from datasets.utils.file_utils import xopen

    for name in files:
        with xopen(name, "rb") as file:
            for batch in pyarrow.parquet.ParquetFile(file, pre_buffer=False).iter_batches(batch_size=16, columns=columns):
                yield from batch.to_pylist()


def _builder(source: HubSource, **options):
    datasets = _datasets()
    options["data_dir" if source.revision == PARQUET_COPY else "name"] = source.config
    try:
        return datasets.load_dataset_builder(source.path, revision=source.revision, **options)
    except ValueError as error:
        configs = datasets.get_dataset_config_names(source.path, revision=source.revision)
        if source.config is None and len(configs) > 1:
            raise AskdError(f"{source.id} has several configs, choose one (config=NAME): {', '.join(configs)}") from error
        if source.config is not None and source.config not in configs:
            raise UnknownName(f"config of {source.id}", source.config, configs) from error
        raise


def _split_name(source: HubSource, wanted: tuple[str, ...], role: str, known: Iterable) -> str:
    known = [str(name) for name in known]
    if found := [name for name in wanted if name in known]:
        return found[0]
    raise UnknownName(f"split of {source.id}", wanted[0] if len(wanted) == 1 else role, known)


def _columns(source: HubSource, features: dict) -> list[str]:
    datasets = _datasets()
    named = {option: getattr(source, option) for option in ("audio", "text", "speaker", "id_column")}
    for option, name in named.items():
        if name is not None and name not in features:
            raise UnknownName(f"column (option {option}) of {source.id}", name, features)
    held = features[source.audio]
    as_file = isinstance(held, datasets.Audio) or (isinstance(held, dict) and {"bytes", "path"} & held.keys())
    if not as_file and getattr(held, "dtype", "").removeprefix("large_") not in ("string", "binary"):
        raise AskdError(f"{source.id}: column {source.audio} holds {held}, not sound; columns are {', '.join(features)}")
    return list(dict.fromkeys(name for name in named.values() if name is not None))


@functools.cache
def _undecoded():
    class Undecoded(_datasets().Audio):
        """`datasets.Audio` (5.2) wants torchcodec even to store a path: this stores paths and content as they are."""

        def encode_example(self, value):
            if isinstance(value, dict):
                return {"bytes": value.get("bytes"), "path": value.get("path")}
            return {"bytes": value, "path": None} if isinstance(value, bytes) else {"bytes": None, "path": str(value)}

    return Undecoded(decode=False)


@contextlib.contextmanager
def explaining(source: HubSource, where: str = "") -> Iterator[None]:
    """Turn whatever goes wrong inside into an `AskdError` in the user's words: a `ManifestError` that names ``where``."""
    try:
        yield
    except AskdError:
        raise
    except Exception as error:
        raise _explained(source, error, where) from error


def _explained(source: HubSource, error: Exception, where: str = "") -> AskdError:
    """What went wrong in the user's words, and what to do."""
    import httpx

    datasets, chain = _datasets(), [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    said = " ".join(str(e) for e in chain).lower()
    if not source.local and (isinstance(error, datasets.exceptions.DatasetNotFoundError) or "gated" in said):
        if source.gated or "gated" in said:
            return AskdError(f"{source.id} is gated: accept the terms on its page of the Hub, then log in: hf auth login")
        return AskdError(f"{source.id}: no folder here and no data set of the Hub that you may see; check the name, or log "
                         "in: hf auth login")
    if not source.local and any(isinstance(e, ConnectionError | TimeoutError | httpx.TransportError) for e in chain):
        why = "HF_HUB_OFFLINE is set" if datasets.config.HF_HUB_OFFLINE else "no connection"
        return AskdError(f"{source.id} lies on the Hugging Face Hub, which is out of reach ({why}): connect, or run "
                         f"hf download {source.id} --repo-type dataset --local-dir FOLDER on a machine that is, copy "
                         "the folder here and name it: hub:FOLDER")
    if "scripts are no longer supported" in said:
        return AskdError(f"{source.id} has a loading script, which is never run; use the Parquet copy: revision={PARQUET_COPY}")
    kind = ManifestError if where else AskdError
    return kind(f"{where or source.id}: cannot be read ({type(chain[-1]).__name__}: {chain[-1]})")


def clips_to_dataset(clips: Iterable[Clip]):
    """Clips as a `datasets.Dataset`: audio (file content, not decoded), text, speaker, duration_s, domain, id.

    It lies in a file of the cache, not in memory, and holds the sound: ``push_to_hub``, ``save_to_disk`` and ``to_parquet``
    write it whole, without paths of this machine.

    Raises:
        AskdError: there is no clip.
    """
    datasets, clips = _datasets(), tuple(clips)
    if not clips:
        raise AskdError("a data set needs at least one clip")
    columns = dict.fromkeys(("text", "speaker", "duration_s", "domain", "id"), datasets.Value("string"))
    features = datasets.Features({"audio": _undecoded(), **columns, "duration_s": datasets.Value("float64")})
    made = datasets.Dataset.from_generator(_examples, features, str(cache_dir() / "datasets"), gen_kwargs={"clips": clips})
    return made.cast_column("audio", datasets.Audio(sampling_rate=SAMPLING_RATE_HZ, decode=False))


def _examples(clips: tuple[Clip, ...]) -> Iterator[dict]:
    import soundfile

    for clip in clips:
        name, content = Path(clip.path).name, Path(clip.path).read_bytes()
        if name.endswith(G722):  # has no header to know it by: FLAC with the same samples
            soundfile.write(flac := io.BytesIO(), clip.samples(), SAMPLING_RATE_HZ, format="FLAC", subtype="PCM_16")
            name, content = f"{name}.flac", flac.getvalue()
        yield {"audio": {"bytes": content, "path": name}, "text": clip.text, "speaker": clip.speaker, "duration_s": clip.audio_s,
               "domain": clip.domain, "id": clip.id}
