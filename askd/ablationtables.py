"""What ``ablation.json`` says, in tables and sentences, for terminal, README and figures.

    ablation = read_json("runs/cpu-ablation/results/ablation.json")
    print(table(*ablation_table(ablation)), *ablation_sentences(ablation), sep="\\n")
"""

from collections.abc import Mapping

from askd.domains import all_domains
from askd.methods import DESCRIBED, named
from askd.wer import cell

COLUMNS = {"in_domain": "in-domain", "out_of_domain": "out-of-domain", "real": "real speech",
           "real_out_of_domain": "real, never trained on", "all": "all domains"}
TOLD = [(b, split) for b in ("teacher", "constant_kd", "ce_only", "finetuned_teacher")
        for split in ("all", "real", "real_out_of_domain", "out_of_domain")]
WORSE = 1.0  # points above the teacher, from which a domain is named. Ours
P_VALUES = "p of means as they are, not adjusted for how many there are; p of single domains after Holm"


def repeats(ablation: Mapping) -> str:
    """What a seed changed: the training clips, or with ``clips_seed`` only their order and padding.

    >>> repeats({"seeds": [0, 1], "settings": {"clips_seed": 0}}), repeats({"seeds": [0], "settings": {}})
    ('2 training orders of the same clips', '1 seed')
    """
    n, s = len(ablation["seeds"]), "s" * (len(ablation["seeds"]) > 1)
    fixed = ablation["settings"].get("clips_seed") is not None
    return f"{n} training order{s} of the same clips" if fixed else f"{n} seed{s}"


def over(ablation: Mapping) -> str:
    """What the intervals speak of.

    >>> over({"seeds": [0, 1], "settings": {}}), over({"seeds": [0], "settings": {}})
    ('utterances and 2 seeds', 'utterances')
    """
    return "utterances" + (f" and {repeats(ablation)}" if len(ablation["seeds"]) > 1 else "")


def means(ablation: Mapping) -> dict[str, int]:
    """Number of domains by the splits that are shown; real speech never trained on not where all real speech is that."""
    domains = ablation["wer"]["teacher"]["domains"].values()
    outside = [d for d in domains if d["split"] == "out_of_domain"]
    real = [d for d in domains if d["real"]]
    counts = {"in_domain": len(domains) - len(outside), "out_of_domain": len(outside), "real": len(real),
              "real_out_of_domain": sum(d["real"] for d in outside), "all": len(domains)}
    if counts["real"] == counts["real_out_of_domain"]:
        del counts["real_out_of_domain"]
    return {split: n for split, n in counts.items() if split in ablation["wer"]["teacher"]["macro"]}


def means_in_words(ablation: Mapping) -> str:
    """Over how many domains each column is the mean."""
    return "domains in each mean: " + ", ".join(f"{COLUMNS[split]} {n}" for split, n in means(ablation).items())


def ablation_table(ablation: Mapping) -> tuple[list[str], list[list[str]]]:
    """Header and rows: models x macro WERs, then all domains minus the teacher and minus CE only, each with its interval."""
    models, against = ablation["wer"], {(c["a"], c["b"], c["split"]): c for c in ablation["comparisons"]}
    splits = list(means(ablation))
    minus = [b for b in ("teacher", "ce_only") if b in models]
    called = DESCRIBED | {"teacher": f"teacher, {ablation['settings']['teacher']} as published"}
    rows = []
    for name in ("teacher", *[m for m in DESCRIBED if m in models]):
        found = [against.get((name, b, "all")) for b in minus]
        macro = models[name]["macro"]
        rows.append([called[name], *[cell(macro[s]["value"], macro[s]["ci95"]) for s in splits],
                     *[cell(c["delta"], c["ci95"], signed=True) if c else "" for c in found]])
    return ["model", *[COLUMNS[s] for s in splits], *[f"all, minus {named(b)}" for b in minus]], rows


def ablation_domains(ablation: Mapping) -> tuple[list[str], list[list[str]]]:
    """Header and rows: domains x models, WER % with intervals; a star: never trained on; (real): people speak."""
    names = ["teacher", *[m for m in DESCRIBED if m in ablation["wer"]]]
    tables = [ablation["wer"][name]["domains"] for name in names]
    rows = [
        [("" if d["split"] == "in_domain" else "* ") + domain + " (real)" * d["real"],
         *[cell(table[domain]["wer"], table[domain]["ci95"]) for table in tables]]
        for domain, d in tables[0].items()
    ]
    return ["domain", *[DESCRIBED.get(name, name) for name in names]], rows


def ablation_sentences(ablation: Mapping) -> list[str]:
    """What the intervals allow one to say of ASKD and the teacher, constant KD, CE only, the fine-tuned teacher; else empty."""
    against = {(c["a"], c["b"], c["split"]): c for c in ablation["comparisons"]}
    shown = means(ablation)
    found = [(split, against.get(("askd", b, split))) for b, split in TOLD if split in shown]
    return [f"{COLUMNS[split]}: {c['in_words']}, p {c['p']:.2g}" for split, c in found if c] + worst_real_domain(ablation)


def worst_real_domain(ablation: Mapping) -> list[str]:
    """Where ASKD does worst beside the teacher on real speech, and where it is worse by more than `WORSE`; [] without either."""
    table = ablation["wer"]["teacher"]["domains"]
    each = [c for c in ablation["domain_comparisons"] if (c["a"], c["b"]) == ("askd", "teacher")]
    real = sorted((c for c in each if table[c["domain"]]["real"]), key=lambda c: -c["delta"])
    if not real:
        return []
    worse = [f"{c['domain']} ({c['delta']:+.2f})" for c in real if c["delta"] > WORSE]
    worst, (low, high) = real[0], real[0]["ci95"]
    return [
        f"real speech, domain by domain, ASKD minus the teacher: at worst {worst['delta']:+.2f} points, in {worst['domain']} "
        f"(95 % CI [{low:+.2f}, {high:+.2f}], p {worst['p_holm']:.2g} after Holm over {len(each)} domains); "
        f"more than {WORSE:g} point above the teacher in {len(worse)} of {len(real)}{': ' * bool(worse)}{', '.join(worse)}"
    ]


def shared_sources(ablation: Mapping) -> list[list[str]]:
    """Domains of real speech that come from one corpus: the same recordings, speakers or prompts may be in several."""
    known, groups = all_domains(), {}
    for name, d in ablation["wer"]["teacher"]["domains"].items():
        if d["real"] and name in known:
            groups.setdefault(known[name].corpus or known[name].citation, []).append(name)
    return [names for names in groups.values() if len(names) > 1]
