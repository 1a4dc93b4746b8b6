"""Who does not know when to stop: dev recordings cut off in mid-phrase, and how many transcripts run into the token limit.

    python tests/benchmarks/unfinished_phrases.py runs/real-ablation/seed-0/students/askd ... --audio-root FOLDER

Needs no transcript: a phrase that is cut has no last word, and the question is only whether an answer ends.
"""

import argparse

from askd.decoding import transcribe
from askd.domains import load_clips
from askd.teacher import load_teacher

CORPORA = ("mini_librispeech", "common_voice", "speechocean762", "an4")
SHARES = (0.35, 0.6)  # of a recording that is heard. Ours
LIMIT = 96  # tokens


def main() -> None:
    """One line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="what askd.load_teacher takes")
    parser.add_argument("--clips", type=int, default=60, help="dev clips a corpus (default: 60)")
    parser.add_argument("--audio-root", help="folder with local copies of the public corpora (default: $ASKD_AUDIO_ROOT)")
    args = parser.parse_args()
    sounds = [clip.samples() for name in CORPORA for clip in load_clips(name, "dev", args.clips, audio_root=args.audio_root)]
    cut = [samples[: int(share * len(samples))] for samples in sounds for share in SHARES]
    for name in args.models:
        model, processor = load_teacher(name)
        endless = sum(not said.ended for said in transcribe(model, processor, cut, max_new_tokens=LIMIT))
        print(f"{name}: {endless} of {len(cut)} do not end", flush=True)


if __name__ == "__main__":
    main()
