r"""What notebook 00 shows before any distillation: one sentence by two voices, log-mel, the model and KL, in pictures.

    from askd.prerequisites import same_sentence, mel_figure, model_figure, kl_figure
    neural, formant = same_sentence("The ferry is late again.", ("hibari", "espeak:en-us"))
    mel_figure(neural.samples(), t=120)          # from the waveform to 80 bands, one frame on its way
    model_figure(teacher.config, decoder_layers=2, audio_s=neural.audio_s)
    kl_figure(p, q, words)                       # what each token adds to KL(p || q)

Axes: ``T`` frames (10 ms), ``M`` mel bands (80), ``K`` frequency bins (201), ``V`` vocabulary.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from askd.audio import SAMPLING_RATE_HZ
from askd.channels import get_channel
from askd.clips import Clip, make_clip
from askd.errors import AskdError
from askd.features import FRAMES_PER_POSITION, FULL_CONTEXT, HOP, N_FFT, mel_frames
from askd.figures import COLOURS
from askd.synthesis import RECIPE_VERSION, engine_versions
from askd.voices import get_voice

CUT, FROZEN, SHORTER, PLAIN = "#D55E00", "#0072B2", "#009E73", "#555555"  # what distillation does to a part of the model


def same_sentence(text: str, voices: Sequence[str], channel: str = "telephone", seed: int = 0) -> list[Clip]:
    """One sentence by several voices through one channel, whose random numbers are the same for all: only the voice differs.

    Args:
        text: what is said.
        voices: names of `askd.voices`.
        channel: a name of `askd.channels` in which nobody else speaks.
        seed: of the voice's tempo and pitch, and of the channel.

    Returns:
        a clip a voice, cached like any other; its domain is the channel, its speaker the voice.

    Raises:
        UnknownName: no such voice or channel.
        AskdError: a channel in which others are heard.
    """
    heard_through = get_channel(channel)

    def nobody(rng: np.random.Generator) -> np.ndarray:
        raise AskdError(f"channel {channel!r} needs other talkers: choose one without")

    def make(voice: str) -> np.ndarray:
        spoken = np.pad(get_voice(voice)(text, np.random.default_rng([seed, 0])), 1600)  # 100 ms of silence on either side
        return heard_through(spoken, np.random.default_rng([seed, 1]), nobody)

    clips = []
    for voice in voices:
        key = {"text": text, "voice": voice, "channel": channel, "seed": seed, "version": RECIPE_VERSION,
               "engines": engine_versions()}
        clips.append(make_clip(channel, key, f"{channel}-{voice}", voice, text, lambda voice=voice: make(voice)))
    return clips


def mel_figure(samples: np.ndarray, t: int, power: Tensor, bands: Tensor, features: Tensor) -> plt.Figure:
    """From the waveform to log-mel, four pictures: the clip, one window of it, its spectrum, and all frames side by side.

    Args:
        samples: x, (n,) at 16 kHz.
        t: the frame that is followed: the window of 25 ms around 10 t ms.
        power: P_k of that window, (K,).
        bands: m_b of that window, (M,).
        features: log-mel of the clip, (M, T).
    """
    figure, ((wave, window), (spectrum, image)) = plt.subplots(2, 2, figsize=(9.2, 5), layout="constrained")
    middle, half = t * HOP, N_FFT // 2
    seconds = np.arange(len(samples)) / SAMPLING_RATE_HZ
    wave.plot(seconds, samples, color=COLOURS["teacher"], linewidth=0.5)
    wave.axvspan((middle - half) / SAMPLING_RATE_HZ, (middle + half) / SAMPLING_RATE_HZ, color=CUT, linewidth=1.5)
    wave.set(title=f"1  {len(samples):,} samples, one window marked", xlabel="seconds", yticks=[], xlim=(0, seconds[-1]))
    inside = np.asarray(samples)[middle - half : middle + half]
    hann, ms = np.hanning(N_FFT + 1)[:-1], np.arange(N_FFT) / SAMPLING_RATE_HZ * 1000
    window.plot(ms, inside, color="#BBBBBB", label="samples $x_n$")
    window.plot(ms, hann * inside, color=CUT, label="faded at both ends, $w_n x_n$")
    window.set(title=f"2  the window: 25 ms, {N_FFT} samples", xlabel="milliseconds", yticks=[])
    window.margins(y=0.3)
    window.legend(loc="upper center", ncols=2, fontsize=8)
    hz = np.linspace(0, SAMPLING_RATE_HZ / 2, len(power)) / 1000
    edges = _band_edges(len(bands))
    spectrum.plot(hz, _db(power), color="#BBBBBB", label=f"{len(power)} frequencies $P_k$")
    spectrum.stairs(_db(bands / bands.max() * power.max()), edges, baseline=None, color=CUT, linewidth=1.5,
                    label=f"{len(bands)} mel bands $m_b$, scaled")
    spectrum.set(title="3  how strong is each frequency?", xlabel="kHz", ylabel="dB", xlim=(0, 8))
    spectrum.legend(loc="upper right", fontsize=8)
    own = np.asarray(features)[:, : features.shape[1] // 4 * 4]
    blocks = own.reshape(len(own) // 2, 2, -1, 4).mean((1, 3))  # 2 bands x 40 ms: a small file
    image.imshow(blocks, origin="lower", aspect="auto", cmap="magma", extent=(0, own.shape[1] / 100, 0, len(own)))
    image.axvline((t + 0.5) / 100, color="white", linewidth=1, linestyle=":")
    image.set(title=f"4  {len(features)} bands x {features.shape[1]} frames of 10 ms", xlabel="seconds", ylabel="mel band",
              xlim=(0, features.shape[1] / 100))
    image.grid(False)
    return figure


def _db(power: Tensor) -> np.ndarray:
    return 10 * np.log10(np.maximum(np.asarray(power), 1e-10))


def _band_edges(bands: int) -> np.ndarray:
    """Where one band hands over to the next, (M + 1,) kHz: equal steps on Slaney's mel scale, 0 to 8 kHz."""
    mel_of_8khz = 15 + np.log(8) * 27 / np.log(6.4)
    mels = np.linspace(0, mel_of_8khz, bands + 2)  # M + 2 corners of M triangles
    hz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    return (hz[:-1] + hz[1:]) / 2000


def model_shapes(config, audio_s: float) -> dict[str, tuple[int, int]]:
    """What flows through a Whisper that hears ``audio_s`` seconds, by place: (channels, frames) or (positions, width).

    Args:
        config: `transformers.WhisperConfig`.
        audio_s: 30 for the padded context; else the clip's own length.
    """
    frames = mel_frames(round(audio_s * SAMPLING_RATE_HZ))
    frames = min(frames + frames % FRAMES_PER_POSITION, FULL_CONTEXT)
    return {
        "features": (config.num_mel_bins, frames), "encoded": (frames // FRAMES_PER_POSITION, config.d_model),
        "table": (config.vocab_size, config.d_model),
    }


def model_figure(config, kept: Sequence[int], audio_s: float, words: Sequence[str]) -> plt.Figure:
    """The encoder-decoder with the shapes on its arrows, and what distillation does to each part of it.

    Args:
        config: `transformers.WhisperConfig` of the teacher.
        kept: the decoder layers that the student keeps, counted from 0.
        audio_s: length of a clip: the teacher hears 30 s, the student the clip.
        words: the beginning of a transcript and, last, the word that comes next.
    """
    full, own = model_shapes(config, 30), model_shapes(config, audio_s)
    figure, ax = plt.subplots(figsize=(9.2, 5.2), layout="constrained")
    ax.set(xlim=(0, 100), ylim=(0, 60))
    ax.axis("off")
    _box(ax, 1, 5, 13, 12, "log-mel", SHORTER)
    _box(ax, 24, 5, 14, 12, "2 convolutions\nhalve the rate", PLAIN)
    step = 32 / config.encoder_layers
    for i in range(config.encoder_layers):
        _box(ax, 45, 17 + step * i, 16, 0.85 * step, _layer_name("encoder", i, config.encoder_layers), PLAIN)
    step = 26 / config.decoder_layers
    for i in range(config.decoder_layers):
        gone = i not in kept
        name = _layer_name("decoder", i, config.decoder_layers)
        _box(ax, 76, 17 + step * i, 20, 0.83 * step, name, CUT if gone else PLAIN, dashed=gone)
        middle = 17 + step * i + 0.415 * step
        _arrow(ax, [(69, 52), (69, middle), (75.5, middle)])
    for y in (6.5, 45.5):
        _box(ax, 76, y, 20, 7, f"vocabulary table\n{full['table'][0]:,} x {full['table'][1]}", FROZEN)
    _arrow(ax, [(14.5, 11), (23.5, 11)])
    _shapes(ax, 19, 11, full["features"], own["features"])
    _arrow(ax, [(38.5, 11), (53, 11), (53, 16.5)])
    _shapes(ax, 45.5, 11, full["encoded"], own["encoded"])
    _arrow(ax, [(53, 48.5), (53, 52), (69, 52)], head=False)
    _shapes(ax, 61, 52, full["encoded"], own["encoded"])
    n = len(words) - 1
    for low, high in ((3.2, 6.3), (13.7, 16.7), (42, 45.2), (52.7, 55.7)):
        _arrow(ax, [(86, low), (86, high)])
    ax.text(86, 1.8, " ".join(words[:-1]), ha="center", va="center", fontsize=9, style="italic")
    ax.text(87, 15.2, f"{n} x {config.d_model}", va="center", fontsize=8)
    ax.text(86, 57.5, f"{n} x {full['table'][0]:,} logits: next is \u201c{words[-1]}\u201d", ha="center", va="center", fontsize=9)
    notes = (
        ("cut: some decoder layers", CUT, "--"), ("frozen: the vocabulary table", FROZEN, "-"),
        (f"shortened: from 30 s to the clip's {audio_s:.1f} s", SHORTER, "-"), ("trained: everything else", PLAIN, "-"),
    )
    for i, (text, colour, style) in enumerate(notes):
        ax.plot([1, 5], [57 - 3.4 * i] * 2, color=colour, linestyle=style, linewidth=2.5)
        ax.text(6.5, 57 - 3.4 * i, text, color=colour, va="center", fontsize=9)
    return figure


def _layer_name(part: str, i: int, layers: int) -> str:
    """Of a tall stack only every eighth layer has room for its name."""
    return f"{part} layer {i + 1}" if layers <= 8 or (i + 1) % 8 == 0 else ""


def _box(ax, x: float, y: float, width: float, height: float, text: str, colour: str, dashed: bool = False) -> None:
    style = {"linestyle": "--", "facecolor": "white"} if dashed else {"facecolor": f"{colour}22"}
    shape = f"round,pad=0,rounding_size={min(1, height / 3)}"
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, edgecolor=colour, linewidth=1.6, **style))
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9, color=colour if dashed else "black")


def _arrow(ax, corners: Sequence[tuple[float, float]], head: bool = True) -> None:
    ax.plot(*zip(*corners, strict=True), color=PLAIN, linewidth=1)
    if head:
        ax.annotate("", corners[-1], corners[-2], arrowprops={"arrowstyle": "->", "color": PLAIN, "shrinkA": 0, "shrinkB": 0})


def _shapes(ax, x: float, y: float, teacher: tuple[int, int], student: tuple[int, int]) -> None:
    ax.text(x, y + 0.8, f"{teacher[0]:,} x {teacher[1]:,}", ha="center", va="bottom", fontsize=8)
    ax.text(x, y - 0.8, f"{student[0]:,} x {student[1]:,}", ha="center", va="top", fontsize=8, color=SHORTER)


def kl_parts(log_p: Tensor, log_q: Tensor, k: int = 6) -> tuple[list[int], Tensor]:
    """KL(p || q) = sum_v p_v (log p_v - log q_v), token by token.

    Args:
        log_p, log_q: (V,), log-probabilities.
        k: how many tokens stand for themselves: the most probable ones of p and of q.

    Returns:
        ids of those tokens, most probable in p first; and their terms, the last being that of all other tokens together
        (nats). The terms sum to the KL; one of them may be negative, the sum is not.
    """
    terms = log_p.exp() * (log_p - log_q)  # (V,)
    ids = set(log_p.topk(k).indices.tolist()) | set(log_q.topk(2).indices.tolist())
    ids = sorted(ids, key=lambda v: -log_p[v])
    return ids, torch.cat([terms[ids], (terms.sum() - terms[ids].sum())[None]])


def kl_figure(log_p: Tensor, log_q: Tensor, words: Sequence[str], ids: Sequence[int], terms: Tensor,
              names: tuple[str, str]) -> plt.Figure:
    """Two distributions over the next token, above what each token adds to KL(p || q).

    Args:
        log_p, log_q: (V,).
        words: of ``ids``.
        ids, terms: from `kl_parts`.
        names: of p and q.
    """
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8.4, 4.4), sharex=True, layout="constrained")
    x, ids = np.arange(len(ids) + 1), list(ids)
    for offset, log, name, colour in ((-0.2, log_p, names[0], COLOURS["teacher"]), (0.2, log_q, names[1], COLOURS["ce_only"])):
        share = log.exp()[ids].tolist()
        top.bar(x + offset, [*share, max(0.0, 1 - sum(share))], 0.38, color=colour, label=name)
    top.set(ylabel="probability", title="What each says comes next")
    top.legend()
    values = terms.tolist()
    bottom.bar(x, values, 0.6, color=[CUT if v > 0 else SHORTER for v in values])
    for place, value in zip(x, values, strict=True):
        bottom.annotate(f"{value:+.2f}", (place, value), (0, 3 if value >= 0 else -3), textcoords="offset points", ha="center",
                        va="bottom" if value >= 0 else "top", fontsize=8)
    bottom.axhline(0, color="black", linewidth=0.8)
    bottom.margins(y=0.2)
    bottom.set(ylabel="nats", title=f"What each adds: KL(p || q) = {sum(values):.2f} nats")
    bottom.set_xticks(x, [*words, "all others"])
    return figure
