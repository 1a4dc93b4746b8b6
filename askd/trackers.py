"""Where a run's curves go: TensorBoard, Weights & Biases, MLflow, several at once or none, all through accelerate.

    names = check_trackers("tensorboard,wandb")                     # ["tensorboard", "wandb"], or what to install
    accelerator = Accelerator(log_with=names, project_dir=out / "tensorboard")
    start_trackers(accelerator, out, recorded)                      # a resumed run goes on in its old W&B or MLflow run
    accelerator.log({"loss": 1.2}, step=1)
    accelerator.end_training()

TensorBoard writes into the run folder. W&B needs an account (``wandb login``), or none with ``WANDB_MODE=offline``: then it
writes into the run folder too, and ``wandb sync`` uploads it later. MLflow writes to ``$MLFLOW_TRACKING_URI``, or to
``mlflow.db`` in the current directory. trackers.json keeps the ids of their runs.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from askd.errors import AskdError, pick
from askd.files import write_json
from askd.runinfo import read_info

PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "none": None}  # what pip calls them
PROJECT = "askd"  # W&B's project, MLflow's experiment, TensorBoard's subfolder


def check_trackers(names: str | Sequence[str]) -> list[str]:
    """The trackers called ``names`` (commas between several), each once and in this order; ``none`` gives an empty list.

    Raises:
        UnknownName: not a tracker we know.
        AskdError: its package is missing (accelerate would leave it out without a word), or ``none`` beside others.
    """
    from accelerate.tracking import get_available_trackers

    names = names.split(",") if isinstance(names, str) else names
    names = list(dict.fromkeys(name.strip().lower() for name in names if name.strip()))
    packages = {name: pick("tracker", name, PACKAGES) for name in names}
    if not names:
        raise AskdError("no tracker named: write tensorboard, wandb, mlflow, several with commas, or none")
    if "none" in names:
        if len(names) > 1:
            raise AskdError(f"trackers {','.join(names)}: none goes alone")
        return []
    here = [str(getattr(tracker, "value", tracker)) for tracker in get_available_trackers()]
    if missing := [package for name, package in packages.items() if name not in here]:
        them = " ".join(missing)
        raise AskdError(f"tracker {them}: the package is not installed: pip install {them}, or leave it out")
    return names


def flat(config: Mapping, prefix: str = "") -> dict[str, int | float | str | bool]:
    """Nested settings as trackers take them: keys joined by dots, lists as JSON, None as ``none``."""
    out = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            out |= flat(value, f"{name}.")
        elif isinstance(value, int | float | str | bool):
            out[name] = value
        else:
            out[name] = "none" if value is None else json.dumps(value, default=str)
    return out


def start_trackers(accelerator, folder: Path | str, recorded: Mapping) -> None:
    """Start the trackers ``accelerator`` was made with (``log_with``); every process of the run calls this.

    Args:
        accelerator: an `accelerate.Accelerator`.
        folder: run folder; W&B's files and trackers.json go there.
        recorded: settings of the run (training.json), nested.

    Raises:
        AskdError: a tracker cannot start: no account, no server.
    """
    folder = Path(folder)
    names = [str(getattr(tracker, "value", tracker)) for tracker in accelerator.log_with]
    ids = read_info(folder / "trackers.json")
    options = {}
    if "wandb" in names:
        ids.setdefault("wandb", uuid.uuid4().hex[:12])
        options["wandb"] = {"name": folder.name, "dir": str(folder), "id": ids["wandb"], "resume": "allow"}
    if "mlflow" in names:
        options["mlflow"] = {"run_name": folder.name, "run_id": _known_to_mlflow(ids.get("mlflow"))}
    try:
        accelerator.init_trackers(PROJECT, flat(recorded), options)
    except Exception as error:  # each tracker has errors of its own
        raise AskdError(
            f"trackers {','.join(names)} cannot start: {type(error).__name__}: {str(error).strip().splitlines()[0]} "
            "(W&B: `wandb login`, or set WANDB_MODE=offline; MLflow: check MLFLOW_TRACKING_URI; or train with fewer trackers)"
        ) from error
    if accelerator.is_main_process and options:
        if "mlflow" in names:
            ids["mlflow"] = accelerator.get_tracker("mlflow", unwrap=True).info.run_id
        write_json(folder / "trackers.json", ids)


def _known_to_mlflow(run_id: str | None) -> str | None:
    """The id, unless the server of today has no such run."""
    import mlflow

    try:
        return run_id and mlflow.get_run(run_id).info.run_id
    except mlflow.exceptions.MlflowException:
        return None
