"""No leaks, the same clip everywhere, and caches that mend themselves."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import askd
from askd.domains import Domain, all_domains, domain_names, get_domain, load_clips
from askd.errors import AskdError, AudioError, ManifestError, UnknownName
from askd.files import cache_dir
from askd.sentences import sentences, split_of, topics
from askd.synthesis import text_of, written

TRAINED = domain_names("in_domain", "synthetic")
UNSEEN = domain_names("out_of_domain", "synthetic")


def words(text):
    return re.sub(r"[^a-z ]", "", text.lower())


def test_enough_natural_sentences():
    everything = [s for t in topics() for s in sentences(t)]
    assert len({re.sub(r"[^a-z ]", "", s.lower()) for s in everything}) >= 3000
    assert len(topics()) >= 6
    for sentence in everything:
        assert sentence.isascii() and not re.search(r"\d", sentence) and sentence[-1] in ".?!", sentence
        assert 3 <= len(sentence.split()) <= 40, sentence


def test_splits_do_not_depend_on_case_or_punctuation():
    assert split_of("Hello there, you!") == split_of("hello there you")
    for topic in topics():
        parts = [set(sentences(topic, role)) for role in ("train", "dev", "test")]
        assert sum(map(len, parts)) == len(set(sentences(topic)))
        assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def stream_texts(count, seed=0):
    """Texts of the first ``count`` clips of the training stream, without speaking them."""
    domains = [get_domain(name) for name in TRAINED]
    return [text_of(domains[i % len(domains)], "train", i // len(domains), seed) for i in range(count)]


def test_text_does_not_repeat_within_twenty_thousand_clips():
    texts = stream_texts(20_000)
    assert len({words(t) for t in texts}) == 20_000
    spoken = {words(s) for t in get_domain("neural_clean").topics for s in sentences(t, "train")}
    assert spoken <= {words(t) for t in texts}  # and every written training sentence is among them
    assert stream_texts(50) == texts[:50] and stream_texts(50, seed=1) != texts[:50]


def test_no_test_sentence_is_ever_trained_on():
    trained = {words(t) for t in stream_texts(20_000)}
    tested = {words(t) for name in [*TRAINED, *UNSEEN] for role in ("dev", "test") if role in get_domain(name).roles
              for t in written(get_domain(name), role)}
    assert len(tested) > 500 and not trained & tested
    assert all(split_of(t) == "train" for t in trained)


def test_out_of_domain_voices_channels_and_topics_are_unseen():
    seen, unseen = ([get_domain(n) for n in names] for names in (TRAINED, UNSEEN))
    assert len(seen) >= 6 and len(unseen) >= 3
    assert len({v for d in seen for v in d.voices}) >= 20
    voices, strangers = ({v for d in group for v in (*d.voices, *d.talkers)} for group in (seen, [
        Domain(**{**d.__dict__, "talkers": d.talkers if d.channel in ("babble", "interferer") else ()}) for d in unseen]))
    assert not voices & strangers
    for part in (r"^[^+@]*", r"[+@].*"):  # neither accent or engine nor speaker variant
        assert not {m[0] for n in voices if (m := re.search(part, n))} & {m[0] for n in strangers if (m := re.search(part, n))}
    assert not {t for d in seen for t in d.topics} & {t for d in unseen for t in d.topics}
    assert not {d.channel for d in seen} & {d.channel for d in unseen}
    for name in domain_names("out_of_domain"):
        assert get_domain(name).roles == ("test",)
    with pytest.raises(AskdError, match="no 'train' clips"):
        load_clips("scottish_street", "train", 4)


def test_every_domain_says_where_it_comes_from():
    for domain in all_domains().values():
        assert domain.about and domain.licence and domain.citation and domain.language == "en" and domain.speaker, domain.name
    with pytest.raises(AskdError, match="split must be one of in_domain, out_of_domain, not 'both'"):
        Domain("x", "both", "package", "")
    with pytest.raises(AskdError, match="source hub needs"):
        Domain("x", "in_domain", "hub", "")


@pytest.mark.parametrize("name", ["neural_noise", "formant_telephone", "mixed_babble", "neural_room"])
def test_a_clip_is_the_same_whatever_was_spoken_before(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path / "a"))
    many = load_clips(name, "test", 9, workers=2)
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path / "b"))
    few = load_clips(name, "test", 3, workers=1)
    assert [c.sha256 for c in few] == [c.sha256 for c in many[:3]]
    assert [c.sha256 for c in load_clips(name, "test", 3, seed=1, workers=1)] != [c.sha256 for c in few]
    assert few[0].samples().dtype == np.float32 and few[0].audio_s > 0.5


def test_a_longer_list_makes_only_what_is_new(tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    first = load_clips("formant_clean", "dev", 2)
    stamp = {c.path: (tmp_path / c.path).stat().st_mtime_ns for c in first}
    again = load_clips("formant_clean", "dev", 4)
    assert again[:2] == first and all((tmp_path / p).stat().st_mtime_ns == t for p, t in stamp.items())


def test_a_damaged_clip_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    clip = load_clips("formant_clean", "dev", 2)[0]
    with open(clip.path, "r+b") as file:
        file.truncate(100)
    again = load_clips("formant_clean", "dev", 2)[0]
    assert again.sha256 == clip.sha256
    assert again.samples().size > 0
    description = next((tmp_path / "speech" / "formant_clean").glob("*.json"))
    description.write_text(description.read_text()[:20])  # cut while it was written
    assert load_clips("formant_clean", "dev", 2)[0] == again
    assert not list((tmp_path / "speech").rglob(".*"))  # no scratch files left


def test_two_processes_may_make_the_same_clips(tmp_path):
    code = (
        "from askd.domains import load_clips; import json\n"
        "print(json.dumps([c.sha256 for c in load_clips('formant_noise', 'test', 7, workers=1)]))"
    )
    environment = {**__import__("os").environ, "ASKD_CACHE": str(tmp_path)}
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) for _ in range(2)]
    first, second = (json.loads(p.communicate()[0]) for p in both)
    assert first == second and len(set(first)) == 7 and all(p.returncode == 0 for p in both)
    assert not list((tmp_path / "speech").rglob(".*"))


def own_folder(tmp_path, clips, extra=""):
    """A folder of recordings as a person has them."""
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = ["file_name,text,speaker"]
    for i, clip in enumerate(clips):
        soundfile.write(folder / f"{i}.wav", clip.samples(), 16_000)
        rows.append(f'{i}.wav,"{clip.text}",{i % 2}')
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n" + extra, encoding="utf-8")
    return folder


def test_a_folder_of_ones_own_in_one_line(tmp_path, clips):
    folder = own_folder(tmp_path, clips)
    mine = askd.load_clips(folder, "all")
    assert [c.text for c in mine] == [c.text for c in clips] and {c.domain for c in mine} == {"mine"}
    assert mine[0].samples().shape == clips[0].samples().shape
    parts = [load_clips(folder, role) for role in ("train", "dev", "test")]
    assert sorted(c.id for part in parts for c in part) == sorted(c.id for c in mine)
    assert len(load_clips(folder, "all", 5)) == 5 and load_clips(folder, "all", 5) != load_clips(folder, "all", 5, seed=1)
    assert get_domain(folder).about == "your own recordings"


def test_a_folder_with_half_a_split_leaks_nothing(tmp_path, clips):
    own_folder(tmp_path, clips[:4]).rename(tmp_path / "train")
    own_folder(tmp_path, clips[4:6]).rename(tmp_path / "validation")
    domain = get_domain(tmp_path)
    assert domain.roles == ("train", "dev", "all")
    train, dev = ({c.text for c in load_clips(tmp_path, role)} for role in ("train", "dev"))
    assert train == {c.text for c in clips[:4]} and dev == {c.text for c in clips[4:6]}
    with pytest.raises(AskdError, match="no 'test' clips, only train, dev, all"):
        load_clips(tmp_path, "test")


def test_a_role_that_falls_empty_is_an_error(tmp_path, clips):
    with pytest.raises(AskdError, match=r"nothing falls to 'dev'|nothing falls to 'test'"):
        for role in ("dev", "test"):
            load_clips(own_folder(tmp_path, clips[:1]) if role == "dev" else tmp_path / "mine", role)


def test_a_folder_is_not_taken_for_a_declared_domain(tmp_path, clips):
    own_folder(tmp_path, clips[:2]).rename(tmp_path / "an4")
    domain = get_domain(tmp_path / "an4")
    assert domain.name.endswith("-an4") and domain.name != "an4" and domain.scored_role == "all"


def test_casing_and_layout_of_a_folder(tmp_path, clips):
    folder = own_folder(tmp_path, clips[:2])
    table = (folder / "metadata.csv").read_text().splitlines()
    (folder / "metadata.csv").write_text("\n".join([table[0], *(line.upper().replace(".WAV", ".wav") for line in table[1:])]))
    assert all(c.text.isupper() for c in load_clips(folder, "all"))
    assert load_clips(folder, "all", casing="sentence")[0].text.capitalize() == clips[0].text.capitalize()
    with pytest.raises(ManifestError, match="layout kaldi does not fit"):
        load_clips(folder, "all", layout="kaldi")


def test_a_held_out_domain_gives_nothing_to_train_on():
    with pytest.raises(AskdError, match="no 'train' clips"):
        load_clips("scottish_street", "train", 1)


def test_a_hub_split_is_not_three_roles(tmp_path, clips):
    pytest.importorskip("datasets")
    (tmp_path / "copy" / "data").mkdir(parents=True)
    table = get_domain("formant_clean").to_dataset("dev", 3)
    table.to_parquet(tmp_path / "copy" / "data" / "train-00000-of-00001.parquet")
    name = f"hub:{tmp_path / 'copy'}?split=train"
    assert get_domain(name).roles == ("all",) and len(load_clips(name, "all")) == 3
    with pytest.raises(AskdError, match="no 'dev' clips, only all"):
        load_clips(name, "dev", 2)
    assert get_domain(name).to_dataset("all", 2).num_rows == 2


def test_bad_recordings_are_named_or_counted(tmp_path, clips, capsys):
    folder = own_folder(tmp_path, clips[:4], 'gone.wav,"never recorded",0\n')
    with pytest.raises(ManifestError, match=r"row 6.*gone\.wav"):
        load_clips(folder, "all")
    (folder / "1.wav").write_bytes(b"RIFF and nothing else")
    assert len(load_clips(folder, "all", skip_bad=True)) == 3
    said = capsys.readouterr().out
    assert "1.wav" in said and "1 missing audio file" in said
    (folder / "metadata.csv").write_text("file_name,text\n1.wav,broken\n", encoding="utf-8")
    with pytest.raises(AudioError, match=r"1\.wav: cannot be read"):
        load_clips(folder, "all")


def test_domain_to_dataset_and_back(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    table = get_domain("formant_clean").to_dataset("dev", 3)
    assert table.features["audio"] == datasets.Audio(sampling_rate=16_000, decode=False)
    assert table["text"] == [c.text for c in load_clips("formant_clean", "dev", 3)]
    assert all(s > 0.5 for s in table["duration_s"]) and table["speaker"][0].startswith("espeak")
    (tmp_path / "copy" / "data").mkdir(parents=True)
    table.to_parquet(tmp_path / "copy" / "data" / "test-00000-of-00001.parquet")
    back = load_clips(f"hub:{tmp_path / 'copy'}?speaker=speaker", "test", 3)
    for mine, theirs in zip(load_clips("formant_clean", "dev", 3), back, strict=True):
        np.testing.assert_array_equal(mine.samples(), theirs.samples())
        assert (mine.text, mine.speaker) == (theirs.text, theirs.speaker)


def test_unknown_names_say_what_exists(tmp_path):
    with pytest.raises(UnknownName, match=r"known are .*neural_telephone"):
        get_domain("telefone")
    with pytest.raises(UnknownName, match="medical"):
        sentences("astrology")
    with pytest.raises(AskdError, match="at least 1"):
        load_clips("neural_clean", "test", 0)
    with pytest.raises(AskdError, match="never ends"):
        load_clips("neural_clean", "test")
    with pytest.raises(AskdError, match="only train, dev, test"):
        load_clips("neural_clean", "validation", 3)
    assert set(all_domains()) == set(domain_names("in_domain")) | set(domain_names("out_of_domain"))
    assert cache_dir().is_dir()
