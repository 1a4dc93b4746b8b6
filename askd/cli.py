"""The ``askd`` command. Every subcommand has ``--help`` with examples; each is a module of `askd.commands`."""

import argparse
import errno
import os
import sys

from askd.commands import (
    ablate,
    compare,
    data,
    distill,
    evaluate,
    export,
    latency,
    options,
    pseudolabel,
    publish,
    reproduce,
    runs,
    score,
    train,
    transcribe,
)
from askd.errors import AskdError

COMMANDS = {
    "reproduce": reproduce, "ablate": ablate, "data": data, "pseudolabel": pseudolabel, "train": train, "distill": distill,
    "runs": runs, "evaluate": evaluate, "score": score, "compare": compare, "latency": latency, "transcribe": transcribe,
    "export": export, "publish": publish,
}
EXAMPLES = {name: command.EXAMPLES for name, command in COMMANDS.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="askd", description="Distil speech recognisers with adaptive self-knowledge distillation, and measure them.",
        epilog="askd COMMAND --help shows examples. Cache: $ASKD_CACHE or ~/.cache/askd",
    )
    add = options.subcommands(parser, "command", EXAMPLES)
    for name, command in COMMANDS.items():
        command.add_arguments(add(name, command.ABOUT))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status. Errors the user can mend are one line on stderr, status 2."""
    args = _parser().parse_args(argv)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        return COMMANDS[args.command].run(args) or 0
    except AskdError as error:
        print(f"askd {args.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # askd compare ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        print(f"askd {args.command}: the disk is full ({error}): free some space; the same command goes on from the last "
              "checkpoint", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resumes = getattr(COMMANDS[args.command], "RESUMES", True)  # or in words, when
        kept = {True: "the same command goes on from here", False: "begin again"}.get(resumes, resumes)
        print(f"\naskd {args.command}: stopped; {kept}", file=sys.stderr)
        return 130
