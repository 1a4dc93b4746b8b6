r"""The methods that are compared, each a named recipe: ASKD, what it is made of, and the controls it has to beat.

    CE(y, q) the label's loss, KD the teacher's divergence, SD the self-teacher's, s the progress from 0 to 1

    ce_only               CE                                                                what the labels alone teach
    label_smoothing       CE with epsilon 0.1                                               soft targets without any teacher
    constant_kd           0.2 CE + 0.8 KD                                                   plain distillation (Hinton et al.)
    distil_whisper_paper  1.0 CE + 0.8 KD             arXiv 2311.00430, eq. 6               labels, where they have pseudo-labels
    distil_whisper_code   0.8 CE + 1.0 KD             its run_distillation.py               the two disagree
    annealing_kd          squared error of logits, the teacher's growing, then CE           arXiv 2104.07163
    ps_kd                 (1 - a) CE + a SD, a = 0.8 s, teacher: itself an epoch ago        arXiv 2006.12000
    decay_only            KD 0.8 -> 0 over 60 %, then CE                                    ASKD without its second phase
    self_kd_only          CE, then 0.5 CE + 0.5 SD                                          ASKD without its first phase
    reversed              KD 0 -> 0.8                                                       the schedule the wrong way round
    finetuned_teacher     CE on all layers and the padded 30 s                              what adaptation alone buys the teacher
    askd                  KD 0.8 -> 0 over 60 %, then 0.5 CE + 0.5 SD (EMA)                 arXiv 2601.19919 in our reading

All start from the teacher's weights and see the same clips in the same order for the same steps. Those with KD that decays are
gated (the teacher counts where its best token is the label), the others listen to it on every token: ASKD minus constant KD is
gate, decay and self-distillation together; decay only minus constant KD is the first two. Annealing-KD compares the kept logits.
"""

from askd.curriculum import Curriculum
from askd.errors import pick

_NO_SWITCH = dict(switch=1.0, mu=0.0, gate="none")

METHODS: dict[str, Curriculum] = {
    "ce_only": Curriculum("constant", 0.0, 0.0, **_NO_SWITCH),
    "label_smoothing": Curriculum("constant", 0.0, 0.0, label_smoothing=0.1, **_NO_SWITCH),  # epsilon: Szegedy et al. 2016
    "constant_kd": Curriculum("constant", 0.8, 0.8, **_NO_SWITCH),
    "distil_whisper_paper": Curriculum("constant", 0.8, 0.8, total=1.8, **_NO_SWITCH),
    "distil_whisper_code": Curriculum("constant", 1.0, 1.0, total=1.8, **_NO_SWITCH),
    # the paper's stage I has no labels; the share of the stages is ours, as ASKD's, and so is tau_max within its 7-20
    "annealing_kd": Curriculum("constant", 1.0, 0.0, switch=0.6, mu=0.0, gate="none", divergence="logit_mse", anneal=10.0),
    "ps_kd": Curriculum("constant", 0.0, 0.0, switch=0.0, mu_start=0.0, mu=0.8, self_teacher="previous_epoch", gate="none",
                        self_temperature=1.0, refresh=0.125),  # an epoch is an eighth of the run: ours hold about one pass
    "decay_only": Curriculum("linear", 0.8, 0.0, switch=0.6, mu=0.0, gate="argmax"),
    "self_kd_only": Curriculum("constant", 0.0, 0.0, switch=0.6, mu=0.5, gate="none"),
    "reversed": Curriculum("linear", 0.0, 0.8, switch=1.0, mu=0.0, gate="argmax"),
    "finetuned_teacher": Curriculum("constant", 0.0, 0.0, **_NO_SWITCH),
    "askd": Curriculum("linear", 0.8, 0.0, switch=0.6, mu=0.5, gate="argmax"),
}

TRAINING: dict[str, dict] = {  # settings of training that belong to a method, whatever its run says
    "finetuned_teacher": {"decoder_layers": None, "encoder_layers": None, "context": "full"},
}

MAIN = ("ce_only", "constant_kd", "decay_only", "self_kd_only", "askd")  # those of the notebooks and of `askd reproduce`

DESCRIBED = {  # in tables and figures, in their order
    "ce_only": "CE only", "label_smoothing": "label smoothing", "constant_kd": "constant KD",
    "distil_whisper_paper": "distil-whisper, paper", "distil_whisper_code": "distil-whisper, code",
    "annealing_kd": "Annealing-KD", "ps_kd": "PS-KD", "decay_only": "decay only", "self_kd_only": "self-KD only",
    "reversed": "reversed", "finetuned_teacher": "fine-tuned teacher", "askd": "ASKD",
}


def get_method(name: str) -> Curriculum:
    """The named recipe; `askd.errors.UnknownName` lists the others."""
    return pick("method", name, METHODS)


def named(model: str) -> str:
    """A model within a sentence: ``the teacher``, ``constant KD``, or its own name."""
    return {"teacher": "the teacher", "finetuned_teacher": "the fine-tuned teacher"}.get(model, DESCRIBED.get(model, model))
