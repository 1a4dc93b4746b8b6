"""The committed latency results, ``data/results/latency/*.json``, in Markdown.

    results = read_latency(data_dir() / "results" / "latency")
    print(summary(results), details(results))

``make latency`` measures them: ``batch1``, ``batch8`` and ``compiled`` are reports of `askd.latencyreport.compare` with what
``askd latency`` adds, ``speculative`` is of `askd.speculative`, ``large-v2`` of `askd.latencyshapes`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from askd.errors import RunError
from askd.files import read_json
from askd.latencyreport import TEST
from askd.latencyshapes import PUBLISHED

NAMES = ("batch1", "batch8", "compiled", "speculative", "large-v2")
COLUMNS = {  # of a table of models and engines
    "model": "model", "engine": "engine", "p50_ms": "median ms", "p95_ms": "p95 ms", "rtfx": "RTFx",
    "of_first": "times its teacher", "weights_mb": "MB", "wer": "WER %",
}


def read_latency(folder: Path) -> dict[str, dict]:
    """All results by name.

    Raises:
        RunError: one is missing.
    """
    if missing := [name for name in NAMES if not (folder / f"{name}.json").is_file()]:
        raise RunError(f"{folder} has no {', '.join(f'{name}.json' for name in missing)}: make latency measures them")
    return {name: read_json(folder / f"{name}.json") for name in NAMES}


def markdown(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A table; None is an empty cell, floats have as many digits as they need to be told apart.

    >>> print(markdown(["a", "b"], [[1.234, None], [123.4, "x"]]))
    | a | b |
    |---|---|
    | 1.23 |  |
    | 123 | x |
    """
    def cell(value) -> str:
        if value is None:
            return ""
        return (f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}") if isinstance(value, float) else str(value)

    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    return "\n".join(lines + [f"| {' | '.join(map(cell, row))} |" for row in rows])


def engines_table(report: Mapping, batch: int, mode: str = "free") -> str:
    """Models and engines on the test clips."""
    rows = [r for r in report["rows"] if (r["clips"], r["batch"], r["mode"]) == (TEST, batch, mode)]
    return markdown(list(COLUMNS.values()), [[row[name] for name in COLUMNS] for row in rows])


def lengths_table(report: Mapping) -> str:
    """How many times as fast as the teacher in the same engine each student is, by length of the clip."""
    rows = [row for row in report["rows"] if row["clips"] != TEST and row["model"] in report["students"]]
    lengths = list(dict.fromkeys(row["clips"] for row in rows))
    pairs = list(dict.fromkeys((row["model"], row["engine"]) for row in rows))
    times = {(row["model"], row["engine"], row["clips"]): row["of_first"] for row in rows}
    return markdown(["student", "engine", *lengths], [[*pair, *(times[*pair, length] for length in lengths)] for pair in pairs])


def goals_table(report: Mapping, mode: str = "fixed") -> str:
    """What was aimed at and what came out, at equal token counts."""
    rows = [[g["model"], g["other"], f"{g['goal']:g}x", f"{g['times']:.2f}x", "yes" if g["times"] >= g["goal"] else "no",
             g["wer"], g["wer_other"]] for g in report["goals"] if g["mode"] == mode]
    return markdown(["student", "against", "goal", "measured", "reached", "WER %", "WER % of the other"], rows)


def parts_table(report: Mapping) -> str:
    """The way from the teacher to each student, one change at a time; factors multiply to the whole."""
    rows = [[name, part["change"], part["encoder_ms"], part["mean_ms"], part["times"], part["of_teacher"]]
            for name, parts in report["parts"].items() for part in parts]
    return markdown(["student", "step", "encoder ms", "total ms", "times the step before", "times the teacher"], rows)


def bound_table(report: Mapping) -> str:
    """Measured times beside the least that the matrix products need."""
    rows = [[b["model"], part, b["frames"], b["tokens"], b[part]["measured_ms"], b[part]["bound_ms"], b[part]["times"]]
            for b in report["bound"] for part in ("encoder", "decoder")]
    return markdown(["model", "part", "frames", "tokens", "measured ms", "bound ms", "measured / bound"], rows)


def speculative_table(found: Mapping) -> str:
    """Students that draft for their teacher."""
    rows = [[name, f["clips"], f["same_tokens"], 100 * f["acceptance"], f["tokens_per_round"], f["plain_ms"], f["speculative_ms"],
             f["speedup"], f["decoder_speedup"]] for name, f in found["speculative"].items()]
    return markdown(["draft", "clips", "same tokens in", "drafted tokens accepted, %", "tokens a pass", "teacher alone, ms",
                     "with draft, ms", "times", "times, decoder alone"], rows)


def shape_table(found: Mapping) -> str:
    """How many times as fast as the whole model on 30 s, by decoder layers, context and length of the clip."""
    rows = found["rows"]
    lengths = list(dict.fromkeys(row["clips"] for row in rows))
    times = {(row["decoder_layers"], row["context"], row["clips"]): row["times"] for row in rows}
    millions = {row["decoder_layers"]: row["millions"] for row in rows}
    header = ["decoder layers", "M weights", *(f"{length}, {'30 s context' if context == 'full' else 'own context'}"
                                               for length in lengths for context in ("full", "clip"))]
    return markdown(header, [[layers, millions[layers], *(times[layers, context, length] for length in lengths
                                                          for context in ("full", "clip"))] for layers in millions])


def summary(results: Mapping[str, Mapping]) -> str:
    """Batch 1 on the test clips: for the front page."""
    one = results["batch1"]
    return "\n\n".join([
        _about(one), f"Batch 1, free-running:\n\n{engines_table(one, 1)}",
        "*times its teacher*: mean times, teacher and student in the same engine. faster-whisper pads every clip to 30 s.",
    ])


def details(results: Mapping[str, Mapping]) -> str:
    """All the rest: goals, lengths, batches, the compiled engine, parts, bounds, speculative decoding, the paper's scale."""
    one, eight, shape = results["batch1"], results["batch8"], results["large-v2"]
    bound = one["bound"][0]
    rates = f"{bound['rates']['flops'] / 1e9:.0f} GFLOP/s, {bound['rates']['bandwidth'] / 1e9:.1f} GB/s"
    return "\n\n".join([
        _about(one), f"**What we had aimed at**, equal token counts, test clips, batch 1:\n\n{goals_table(one)}",
        f"**By length**, equal token counts, batch 1: times as fast as the teacher in the same engine.\n\n{lengths_table(one)}",
        f"The same, batch 8:\n\n{lengths_table(eight)}",
        f"**Batch 8, free-running.**\n\n{engines_table(eight, 8)}",
        f"**transformers' own search, compiled with a static cache**, batch 1, {results['compiled']['clips']} clips of each "
        f"domain:\n\n{engines_table(results['compiled'], 1)}",
        f"**Where the speed comes from**: {bound['audio_s']:g} s, {bound['tokens']} tokens.\n\n{parts_table(one)}",
        f"**How near to what this machine could do** ({rates}, measured in the same run):\n\n{bound_table(one)}",
        f"**Speculative decoding**, the student drafts, the words are its teacher's:\n\n"
        f"{speculative_table(results['speculative'])}",
        f"**At the paper's scale**: {shape['shape']}, random weights, {shape['dtype']}, batch 1, this CPU; times as fast as all "
        f"layers on 30 s of context.\n\n{shape_table(shape)}",
        "\n".join(f"- *paper*: {each['times']:g}x, {each['what']}" for each in PUBLISHED),
    ])


def _about(report: Mapping) -> str:
    """Where, from what code, on which clips."""
    made, computer = report["provenance"], report["provenance"]["machine"]
    clips, domains = report["clips"] * len(report["data"]), ", ".join(f"`{name}`" for name in report["data"])
    return (f"*Measured here*: {computer['cpu']}, {computer['threads']} threads, torch {computer['torch']}, transformers "
            f"{computer['transformers']}, commit `{made['commit']}`{' with uncommitted changes' * made['changed']}. Times run "
            f"from sound to words, models and engines in turns; test clips: {report['clips']} each of {domains}; WER is the "
            f"macro over these {clips} clips, each engine's own words.")
