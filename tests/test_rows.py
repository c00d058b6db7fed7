"""Every row of the tables trains two steps and is evaluated, on a small network."""

import csv
import math

import jax
import pytest

from configs import custom
from vpn_jax import evaluate, paper, tables, train

# Two layers of each visual backbone.
ENDPOINTS = {"i3d": "Conv3d_2b_1x1", "resnext3d": "maxpool"}
# One of each network is also restored, which compiles it once more.
RESTORED = ("pose alone", "VPN", "P-I3D")


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
  c.data.example.update(example)
  c.data.threads = 2
  c.train.steps = 2
  return c


@pytest.fixture(scope="module")
def lstm(noise_records, shrunk, tmp_path_factory):
  """Workdir of the LSTM trained alone, which other rows freeze."""
  folder = tmp_path_factory.mktemp("lstm")
  with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an int
    train.train(tiny(paper.LSTM_ALONE, noise_records, shrunk), str(folder))
  return folder


@pytest.mark.parametrize("row", [r for r in paper.ROWS if r != paper.LSTM_ALONE])
def test_row_trains_and_evaluates(
  row, noise_records, shrunk, plain_operations, lstm, tmp_path
):
  c = tiny(row, noise_records, shrunk)
  if paper.ROWS[row].pose_from:
    c.init.pose_backbone = str(lstm)
  result = train.train(c, str(tmp_path))
  assert result["steps"] == 2
  assert math.isfinite(result["loss"])
  if row in RESTORED:
    again = evaluate.evaluate(c, str(tmp_path))
    assert again["top1"] == result["top1"]
  (summary,) = tables.read_summaries(tmp_path)
  assert summary["row"] == row
  with (tmp_path / "test" / "predictions.csv").open() as f:
    assert len(list(csv.DictReader(f))) == result["clips"] == 8
