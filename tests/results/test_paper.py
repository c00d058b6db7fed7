"""The rows of the tables: their arguments make what their names say."""

import re

import pytest

from configs import common, ntu120
from vpn_jax.results import paper


@pytest.mark.parametrize("row", paper.ROWS)
def test_a_row_is_named_after_its_own_argument(row):
  arg = ",".join(filter(None, ["cs1", paper.ROWS[row].arg]))
  assert ntu120.get_config(arg).row == row


def test_settings_that_change_no_part_change_no_row():
  config = ntu120.get_config("cs1,size=cpu,coupler=False")
  config.optimizer.learning_rate = 1.0
  assert config.row == "VPN without coupler"
  both = ntu120.get_config("cs1,backbone=resnext3d,attention=spatial,embedding=none")
  assert both.row == "VPN, spatial attention, RNX3D101, without embedding"


def test_a_backbone_of_ones_own_names_its_rows(monkeypatch):
  """So that its runs do not stand beside the paper's numbers of another."""
  backbones = (*common.CHOICES["backbone"], "c3d")
  monkeypatch.setitem(common.CHOICES, "backbone", backbones)
  monkeypatch.setitem(common.LAYERS, ("c3d", "full"), ("conv5", ""))
  config = ntu120.get_config("cs1,backbone=c3d")
  assert config.row == "VPN, c3d"
  assert config.init.kinetics.c3d == ""


def test_every_row_starts_from_one_that_exists():
  for row, what in paper.ROWS.items():
    for other in (what.starts_from, what.pose_from, what.teacher):
      assert not other or other in paper.ROWS, row
    config = ntu120.get_config(",".join(filter(None, ["cs1", what.arg])))
    assert config.model.pose.frozen == (what.pose_from == paper.LSTM_ALONE), row
    stages = {"visual": what.starts_from, "pose": what.pose_from}
    assert set(config.pretraining) == {name for name, row in stages.items() if row}, row


def test_rows_are_named_after_their_streams_and_fusions_after_their_parts():
  config = ntu120.get_config("cs1,pose_backbone=ctrgcn,stream=joint_motion")
  assert config.row == "VPN, CTR-GCN, joint motion"
  assert config.pretraining.pose.row == "pose alone, CTR-GCN, joint motion"
  assert config.model.pose.stream == "joint_motion"
  assert ntu120.get_config("cs1,model=i3d,stream=bone").row == "I3D"
  for name, parts in paper.FUSIONS.items():
    assert {*parts} <= {*paper.ROWS}
    assert paper.fusion_name(parts[::-1], joined="?") == name
  assert paper.FUSIONS["pose alone, ST-GCN++, four streams"] == (
    "pose alone, ST-GCN++",
    "pose alone, ST-GCN++, bone",
    "pose alone, ST-GCN++, joint motion",
    "pose alone, ST-GCN++, bone motion",
  )
  assert paper.fusion_name(["VPN", "pose alone"], joined="VPN + pose alone") == (
    "VPN + pose alone"
  )
  best = [row + paper.BEST_RECIPE for row in paper.FUSIONS["2s-AGCN"]]
  assert paper.fusion_name(best, joined="?") == "2s-AGCN, best recipe"
  mixed = [best[0], paper.FUSIONS["2s-AGCN"][1]]
  assert paper.fusion_name(mixed, joined="?") == "?"
  assert paper.published("2s-AGCN", "ntu120", "cs2") == 84.9


def test_numbers_have_a_column_each():
  for table in paper.TABLES.values():
    for row, numbers in table.rows.items():
      assert row in paper.ROWS or row in paper.FUSIONS
      assert len(numbers) == len(table.columns)
  assert paper.published("VPN", "ntu120", "cs2") == 87.8
  assert paper.published("P-I3D", "ntu120", "cs1") is None
  assert paper.published("VPN", "synthetic", "cs") is None


def test_numbers_are_those_of_the_paper(shared):
  printed = []
  for line in (shared.parent / "reference" / "paper.txt").read_text().splitlines():
    cells = line.split("\t")
    numbers = [float(c) for c in cells if re.fullmatch(r"\d+(\.\d)?", c.strip())]
    printed.append((len(cells), tuple(numbers)))
  lines = {numbers for _, numbers in printed if numbers}
  for number, table in paper.TABLES.items():
    for row, numbers in table.rows.items():
      halves = (numbers[:2], numbers[2:]) if number == 5 else (numbers,)
      for half in halves:
        assert None in half or half in lines, (number, row)
