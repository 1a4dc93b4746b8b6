"""A run folder: what one profile leaves behind, and where the notebooks find each other's work.

    runs/<profile>/
        settings.json            written by notebook 00: teacher, clips, steps, seed
        students/<method>/       transformers folders with their logs (askd/training.py)
        results/                 wer.json, latency.json, headline.json, hypotheses/*.jsonl
        figures/                 PNG + SVG
        notebooks/               executed copies (askd reproduce)
"""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from askd.clips import Clip
from askd.corpora import CorpusUnavailable
from askd.domains import domain_names, get_domain, load_clips
from askd.errors import AskdError, RunError
from askd.files import project_dir, read_json, write_json
from askd.methods import DESCRIBED, TRAINING
from askd.packages import PackageUnavailable
from askd.runinfo import git_state


@dataclass(frozen=True)
class Settings:
    """What all notebooks of one run share. The defaults are the smoke run."""

    teacher: str = "tiny.en"
    train_clips: int = 6  # per in-domain domain
    dev_clips: int = 2  # per in-domain domain
    test_clips: int = 3  # per synthetic domain
    real_clips: int = 4  # per domain of real test recordings
    corpora: tuple[str, ...] = ()  # public corpora and hub:ID that join in: their train, dev and test recordings
    corpus_train_clips: int = 6  # per corpus
    cut_clips: int = 0  # training recordings that are also heard cut off in mid-phrase (askd/endings.py)
    joined_clips: int = 0  # pairs of them, one after the other
    wrong_transcripts: float = 0.0  # share of the training clips that carry another's words (askd/labelnoise.py)
    streaming: bool = False  # train on the corpora alone (hub:ID in Parquet), read as the steps need them
    steps: int = 6
    batch_size: int = 4
    decoder_layers: int | None = 2
    encoder_lr: float = 3e-5
    decoder_lr: float = 1e-4
    precision: str = "fp32"
    training: dict = field(default_factory=dict)  # any other field of askd.trainconfig.TrainConfig
    seed: int = 0
    clips_seed: int | None = None  # which training clips; None: drawn anew with every seed

    def __post_init__(self):
        self._check_kinds()
        object.__setattr__(self, "corpora", tuple(self.corpora))  # JSON and papermill give lists
        for name in self.corpora:
            domain = get_domain(name)
            if not domain.real or (domain.source == "package" and not domain.channel):
                raise AskdError(f"settings: corpora: {name} is neither a public corpus of data/domains.yaml, nor recordings "
                                "heard through a channel, nor hub:ID")
        for name in ("train_clips", "dev_clips", "test_clips", "real_clips", "corpus_train_clips", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise AskdError(f"settings: {name} must be at least 1, not {getattr(self, name)}")
        for name in ("seed", "clips_seed", "cut_clips", "joined_clips"):
            if (getattr(self, name) or 0) < 0:
                raise AskdError(f"settings: {name} must be 0 or more, not {getattr(self, name)}")
        if not 0 <= self.wrong_transcripts <= 1:
            raise AskdError(f"settings: wrong_transcripts must lie in [0, 1], not {self.wrong_transcripts}")
        given = [name for name in ("cut_clips", "joined_clips", "wrong_transcripts") if getattr(self, name)]
        if self.streaming and given:
            raise AskdError(f"settings: {given[0]} changes clips made beforehand, and streaming makes none: leave one out")

    def _check_kinds(self) -> None:
        """Each field of its kind; what YAML and the command line give, such as the string 1e-4, is turned into a number."""
        kinds = {f.name: f.type for f in fields(self)}
        for name in ("teacher", "precision"):
            if not isinstance(getattr(self, name), str):
                raise AskdError(f"settings: {name} must be a name, not {getattr(self, name)!r}")
        if not isinstance(self.streaming, bool):
            raise AskdError(f"settings: streaming must be true or false, not {self.streaming!r}")
        if not isinstance(self.corpora, (list, tuple)) or not all(isinstance(name, str) for name in self.corpora):
            raise AskdError(f"settings: corpora must be a list of names, such as [an4], not {self.corpora!r}")
        if not isinstance(self.training, dict):
            raise AskdError(f"settings: training must be a mapping, such as {{momentum: 0.95}}, not {self.training!r}")
        if self.training:
            from askd.trainconfig import TrainConfig

            if unknown := set(self.training) - set(TrainConfig.__dataclass_fields__):
                raise AskdError(f"settings: training: unknown field {', '.join(sorted(map(str, unknown)))}: known are "
                                f"{', '.join(TrainConfig.__dataclass_fields__)}")
        for name, kind in kinds.items():
            value = getattr(self, name)
            if kind in (int, float) or (kind == int | None and value is not None and not isinstance(value, (list, tuple))):
                self._number(name, float if kind is float else int)

    def _number(self, name: str, kind: type) -> None:
        value = getattr(self, name)
        try:
            number = float("nan") if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not abs(number) < float("inf") or (kind is int and number != int(number)):
            raise AskdError(f"settings: {name} must be {'a whole number' if kind is int else 'a number'}, not {value!r}")
        object.__setattr__(self, name, kind(number))


def default_domains() -> list[str]:
    """Domains of every run: all synthetic ones, and recordings of packages as they are."""
    return [n for n in domain_names(source=("synthetic", "package")) if not (get_domain(n).real and get_domain(n).channel)]


class Run:
    """The run folder called ``name`` under ``runs/`` of the checkout, or any folder given as a path."""

    def __init__(self, name: str | Path):
        self.folder = Path(name) if "/" in str(name) else project_dir() / "runs" / str(name)

    @property
    def results(self) -> Path:
        """Folder of wer.json, latency.json, headline.json and the hypotheses."""
        return self.folder / "results"

    def student(self, method: str) -> Path:
        """Folder of one student."""
        return self.folder / "students" / method

    def start(self, **settings) -> Settings:
        """Write ``settings.json`` and return the settings; unknown names are refused."""
        known = {f.name for f in fields(Settings)}
        if unknown := set(settings) - known:
            raise AskdError(f"unknown setting {', '.join(sorted(unknown))}: known are {', '.join(sorted(known))}")
        chosen = Settings(**settings)
        write_json(self.folder / "settings.json", asdict(chosen))
        return chosen

    def settings(self) -> Settings:
        """The settings of the run.

        Raises:
            RunError: notebook 00 has not been run with this profile.
        """
        return Settings(**read_json(self.needs("settings.json", "00_quickstart")))

    def needs(self, relative: str, notebook: str) -> Path:
        """A path inside the run, or `RunError` that names the notebook which makes it."""
        path = self.folder / relative
        if not path.exists():
            raise RunError(f"{path} is not there yet: run notebook {notebook} with the same profile first")
        return path

    def clips(self, role: str, progress: bool = False, skip_bad: bool = False) -> list[Clip]:
        """Training, dev or test clips of all domains of the run. Domains that cannot be had here are named and left out.

        The seed (or ``clips_seed``) draws training clips alone: whatever it is, all runs are judged on the same clips.

        Raises:
            RunError: the run wants public corpora and none of them is there.
        """
        settings = self.settings()
        clips, missing = [], []
        for domain in self._domains():
            if role not in domain.roles:
                continue
            kind = {"train": "corpus_train_clips", "dev": "dev_clips", "test": "real_clips"} if domain.real else {}
            count = getattr(settings, kind.get(role, f"{role}_clips"))
            try:
                drawn = settings.seed if settings.clips_seed is None else settings.clips_seed
                seed = drawn if role == "train" else 0
                clips += load_clips(domain, role, count, seed, progress=progress, skip_bad=skip_bad)
            except (PackageUnavailable, CorpusUnavailable) as error:
                print(f"left out: {domain.name}: {error}")
                missing.append(domain.name)
        wanted = {d.name for d in map(get_domain, settings.corpora) if d.source != "package" and role in d.roles}
        if wanted and wanted <= set(missing):
            raise RunError("none of the public corpora of this run is here: askd data get NAME, or --audio-root FOLDER")
        return clips

    def training_clips(self, teacher, processor, progress: bool = False, skip_bad: bool = False) -> list[Clip]:
        """What students are trained on: the training clips, of its real recordings cut and joined ones too (`askd.endings`), and
        words exchanged (`askd.labelnoise`), as the settings say.
        """
        import torch

        from askd.endings import cut_clips, joined_clips
        from askd.labelnoise import swap_transcripts
        from askd.processes import all_processes
        from askd.trainconfig import fast_precision

        s, clips = self.settings(), self.clips("train", progress, skip_bad)
        seed = s.seed if s.clips_seed is None else s.clips_seed
        if s.cut_clips + s.joined_clips:
            recordings = [clip for clip in clips if get_domain(clip.domain).real]
            precision = fast_precision(all_processes().device) if s.precision == "auto" else s.precision
            autocast = torch.bfloat16 if precision == "bf16" else None
            clips += cut_clips(recordings, s.cut_clips, teacher, processor, seed, autocast, progress)
            clips += joined_clips(recordings, s.joined_clips, seed)
        return swap_transcripts(clips, s.wrong_transcripts, seed)

    def _domains(self) -> list:
        return [get_domain(name) for name in (*default_domains(), *self.settings().corpora)]

    def splits(self) -> dict[str, str]:
        """``in_domain`` of domains whose training clips the run's students saw, ``out_of_domain`` of the others."""
        streaming = self.settings().streaming  # on the corpora alone
        trained = {d.name for d in self._domains() if "train" in d.roles and not (streaming and d.source == "synthetic")}
        return {d.name: "in_domain" if d.name in trained else "out_of_domain" for d in self._domains()}

    def train_config(self, method: str, **changes):
        """`askd.trainconfig.TrainConfig` of this run's settings for one method."""
        return train_config(self.settings(), method, **changes)

    def train(self, method: str, teacher, processor, progress: bool = False, skip_bad: bool = False, **changes) -> Path:
        """Train one method of this run into ``students/<method>``; returns at once when it is done already."""
        from askd.processes import all_processes
        from askd.traindata import open_stream
        from askd.training import train

        config, s = self.train_config(method, **changes), self.settings()
        with all_processes().main_process_first():  # what has to be made or fetched is so once
            if s.streaming:
                domains = [d for d in map(get_domain, s.corpora) if "train" in d.roles]
                clips = open_stream(domains, teacher, processor, config, skip_bad)
            else:
                clips = self.training_clips(teacher, processor, progress, skip_bad)
            dev = self.clips("dev", skip_bad=skip_bad)
        return train(config, teacher, processor, clips, self.student(method), dev, progress, skip_bad)

    def trained(self) -> list[str]:
        """Methods with a finished student, in the order they are usually listed."""
        return [m for m in DESCRIBED if (self.student(m) / "finished.json").is_file()]

    def save_figure(self, figure, name: str) -> None:
        """Write ``figures/<name>.png`` and ``.svg``; a notebook shows the figure all the same."""
        from askd.figures import save

        save(figure, self.folder / "figures" / name)

    def write_result(self, name: str, value: dict) -> Path:
        """Write ``results/<name>.json`` with its provenance."""
        write_json(self.results / f"{name}.json", value | {"provenance": provenance(self.settings())})
        return self.results / f"{name}.json"


def train_config(s: Settings, method: str, **changes):
    """`askd.trainconfig.TrainConfig` of settings for one method."""
    from askd.trainconfig import TrainConfig

    every = max(1, s.steps // 8)
    values = dict(
        method=method, decoder_layers=s.decoder_layers, steps=s.steps, batch_size=s.batch_size, encoder_lr=s.encoder_lr,
        decoder_lr=s.decoder_lr, precision=s.precision, seed=s.seed, dev_every=every, checkpoint_every=max(25, every),
    )
    return TrainConfig(**values | s.training | TRAINING.get(method, {}) | changes)


def provenance(settings: Settings | None = None) -> dict:
    """Commit, settings, machine and versions of a result."""
    from askd.latency import machine

    git = git_state()
    return {
        "commit": git["commit"], "changed": bool(git["dirty"]), "settings": asdict(settings) if settings else None,
        "machine": machine(),
    }
