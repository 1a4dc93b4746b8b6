"""``askd pseudolabel``: transcripts for audio that has none, from the shell; `askd.pseudolabel` is behind it."""

import argparse

from askd.commands.options import add_source_options, source_options
from askd.errors import AskdError
from askd.labelfilters import TEXTS, Filters

ABOUT = "transcribe audio with the teacher and keep what can be trusted"
EXAMPLES = (
    "askd pseudolabel --data podcasts/ --out labels                     # bare audio of any length\n"
    "  askd pseudolabel --teacher base --data calls/ lecture.mp3 --min-confidence 0.6 --out labels\n"
    "  askd pseudolabel --data my_recordings/ --max-wer 5 --text given --out labels     # checks the transcripts you have\n"
    "  askd train --data labels/labels.jsonl --train-clips 5000 --decoder-layers 4 --out runs/mine/podcasts\n"
    "  askd distill --data labels/labels.jsonl my_recordings/ --out runs/mine/own       # tests on what people transcribed"
)
FLAGS = {  # field of Filters -> what its help says
    "max_wer": ("PERCENT", "against a given transcript (distil-whisper: 10)"),
    "max_repeats": ("N", "5-grams of words that came before"),
    "max_compression": ("RATIO", "of the text by zlib (Whisper: 2.4)"),
    "min_confidence": ("P", "mean probability of the tokens, geometric (Whisper: 0.37)"),
    "min_token_confidence": ("P", "probability of the least certain token"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``askd pseudolabel``."""
    parser.add_argument("--teacher", default="tiny.en", help="tiny.en, base, a folder or a Hub id (default: tiny.en)")
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME",
                        help="folders of bare audio, audio files; or folders with transcripts, tables, domains, hub:ID")
    parser.add_argument("--role", help="of data with a split: train, dev, test or all (default: train, or all without a split)")
    parser.add_argument("--clips", type=int, help="recordings of each source (default: all; synthetic domains need it)")
    add_source_options(parser)
    filters = parser.add_argument_group("filters", "'none' switches one off; other filters need no new decoding")
    for field, (unit, about) in FLAGS.items():
        default = getattr(Filters, field)
        filters.add_argument(f"--{field.replace('_', '-')}", type=_number(int if unit == "N" else float), metavar=unit,
                             default=argparse.SUPPRESS, help=f"{about}; default: {'none' if default is None else default}")
    low, high = Filters.chars_per_s
    filters.add_argument("--chars-per-s", type=_number(float), nargs="+", metavar="RATE", default=argparse.SUPPRESS,
                         help=f"least and greatest speaking rate; default: {low:g} {high:g}")
    filters.add_argument("--allow-capitals", action="store_true", help="keep transcripts all in capitals")
    parser.add_argument("--text", choices=TEXTS, default="teacher",
                        help="the label: the teacher's transcript (default), or the given one where the teacher agrees")
    parser.add_argument("--batch-size", type=int, default=16, help="segments decoded together (default: 16)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto",
                        help="default: bf16 on a GPU that computes in it, else fp32")
    parser.add_argument("--workers", type=int, help="processes that read audio (default: one a core)")
    parser.add_argument("--out", required=True, help="folder of labels; an unfinished run there goes on")


def _number(kind: type):
    def parse(text: str):
        return None if text == "none" else kind(text)

    parse.__name__ = "number"  # in argparse's message: invalid number value
    return parse


def run(args: argparse.Namespace) -> int | None:
    """Label, print what was kept and why the rest was not; the exit status is 1 when nothing was kept."""
    from accelerate import PartialState

    from askd.pseudolabel import pseudolabel, report_text
    from askd.teacher import load_teacher
    from askd.trainconfig import fast_precision

    chosen = {field: getattr(args, field) for field in Filters.__dataclass_fields__ if hasattr(args, field)}
    if "chars_per_s" in chosen:
        rates = chosen["chars_per_s"] = None if chosen["chars_per_s"] == [None] else tuple(chosen["chars_per_s"])
        if rates and (len(rates) != 2 or None in rates):
            raise AskdError("--chars-per-s takes two rates, the lower one first, or none")
    filters = Filters(**chosen)
    model, processor = load_teacher(args.teacher)
    device = PartialState().device
    precision = args.precision
    if precision == "auto":
        precision = fast_precision(device) if device.type == "cuda" else "fp32"  # on CPUs it hardly saves time
    report = pseudolabel(
        model.to(device), processor, args.data, args.out, filters, role=args.role, clips=args.clips, text=args.text,
        batch_size=args.batch_size, precision=precision, workers=args.workers, **source_options(args),
    )
    print(report_text(report))
    if not report["kept"]["segments"]:
        print(f"nothing is kept: look at {args.out}/rejected.jsonl and loosen the filters; that needs no decoding")
        return 1
    labels, layers = f"{args.out}/labels.jsonl", model.config.decoder_layers
    print(f"labels in {labels}; a student on them, and one that is scored on recordings that people transcribed:\n"
          f"  askd train --data {labels} --train-clips {report['kept']['segments']} --decoder-layers {layers} --out FOLDER\n"
          f"  askd distill --data {labels} my_recordings/ --out FOLDER")
    return None
