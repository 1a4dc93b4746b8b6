"""Training runs below a folder: what each one is, how far it came, how well and how fast; and what makes two of them differ.

    runs = [describe(folder) for folder in find_runs(["runs"])]
    print(table(runs))
    print(comparison([describe("runs/cpu/students/askd"), describe("runs/cpu/students/ce_only")]))

Everything is read from the run folders, running and broken ones too: whole lines count, what is missing is shown as ``-``.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from askd.errors import RunError
from askd.runinfo import read_info
from askd.runlogs import read_rows
from askd.trackers import flat

TERMS = ("loss", "ce", "kl_teacher", "kl_self", "grad_norm")
LAST = 20  # final terms are means over one step in so many, the last ones. Ours


def find_runs(folders: Iterable[Path | str]) -> list[Path]:
    """Folders with a training.json, at or below ``folders``, by path. Hidden folders are passed over.

    Raises:
        RunError: a folder that does not exist, or no run at all.
    """
    folders, found = [Path(folder) for folder in folders], set()
    for folder in folders:
        if not folder.is_dir():
            raise RunError(f"{folder} is no folder: name a run folder, or one that holds runs")
        for place, below, files in os.walk(folder):
            below[:] = [] if "training.json" in files else [name for name in below if not name.startswith(".")]
            if "training.json" in files:
                found.add(Path(place))
    if not found:
        places = ", ".join(map(str, folders))
        raise RunError(f"no training run (a folder with training.json) in {places}: askd train --out {folders[0] / 'mine'}")
    return sorted(found)


def writer(folder: Path | str) -> int | None:
    """The process that writes to a run folder now (0 when it has not said which); None when nobody does.

    A lock file that a killed process left behind does not count: the system lets go of the lock itself.
    """
    import fcntl

    try:
        with open(Path(folder) / ".lock", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = file.read().strip()
                return int(pid) if pid.isdigit() else 0
    except OSError:
        pass
    return None


def describe(folder: Path | str) -> dict:
    """One run, as JSON can hold it; None where the run does not say.

    Returns:
        path, method, changes (of the method), teacher, layers, state, pid, step, steps, dev_last, dev_best, dev_best_step,
        utterances_per_s and seconds (both over all logged steps), started, terms (means over the last twentieth of the steps
        done), shares (of the step time), settings (flat), digests (teacher, clips, dev clips), ran_on.
        State: finished; running: a process holds it; stopped; old: moved aside by a run of other settings.

    Raises:
        RunError: no training.json, or one that cannot be read.
    """
    folder = Path(folder)
    recorded, info = read_info(folder / "training.json"), read_info(folder / "run.json")
    config = recorded.get("config")
    if not isinstance(config, dict) or not {"method", "steps", "batch_size"} <= set(config):
        there = "is damaged, or not of this program" if (folder / "training.json").is_file() else "is missing"
        raise RunError(f"{folder} is no training run: its training.json {there}; askd runs FOLDER lists the runs below a folder")
    rows, speed = read_rows(folder / "metrics.jsonl"), read_rows(folder / "speed.jsonl")
    dev = [(row["dev_ce"], row["step"]) for row in rows if _number(row.get("dev_ce"))]
    batch, pid = config["batch_size"], writer(folder)
    seconds = [row["seconds"] for row in speed if _number(row.get("seconds"))]
    if not seconds:  # a run from before speed.jsonl
        seconds = [batch / row["utterances_per_s"] for row in rows if _number(row.get("utterances_per_s"))]
    starts = info.get("starts") or []
    if ".old-" in folder.name:
        state = "old"
    elif (folder / "finished.json").is_file():
        state = "finished"
    else:
        state = "stopped" if pid is None else "running"
    best, best_step = min(dev, default=(None, None))
    return {
        "path": str(folder), "method": config["method"], "changes": config.get("overrides") or {},
        "teacher": info.get("teacher") or str(recorded.get("teacher", ""))[:8] or None, "layers": _layers(folder, config),
        "state": state, "pid": pid if state == "running" else None, "step": rows[-1]["step"] if rows else 0,
        "steps": config["steps"], "dev_last": dev[-1][0] if dev else None, "dev_best": best, "dev_best_step": best_step,
        "utterances_per_s": round(batch * len(seconds) / sum(seconds), 2) if sum(seconds) else None,
        "seconds": round(sum(seconds), 1) if seconds else None, "started": _started(folder, starts),
        "terms": _final_terms(rows), "shares": _shares(speed), "settings": _settings(recorded),
        "digests": {"teacher": recorded.get("teacher"), "training clips": recorded.get("clips"),
                    "dev clips": (info.get("dev") or {}).get("digest")},
        "ran_on": _ran_on(starts),
    }


def _number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _layers(folder: Path, config: Mapping) -> str:
    """"4+2": encoder and decoder layers of the student, as its config.json or else the settings have it."""
    student = read_info(folder / "config.json") or read_info(folder / "best" / "config.json")
    chosen = [student.get(name, config.get(name)) for name in ("encoder_layers", "decoder_layers")]
    return "+".join("all" if n is None else str(len(n) if isinstance(n, list) else n) for n in chosen)


def _started(folder: Path, starts: Sequence[Mapping]) -> str:
    if starts:
        return starts[-1]["started"]
    return datetime.fromtimestamp((folder / "training.json").stat().st_mtime, UTC).isoformat(timespec="seconds")


def _final_terms(rows: Sequence[Mapping]) -> dict[str, float]:
    last = rows[-max(1, len(rows) // LAST) :]
    values = {key: [row[key] for row in last if _number(row.get(key))] for key in TERMS}
    return {key: round(sum(v) / len(v), 6) for key, v in values.items() if v}


def _shares(speed: Sequence[Mapping]) -> dict[str, float]:
    if not speed:
        return {}
    from askd.stepclock import shares

    return {part: round(share, 4) for part, share in shares(speed).items()}


def _settings(recorded: Mapping) -> dict:
    """All settings on one level; the curriculum stands for the overrides that made it."""
    config = {key: value for key, value in recorded["config"].items() if key != "overrides"}
    rest = {key: value for key, value in recorded.items() if key not in ("config", "curriculum", "teacher", "clips")}
    return flat(config) | flat({"curriculum": recorded.get("curriculum", {})}) | flat(rest)


def _ran_on(starts: Sequence[Mapping]) -> dict:
    if not starts:
        return {}
    git, machine = starts[-1]["git"], starts[-1]["environment"]
    return {
        "commit": f"{git['commit']}{'+' + git['diff'] if git['dirty'] else ''}" if git["commit"] else None,
        "device": machine["gpu"] or machine["cpu"], "threads": machine["threads"], "processes": starts[-1]["processes"],
        "torch": machine["torch"], "starts": len(starts),
    }


# ---- as text ----------------------------------------------------------------------------------------------------------


def table(runs: Sequence[Mapping]) -> str:
    """The runs, a line each, those started last at the end."""
    head = ["run", "method", "teacher", "layers", "step", "state", "dev last", "dev best", "utt/s", "time", "started (UTC)"]
    lines = [
        [
            _short(run["path"]), run["method"] + ("*" if run["changes"] else ""), run["teacher"], run["layers"],
            f"{run['step']}/{run['steps']}", run["state"] + (f" ({run['pid']})" if run["pid"] else ""),
            *(_figure(run[key]) for key in ("dev_last", "dev_best", "utterances_per_s")), clock(run["seconds"]),
            run["started"][:16].replace("T", " "),
        ]
        for run in by_time(runs)
    ]
    notes = ["* with changes to the method: askd runs --json"] if any(run["changes"] for run in runs) else []
    return "\n".join(_aligned([head, *lines], right=range(6, 10)) + notes)


def by_time(runs: Iterable[Mapping]) -> list[Mapping]:
    """Sorted by their last start."""
    return sorted(runs, key=lambda run: (run["started"], run["path"]))


def comparison(runs: Sequence[Mapping]) -> str:
    """Runs side by side: the settings that differ, final loss terms, dev cross-entropy, speed, shares of the step time."""
    lines = [["", *(_short(run["path"]) for run in runs)]]

    def section(title: str, of: Callable[[Mapping], Mapping], show: Callable = str, differing: bool = False) -> None:
        values = [of(run) for run in runs]
        keys = list(dict.fromkeys(key for value in values for key in value))
        if differing:
            keys = [key for key in keys if len({repr(value.get(key)) for value in values}) > 1]
        cells = [[f"  {key}", *("-" if v.get(key) is None else show(v[key]) for v in values)] for key in keys]
        if cells or differing:
            lines.extend([[title], *(cells or [["  none"]])])

    section("settings that differ", lambda run: run["settings"], differing=True)
    section("ran on, where it differs", lambda run: run["ran_on"], differing=True)
    section("how far", lambda run: {"state": run["state"], "step": f"{run['step']}/{run['steps']}"})
    section(f"final terms (mean of the last 1/{LAST} of the steps)", lambda run: run["terms"], _figure)
    section("dev cross-entropy", lambda run: {
        "last": _figure(run["dev_last"]), "best": _figure(run["dev_best"]), "best at step": run["dev_best_step"]})
    section("speed", lambda run: {"utterances/s": _figure(run["utterances_per_s"]), "time": clock(run["seconds"])})
    section("share of the step time, %", lambda run: run["shares"], lambda share: f"{100 * share:.1f}")
    return "\n".join([*warnings(runs), *_aligned(lines)])


def warnings(runs: Sequence[Mapping]) -> list[str]:
    """Why the figures of these runs must not be compared, a line each."""
    out = []
    for name, what in (("teacher", "other teachers' weights"), ("training clips", "other training clips"),
                       ("dev clips", "other dev clips")):
        digests = [run["digests"].get(name) for run in runs]
        if len({digest for digest in digests if digest}) > 1:
            out.append(f"NOT COMPARABLE: {what} ({', '.join(str(d or 'not recorded')[:12] for d in digests)})")
    if len({run["step"] for run in runs}) > 1:
        out.append(f"NOT EQUALLY FAR: steps {', '.join(str(run['step']) for run in runs)}")
    return out


def clock(seconds: float | None) -> str:
    """"48 s", "12:05" (minutes), "3:07:20" (hours)."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = f"{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 3600}:{minutes}" if whole >= 3600 else minutes.removeprefix("0")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _aligned(lines: Sequence[Sequence[str | None]], right: Iterable[int] = ()) -> list[str]:
    """Cells in columns two spaces apart. A line of one cell, a heading, widens nothing."""
    lines, right = [["-" if cell is None else cell for cell in line] for line in lines], set(right)
    columns = max(map(len, lines))
    widths = [max((len(line[i]) for line in lines if len(line) > max(i, 1)), default=0) for i in range(columns)]
    return [
        "  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=False))).rstrip()
        for line in lines
    ]
