"""``askd data``, ``train --data`` and ``evaluate --data`` from the shell, on a folder of real recordings."""

import json

import pytest
import soundfile

from askd.cli import main
from askd.commands.data import ACTIONS


@pytest.fixture
def folder(tmp_path, clips):
    path = tmp_path / "mine"
    path.mkdir()
    for i, clip in enumerate(clips):
        soundfile.write(path / f"{i}.wav", clip.samples(), 16_000)
    rows = [f'{i}.wav,"{clip.text}",{i}' for i, clip in enumerate(clips)]
    (path / "metadata.csv").write_text("\n".join(["file_name,text,speaker", *rows]), encoding="utf-8")
    return path


@pytest.mark.parametrize("action", ACTIONS)
def test_help_shows_examples(action, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["data", action, "--help"])
    assert stop.value.code == 0 and f"askd data {action}" in capsys.readouterr().out.split("examples:")[1]


def test_list_and_show(folder, capsys):
    assert main(["data", "list", "--hub"]) == 0
    assert "hub:librispeech_other" in capsys.readouterr().out
    assert main(["data", "show", "formant_telephone"]) == 0
    shown = capsys.readouterr().out
    assert "espeak:en-us" in shown and "licence" in shown and "without end" in shown
    assert main(["data", "show", "hub:earnings22"]) == 0
    assert "sorted by length" in capsys.readouterr().out  # the note
    assert main(["data", "show", str(folder)]) == 0
    assert "all        12 clips" in capsys.readouterr().out


def test_get_names_what_it_made(folder, capsys):
    assert main(["data", "get", "formant_clean", str(folder), "--clips", "3", "--role", "train"]) == 0
    out = capsys.readouterr().out
    assert "formant_clean        train     3 clips" in out and "mine                 train     3 clips" in out
    assert main(["data", "get", "scottish_street", "--role", "train"]) == 2
    assert "no train clips, only test" in capsys.readouterr().err


def test_check_says_everything_and_its_exit_status_says_whether_all_is_well(folder, capsys):
    assert main(["data", "check", str(folder)]) == 0
    assert "12 good recordings" in capsys.readouterr().out
    for i in range(3):
        (folder / f"{i}.wav").write_bytes(b"RIFF")
    with open(folder / "metadata.csv", "a", encoding="utf-8") as file:
        file.write("\ngone.wav,never recorded,9\n")
    assert main(["data", "check", str(folder)]) == 1
    out = capsys.readouterr().out
    assert all(f"row {row}" in out for row in (2, 3, 4, 14)) and "9 good recordings" in out


def test_train_and_evaluate_on_a_folder(folder, tmp_path, capsys):
    broken = folder / "5.wav"
    broken.write_bytes(broken.read_bytes()[:9000])
    out = tmp_path / "run"
    options = "--method ce_only --steps 2 --batch-size 2 --precision fp32 --dev-clips 1".split()
    arguments = ["train", "--data", str(folder), *options, "--out", str(out)]
    assert main(arguments) == 2
    assert "5.wav: truncated" in capsys.readouterr().err
    assert main([*arguments, "--skip-bad"]) == 0
    assert "left out 1 of" in capsys.readouterr().out and (out / "finished.json").is_file()
    scores = ["evaluate", "--model", str(out), "--data", str(folder), "--skip-bad", "--out", str(tmp_path / "scores")]
    assert main(scores) == 0
    report = json.loads((tmp_path / "scores" / "wer.json").read_text())
    assert report["models"]["run"]["domains"]["mine"]["utterances"] == 11  # all of it: it has no split
