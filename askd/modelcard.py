"""The model card of an export: README.md with metadata that the Hugging Face Hub reads.

    text = model_card("runs/mine")               # or "runs/cpu:askd", or any Whisper folder; the form: model_card(run, "ct2")

Everything comes from what the run wrote down: training.json and run.json of the student, plan.json of ``askd distill``,
results/wer.json (or the hypotheses) and results/latency.json. What a run does not say, the card leaves out. Word error rates
stand in the metadata as well, as ``model-index`` with one result a domain.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from askd.domains import all_domains, get_domain
from askd.errors import AskdError
from askd.finished import Finished, finished
from askd.plan import FEW_TESTS
from askd.rows import read_rows
from askd.runinfo import read_info
from askd.teacher import SOURCES

HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
STOCK = {"tiny.en": "openai/whisper-tiny.en", "base": "openai/whisper-base"}
TOKENS = {"fixed": "equal count", "free": "until the end"}
LIBRARIES = {"hf": "transformers", "ct2": "ctranslate2", "onnx": "onnx"}
USE = {  # how an export is used
    "hf": """import askd                                                      # on the recording's own length: the fast way
model, processor = askd.load_teacher("FOLDER")
askd.transcribe(model, processor, [samples])                     # arrays, float32 at 16 kHz

from transformers import pipeline                                # on 30 s, as any Whisper
pipeline("automatic-speech-recognition", "FOLDER")({"raw": samples, "sampling_rate": 16_000})""",
    "ct2": """from faster_whisper import WhisperModel                          # pads to 30 s
segments, _ = WhisperModel("FOLDER", device="cpu").transcribe("recording.wav", beam_size=1)
print(*(segment.text for segment in segments))""",
    "onnx": """from askd.onnxmodel import OnnxWhisper                           # a greedy search in numpy, to start from
OnnxWhisper("FOLDER").transcribe([samples])                      # arrays, float32 at 16 kHz""",
}


@dataclass(frozen=True)
class Known:
    """What is written down about a student; empty where nothing is."""

    name: str  # in the results
    title: str
    base: str  # the teacher: a Hub id, or a folder's name
    stock: str  # Hub id of a Whisper that is exported as published
    train: Mapping  # method, steps, batch_size, decoder_layers, seed
    data: Mapping  # clips, hours, domains: of the training clips
    plan: Mapping  # of `askd distill`
    config: Mapping  # of the model
    wer: Mapping  # content of wer.json
    latency: Mapping  # content of latency.json


def known(student: Finished) -> Known:
    """Read what lies in a run about its student."""
    model = student.model.parent if student.model.name == "best" else student.model
    plan, info = read_info(student.run / "plan.json"), read_info(model / "run.json")
    teacher = plan.get("asked", {}).get("teacher") or info.get("teacher") or ""
    if converted := re.fullmatch(rf"({'|'.join(map(re.escape, SOURCES))})-[0-9a-f]{{8}}", teacher):  # a folder of the cache
        teacher = converted[1]
    base = STOCK.get(teacher, teacher)
    if not HUB_ID.fullmatch(base) or Path(base).exists():
        base = Path(base).name
    stock = "" if base else STOCK.get(student.name, "")
    title = f"A student of {base}" if base else stock or student.model.name
    train = plan.get("train") or read_info(model / "training.json").get("config", {})
    return Known(
        student.name, title, base, stock, train, info.get("data") or {}, plan, read_info(student.model / "config.json"),
        _wer(student), read_info(student.run / "results" / "latency.json"),
    )


def _wer(student: Finished) -> Mapping:
    """``wer.json`` of the run, or made of its hypotheses; empty where the student or its teacher is not scored."""
    from askd.wer import wer_report

    results = student.run / "results"
    report = read_info(results / "wer.json")
    if {"teacher", student.name} <= set(report.get("models", {})):
        return report
    files = {name: results / "hypotheses" / f"{name}.jsonl" for name in ("teacher", student.name)}
    try:
        return wer_report({name: read_rows(file) for name, file in files.items()}, [(student.name, "teacher")])
    except (AskdError, OSError):  # none there, or not of the same utterances
        return {}


def model_card(run: Path | str, to: str = "hf") -> str:
    """README.md of an export: what it is, how it came about, what it reaches, what it is for, and under which licence.

    The card of a model that was not trained here is kept where it has one.

    Args:
        run: as in `askd.export.export`.
        to: ``hf``, ``ct2`` or ``onnx``.

    Raises:
        AskdError: no finished student.
    """
    student = finished(run)
    facts, own = known(student), student.model / "README.md"
    if not facts.train and own.is_file() and (text := own.read_text(encoding="utf-8")).startswith("---"):
        return text
    parts = [_about(facts), _use(to), _training(facts), _errors(facts), _latency(facts), _limits(facts), _licence(facts)]
    return "\n\n".join([f"---\n{_metadata(facts, to)}\n---", *filter(None, parts)]) + "\n"


def _metadata(facts: Known, to: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    origin = facts.base or facts.stock
    licence = "mit" if origin.startswith("openai/whisper") else "other" if origin else "unknown"
    ids = _hub_ids(facts)
    results = [
        EvalResult("automatic-speech-recognition", ids.get(name, name), name, "wer", row["wer"],
                   task_name="Speech recognition", dataset_split="test", metric_name="WER, %")
        for name, row in _domains(facts).items()
    ]
    trained = sorted({ids[name] for name in facts.data.get("domains", {}) if name in ids})
    return ModelCardData(
        language="en" if origin else None, license=licence, library_name=LIBRARIES[to],
        pipeline_tag="automatic-speech-recognition", tags=["whisper"] + ["distillation"] * bool(facts.train),
        base_model=origin if HUB_ID.fullmatch(origin) else None, datasets=trained or None,
        metrics=["wer"] if results else None, model_name=facts.title if results else None, eval_results=results or None,
    ).to_yaml()


def _hub_ids(facts: Known) -> dict[str, str]:
    """Hub id of each domain that was read from there."""
    from askd.distill import source_name

    asked = facts.plan.get("asked", {}).get("data", ())
    corpora = ((facts.wer.get("provenance") or {}).get("settings") or {}).get("corpora", ())
    ids = {}
    for name in (*asked, *corpora):
        if name.startswith("hub:"):
            with contextlib.suppress(AskdError):  # a local copy that is no more
                domain = get_domain(name)
                ids[domain.name] = source_name(domain)
    return {name: hub_id for name, hub_id in ids.items() if HUB_ID.fullmatch(hub_id) and not Path(hub_id).exists()}


def _domains(facts: Known) -> dict[str, dict]:
    return facts.wer["models"][facts.name]["domains"] if facts.wer else {}


def _about(facts: Known) -> str:
    if facts.base:
        how = ("distilled with [ASKD](https://arxiv.org/abs/2601.19919) by `askd`: the\nteacher's influence fades over training, "
               "and a phase of self-distillation follows." if facts.train.get("method") == "askd" else "distilled by `askd`.")
        return f"# {facts.title}\n\nA Whisper for English speech recognition, {how}"
    if facts.stock:
        return f"# {facts.title}\n\nOpenAI's weights as published, in another form."
    return f"# {facts.title}\n\nA Whisper. How it was trained is not recorded beside its weights."


def _use(to: str) -> str:
    return f"## Use\n\n```python\n{USE[to]}\n```"


def _training(facts: Known) -> str:
    train, use, data = facts.train, facts.plan.get("use", {}), facts.data
    if not train:
        return ""
    lines = []
    if use:
        mixed = f" and {use['mixed in']} synthetic clips" if use.get("mixed in") else ""
        lines.append(f"{use['train'] - use.get('mixed in', 0)} recordings{mixed};")
    elif data.get("hours") is not None:
        lines.append(f"{data['clips']} clips, {data['hours']:.1f} h;")
    layers = facts.config.get("decoder_layers") or train.get("decoder_layers")
    size = f"{facts.config['encoder_layers']} encoder and {layers}" if "encoder_layers" in facts.config else layers
    lines.append(f"{train['steps']} steps of {train['batch_size']} clips, method `{train['method']}`, {size} decoder layers, "
                 f"seed {train['seed']}.")
    if domains := data.get("domains"):
        lines += ["", "| trained on | clips | minutes | speakers |", "|---|---|---|---|"]
        lines += [f"| {name} | {row['clips']} | {row['minutes']:.1f} | {row['speakers']} |" for name, row in domains.items()]
    return "\n".join(["## Training", "", *lines])


def _errors(facts: Known) -> str:
    from askd.wer import cell

    if not facts.wer:
        return ""
    own, teacher = (facts.wer["models"][name] for name in (facts.name, "teacher"))

    def row(name: str, count: object, *cells: Mapping) -> str:
        return f"| {name} | {count} | {' | '.join(cell(c['wer'], c.get('wer_ci95')) for c in cells)} |"

    lines = ["| test recordings | utterances | teacher | this model |", "|---|---|---|---|"]
    lines += [row(name, entry["utterances"], teacher["domains"][name], entry) for name, entry in own["domains"].items()]
    utterances = sum(entry["utterances"] for entry in own["domains"].values())
    if len(own["domains"]) > 1:
        means = ({"wer": model["macro"]["all"], "wer_ci95": model["macro_ci95"].get("all")} for model in (teacher, own))
        lines.append(row("all, unweighted mean", utterances, *means))
    with_teacher = (facts.name, "teacher", "all")
    said = [c["in_words"] for c in facts.wer["comparisons"] if (c["a"], c["b"], c["split"]) == with_teacher]
    if utterances < FEW_TESTS:
        said.append("These are too few recordings for a verdict.")
    if (seeds := own.get("seeds", 1)) > 1:
        said.append(f"Means over {seeds} training seeds, of which this model is one.")
    said += ["", f"Scored by {facts.wer['scorer']}. In brackets 95 % intervals."]
    return "\n".join(["## Word error rate, %", "", *lines, "", *said])


def _latency(facts: Known) -> str:
    rows: Sequence[Mapping] = facts.latency.get("rows", ())
    what = ("engine", "batch", "clips", "mode")
    teachers = {tuple(row[key] for key in what): row for row in rows if row["model"] == "teacher"}
    pairs = [(teachers[tuple(row[key] for key in what)], row) for row in rows
             if row["model"] == facts.name and tuple(row[key] for key in what) in teachers]
    if not pairs:
        return ""
    machine = facts.latency.get("machine") or (facts.latency.get("provenance") or {}).get("machine") or {}
    lines = ["| clips | mean, s | batch | tokens | engine | teacher, ms | this model, ms | times faster |", "|" + "---|" * 8]
    lines += [
        f"| {own['clips']} | {own['audio_s']:.1f} | {own['batch']} | {TOKENS.get(own['mode'], own['mode'])} | {own['engine']} "
        f"| {teacher['p50_ms']:.0f} | {own['p50_ms']:.0f} | {teacher['p50_ms'] / own['p50_ms']:.1f} |"
        for teacher, own in pairs
    ]
    where = f" Measured on {machine.get('gpu') or machine['cpu']}, {machine['threads']} threads." if machine else ""
    heard = ("This model on the clip's own length (`askd.transcribe`), the teacher on its padded 30 s. Programs that pad to 30 s "
             "gain only what cut layers give." if facts.config.get("askd_context") == "clip" else "Both on padded 30 s.")
    return "\n".join(["## Latency", "", *lines, "", f"Medians.{where} {heard}"])


def _limits(facts: Known) -> str:
    use = "Transcription of recordings like those it was trained on, of at most 30 s each." if facts.train else (
        "Transcription of speech, in pieces of at most 30 s.")
    tested = ("it was not tested on other voices, accents or channels than those above" if facts.wer
              else "this card knows of no test of it")
    return (f"## Intended use\n\n{use} Not for decisions about people.\n\n"
            f"## Limits\n\nIt may make up words on silence and noise, and {tested}.")


def _licence(facts: Known) -> str:
    if not facts.base:
        return "## Licence\n\n" + ("MIT (OpenAI)." if facts.stock else "Not recorded: ask where the weights come from.")
    lines = ["## Licence", "", "The weights derive from the teacher's and stand under its licence (OpenAI's Whisper: MIT)."]
    if licences := facts.plan.get("licences") or {
        name: all_domains()[name].licence for name in facts.data.get("domains", {})
        if name in all_domains() and all_domains()[name].real
    }:
        lines += ["", *(f"- Trained on: {name} ({terms or 'no licence declared'})" for name, terms in licences.items())]
    if facts.train:
        lines += ["", "What was learnt from recordings may be bound by their terms too; of your own, they are yours to say."]
    return "\n".join(lines)
