"""Run the notebooks in order, headless, by papermill; go on where an earlier run stopped.

    askd reproduce                      # profile cpu
    askd reproduce --profile smoke
    askd reproduce --profile real --audio-root corpora/
    askd reproduce --profile cpu --seed 1                              # another training seed, into runs/cpu-1
    askd score runs/cpu runs/cpu-1 runs/cpu-2 --out runs/cpu-seeds     # all of them together

A notebook is done when its source, its parameters, the package and the data are those of its last whole run.
"""

import os
import sys
import time
from pathlib import Path

from askd.corpora import CORPORA, corpus_is_here
from askd.errors import AskdError, UnknownName
from askd.files import data_dir, digest, only_writer, project_dir, read_json, sha256, write_json
from askd.runs import Run, Settings

NOTEBOOKS = project_dir() / "notebooks"
SEEDLESS = ("05_latency", "07_your_own_domain")  # another training seed tells nothing new there


def profiles() -> dict[str, Path]:
    """Profiles by name: ``notebooks/profiles/*.yaml``."""
    return {path.stem: path for path in sorted((NOTEBOOKS / "profiles").glob("*.yaml"))}


def read_profile(name: str) -> dict:
    """A profile: ``about``, ``minutes`` by notebook, ``parameters`` by notebook.

    Raises:
        UnknownName: no such profile.
        AskdError: it names a notebook that does not exist.
    """
    import yaml

    if name not in profiles():
        raise UnknownName("profile", name, profiles())
    profile = yaml.safe_load(profiles()[name].read_text(encoding="utf-8"))
    known = {path.stem for path in notebooks()}
    for section in ("minutes", "parameters"):
        if unknown := set(profile.get(section) or {}) - known:
            raise AskdError(f"profile {name}: {section} of {', '.join(sorted(unknown))}: no such notebook")
    return profile


def settings_of(profile: dict) -> dict:
    """The fields of `askd.runs.Settings` that a profile sets, as notebook 00 takes them from its parameters."""
    values = dict((profile.get("parameters") or {}).get("00_quickstart") or {})
    values |= values.pop("endings", {})
    values = {"teacher" if name == "teacher_name" else name: value for name, value in values.items()}
    return {name: value for name, value in values.items() if name in Settings.__dataclass_fields__}


def notebooks() -> list[Path]:
    """The course, in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def _source_digest(notebook: Path, parameters: dict) -> str:
    import nbformat

    cells = [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    used = [*(project_dir() / "askd").rglob("*.py"), *data_dir().glob("*.yaml"), *data_dir().glob("s*/*.txt")]
    corpora = [corpus_is_here(name) for name in CORPORA]  # a corpus that comes later is not left out for ever
    return digest([cells, parameters, sorted((p.name, sha256(p)) for p in used), corpora], 20)


def reproduce(
    profile: str = "cpu", fresh: bool = False, audio_root: Path | str | None = None, out=sys.stdout, seed: int | None = None
) -> Path:
    """Execute all notebooks with a profile's parameters into ``runs/<profile>/notebooks``.

    Args:
        profile: a name in `profiles`.
        fresh: run every notebook again, even those that are done. Trained students are kept all the same.
        audio_root: folder with local copies of the public corpora; the notebooks see it as ``$ASKD_AUDIO_ROOT``.
        out: where progress goes; the notebooks' own output is shown as it comes.
        seed: train with another seed than the profile's, in ``runs/<profile>-<seed>``, on other training clips and judged on the
            same test clips; notebooks that seeds do not change are left out.

    Returns:
        the run folder.

    Raises:
        AskdError: a notebook failed; the message names it and the executed copy that shows where.
    """
    import papermill

    settings = read_profile(profile)
    run = Run(profile if seed is None else f"{profile}-{seed}")
    os.environ.setdefault("TQDM_MININTERVAL", "10")  # a line every ten seconds, not ten a second
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    if audio_root:
        os.environ["ASKD_AUDIO_ROOT"] = str(Path(audio_root).resolve())
    minutes = settings.get("minutes") or {}
    began = time.time()
    with only_writer(run.folder):
        done_path = run.folder / "notebooks" / "done.json"
        done = read_json(done_path) if done_path.is_file() and not fresh else {}
        todo = []
        for notebook in notebooks():
            if seed is not None and notebook.stem in SEEDLESS:
                continue
            parameters = {**((settings.get("parameters") or {}).get(notebook.stem) or {}), "profile": run.folder.name}
            if seed is not None and notebook.stem == "00_quickstart":
                parameters["seed"] = seed
            key = _source_digest(notebook, parameters | {"the run's": settings_of(settings), "seed": seed})
            if done.get(notebook.stem, {}).get("digest") == key:
                print(f"[done] {notebook.stem}", file=out, flush=True)
            else:
                todo.append((notebook, parameters, key))
        for i, (notebook, parameters, key) in enumerate(todo):
            left = sum(minutes.get(n.stem, 1) for n, *_ in todo[i:])
            print(
                f"[{i + 1}/{len(todo)}] {notebook.stem}: about {minutes.get(notebook.stem, 1):g} min, "
                f"everything in about {left:g} min", file=out, flush=True,
            )
            start = time.time()
            target = run.folder / "notebooks" / notebook.name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                papermill.execute_notebook(
                    str(notebook), str(target), parameters=parameters, kernel_name="python3", cwd=str(NOTEBOOKS),
                    progress_bar=False, log_output=False, stdout_file=sys.stdout, stderr_file=sys.stderr,
                    execution_timeout=7200, request_save_on_cell_execute=True,
                )
            except papermill.PapermillExecutionError as error:
                raise AskdError(f"{notebook.stem} failed: {error.ename}: {error.evalue}\nopen {target} to see where") from None
            taken = (time.time() - start) / 60
            done[notebook.stem] = {"digest": key, "minutes": round(taken, 2)}
            write_json(done_path, done)
            print(f"       {notebook.stem} took {taken:.1f} min", file=out, flush=True)
    print(f"all notebooks of {run.folder.name} done in {(time.time() - began) / 60:.1f} min: {run.folder}", file=out)
    return run.folder
