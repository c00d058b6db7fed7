"""Rows by name, and runs gathered into a table."""

import pytest

from configs import ntu120, synthetic
from vpn_jax import tables

RESULT = {
  "top1": 50.0,
  "mean_class": 40.0,
  "train_clips_per_second": 10.0,
  "eval_clips_per_second": 30.0,
  "seconds": 120.0,
}


@pytest.mark.parametrize(
  ("arg", "row"),
  [
    ("cs1", "VPN"),
    ("cs1,model=i3d", "I3D"),
    ("cs1,model=pose", "pose alone"),
    ("cs1,model=pose,pose_backbone=lstm", "pose alone, LSTM"),
    ("cs1,pose_backbone=lstm", "VPN, LSTM"),
    ("cs1,pose_backbone=lstm,coupler=False", "VPN without coupler, LSTM"),
    ("cs1,model=i3d,pose_backbone=lstm", "I3D"),
    ("cs1,embedding=none", "VPN without embedding"),
    ("cs1,coupler=False", "VPN without coupler"),
    ("cs1,embedding=kl_bi", "VPN, kl_bi"),
    ("cs1,attention=spatial", "VPN, spatial attention"),
    (
      "cs1,attention=spatial,embedding=none",
      "VPN, spatial attention, without embedding",
    ),
    (
      "cs1,attention=spatial,embedding=none,pose_backbone=lstm",
      "VPN, spatial attention, without embedding, LSTM",
    ),
  ],
)
def test_rows(arg, row):
  assert tables.row_name(ntu120.get_config(arg).to_dict()) == row
  in_paper = ("ntu120", "cs1", row) in tables.PAPER
  assert in_paper != row.startswith("pose alone")


def test_runs_of_other_seeds_share_a_line(tmp_path, capsys):
  for seed, top1 in enumerate((50.0, 52.0, 57.0)):
    config = ntu120.get_config("cs2").to_dict()
    config["seed"] = seed
    folder = tmp_path / f"vpn{seed}"
    folder.mkdir()
    tables.write_summary(folder, config, {**RESULT, "top1": top1})
  other = tmp_path / "deep" / "i3d"
  other.mkdir(parents=True)
  config = synthetic.get_config("cs,model=i3d").to_dict()
  tables.write_summary(other, config, RESULT)
  tables.run(None, str(tmp_path))
  lines = (tmp_path / "tables.csv").read_text().splitlines()
  # mean (50 + 52 + 57) / 3 = 53; deviations -3 -1 4, squares 26, / 2 = 13, root 3.6
  assert lines[1] == "VPN,ntu120,cs2,87.8,53.0 ± 3.6,40.0 ± 0.0,3,10.0,30.0,2.0"
  assert lines[2] == "I3D,synthetic,cs,-,50.0,40.0,1,10.0,30.0,2.0"
  assert capsys.readouterr().out.strip() == (tmp_path / "tables.md").read_text().strip()


def test_messages(tmp_path):
  with pytest.raises(FileNotFoundError, match="no finished run below"):
    tables.run(None, str(tmp_path))
  with pytest.raises(ValueError, match="--workdir is empty"):
    tables.run(None, "")
