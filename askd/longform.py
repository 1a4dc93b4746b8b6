"""Recordings of any length -> one transcript, in one of two ways.

    transcript = transcribe_recording(model, processor, "talk.mp3")      # timed parts, a `askd.transcripts.Transcript`
    result = transcribe_long(model, processor, samples)                  # tokens, a `askd.decoding.Decoded`
    result = transcribe_long(model, processor, samples, how="cut")

    sequential  transformers' own long-form: a window of 30 s is decoded with timestamps, the next one begins where the last
                whole sentence ended. Only for models that write timestamps: the stock Whispers, and students that still can.
                Gives no log-probabilities. Greedy, without temperature fallback: a window that loops stays so.
    cut         the recording is cut, and each piece decoded as any short clip, with its log-probabilities. For every model, and
                the only way for students without timestamps and for any other audio context than 30 s. Where nobody pauses,
                a word is cut in two.

How long the pieces are depends on the context. With 30 s, they are cut at quiet places 15 to 30 s apart (`askd.segments`): few
cuts. On the clip's own context, at the first pause from 2 s on (`pause_points`): a student that was trained on single utterances
stops after one, and of a longer piece it loses the rest. Up to 8 s it is left whole.

``auto`` is sequential for models of 30 s, and cut for others. Numbers of different ways must not be compared.

Both ways go five minutes at a time (`askd.stretches`), so that memory does not grow with the recording.

Whisper makes up words where nobody speaks. Where there is digital silence we know better: a piece that holds nothing else is
not decoded (cut), and what is heard wholly within such silence is dropped (sequential). Noise and music are not recognised as
such: what the model makes of them stays.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from askd.audio import SAMPLING_RATE_HZ
from askd.decoding import MAX_NEW_TOKENS, Decoded, context_frames, transcribe
from askd.errors import AskdError
from askd.features import FULL_CONTEXT, pad_features
from askd.segments import FRAME, cut_points, frame_energy
from askd.stretches import check_sound, in_blocks, is_silent, silence_s, sound_blocks, stretches
from askd.transcripts import Part, Transcript

HOWS = ("auto", "sequential", "cut")
SHORTEST_S, PIECE_S = 2.0, 8.0  # of a piece on its own context. Ours, on dev
PAUSE_S = 0.3  # over which the loudness is averaged. Ours, on dev
QUIET = 0.4  # a pause: in the lowest 40 % between the quietest and the loudest parts, in dB. Ours, on dev
RANGE_DB = 60.0  # digital silence counts as so far below the loudest parts. Ours
TRIM_DB, MARGIN_S = 35.0, 0.15  # what is fainter at a piece's ends is outside of its times, but for a margin. Ours, not tuned
WINDOWS_PER_S = 1.0  # more windows than this a second of audio: the timestamps do not advance. Ours


def way(model, how: str = "auto", frames: int | str | None = "model") -> str:
    """``sequential`` or ``cut``: what ``how`` comes to for a model.

    Args:
        model: Whisper.
        how: one of `HOWS`.
        frames: audio context, as in `askd.decoding.transcribe`.

    Raises:
        AskdError: no such way, or sequential with another context than 30 s.
    """
    if how not in HOWS:
        raise AskdError(f"how must be one of {', '.join(HOWS)}, not {how!r}")
    own = context_frames(model)
    full = (own if frames == "model" else frames) == FULL_CONTEXT
    if how == "auto":
        return "sequential" if full and own == FULL_CONTEXT else "cut"
    if how == "sequential" and not full:
        raise AskdError("sequential long-form reads windows of 30 s: add frames=3000 (--frames full), or use how=cut (--how cut)")
    return how


def transcribe_recording(
    model, processor, recording: Path | str | np.ndarray, how: str = "auto", batch_size: int = 16,
    frames: int | str | None = "model", max_new_tokens: int = MAX_NEW_TOKENS, on_seconds: Callable[[float], None] | None = None,
) -> Transcript:
    """Transcribe one recording of any length, with the times of what is said.

    Args:
        model, processor: from `askd.load_teacher`.
        recording: a file that `askd.audio` reads, or samples (n,), float32 at 16 kHz. A file is read twice, first to see
            whether it is whole.
        how: ``auto``, ``sequential`` or ``cut``, as the module says.
        batch_size: pieces decoded together (cut).
        frames: audio context of the pieces, as in `askd.decoding.transcribe` (cut).
        max_new_tokens: limit of a piece (cut); a sequential window has the model's own, 448 of Whisper.
        on_seconds: called with the seconds of audio finished since the last call, for progress.

    Returns:
        its parts: Whisper's segments (sequential) or the pieces (cut), less the quiet at their ends.

    Raises:
        AudioError: the file is missing, unreadable, truncated, empty or not finite.
        AskdError: no such way, one that the model cannot go, or timestamps that do not advance.
    """
    chosen = way(model, how, frames)
    if isinstance(recording, np.ndarray):
        blocks: Iterable[np.ndarray] = in_blocks(recording)
    else:
        check_sound(recording)
        blocks = sound_blocks(recording)
    parts, at, silence = [], 0, 0.0
    for samples in stretches(blocks):
        for start, end, said in _heard(model, processor, samples, chosen, batch_size, frames, max_new_tokens, on_seconds):
            if said.text or not said.ended:
                start_s, end_s = (round((at + x) / SAMPLING_RATE_HZ, 3) for x in (start, end))
                start_s = max(start_s, parts[-1].end_s if parts else 0.0)
                parts.append(Part(start_s, max(start_s, end_s), " ".join(said.text.split()), said.ended))
        at += len(samples)
        silence += silence_s(samples)
    return Transcript(tuple(parts), round(at / SAMPLING_RATE_HZ, 3), round(silence, 2), chosen)


def transcribe_long(
    model, processor, samples: np.ndarray, how: str = "auto", batch_size: int = 16, frames: int | str | None = "model",
    max_new_tokens: int = MAX_NEW_TOKENS, on_seconds: Callable[[float], None] | None = None,
) -> Decoded:
    """The same for what needs tokens and no times: to score, and to ask how sure the model was.

    Args:
        samples: (n,), float32 at 16 kHz; the others are those of `transcribe_recording`.

    Returns:
        ``log_probs`` of all words' tokens and, when every piece ended, of the last end (cut); none (sequential), and then no
        ``word_tokens`` either. ``ended`` is False when any piece or window was cut at its limit of tokens.

    Raises:
        AskdError: no such way, one that the model cannot go, or timestamps that do not advance.
    """
    chosen = way(model, how, frames)
    return joined([
        said for stretch in stretches(in_blocks(samples))
        for *_, said in _heard(model, processor, stretch, chosen, batch_size, frames, max_new_tokens, on_seconds)
    ])


def _heard(
    model, processor, samples: np.ndarray, how: str, batch_size: int, frames: int | str | None, max_new_tokens: int,
    on_seconds: Callable[[float], None] | None,
) -> list[tuple[int, int, Decoded]]:
    """Start, end (in samples) and transcript of each part of a stretch, in order."""
    done = on_seconds or (lambda _: None)
    if is_silent(samples):
        done(len(samples) / SAMPLING_RATE_HZ)
        return []
    if how == "sequential":
        return _sequential(model, processor, samples, done)
    context = context_frames(model) if frames == "model" else frames
    points = cut_points(samples) if context == FULL_CONTEXT else pause_points(samples, min(PIECE_S, (context or 3000) / 100))
    spans = [(start, end) for start, end in itertools.pairwise(points) if not is_silent(samples[start:end])]
    piece_s = len(samples) / SAMPLING_RATE_HZ / len(spans)  # on average: which ones a batch holds is not told
    pieces = [samples[start:end] for start, end in spans]
    results = transcribe(model, processor, pieces, batch_size, frames, max_new_tokens, lambda n: done(n * piece_s))
    return [(*trimmed(samples, *span), said) for span, said in zip(spans, results, strict=True)]


def trimmed(samples: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """A part less what is quiet at its ends, so that a subtitle is not on screen in a pause. Loud noise is not quiet."""
    energy = frame_energy(samples[start:end], 0.05)
    loud = np.flatnonzero(energy > energy.max(initial=0.0) * 10 ** (-TRIM_DB / 10))
    if not len(loud):
        return start, end
    margin = int(MARGIN_S * SAMPLING_RATE_HZ)
    return start + max(0, int(loud[0]) * FRAME - margin), min(end, start + (int(loud[-1]) + 1) * FRAME + margin)


def pause_points(samples: np.ndarray, longest_s: float = PIECE_S) -> list[int]:
    """Where to cut a recording into pieces of about an utterance: ``[0, ..., n]``.

    Each cut is in the middle of the first pause that is at least 2 s after the last cut and before the end; where there is none
    for ``longest_s``, in the quietest place of the second half of that stretch. A recording of at most ``longest_s`` is one
    piece, an utterance, as ``askd evaluate`` takes it.

    Args:
        samples: (n,) at 16 kHz.
        longest_s: of a piece.

    Returns:
        positions in samples.
    """
    if len(samples) <= longest_s * SAMPLING_RATE_HZ:
        return [0, len(samples)]
    loudness = 10 * np.log10(np.maximum(frame_energy(samples, PAUSE_S), 1e-12))  # dB, (frames,)
    frames = len(loudness)
    low, high = np.percentile(loudness, [5, 95])
    low = max(low, high - RANGE_DB)
    quiet = loudness < low + QUIET * (high - low)
    longest, shortest = int(100 * longest_s), max(1, int(100 * min(SHORTEST_S, longest_s / 4)))
    cuts = [0]
    while (left := frames - cuts[-1]) > 2 * shortest:
        start, end = cuts[-1] + shortest, min(cuts[-1] + longest, frames - shortest)
        if quiet[start:end].any():
            first = start + int(quiet[start:end].argmax())
            loud = ~quiet[first:end]
            cuts.append((first + (first + int(loud.argmax()) if loud.any() else end)) // 2)
        elif left <= longest:
            break
        else:
            middle = (start + end) // 2
            cuts.append(middle + int(loudness[middle:end].argmin()))
    return [*(cut * FRAME for cut in cuts), len(samples)]


def joined(results: Sequence[Decoded]) -> Decoded:
    """Transcripts of the parts of one recording as one transcript: inner ends, and blanks after the last word of an inner
    piece, are left out, so that word i still has the tokens after those of the words before it. Parts without log-probabilities
    (sequential) keep all their tokens."""
    if not results:
        return Decoded("", (), (), True, ())
    counts = [sum(r.word_tokens) if r.log_probs else len(r.tokens) for r in results[:-1]] + [len(results[-1].tokens)]
    ended = all(r.ended for r in results)
    end = results[-1].log_probs[counts[-1] :] if ended else ()
    return Decoded(
        text=" ".join(r.text for r in results if r.text),
        tokens=tuple(t for r, n in zip(results, counts, strict=True) for t in r.tokens[:n]),
        log_probs=(*(p for r, n in zip(results, counts, strict=True) for p in r.log_probs[:n]), *end),
        ended=ended,
        word_tokens=tuple(n for r in results for n in r.word_tokens),
    )


@torch.inference_mode()
def _sequential(model, processor, samples: np.ndarray, done: Callable[[float], None]) -> list[tuple[int, int, Decoded]]:
    """transformers' long-form `generate` (5.24), one recording a call: nothing is padded, so it needs no attention mask."""
    config, weights = model.generation_config, next(model.parameters())
    padded = np.pad(samples, (0, max(0, SAMPLING_RATE_HZ // 10 - len(samples))))  # a transform needs more than a few samples
    features = long_log_mel(padded, processor.feature_extractor)[None]  # (1, M, T)
    if features.shape[-1] < FULL_CONTEXT:
        features = pad_features(list(features), FULL_CONTEXT)  # by silence; generate would do it by zeros, which are none
    english = {"language": getattr(config, "language", None) or "en", "task": getattr(config, "task", None) or "transcribe"}
    windows, heard, audio_s = itertools.count(1), [0.0], len(samples) / SAMPLING_RATE_HZ

    def progress(frames: Tensor) -> None:  # (1, 2): frames before this window, and in all
        at = min(frames[0, 0].item() / 100, audio_s)
        if next(windows) > 10 + WINDOWS_PER_S * audio_s:
            raise AskdError(f"the timestamps of this model do not advance (at {at:.0f} of {audio_s:.0f} s): it was "
                            "trained without them; use how=cut (--how cut)")
        done(at - heard[0])
        heard[0] = at

    with _quiet():
        found = model.generate(
            features.to(weights.device, weights.dtype), return_timestamps=True, condition_on_prev_tokens=False,
            temperature=0.0, num_beams=1, return_segments=True, monitor_progress=progress,
            **(english if getattr(config, "is_multilingual", False) else {}),
        )
    done(audio_s - heard[0])
    return _spoken(found["segments"][0], processor.tokenizer, samples, config.eos_token_id)


def _spoken(segments: Sequence[dict], tokenizer, samples: np.ndarray, eos: int) -> list[tuple[int, int, Decoded]]:
    """transformers' segments, less those beyond the end and those in digital silence."""
    found = []
    for segment, following in itertools.zip_longest(segments, segments[1:]):
        start, end = (min(round(float(segment[edge]) * SAMPLING_RATE_HZ), len(samples)) for edge in ("start", "end"))
        if is_silent(samples[start : max(end, start + FRAME)]):
            continue
        last = following is None or following["result"] is not segment["result"]  # of its window, whose limit of tokens it is
        tokens = tuple(segment["tokens"].tolist())
        text = tokenizer.decode(tokens, skip_special_tokens=True).strip()
        said = Decoded(text, tokens, (), not last or segment["result"][-1].item() == eos, ())
        found.append((*trimmed(samples, start, end), said))
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """`generate` warns of the options that it hands on to itself."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def long_log_mel(samples: np.ndarray, extractor) -> Tensor:
    """Whisper's log-mel of a recording of any length, a block of 30 s at a time.

    Equal to ``extractor(samples, truncation=False, padding="longest")`` (tested to 1e-4), which takes 1.8 GB for an hour
    (measured). As there, what is 8 decades below the loudest frame of the whole recording is raised to that.

    Args:
        samples: (n,), float32 at 16 kHz.
        extractor: `transformers.WhisperFeatureExtractor`.

    Returns:
        (M, T), float32, T = n // 160.
    """
    n_fft, hop, block = extractor.n_fft, extractor.hop_length, extractor.nb_max_frames
    filters, window = torch.from_numpy(extractor.mel_filters).float().T, torch.hann_window(n_fft)  # (M, 201), (400,)
    padded = torch.from_numpy(np.pad(samples, n_fft // 2, mode="reflect"))
    log = torch.empty(len(filters), len(samples) // hop)  # (M, T)
    for start in range(0, log.shape[1], block):
        end = min(start + block, log.shape[1])
        own = padded[start * hop : (end - 1) * hop + n_fft]
        power = torch.stft(own, n_fft, hop, window=window, center=False, return_complex=True).abs().square()  # (201, block)
        torch.log10((filters @ power).clamp_min(1e-10), out=log[:, start:end])
    return log.clamp_(min=float(log.max()) - 8.0).add_(4.0).div_(4.0)
