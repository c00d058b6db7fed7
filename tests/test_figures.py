"""Tests of vpn_jax/figures.py: pictures of small runs, looked at by number."""

import csv
import json

import cv2
import made_run
import numpy as np
import pytest

from vpn_jax import evaluate, figures, pipeline, trained
from vpn_jax.evaluate import Predictions
from vpn_jax.provenance import Provenance

CLASSES = ("read a book", "drink from cup", "wave with one hand")


def write_run(folder, right, classes=CLASSES):
  """A run whose test part has four clips of each class, `right[k]` of them right."""
  count = len(classes)
  labels = np.repeat(np.arange(count), 4)
  predicted = np.where(np.tile(np.arange(4), count) < np.repeat(right, 4), labels,
                       (labels + 1) % count)  # fmt: skip
  scores = np.eye(count, dtype=np.float32)[predicted]
  names = tuple(f"clip{i}" for i in range(len(labels)))
  evaluate.write(folder / "test", Predictions(names, labels, scores, tuple(classes)))
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


@pytest.fixture
def no_attention(monkeypatch):
  chosen = {k: v for k, v in figures.FIGURES.items() if k != "attention"}
  monkeypatch.setattr(figures, "FIGURES", chosen)


def picture(path):
  """A written figure, RGB; at the asked width, and with something on it."""
  image = cv2.imread(str(path))[..., ::-1]
  assert image.shape[1] == figures.WIDTH * figures.DPI
  assert 250 < image.shape[0] < 2000
  assert 0.02 < (image < 250).any(axis=-1).mean() < 0.9
  assert (image[:3] > 250).mean() > 0.5  # nothing runs over the border
  return image


def shows(image, color):
  """Number of pixels of a colour such as "#d1495b"."""
  rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
  return int((np.abs(image.astype(int) - rgb).max(axis=-1) <= 6).sum())


def table(path):
  with path.open(newline="") as file:
    return list(csv.reader(file))


def test_two_runs(two_runs, no_attention, small_config, capsys):
  figures.run(small_config, f"{two_runs / 'i3d'}, {two_runs / 'vpn'}")
  folder = two_runs / "vpn" / "figures"
  said = capsys.readouterr().out.splitlines()
  assert said == [
    f"wrote {folder / name}.png and {name}.csv"
    for name in ("curves", "confusion", "gains")
  ]
  assert not (two_runs / "i3d" / "figures").exists()

  image = picture(folder / "curves.png")
  assert min(shows(image, color) for color in figures.COLORS) > 200
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
  assert shows(image, figures.GAIN) / shows(image, figures.LOSS) == pytest.approx(
    2, rel=0.05
  )
  assert table(folder / "gains.csv") == [
    ["class", "clips", "i3d", "vpn", "gain"],
    [CLASSES[0], "4", "25.0", "100.0", "75.0"],
    [CLASSES[1], "4", "50.0", "75.0", "25.0"],
    [CLASSES[2], "4", "100.0", "50.0", "-50.0"],
  ]


def test_one_run_has_no_gains(two_runs, no_attention, small_config, capsys):
  figures.run(small_config, str(two_runs / "vpn"))
  assert "gains: left out, it compares two runs" in capsys.readouterr().out
  folder = two_runs / "vpn" / "figures"
  assert not (folder / "gains.png").exists()
  image = picture(folder / "curves.png")
  assert shows(image, figures.COLORS[1]) > 200
  assert shows(image, figures.COLORS[0]) < 50  # the colour of a baseline
  picture(folder / "confusion.png")


def test_many_classes(tmp_path, no_attention, small_config):
  """NTU-120: numbers on the axes, and the ends of the gains alone."""
  classes = [f"a class with quite a long name {k}" for k in range(120)]
  rng = np.random.default_rng(0)
  for name in ("a/run", "b/run"):
    write_run(tmp_path / name, rng.integers(0, 5, 120), classes)
  figures.run(small_config, f"{tmp_path}/a/run,{tmp_path}/b/run")
  folder = tmp_path / "b" / "run" / "figures"
  picture(folder / "confusion.png")
  picture(folder / "gains.png")
  rows = table(folder / "gains.csv")
  assert len(rows) == 121
  assert rows[0][2:4] == [f"{tmp_path}/a/run", f"{tmp_path}/b/run"]  # both are "run"


@pytest.mark.parametrize("workdir", ["", ",", "a,b,c"])
def test_other_numbers_of_runs(workdir, small_config):
  with pytest.raises(ValueError, match="expected a finished run, or two parted by"):
    figures.run(small_config, workdir)


def test_a_run_that_was_not_evaluated(tmp_path, small_config):
  with pytest.raises(FileNotFoundError, match="run --job=evaluate on that workdir"):
    figures.run(small_config, str(tmp_path))


# Attention: a checkpoint and records.


def save_run(config, folder):
  index, parts = pipeline.open_parts(config.data, ("test",))
  config.model.num_classes = 4
  provenance = Provenance.of(index, parts["test"].protocol)
  made_run.save_network(config, folder, provenance)
  write_run(folder, (1, 2, 3, 4), "abcd")


@pytest.mark.parametrize("kind", ["spatiotemporal", "spatial"])
def test_attention(kind, tmp_path, small_config, capsys):
  small_config.model.attention = kind
  save_run(small_config, tmp_path)
  figures.run(small_config, str(tmp_path))
  assert "attention.png" in capsys.readouterr().out
  image = picture(tmp_path / "figures" / "attention.png")
  bars = shows(image, figures.COLORS[1])
  assert bars > 10_000 if kind == "spatiotemporal" else bars < 10_000

  rows = table(tmp_path / "figures" / "attention.csv")
  assert rows[0] == "clip true predicted score t m n A_T A_ST".split()
  assert len(rows) == 1 + 4 * 4 * 8 * 8  # clips, T, M, N
  # The same numbers from the network itself, by way of the batches of evaluation.
  _, parts = pipeline.open_parts(small_config.data, ("test",))
  network = trained.load(str(tmp_path))
  batch = next(parts["test"].eval_batches(8, threads=1))
  batch = {k: batch[k] for k in ("frames", "pose")}
  scores, out = network.forward(network.variables, batch)
  clip = rows[1][0]
  place = [c["name"] for c in parts["test"].clips].index(clip)
  mine = [row for row in rows[1:] if row[0] == clip]
  assert mine[0][1] == "abcd"[parts["test"].clips[place]["label"]]
  assert mine[0][2] == "abcd"[int(np.argmax(scores[place]))]
  heat = np.array([float(row[-1]) for row in mine]).reshape(4, 8, 8)
  np.testing.assert_allclose(heat, out["attention"][place], rtol=1e-4)
  if kind == "spatiotemporal":
    a_t = np.array([float(row[-2]) for row in mine]).reshape(4, 8, 8)
    np.testing.assert_allclose(
      a_t[:, 0, 0], out["temporal_attention"][place], rtol=1e-4
    )
    assert a_t[:, 0, 0].sum() == pytest.approx(1, abs=1e-4)
  else:
    assert {row[-2] for row in mine} == {""}


def test_no_attention_to_show(tmp_path, small_config, capsys):
  small_config.model.update(attention="none", embedding=False)
  save_run(small_config, tmp_path)
  figures.run(small_config, str(tmp_path))
  assert "attention: left out, the network has no attention" in capsys.readouterr().out
  assert not (tmp_path / "figures" / "attention.png").exists()


def test_attention_without_records(tmp_path, small_config, capsys):
  save_run(small_config, tmp_path / "run")
  small_config.data.records = str(tmp_path / "empty")
  figures.run(small_config, str(tmp_path / "run"))
  assert "attention: left out, no prepared custom records" in capsys.readouterr().out
