"""Tests of the job "figures": which figures it draws, which it leaves out and why."""

import json

import fake_run
import numpy as np
import pytest
from check_figure import picture, shows, table

from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.evaluation.predictions import Predictions
from vpn_jax.figures import catalogue, style
from vpn_jax.inputs import protocol_data
from vpn_jax.jobs import figures as figures_job
from vpn_jax.training.provenance import Provenance

CLASSES = ("read a book", "drink from cup", "wave with one hand")
NUMBERS = "curves,confusion,gains"


def write_run(folder, right, classes=CLASSES):
  """A run with four test clips of each class, `right[k]` of them right."""
  count = len(classes)
  labels = np.repeat(np.arange(count), 4)
  predicted = np.where(np.tile(np.arange(4), count) < np.repeat(right, 4), labels,
                       (labels + 1) % count)  # fmt: skip
  scores = np.eye(count, dtype=np.float32)[predicted]
  names = tuple(f"clip{i}" for i in range(len(labels)))
  predictions_lib.write(
    folder / "test", Predictions(names, labels, scores, tuple(classes))
  )
  with (folder / "metrics.jsonl").open("w") as file:
    for step in range(1, 41):
      values = {"train/classification_loss": 3 / step, "train/accuracy": 2.0 * step}
      file.write(json.dumps({"step": step, "seconds": step, **values}) + "\n")
    file.write(json.dumps({"step": 40, "seconds": 41, "test/top1": 70.0}) + "\n")


@pytest.fixture
def two_runs(tmp_path):
  write_run(tmp_path / "i3d", (1, 2, 4))
  write_run(tmp_path / "vpn", (4, 3, 2))
  return tmp_path


def left_out(printed):
  """Figure -> reason, in the lines that the job printed."""
  return dict(line.split(": left out, ") for line in printed if ": left out, " in line)


def test_every_figure_of_two_runs(drawn):
  shown = [name for name in catalogue.FIGURES if name != "labels"]  # two clips a class
  expected = [f"wrote {drawn.folder / name}.png and {name}.csv" for name in shown]
  assert [line for line in drawn.printed if "left out" not in line] == expected
  assert list(left_out(drawn.printed)) == ["labels"]
  for name in shown:
    picture(drawn.folder / f"{name}.png")
    assert len(table(drawn.folder / f"{name}.csv")) > 1
  assert not (drawn.folder.parents[1] / "base" / "figures").exists()


def test_numbers_of_two_runs(two_runs, small_config):
  small_config.figures.only = NUMBERS
  figures_job.run(small_config, f"{two_runs / 'i3d'}, {two_runs / 'vpn'}")
  folder = two_runs / "vpn" / "figures"

  image = picture(folder / "curves.png")
  assert min(shows(image, color) for color in style.COLORS) > 200
  rows = table(folder / "curves.csv")
  assert rows[0] == ["run", "scalar", "step", "value"]
  assert ["i3d", "train/classification_loss", "4", "0.75"] in rows
  assert ["vpn", "test/top1", "40", "70.0"] in rows
  assert len(rows) == 1 + 2 * (40 + 40 + 1)

  image = picture(folder / "confusion.png")
  assert shows(image, "#08306b") > 1000  # two classes are all right: 100 %
  rows = table(folder / "confusion.csv")
  assert rows[0] == ["run", "true", *CLASSES]
  assert rows[1] == ["i3d", CLASSES[0], "25.0", "75.0", "0.0"]
  assert rows[6] == ["vpn", CLASSES[2], "50.0", "0.0", "50.0"]

  image = picture(folder / "gains.png")
  # +75, +25 and -50: the bars are as long, so their areas are as 2 to 1.
  assert shows(image, style.GAIN) / shows(image, style.LOSS) == pytest.approx(
    2, rel=0.05
  )
  assert table(folder / "gains.csv") == [
    ["class", "clips", "i3d", "vpn", "gain"],
    [CLASSES[0], "4", "25.0", "100.0", "75.0"],
    [CLASSES[1], "4", "50.0", "75.0", "25.0"],
    [CLASSES[2], "4", "100.0", "50.0", "-50.0"],
  ]


def test_one_run_without_weights(two_runs, small_config, capsys):
  figures_job.run(small_config, str(two_runs / "vpn"))
  folder = two_runs / "vpn" / "figures"
  reasons = left_out(capsys.readouterr().out.splitlines())
  alone = "it compares two runs: --workdir=<baseline>,<run>"
  assert {reasons[name] for name in ("gains", "top_gains", "dynamicity")} == {alone}
  assert reasons["zoom"] == "3 classes are too few for a part of them"
  assert "no checkpoint" in reasons["attention"]
  assert "have no test clip 'clip" in reasons["best"]
  drawn = {path.stem for path in folder.glob("*.png")}
  assert drawn == {"curves", "confusion", "radar", "calibration"}
  assert drawn | set(reasons) == set(catalogue.FIGURES)
  image = picture(folder / "curves.png")
  assert shows(image, style.COLORS[1]) > 200
  assert shows(image, style.COLORS[0]) < 50  # the colour of a baseline


def test_many_classes(tmp_path, small_config):
  """As NTU-120: numbers on the axes, the ends of the gains alone, shortened names."""
  classes = [f"a class with quite a long name, its number is {k}" for k in range(120)]
  rng = np.random.default_rng(0)
  for name in ("a/run", "b/run"):
    write_run(tmp_path / name, rng.integers(0, 5, 120), classes)
  small_config.figures.only = "confusion,zoom,gains,top_gains,radar"
  figures_job.run(small_config, f"{tmp_path}/a/run,{tmp_path}/b/run")
  folder = tmp_path / "b" / "run" / "figures"
  for name in small_config.figures.only.split(","):
    picture(folder / f"{name}.png")
  rows = table(folder / "gains.csv")
  assert len(rows) == 121
  assert rows[0][2:4] == ["a", "b"]  # both are "run"
  assert len(table(folder / "zoom.csv")) == 1 + 2 * 10
  assert len(table(folder / "top_gains.csv")) == 1 + 5


@pytest.mark.parametrize("workdir", ["", ",", "a,b,c"])
def test_other_numbers_of_runs(workdir, small_config):
  with pytest.raises(ValueError, match="expected a finished run, or two separated by"):
    figures_job.run(small_config, workdir)


def test_an_unknown_figure(two_runs, small_config):
  small_config.figures.only = "curves, curve"
  with pytest.raises(ValueError, match=r"only names \['curve'\], expected some of cur"):
    figures_job.run(small_config, str(two_runs / "vpn"))


def test_a_run_that_was_not_evaluated(tmp_path, small_config):
  with pytest.raises(FileNotFoundError, match="run --job=evaluate on that workdir"):
    figures_job.run(small_config, str(tmp_path))


def test_runs_of_other_classes(two_runs, small_config):
  write_run(two_runs / "other", (1, 2), CLASSES[:2])
  with pytest.raises(ValueError, match="compare runs of one dataset and protocol"):
    figures_job.run(small_config, f"{two_runs / 'other'},{two_runs / 'vpn'}")


# Networks that lack what a figure shows.


def save_run(config, folder):
  index, parts = protocol_data.open_parts(config.data, ("test",))
  config.model.num_classes = 4
  provenance = Provenance.of(index, parts["test"].protocol)
  fake_run.save_network(config, folder, provenance)
  write_run(folder, (1, 2, 3, 4), "abcd")


def test_poses_alone_by_an_lstm(tmp_path, small_config, capsys):
  from configs import custom

  pose = shrunk_pose(custom.get_config("split,model=pose,pose_backbone=lstm"))
  pose.data.update({k: small_config.data[k] for k in ("records", "train", "test")})
  pose.data.skeleton = "kinect_v2"
  save_run(pose, tmp_path)
  pose.figures.only = "attention,joints,heatmaps,tsne"
  figures_job.run(pose, str(tmp_path))
  printed = capsys.readouterr().out.splitlines()
  assert left_out(printed) == {
    "attention": "the network has no attention",
    "joints": "the network has no graph convolution",
    "heatmaps": "no run has a single feature map of the frames",
  }
  assert "tsne.png" in printed[-1]  # its features are those of the poses


def test_poses_alone_by_blocks_of_graphs(tmp_path, small_config):
  """Features of joints at a quarter of the steps."""
  from configs import custom

  pose = shrunk_pose(custom.get_config("split,model=pose,pose_backbone=ctrgcn"))
  pose.data.update({k: small_config.data[k] for k in ("records", "train", "test")})
  pose.data.skeleton = "kinect_v2"
  save_run(pose, tmp_path)
  pose.figures.only = "joints"
  figures_job.run(pose, str(tmp_path))
  (image,) = tmp_path.glob("figures/joints.png")
  picture(image)
  rows = table(image.with_suffix(".csv"))[1:]
  assert {row[2] for row in rows} == {"0"}  # of four steps of the pose
  assert len(rows) == 4 * 25  # clips, joints


def shrunk_pose(config):
  """A pose network that compiles in no time."""
  config.data.example.update(num_frames=8, frame_size=16, pose_steps=4)
  config.data.threads = 2
  config.model.pose.update(recurrent_layers=1, recurrent_features=8)
  config.model.pose.update(blocks=3, block_features=8)
  return config


def test_without_records(tmp_path, small_config, capsys):
  save_run(small_config, tmp_path / "run")
  small_config.data.records = str(tmp_path / "empty")
  figures_job.run(small_config, str(tmp_path / "run"))
  reasons = left_out(capsys.readouterr().out.splitlines())
  for name in ("best", "worst", "attention", "joints", "heatmaps", "tsne"):
    assert reasons[name].startswith("no prepared custom records")


@pytest.mark.parametrize(
  ("workdirs", "names"),
  [
    (("a/vpn/seed0", "a/i3d/seed0"), ("vpn", "i3d")),
    (("a/vpn/seed0", "a/vpn/seed1"), ("seed0", "seed1")),
    (("a/vpn/seed0", "b/vpn/seed0"), ("a", "b")),
    (("a/b", "b"), ("a/b", "b")),
    (("a/b",), ("b",)),
  ],
)
def test_runs_are_named_by_what_differs(workdirs, names):
  assert catalogue.run_names(workdirs) == names
