"""``askd export``: a finished student for other programs."""

import argparse
import os
from pathlib import Path

from askd.errors import AskdError

ABOUT = "a finished student for transformers, CTranslate2 (faster-whisper) or onnxruntime, checked, with a model card"
EXAMPLES = (
    "askd export runs/mine --to hf --out shipped                       # the student that askd distill chose\n"
    "  askd export runs/cpu:askd --to ct2 --out shipped-int8             # of a run with several students\n"
    "  askd export runs/cpu:askd --to ct2 --compute float16 --out shipped-float16\n"
    "  askd export my-whisper/ --to onnx --audio hello.wav --out shipped-onnx\n"
    "  askd export runs/mine --to hf --out shipped --push-to-hub me/my-whisper     # after hf auth login"
)
RESUMES = False


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    p.add_argument("run", metavar="RUN", 
                   help="folder of askd distill or askd train, RUN:METHOD, any Whisper folder, tiny.en or base")
    p.add_argument("--to", required=True, metavar="FORM", help="hf: transformers folder; ct2: CTranslate2; onnx: two graphs")
    p.add_argument("--out", required=True, metavar="FOLDER", help="new or empty")
    p.add_argument("--compute", metavar="KIND",
                   help="of ct2: int8 (default), int8_float16, int8_bfloat16, float16, bfloat16 or float32")
    p.add_argument("--audio", metavar="FILE", help="what the check transcribes, at most 30 s (default: a synthetic clip)")
    p.add_argument("--push-to-hub", metavar="NAME", help="then upload it there, with your own login; a new repository is private")


def run(args: argparse.Namespace) -> None:
    """Carry out the command."""
    if args.push_to_hub is not None:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "0"  # an upload may take a while; read when huggingface_hub is imported
    from askd.audio import read_audio
    from askd.export import check_hub_name, export, upload
    from askd.modelcard import USE
    from askd.notebook import quiet

    quiet()
    if args.push_to_hub is not None:
        check_hub_name(args.push_to_hub)
    samples = read_audio(args.audio) if args.audio else _spoken()
    found = export(args.run, args.to, args.out, samples, args.compute, progress=True)
    print(f"written   {found['folder']}: {found['to']}, {found['megabytes']:.1f} MB")
    agrees = {True: ", the same words as transformers", False: ", OTHER WORDS than transformers"}.get(found.get("same_words"), "")
    numbers = {"encoder_cosine": ", encoder cosine {}", "log_prob_difference": ", log-probabilities within {:.0e} nats"}
    near = [said.format(found[name]) for name, said in numbers.items() if name in found]
    print(f"checked   {found['text']!r}{agrees}{''.join(near)}")
    print("use       " + USE[args.to].replace("FOLDER", str(Path(args.out))).replace("\n", "\n          "), flush=True)
    if args.push_to_hub is not None:
        print(f"uploaded  {upload(args.out, args.push_to_hub)}")


def _spoken():
    """A clip of speech, where the voices are installed."""
    from askd.domains import load_clips

    try:
        return load_clips("neural_clean", "test", 1)[0].samples()
    except AskdError as error:
        print(f"the check hears a second of noise ({error}); --audio FILE gives it speech")
        return None
