"""The job "robustness" on small networks of random weights."""

import csv
import dataclasses

import fake_run
import numpy as np
import pytest

import vpn_jax
from configs import custom
from vpn_jax.analysis import robustness
from vpn_jax.datasets import protocol_settings
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.inputs import pose_damage
from vpn_jax.jobs import robustness as job
from vpn_jax.records import store
from vpn_jax.training import run_summary
from vpn_jax.training.provenance import Provenance

LEVELS = {"noise": "0.5", "joint_drop": "", "frame_drop": "0.3,0.9", "shift": ""}


def scores(rows, labels=(0, 1)):
  """Predictions of two clips."""
  rows = np.float32(rows)
  return predictions_lib.Predictions(("x", "y"), np.array(labels), rows, ("a", "b"))


RIGHT, HALF = scores([[0.9, 0.1], [0.2, 0.8]]), scores([[0.9, 0.1], [0.6, 0.4]])
WRONG = scores([[0.1, 0.9], [1.0, 0.0]])


def test_points_begin_without_damage_and_carry_the_level():
  found = {"own": RIGHT, "noise=0.1": HALF, "noise=0.2": WRONG}
  points = robustness.curves(found, {"noise": (0.1, 0.2)})
  assert [(p.level, p.top1) for p in points] == [(0.0, 100.0), (0.1, 50.0), (0.2, 0.0)]
  assert {(p.kind, p.clips) for p in points} == {("noise", 2)}
  constant = robustness.curves({"own": HALF}, {"shift": (1.0,)})  # no pose
  assert [p.top1 for p in constant] == [50.0, 50.0]


def test_a_fused_run_is_the_sum_of_its_parts_at_each_level(tmp_path):
  parts = [{"workdir": "a", "weight": 1.0}, {"workdir": "b", "weight": 3.0}]
  parts = [{"row": "r", "variant": "", **part} for part in parts]
  run_summary.save_summary(
    tmp_path, "c", row="a + b", dataset="d", protocol="p", seed=0,
    result={**fake_run.RESULT}, parts=parts,
  )  # fmt: skip
  found = {"a": {"own": RIGHT, "noise=0.1": WRONG}, "b": {"own": HALF}}  # b has no pose
  fused = robustness.score(str(tmp_path), found.__getitem__)
  assert set(fused) == {"own", "noise=0.1"}
  np.testing.assert_allclose(fused["own"].scores[1], [0.5, 0.5], atol=1e-6)
  np.testing.assert_allclose(fused["noise=0.1"].scores[1], [0.7, 0.3], atol=1e-6)


@pytest.fixture
def runs(make_config, noise_records, tmp_path):
  """A config, and workdirs of VPN and of poses alone with random weights."""
  index, folders = store.read_index(noise_records), []
  for name, config in (
    ("vpn", make_config()),
    ("pose", custom.get_config("split,model=pose,size=tiny")),
  ):
    config.data = make_config().data
    config.data.example.inputs = ("pose",) if name == "pose" else ("frames", "pose")
    config.model.num_classes, config.model.pose.skeleton = 4, "kinect_v2"
    protocol = protocol_settings.from_config(config.data)
    folders.append(tmp_path / name)
    fake_run.save_network(config, folders[-1], Provenance.of(index, protocol))
  config = make_config()
  config.robustness.update(LEVELS)
  return config, folders


def test_levels_are_evaluations_with_that_damage(runs, capsys, tmp_path):
  config, folders = runs
  config.output = str(tmp_path / "out")
  job.run(config, ",".join(map(str, folders)))
  printed = capsys.readouterr().out
  assert "noisy joints, standard deviation, m  0" in printed
  assert "joints not seen" not in printed
  assert (tmp_path / "out" / "robustness.png").stat().st_size > 10_000
  with (tmp_path / "out" / "robustness.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 2 * (2 + 3)
  changed = set()
  for row in rows:
    config.output = str(tmp_path / "again")
    damage = pose_damage.Damage(**{row["damage"]: float(row["level"])})
    config.inference.damage.update(dataclasses.asdict(damage))
    found = vpn_jax.evaluate(config, str(tmp_path / row["run"]))
    assert float(row["top1"]) == found.metrics["top1"]
    assert float(row["mean_class"]) == found.metrics["mean_class"]
    changed.add(found.predictions.scores.tobytes())
    name = "test_damaged" if float(row["level"]) else "test"
    assert (tmp_path / "again" / name / "scores.npz").exists()
  assert len(changed) == 2 * 4  # each level has scores of its own; 0 occurs twice


def test_messages(runs, tmp_path):
  config, folders = runs
  with pytest.raises(ValueError, match="--workdir is empty, expected finished runs"):
    job.run(config, "")
  for noise in ("0", "0.1,0.1", "-1", "much"):
    config.robustness.noise = noise
    with pytest.raises(ValueError, match="expected different numbers above 0"):
      job.run(config, str(folders[0]))
  config.robustness.noise = ""
  config.robustness.frame_drop = "2"
  with pytest.raises(ValueError, match=r"damage.frame_drop is 2.0, expected a prob"):
    job.run(config, str(folders[0]))
  config.robustness.frame_drop = ""
  with pytest.raises(ValueError, match="no level of any kind, expected some of one"):
    job.run(config, str(folders[0]))
  config.inference.shuffle_pose = True
  with pytest.raises(ValueError, match="has shuffled poses, expected the clips' own"):
    job.run(config, str(folders[0]))
