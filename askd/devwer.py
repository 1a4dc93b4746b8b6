"""Word error rate on the dev clips while a student trains."""

from collections.abc import Sequence

from askd.clips import Clip
from askd.decoding import transcribe
from askd.scoring import domain_table, macro

CUT = 96  # tokens: a student that loops early in training is not worth waiting for. Ours


def dev_wer(model, processor, clips: Sequence[Clip], batch_size: int = 16) -> float:
    """Unweighted macro WER over the domains of ``clips``, in percent, by greedy decoding on the model's own context.

    The model's mode (training or not) is left as it was.
    """
    training = model.training
    model.eval()
    heard = transcribe(model, processor, [clip.samples() for clip in clips], batch_size, max_new_tokens=CUT)
    model.train(training)
    rows = [{"domain": clip.domain, "reference": clip.text, "hypothesis": said.text, "ended": said.ended}
            for clip, said in zip(clips, heard, strict=True)]
    return macro(domain_table(rows, {clip.domain: "in_domain" for clip in clips}))["all"]
