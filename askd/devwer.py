"""Word error rate on the dev clips while a student trains."""

from collections.abc import Sequence

from askd.clips import Clip
from askd.decoding import MAX_NEW_TOKENS, transcribe
from askd.scoring import domain_table, macro


def dev_wer(model, processor, clips: Sequence[Clip], batch_size: int = 16) -> float:
    """Unweighted macro WER over the domains of ``clips``, in percent, by greedy decoding on the model's own context.

    The model must be in eval mode.
    """
    heard = transcribe(model, processor, [clip.samples() for clip in clips], batch_size, max_new_tokens=MAX_NEW_TOKENS)
    rows = [{"domain": clip.domain, "reference": clip.text, "hypothesis": said.text, "ended": said.ended}
            for clip, said in zip(clips, heard, strict=True)]
    return macro(domain_table(rows, {clip.domain: "in_domain" for clip in clips}))["all"]
