"""What a training run says about itself: run.json, README.md and figures/training.png in its folder.

    write_info(out, recorded, clips, dev_clips, teacher.name_or_path)    # at every start, before the first step
    write_readme(out)                                                    # when other files have come, e.g. a checkpoint
    finish_info(out)                                                     # after the last step: the figure, and the rest again

run.json: teacher, data and dev (clips, hours, domains, digest), and ``starts``, a list: a run that was stopped and resumed
shows every command, commit, machine and time. Nothing here touches metrics.jsonl, which stays a function of the settings.
"""

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from askd.clips import Clip
from askd.files import digest, project_dir, read_json, replacing, sha256, write_json
from askd.runlogs import read_rows

CODE = ("askd", "data", "notebooks/profiles", ":!data/results", ":!data/README.md")  # what a result depends on
HOLDS = {  # file or folder of a run: what it holds
    "training.json": "the settings: method, curriculum, sizes, rates, and digests of the teacher's weights and of the clips",
    "run.json": "every start: command, commit, machine, versions, time; and what the data is",
    "metrics.jsonl": "one row a step: loss and its terms (nats a token), gradient norm, rate (share of the peak), phase, the "
    "three weights; at some steps dev_ce, the cross-entropy of the dev clips",
    "speed.jsonl": "one row a step: seconds, in all and by part",
    "figures/": "training.png and training.svg: metrics.jsonl and speed.jsonl drawn",
    "tensorboard/": "the curves as they grow, for `tensorboard --logdir`",
    "trackers.json": "ids of this run at W&B or MLflow",
    "wandb/": "files of W&B; `wandb sync` uploads what was logged offline",
    "checkpoints/": "where it goes on from when it is stopped",
    "best/": "the student of the lowest dev_ce, a folder for transformers",
    "model.safetensors": "the student after the last step; config.json and the tokenizer's files belong to it",
    "finished.json": "written last: with it the run is complete",
}


def environment() -> dict:
    """Python, system, versions, device and what it computes fast in: `askd.latency.machine` and what training adds to it."""
    import torch

    from askd.latency import machine
    from askd.trainconfig import fast_precision

    on_gpu = torch.cuda.is_available()
    native = {
        "avx512_bf16": getattr(torch.cpu, "_is_avx512_bf16_supported", bool)(),
        "amx": getattr(torch.cpu, "_is_amx_tile_supported", bool)(),
    }
    return machine() | {
        "platform": platform.platform(), "gpus": torch.cuda.device_count() if on_gpu else 0,
        "cuda_capability": ".".join(map(str, torch.cuda.get_device_capability())) if on_gpu else None,
        "cpu_bf16": [name for name, there in native.items() if there],
        "precision": fast_precision(torch.device("cuda" if on_gpu else "cpu")),
        **{name: version(name) for name in ("accelerate", "safetensors", "numpy")},
    }


def git_state(folder: Path | str | None = None, paths: Sequence[str] = CODE) -> dict:
    """Commit, branch and changes of a checkout.

    Args:
        folder: inside the checkout; None: the one that holds this package, if git knows the package there.
        paths: pathspecs below ``folder`` that count for ``dirty``.

    Returns:
        commit (12 digits), branch, dirty, diff (digest of the changes, new files included); None where git cannot say:
        no git, no checkout, no commit, a detached head.
    """
    root = Path(folder or project_dir())

    def git(*args: str) -> bytes | None:
        command = ["git", "--no-optional-locks", *args]
        try:
            result = subprocess.run(command, cwd=root, capture_output=True, stdin=subprocess.DEVNULL)
        except OSError:
            return None
        return result.stdout.strip() if result.returncode == 0 else None

    state = dict.fromkeys(("commit", "branch", "dirty", "diff"))
    if folder is None and git("ls-files", "--error-unmatch", "askd/__init__.py") is None:
        return state  # a wheel inside somebody else's checkout
    if commit := git("rev-parse", "--short=12", "HEAD"):
        state["commit"] = commit.decode()
        state["branch"] = (git("symbolic-ref", "--short", "HEAD") or b"").decode() or None
        changes = git("diff", "HEAD", "--binary", "--no-ext-diff", "--relative", "--", *paths) or b""
        new = os.fsdecode(git("ls-files", "-o", "--exclude-standard", "-z", "--", *paths) or b"").split("\0")
        new = {name: sha256(root / name) for name in new if (root / name).is_file()}
        state["dirty"] = bool(changes or new)
        state["diff"] = digest([hashlib.sha256(changes).hexdigest(), new]) if state["dirty"] else None
    return state


def command_line() -> str | None:
    """What was typed to start this process, as near as it can be known; None in a notebook or an interactive session."""
    program, *rest = sys.argv or [""]
    if program in ("", "-c") or Path(program).stem == "ipykernel_launcher":
        return None
    askd = Path(program).stem == "askd" or Path(program).parts[-2:] == ("askd", "__main__.py")
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1:
        start = ["accelerate", "launch", "--num_processes", str(processes), *(["-m", "askd"] if askd else [program])]
    else:
        start = ["askd"] if askd else ["python", program]
    return shlex.join([*start, *rest])


def describe_clips(clips) -> dict:
    """Number, hours and digest of clips, and clips, minutes and speakers by domain; of a stream what is known before it runs."""
    if not isinstance(clips, Sequence):
        return {"clips": clips.rows, "hours": None, "domains": {}, "digest": clips.digest}
    domains = {}
    for name in sorted({clip.domain for clip in clips}):
        own = [clip for clip in clips if clip.domain == name]
        minutes = round(sum(clip.audio_s for clip in own) / 60, 2)
        domains[name] = {"clips": len(own), "minutes": minutes, "speakers": len({clip.speaker for clip in own})}
    return {
        "clips": len(clips), "hours": round(sum(clip.audio_s for clip in clips) / 3600, 3), "domains": domains,
        "digest": digest([(clip.sha256, clip.text) for clip in clips]),
    }


def read_info(path: Path | str) -> dict:
    """A JSON object, or an empty one where the file is missing or damaged."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_info(
    folder: Path | str, recorded: Mapping, clips, dev_clips: Sequence[Clip] = (), teacher: str = ""
) -> None:
    """Add this start to run.json and write the README. Called by one process of a run, before its first step.

    Args:
        folder: run folder.
        recorded: what training.json holds; kept where the run has none yet.
        clips: training clips, or an `askd.stream.StreamData`. dev_clips: may be none.
        teacher: the teacher's name, folder or Hub id (``model.name_or_path``).
    """
    folder = Path(folder)
    if not (folder / "training.json").is_file():
        write_json(folder / "training.json", recorded)
    name = Path(teacher).name if Path(teacher).is_dir() else teacher
    start = {
        "command": command_line(), "directory": os.getcwd(), "started": _now(),
        "processes": int(os.environ.get("WORLD_SIZE", 1)), "git": git_state(), "environment": environment(),
    }
    write_json(folder / "run.json", {
        "teacher": name or None, "data": describe_clips(clips), "dev": describe_clips(dev_clips) if dev_clips else None,
        "starts": [*read_info(folder / "run.json").get("starts", []), start],
    })
    write_readme(folder)


def finish_info(folder: Path | str) -> None:
    """Note when the run ended, draw its figure, and write the README anew. A run without rows gets no figure."""
    folder = Path(folder)
    info = read_info(folder / "run.json")
    if info.get("starts"):
        info["starts"][-1]["finished"] = _now()
        write_json(folder / "run.json", info)
    draw(folder)
    write_readme(folder)


def draw(folder: Path | str) -> Path | None:
    """figures/training.png and .svg from what the run has logged until now; None when that is nothing."""
    folder = Path(folder)
    rows = read_rows(folder / "metrics.jsonl")
    if not rows:
        return None
    import matplotlib.pyplot as plt

    from askd.figures import save, training_curves

    figure = training_curves(rows, read_rows(folder / "speed.jsonl"), folder.name)
    save(figure, folder / "figures" / "training")
    plt.close(figure)  # a notebook would show it, and a long process would keep it
    return folder / "figures" / "training.png"


def write_readme(folder: Path | str) -> None:
    """README.md of a run folder: what it is, what each file holds, and the commands that can be used now."""
    folder = Path(folder)
    info, recorded = read_info(folder / "run.json"), read_info(folder / "training.json")
    config, starts = recorded.get("config", {}), info.get("starts", [])
    finished = (folder / "finished.json").is_file()
    files = [f"| `{name}` | {text} |" for name, text in HOLDS.items() if (folder / name).exists()]
    picture = ["![curves](figures/training.png)", ""] if (folder / "figures" / "training.png").is_file() else []
    lines = [
        f"# {folder.name}: a training run of askd", "", *_summary(config, recorded, info, finished), "", *picture,
        "## Files", "", "| name | what it holds |", "|---|---|", *files, "", "## Commands", "",
    ]
    if starts and not finished:
        command, place = starts[-1]["command"], starts[-1]["directory"]
        if command:
            lines += [f"Go on (in `{place}`; it finds the last checkpoint by itself):", *_block(command)]
        else:
            lines += ["Go on: run the notebook that started it again; it finds the last checkpoint by itself.", ""]
    students = [path for path in (folder, folder / "best") if (path / "model.safetensors").is_file()]
    for path in students[:1]:
        lines += [
            "Evaluate, on a domain or on your own recordings:",
            *_block(
                f"askd evaluate --model {_quoted(path)} --data formant_noise --out {_quoted(folder / 'scores')}",
                f"askd evaluate --model {_quoted(path)} --manifest my_recordings/ --out {_quoted(folder / 'scores')}",
            ),
        ]
    for path in students:
        lines += [
            "Load" + (" the student of the lowest dev_ce:" if path.name == "best" else ":"),
            *_block("import askd", f"model, processor = askd.load_teacher({str(path)!r})", language="python"),
        ]
    lines += ["Compare with other runs:", *_block("askd runs", f"askd runs compare {_quoted(folder)} OTHER")]
    with replacing(folder / "README.md") as scratch:
        scratch.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _summary(config: Mapping, recorded: Mapping, info: Mapping, finished: bool) -> list[str]:
    teacher = info.get("teacher") or f"a teacher with weights {recorded.get('teacher', '?')}"
    data, starts = info.get("data") or {}, info.get("starts") or []
    lines = [
        f"A Whisper student, distilled from {teacher} by the method `{config.get('method', '?')}`: "
        f"{config.get('steps', '?')} steps of {config.get('batch_size', '?')} clips, seed {config.get('seed', '?')}. "
        + ("The run is finished." if finished else "The run is not finished."), "",
    ]
    if data:
        domains = [f"{name} ({d['clips']} clips, {d['minutes']:g} min)" for name, d in data["domains"].items()]
        size = f"{data['clips']} clips, {data['hours']:g} h" if domains else f"{data['clips']} rows, streamed"
        lines += [f"Training data: {'; '.join([size, *domains])}.", ""]
    for start in starts:
        git, machine = start["git"], start["environment"]
        commit = f"commit {git['commit']}{' with changes' if git['dirty'] else ''}" if git["commit"] else "no git commit"
        end = f", finished {start['finished']}" if "finished" in start else ""
        lines.append(f"- started {start['started']}{end}: {machine['gpu'] or machine['cpu']}, torch {machine['torch']}, {commit}")
    return lines


def _block(*commands: str, language: str = "sh") -> list[str]:
    return ["", f"```{language}", *commands, "```", ""]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
