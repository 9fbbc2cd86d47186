"""The table of confidences has a line a sound."""

import soundfile

from espnet_smoe.benchmark.confidence import area, main
from tests.tiny import save_experiment, talk, tiny_config


def test_each_sound_has_a_line(tmp_path, capsys):
    save_experiment(tmp_path / "exp", tiny_config(tmp_path / "exp"))
    for name in ("data", "other"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", talk(0.5), 16000)
    (tmp_path / "data/wav.scp").write_text(f"a {tmp_path}/data/a.wav\n")
    folders = ("--data", str(tmp_path / "data"), "--other", str(tmp_path / "other"))
    assert main(["--model", str(tmp_path / "exp"), *folders]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in lines[2:]}
    assert list(cells)[0] == "data" and list(cells)[-1] == "other"
    assert [cell.strip() for cell in cells["tones"][:2]] == ["24", "24"]
    assert cells["data"] == cells["other"]
    assert float(cells["data"][3]) == 0.5


def test_area_is_one_where_all_are_larger():
    assert area([0.5, 0.6], [0.1, 0.2]) == 1.0
    assert area([0.1], [0.1]) == 0.5
