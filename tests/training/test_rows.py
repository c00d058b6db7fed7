"""Every row of the tables trains two steps and is evaluated, on a small network."""

import csv
import math

import jax
import pytest

import vpn_jax
from configs import custom
from vpn_jax.results import paper
from vpn_jax.training import loop, run_summary

# Two layers of each visual backbone.
ENDPOINTS = {"i3d": "Conv3d_2b_1x1", "resnext3d": "maxpool"}
# One of each network is also restored, which compiles it once more.
RESTORED = ("pose alone", "VPN", "P-I3D")
# Of the deeper backbones, one goes under VPN, and one takes another stream.
ALONE = ("pose alone, CTR-GCN", "pose alone, AGCN, bone")
ROWS = [
  row
  for row, what in paper.ROWS.items()
  if row in ALONE
  or not any(word in what.arg for word in ("=ctrgcn", "=agcn", "stream="))
]
# Rows whose pose backbones others start from, trained once for all.
STARTS = {
  start
  for row in ROWS
  for start in (paper.ROWS[row].pose_from, paper.ROWS[row].teacher)
} - {""}


TEACHERS = {paper.ROWS[row].teacher for row in ROWS}


def tiny(row, records, shrunk):
  """The row's configuration on the noise clips, its network made small."""
  arg = ",".join(filter(None, ["split", paper.ROWS[row].arg, "size=tiny"]))
  c = custom.get_config(arg)
  example = {"inputs": c.data.example.inputs}
  c.data.update(records=str(records), train="subject:1,2,3", test="subject:4")
  if c.network == "vpn":
    shrunk(c)
  else:
    c.data.example.update(num_frames=8, frame_size=32, pose_steps=4)
    c.train.update(batch_size=8, eval_batch_size=8, log_every=1, tensorboard=False)
  if c.network != "pose":
    endpoint = ENDPOINTS[c.model.backbone]
    c.model.update(width=0.125, endpoint=endpoint, frozen_until="")
    c.init.backbone = "none"
  if row == "I3D+NL":
    c.model.non_local = (endpoint,)
  c.model.pose.update(recurrent_layers=1, recurrent_features=8)
  c.model.pose.update(blocks=2, block_features=8)
  c.data.example.update(example)
  c.data.threads = 2
  c.train.steps = 2
  return c


@pytest.fixture(scope="module")
def alone(noise_records, shrunk, tmp_path_factory):
  """Workdirs of the pose backbones and teachers that other rows start from."""
  folder = tmp_path_factory.mktemp("alone")
  workdirs = {row: str(folder / row) for row in sorted(STARTS)}
  with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an int
    for row in sorted(workdirs, key=lambda row: row in TEACHERS):
      c = tiny(row, noise_records, shrunk)
      if paper.ROWS[row].pose_from:
        c.init.pose_backbone = workdirs[paper.ROWS[row].pose_from]
      loop.train(c, workdirs[row])
  return workdirs


@pytest.mark.parametrize("row", [r for r in ROWS if r not in STARTS or r in RESTORED])
def test_row_trains_and_evaluates(
  row, noise_records, shrunk, plain_operations, alone, tmp_path
):
  c = tiny(row, noise_records, shrunk)
  if paper.ROWS[row].pose_from:
    c.init.pose_backbone = alone[paper.ROWS[row].pose_from]
  if paper.ROWS[row].teacher:
    c.init.teacher = alone[paper.ROWS[row].teacher]
  result = loop.train(c, str(tmp_path))
  assert result["steps"] == 2
  assert math.isfinite(result["loss"])
  if row in RESTORED:
    again = vpn_jax.evaluate(c, str(tmp_path)).metrics
    assert again["top1"] == result["top1"]
  (summary,) = run_summary.read_summaries(tmp_path)
  assert summary["row"] == row
  with (tmp_path / "test" / "predictions.csv").open() as f:
    assert len(list(csv.DictReader(f))) == result["clips"] == 8
