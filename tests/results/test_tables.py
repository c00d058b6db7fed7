"""Runs gathered into the paper's tables."""

import csv

import pytest
from fake_run import RESULT

from configs import ntu120, smarthome, synthetic
from vpn_jax.jobs import tables as tables_job
from vpn_jax.results import tables
from vpn_jax.training import run_summary


def leave(folder, config, command="python launch.py", **result):
  """A finished run's summary."""
  folder.mkdir(parents=True)
  run_summary.write_summary(folder, config.to_dict(), {**RESULT, **result}, command)


def read_csv(folder):
  with (folder / "tables.csv").open(newline="") as f:
    return list(csv.DictReader(f))


def test_runs_of_other_seeds_share_a_line(tmp_path, capsys):
  for seed, top1 in enumerate((50.0, 52.0, 57.0)):
    config = ntu120.get_config("cs2,coupler=False")
    config.seed = seed
    leave(tmp_path / f"vpn{seed}", config, f"python launch.py {seed}", top1=top1)
  tables_job.run(None, str(tmp_path))
  lines = read_csv(tmp_path)
  assert {line["table"] for line in lines} == {"Table 2: Pose backbone and coupler"}
  (line,) = [line for line in lines if line["ours"] != "not run"]
  # mean (50 + 52 + 57) / 3 = 53; deviations -3 -1 4, squares 26, / 2 = 13, root 3.6
  assert (line["row"], line["paper"]) == ("VPN without coupler", "86.8")
  assert (line["ours"], line["seeds"]) == ("53.0 ± 3.6", "3")
  assert (line["parameters"], line["minutes"]) == ("2.50 M", "2.0")
  assert line["command"] == "python launch.py 0"
  others = {line["row"]: line["paper"] for line in lines if line["ours"] == "not run"}
  assert others == {
    "VPN without coupler, LSTM": "83.6",
    "VPN, LSTM": "84.1",
    "VPN": "87.8",
  }
  printed = capsys.readouterr().out
  assert printed == (tmp_path / "tables.txt").read_text()
  md = (tmp_path / "tables.md").read_text()
  assert "| VPN without coupler       | ntu120  | cs2      | 86.8  | 53.0 ± 3.6" in md
  assert "```\npython launch.py 0\n```" in md


def test_runs_of_one_seed_count_once(tmp_path):
  for name, seed, top1 in (("a", 0, 40.0), ("b", 0, 44.0), ("c", 1, 50.0)):
    config = synthetic.get_config("cs,model=i3d")
    config.seed = seed
    leave(tmp_path / name / "visual", config, top1=top1)
  made = tables.gather(run_summary.read_summaries(tmp_path))
  (line,) = made["Runs on synthetic"]
  # 42 and 50: mean 46, deviation sqrt(32)
  assert (line["ours"], line["seeds"]) == ("46.0 ± 5.7", "2")


def test_runs_without_a_command_are_told_apart_by_their_settings(tmp_path):
  for i, (seed, epochs) in enumerate(((0, 9.0), (1, 9.0), (0, 3.0))):
    config = synthetic.get_config("cs,model=i3d")
    config.seed, config.train.epochs = seed, epochs
    config.figures.top = config.data.threads = i + 1  # which train nothing else
    leave(tmp_path / str(i), config, command="", top1=40.0 + i)
  (lines,) = tables.gather(run_summary.read_summaries(tmp_path)).values()
  assert sorted(line["ours"] for line in lines) == ["40.5 ± 0.7", "42.0"]
  assert all(line["row"].startswith("I3D (settings ") for line in lines)


def test_smarthome_counts_by_class(tmp_path):
  leave(tmp_path / "a", smarthome.get_config("cv1,model=i3d_nl"))
  made = tables.gather(run_summary.read_summaries(tmp_path))
  (heading,) = made
  assert heading == "Table 6: Toyota Smarthome"
  line = made[heading][1]
  assert (line["row"], line["paper"], line["ours"]) == ("I3D+NL", "34.3", "40.0")


def test_datasets_beyond_the_paper_have_one_table(tmp_path):
  started = {"backbone": "none", "pose_backbone": "pose"}
  vpn = synthetic.get_config("cs")
  vpn.init.update(started)
  leave(tmp_path / "vpn", vpn, shuffled_top1=20.0, rest_top1=30.0)
  leave(tmp_path / "nl", synthetic.get_config("cs,model=i3d_nl"))
  leave(tmp_path / "pose", synthetic.get_config("cs,model=pose"))
  made = tables.gather(run_summary.read_summaries(tmp_path))
  (lines,) = made.values()
  assert list(made) == ["Runs on synthetic"]
  assert [line["row"] for line in lines] == ["pose alone", "I3D+NL", "VPN"]
  assert [line["from"] for line in lines] == ["", "kinetics", "none, pose"]
  assert [line["shuffled"] for line in lines] == ["-", "-", "20.0"]
  printed = tables.text(made).splitlines()
  assert printed[1].split()[:5] == ["row", "dataset", "protocol", "ours", "shuffled"]
  assert "paper" not in printed[1]


def test_a_changed_row_is_another_line(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  program = "python launch.py --config=configs/synthetic.py:"
  leave(
    tmp_path / "i3d", synthetic.get_config("cs,model=i3d"), f"{program}cs,model=i3d"
  )
  commands = {
    f"{program}cs --config.seed=1 --config.data.records=x --config.data.workers=5": "",
    f"{program}cs,size=cpu": "size=cpu",
    f"{program.replace('=', ' ')}cs,size=demo --config.seed 1": "size=demo",
    f"{program}cs --config.init.kinetics.i3d=a/b.pt": "init.kinetics.i3d=b.pt",
    f"{program}cs --config.train.epochs=9": "train.epochs=9",
    f"{program}cs --config.init.backbone=i3d --config.seed=2": "",
    f"{program}cs,size=tiny --config.init.backbone=i3d": "size=tiny",
    f"{program}cs --config.init.backbone=none": "from none",
    f"{program}cs --config.init.pose_backbone=x": "pose backbone from x",
    f"{program}cs --config.init.network=i3d": "all from I3D",
  }
  for i, command in enumerate(commands):
    leave(tmp_path / str(i), synthetic.get_config("cs"), command)
  summaries = [s for s in run_summary.read_summaries(tmp_path) if s["row"] == "VPN"]
  assert [tables.variant(s) for s in summaries] == list(commands.values())
  other = {**summaries[0], "row": "I3D", "command": "x --config.init.backbone=i3d"}
  assert tables.variant(other) == "from I3D"
  best = {**summaries[0], "row": "VPN, best recipe"}  # which says the word
  best["command"] = f"{program}cs,recipe=best,size=cpu"
  assert tables.variant(best) == "size=cpu"
  corrected = {**summaries[0], "result": {"corrected_labels": 24}}
  assert tables.variant(corrected) == "24 labels corrected"
  made = tables.gather(run_summary.read_summaries(tmp_path))
  rows = [line["row"] for line in made["Runs on synthetic"]]
  assert rows[0] == "I3D"
  assert set(rows[1:]) == {f"VPN ({v})" if v else "VPN" for v in commands.values()}


def test_controls_stand_beside_the_accuracy(tmp_path):
  for seed, shuffled in enumerate((20.0, 24.0)):
    config = smarthome.get_config("cs")
    config.seed = seed
    values = {"shuffled_mean_class": shuffled, "rest_mean_class": 30.0}
    values |= {"shuffled_top1": 1.0, "rest_top1": 2.0}
    leave(tmp_path / f"vpn{seed}", config, **values)
  leave(tmp_path / "i3d", smarthome.get_config("cs,model=i3d"))
  leave(tmp_path / "old", smarthome.get_config("cs,model=separable_sta"))
  tables_job.run(None, str(tmp_path))
  found = {
    line["row"]: (line["ours"], line["shuffled"], line["at rest"])
    for line in read_csv(tmp_path)
    if line["table"].startswith("Table 6")
  }
  # 20 and 24: mean 22, deviation sqrt(8 / 1)
  assert found["VPN"] == ("40.0 ± 0.0", "22.0 ± 2.8", "30.0 ± 0.0")
  assert found["I3D"] == found["Separable STA"] == ("40.0", "-", "-")
  assert found["P-I3D"] == ("not run", "", "")
  assert "| ours       | shuffled   | at rest" in (tmp_path / "tables.md").read_text()


def test_messages(tmp_path):
  with pytest.raises(FileNotFoundError, match="no finished run below"):
    tables_job.run(None, str(tmp_path))
  with pytest.raises(ValueError, match="--workdir is empty"):
    tables_job.run(None, "")
  leave(tmp_path / "a", synthetic.get_config("cs"), shuffled_top1=float("nan"))
  with pytest.raises(ValueError, match=r"damaged .*shuffled_top1 cannot be what it is"):
    tables_job.run(None, str(tmp_path))
