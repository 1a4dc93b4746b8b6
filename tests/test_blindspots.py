"""Error inheritance: a worked example, analytic students (equal, independent, copying), invariances, real Whisper output."""

import json
from collections import Counter

import numpy as np
import pytest

from askd.blindspots import PAIRS, clips_to_hear, inheritance, inherited_words, most_inherited, report, shares
from askd.decoding import transcribe
from askd.errors import AskdError
from askd.intervals import Draws
from askd.scoring import Alignment, align, word_errors

WORKED = [  # domain, reference, teacher, student
    ("a", "red green blue pink gold", "red grin blue pink", "red grin blue pint gold"),
    ("a", "Red green blue pink gold.", "Red grin blue pink gold.", "Red grain blue pink."),
    ("a", "green leaves", "grin leaves", "green leaves"),
    ("b", "the old green hill", "the old grin hill", "the green hill"),
    ("b", "gold", "so gold now now", "so gold now"),
    ("b", "", "thank you thank", "thank thank all"),
    ("b", "cold stone", "stone", "cold stone"),
    ("c", "we went", "he went", "we went"),
]
SPLITS = {"a": "in_domain", "b": "in_domain", "c": "out_of_domain"}


def worked_rows():
    def of(model):
        return [{"domain": d, "id": str(i), "speaker": "s", "reference": r, "hypothesis": (t, s)[model]}
                for i, (d, r, t, s) in enumerate(WORKED)]

    return {"teacher": of(0), "askd": of(1)}


def worked():
    domains, references, teacher, student = zip(*WORKED, strict=True)
    return inheritance(align(references, teacher), align(references, student), domains)


def test_worked_example_counts():
    found = worked()
    assert found.words.tolist() == [5, 5, 2, 4, 1, 0, 2, 2]
    assert found.teacher_wrong.tolist() == [2, 1, 1, 1, 0, 0, 1, 1]
    assert found.student_wrong.tolist() == [2, 2, 0, 1, 0, 0, 0, 0]
    assert found.both_wrong.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert found.inherited.tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert found.teacher_inserted.tolist() == [0, 0, 0, 0, 3, 3, 0, 0]
    assert found.inherited_inserted.tolist() == [0, 0, 0, 0, 2, 2, 0, 0]
    assert found.confusions == {("green", "grin"): 1}
    assert found.counts("a") == {"both_right": 6, "student_wrong_only": 2, "teacher_wrong_only": 2, "both_wrong_same": 1,
                                 "both_wrong_otherwise": 1}
    assert found.counts("b") == {"both_right": 4, "student_wrong_only": 1, "teacher_wrong_only": 2, "both_wrong_same": 0,
                                 "both_wrong_otherwise": 0}


def test_worked_example_expectation():
    """The student is wrong at 4 of 12 words in a (green as grin, green as grain, pink as pint, gold left out), 1 of 7 in b."""
    assert worked().expected == pytest.approx([
        1 / 3,  # green: elsewhere in a only as grain, its own grin does not count; gold: left out once elsewhere, 1/3 * 1
        1 / 3,  # green: elsewhere in a only as grin
        1 / 3 * 1 / 2,  # green: in a once as grin, once as grain
        1 / 7 * 1 / 2,  # green: never wrong in b; everywhere once as grin, once as grain
        0, 0,
        1 / 7,  # cold: never wrong; the wrong word of b is left out
        0,  # the student has no wrong word in c
    ])


def test_worked_example_report():
    rows = worked_rows()
    found = report(rows, Draws(rows["teacher"], 200), SPLITS, pairs=[])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    mine = found["models"]["askd"]
    inside, outside = mine["splits"]["in_domain"], mine["splits"]["out_of_domain"]
    values = {name: share["value"] for name, share in inside.items() if isinstance(share, dict)}
    expected = 100 * (1 / 3 + 1 / 3 + 1 / 6 + 1 / 14 + 1 / 7) / 6
    assert values == {
        "inherited_share": 16.67, "expected_share": round(expected, 2), "excess": round(100 / 6 - expected, 2),
        "same_when_both_wrong": 50.0, "inherited_insertions": 66.67,
    }
    assert (inside["teacher_wrong"], inside["inherited"]) == (6, 1)
    assert outside["inherited_share"] == {"value": 0.0, "ci95": [0.0, 0.0]}
    assert outside["same_when_both_wrong"] is outside["inherited_insertions"] is None
    assert (mine["splits"]["all"]["teacher_wrong"], mine["splits"]["all"]["inherited"]) == (7, 1)
    assert mine["domains"]["a"] == worked().counts("a")
    assert (mine["most_inherited"], mine["clips"]) == ([["green", "grin", 1]], [["a", "0", 1]])


def test_inherited_words_of_one_utterance():
    teacher, student = align(["we saw a red fox run"] * 2, ["we see a red box", "we see red fox"])
    # both: saw as see, run left out; the teacher alone: fox as box; the student alone: a left out
    assert inherited_words(teacher, student) == [(1, "saw", "see"), (5, "run", None)]


def alignment(reference, heard):
    written = [(h, h == r) for r, h in zip(reference, heard, strict=True) if h is not None]
    return Alignment(tuple(reference), tuple(h for h, _ in written), tuple(heard), ((),) * (len(reference) + 1),
                     tuple(right for _, right in written))


class World:
    """Four domains of 60 utterances of eight words, in Zipf's proportions. A word is misheard in three ways or left out."""

    def __init__(self, seed, vocabulary=60):
        self.rng = np.random.default_rng(seed)
        often = 1 / np.arange(1, vocabulary + 1)
        drawn = self.rng.choice(vocabulary, (240, 8), p=often / often.sum())
        self.references = [[f"w{i}" for i in words] for words in drawn]
        self.domains = [f"d{u // 60}" for u in range(240)]
        self.rows = [{"domain": d, "speaker": "s"} for d in self.domains]

    def wrong(self, domain, word):
        if self.rng.random() < 0.1 + 0.15 * int(domain[1]):
            return None
        return word + "abc"[self.rng.choice(3, p=[0.6, 0.3, 0.1])]

    def model(self, rate, copies=None, share=0.0):
        """Alignments of a model that errs at ``rate(word)``; of each error in ``copies`` it copies a ``share`` first."""
        found = []
        for u, (reference, d) in enumerate(zip(self.references, self.domains, strict=True)):
            heard = []
            for i, word in enumerate(reference):
                theirs = copies[u].heard[i] if copies else word
                if theirs != word and self.rng.random() < share:
                    heard.append(theirs)
                else:
                    heard.append(self.wrong(d, word) if self.rng.random() < rate(word) else word)
            found.append(alignment(reference, heard))
        return found


def test_a_student_equal_to_its_teacher_inherits_everything():
    world = World(0)
    teacher = world.model(lambda word: 0.3)
    found = shares(inheritance(teacher, teacher, world.domains), Draws(world.rows, 200))
    assert found["inherited_share"].rounded() == {"value": 100.0, "ci95": [100.0, 100.0]}
    assert found["same_when_both_wrong"].point == 100
    assert 0 < found["expected_share"].point < 30  # at most its own error rate
    assert found["excess"].point == pytest.approx(100 - found["expected_share"].point)


def independent(vocabulary, trials):
    """Excess of pairs of models that never met: all points, and how many 95 % intervals hold zero."""
    points, covered = [], 0
    for seed in range(trials):
        world = World(seed, vocabulary)
        rates = world.rng.uniform(0.05, 0.5, 2)
        found = inheritance(world.model(lambda word, e=rates[0]: e), world.model(lambda word, e=rates[1]: e), world.domains)
        excess = shares(found, Draws(world.rows, 300, seed))["excess"]
        low, high = excess.ci()
        covered += low <= 0 <= high
        points.append(excess.point)
    return points, covered


def test_an_independent_student_has_no_excess():
    points, covered = independent(60, 100)
    assert abs(np.mean(points)) < 0.7
    assert covered >= 88


def test_many_rare_words_leave_a_small_excess():
    """The limit that the module states: 2 points over 1,000 words."""
    points, _ = independent(1000, 40)
    assert 1 < np.mean(points) < 3


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_a_student_that_copies_a_share_inherits_that_share(p):
    points, covered = [], 0
    for seed in range(40):
        world = World(seed)
        teacher = world.model(lambda word: 0.4)
        found = shares(inheritance(teacher, world.model(lambda word: 0, teacher, p), world.domains), Draws(world.rows, 300, seed))
        low, high = found["inherited_share"].ci()
        covered += low <= 100 * p <= high
        points.append(found["inherited_share"].point)
        assert found["same_when_both_wrong"].point == 100  # it makes no other error
        assert found["excess"].ci()[0] > 0
    assert np.mean(points) == pytest.approx(100 * p, abs=1)
    assert covered >= 33


def as_rows(world, aligned):
    return [
        {"domain": d, "id": str(u), "speaker": "s", "reference": " ".join(a.reference), "hypothesis": " ".join(a.hypothesis)}
        for u, (d, a) in enumerate(zip(world.domains, aligned, strict=True))
    ]


def test_shared_hard_words_look_inherited_until_the_control_is_subtracted():
    """Why the pairs are there: three models that never met, but find the same words hard, and one that copies as well."""
    world = World(2)

    def hard(word):
        return 0.6 if int(word[1:]) % 3 == 0 else 0.03

    teacher = world.model(hard)
    models = {"teacher": teacher, "ce_only": world.model(hard), "askd": world.model(hard),
              "constant_kd": world.model(hard, teacher, 0.4)}
    rows = {name: as_rows(world, aligned) for name, aligned in models.items()}
    draws = Draws(world.rows, 1000)
    found = report(rows, draws, {d: "in_domain" for d in world.domains})
    low, _ = found["models"]["ce_only"]["splits"]["all"]["excess"]["ci95"]
    assert low > 3
    of = {(c["a"], c["b"], c["measure"]): c for c in found["comparisons"] if c["split"] == "all"}
    assert len(of) == 3 * len(PAIRS) and len(found["comparisons"]) == 2 * len(of)  # in_domain and all
    independent, copied = of["askd", "ce_only", "excess"], of["constant_kd", "ce_only", "excess"]
    assert independent["ci95"][0] <= 0 <= independent["ci95"][1] and independent["p"] > 0.05
    assert copied["ci95"][0] > 0 and copied["p"] < 0.01
    a, b = (found["models"][name]["splits"]["all"]["inherited_share"]["value"] for name in ("constant_kd", "askd"))
    assert -of["askd", "constant_kd", "inherited_share"]["delta"] == pytest.approx(a - b, abs=0.02)


def test_shares_are_those_of_draws_ratio():
    world = World(3)
    teacher = world.model(lambda word: 0.3)
    found = inheritance(teacher, world.model(lambda word: 0.2, teacher, 0.3), world.domains)
    draws, chosen = Draws(world.rows, 300), ["d0", "d2"]
    mine = shares(found, draws, chosen)
    for name, part, whole in (("inherited_share", found.inherited, found.teacher_wrong),
                              ("excess", found.inherited - found.expected, found.teacher_wrong),
                              ("same_when_both_wrong", found.inherited, found.both_wrong)):
        theirs = draws.ratio(part, whole, chosen, pooled=True)
        assert mine[name].point == pytest.approx(theirs.point)
        assert mine[name].samples == pytest.approx(theirs.samples)
    assert np.isnan(mine["inherited_insertions"].point)


def test_order_and_names_change_nothing():
    world = World(4)
    teacher = world.model(lambda word: 0.3)
    student = world.model(lambda word: 0.2, teacher, 0.3)
    plain = inheritance(teacher, student, world.domains)
    ids = [f"u{u:03}" for u in range(len(teacher))]

    order = world.rng.permutation(len(teacher))
    moved = inheritance([teacher[u] for u in order], [student[u] for u in order], [world.domains[u] for u in order])
    assert moved.expected == pytest.approx(plain.expected[order])
    assert (moved.inherited == plain.inherited[order]).all()
    assert moved.counts("d1") == plain.counts("d1")
    assert most_inherited(moved) == most_inherited(plain)
    assert clips_to_hear(moved, [ids[u] for u in order]) == clips_to_hear(plain, ids)

    def renamed(aligned):
        return [alignment([w[::-1] for w in a.reference], [w and w[::-1] for w in a.heard]) for a in aligned]

    other = inheritance(renamed(teacher), renamed(student), [d + "x" for d in world.domains])
    assert other.expected == pytest.approx(plain.expected)
    assert other.confusions == Counter({(r[::-1], v and v[::-1]): k for (r, v), k in plain.confusions.items()})
    assert other.counts("d1x") == plain.counts("d1")


def test_lists_are_sorted_and_cut():
    world = World(5)
    teacher = world.model(lambda word: 0.3)
    found = inheritance(teacher, teacher, world.domains)
    words, clips = most_inherited(found), clips_to_hear(found, list(range(240)))
    assert len(words) == len(clips) == 20
    assert [c for *_, c in words] == sorted(found.confusions.values(), reverse=True)[:20]
    assert any(heard is None for _, heard, _ in words)
    assert [c for *_, c in clips] == sorted(found.inherited.tolist(), reverse=True)[:20]
    assert all(found.inherited[u] == c for _, u, c in clips)


def test_silence_only():
    """No reference word: no share is defined, and none turns into NaN in JSON."""
    rows = {
        name: [{"domain": "a", "id": str(i), "speaker": "s", "reference": "", "hypothesis": h} for i, h in enumerate(said)]
        for name, said in {"teacher": ["", ""], "ce_only": ["", "you"], "askd": ["", ""]}.items()
    }
    found = report(rows, Draws(rows["teacher"], 50), {"a": "in_domain"}, [("askd", "ce_only")])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    shown = found["models"]["askd"]
    assert shown["splits"]["all"] == {
        "teacher_wrong": 0, "inherited": 0, "inherited_share": None, "expected_share": None, "excess": None,
        "same_when_both_wrong": None, "inherited_insertions": None,
    }
    assert set(shown["domains"]["a"].values()) == {0}
    assert shown["most_inherited"] == shown["clips"] == found["comparisons"] == []


def test_what_cannot_be_compared_is_named():
    rows = worked_rows()
    draws = Draws(rows["teacher"], 50)
    with pytest.raises(AskdError, match="unknown model 'boss': known are askd, teacher"):
        report(rows, draws, SPLITS, [], teacher="boss")
    with pytest.raises(AskdError, match="unknown model 'ce_only': known are askd"):
        report(rows, draws, SPLITS, [("askd", "ce_only")])
    with pytest.raises(AskdError, match="unknown domain 'c'"):
        report(rows, draws, {"a": "in_domain", "b": "in_domain"}, [])
    with pytest.raises(AskdError, match="askd and teacher must have transcribed the same utterances"):
        report(rows | {"askd": rows["askd"][::-1]}, draws, SPLITS, [])
    with pytest.raises(ValueError, match="utterance 0: the reference is 'a b'"):
        inheritance(align(["a b"], [""]), align(["a c"], [""]), ["d"])
    with pytest.raises(ValueError):
        inheritance(align(["a"], [""]), align(["a", "b"], ["", ""]), ["d"])


def test_real_whisper_and_its_blind_spot(tiny_en, clips):
    """tiny.en over a telephone: counts agree with the scorer, and a model is its own heir."""
    clips = clips[6:9]  # formant_telephone, the teacher's worst
    references, domains = [clip.text for clip in clips], [clip.domain for clip in clips]
    # a student that comes too late: the same model without the first second
    said, late = (
        [r.text for r in transcribe(tiny_en.model, tiny_en.processor, [clip.samples()[skip:] for clip in clips])]
        for skip in (0, 16_000)
    )
    teacher, student = align(references, said), align(references, late)
    own, other = inheritance(teacher, teacher, domains), inheritance(teacher, student, domains)
    errors = word_errors(references, said)
    assert errors.errors.sum() > 5
    assert (own.teacher_wrong == errors.sub + errors.dele).all() and (own.teacher_inserted == errors.ins).all()
    assert (own.inherited == own.teacher_wrong).all() and (own.inherited_inserted == own.teacher_inserted).all()
    assert (other.inherited <= other.both_wrong).all() and 0 < other.inherited.sum() < own.inherited.sum()
    assert sum(sum(other.counts(d).values()) for d in set(domains)) == errors.words.sum()
