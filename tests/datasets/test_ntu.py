"""NTU: names, reading synthetic skeleton files, actors and damage."""

import itertools
import pickle

import fake_ntu
import numpy as np
import pytest

from vpn_jax.datasets import instructions, ntu
from vpn_jax.datasets.base import BadClip

NAME = "S001C002P003R002A050"


def read(tmp_path, lines):
  path = tmp_path / "x.skeleton"
  path.write_text("\n".join(lines) + "\n")
  return ntu.read_skeleton(path)


def test_names():
  label, attributes = ntu.parse_name(NAME)
  assert label == 49
  assert attributes == {"setup": 1, "camera": 2, "subject": 3, "replication": 2}
  for bad in ("S001C002P003R002A50", NAME + "_rgb", "", "S001C002P003R002A05٠"):
    with pytest.raises(ValueError, match="expected one as S001C002P003R001A050"):
      ntu.parse_name(bad)


def test_package_data():
  assert len(set(ntu.class_names(120))) == 120
  assert ntu.class_names(60) == ntu.class_names(120)[:60]
  assert ntu.class_names(60)[0] == "drink water"
  assert ntu.missing_skeletons(60) < ntu.missing_skeletons(120)
  for which in (60, 120):
    for name in ntu.missing_skeletons(which):
      assert ntu.parse_name(name)[0] < which


def test_values(tmp_path):
  rows = fake_ntu.body(6, seed=3)
  (body,) = read(tmp_path, fake_ntu.lines(6, {"72": rows}))
  assert body.world.shape == (6, 25, 3)
  assert body.world.dtype == body.image.dtype == np.float32
  stacked = np.stack([rows[f] for f in range(6)])
  np.testing.assert_allclose(body.world, stacked[..., :3], rtol=1e-5)
  np.testing.assert_allclose(body.image, stacked[..., 3:], rtol=1e-5)


def test_absent_frames_are_nan(tmp_path):
  lines = fake_ntu.lines(6, {"72": fake_ntu.body(6, first=2, last=5)})
  (body,) = read(tmp_path, lines)
  np.testing.assert_array_equal(body.tracked, [0, 0, 1, 1, 1, 0])
  assert np.isnan(body.world[[0, 1, 5]]).all()
  assert np.isnan(body.image[[0, 1, 5]]).all()


def test_unknown_pixels_are_nan_but_the_pose_stays(tmp_path):
  rows = fake_ntu.body(3)
  rows[1][4, 3:] = np.inf
  (body,) = read(tmp_path, fake_ntu.lines(3, {"72": rows}))
  assert np.isfinite(body.world).all()
  assert np.argwhere(np.isnan(body.image).any(axis=-1)).tolist() == [[1, 4]]


def damaged():
  """Yields (id, lines, words of the reason) for every kind of damage."""
  good = fake_ntu.lines(4, {"72": fake_ntu.body(4)})
  yield "empty", [], r"line 1: the file ends, expected the number of frames"
  yield "no frames", ["0"], "line 1: 0 frames"
  yield "text", ["hello world"], "line 1: 'hello world', expected the number of frames"
  yield "negative", ["-4", *good[1:]], "line 1: '-4'"
  yield "binary", ["\x00\xff\x12"], "line 1"
  yield (
    "cut at a frame",
    good[:29],
    "line 30: the file ends, expected the number of bod",
  )
  yield "cut in a body", good[:10], "line 11: the file ends, expected joint 6"
  yield "too many frames", ["9", *good[1:]], "line 114: the file ends"
  yield "too few frames", ["3", *good[1:]], "line 86: text after the last of 3 frames"
  yield "huge count", ["999999999", *good[1:]], "line 114: the file ends"
  yield "joint count", [*good[:3], "24", *good[4:]], "line 4: 24 joints, expected 25"
  yield "half a body line", [*good[:2], "72 0 1", *good[3:]], "line 3: 3 values"
  yield (
    "half a joint",
    [*good[:6], "0.1 0.2", *good[7:]],
    "line 7: 2 values for joint 2",
  )
  word = good[6].split()
  yield (
    "word",
    [*good[:6], " ".join(["x", *word[1:]]), *good[7:]],
    "line 7: .* not a number",
  )
  nan = " ".join(["NaN", *word[1:]])
  yield "nan", [*good[:6], nan, *good[7:]], "line 7: joint 2 is at NaN .* finite metres"
  inf = " ".join([word[0], "-inf", *word[2:]])
  yield "inf", [*good[:6], inf, *good[7:]], "line 7: joint 2 .* expected finite metres"
  yield "nobody", ["3", "0", "0", "0"], "has no body in any of 3 frames"


@pytest.mark.parametrize(
  ("lines", "words"), [pytest.param(*case[1:], id=case[0]) for case in damaged()]
)
def test_damaged_skeletons_name_the_line(lines, words, tmp_path):
  with pytest.raises(BadClip, match=f"skeleton x.skeleton.*{words}"):
    read(tmp_path, lines)


def test_any_cut_is_noticed(tmp_path):
  whole = "\n".join(fake_ntu.lines(3, {"72": fake_ntu.body(3)}))
  for cut in range(0, len(whole) - 2, 101):
    (tmp_path / "x.skeleton").write_text(whole[:cut])
    with pytest.raises(BadClip):
      ntu.read_skeleton(tmp_path / "x.skeleton")


def bodies(tmp_path, **rows):
  return ntu.actors(read(tmp_path, fake_ntu.lines(40, rows)))


def test_main_actor_moves_most(tmp_path):
  calm = fake_ntu.body(40, motion=0.02, center=(1, 0, 3))
  busy = fake_ntu.body(40, motion=0.3, center=(-1, 0, 3))
  for order in itertools.permutations([("1", calm), ("2", busy)]):
    first, second = bodies(tmp_path, **dict(order))
    assert first.world[0].mean(axis=0)[0] < 0 < second.world[0].mean(axis=0)[0]
    assert first.motion > second.motion > 0


def test_motion_is_the_summed_variance():
  """Two frames with one joint at x = 0 and 2: its variance is 1; the others rest."""
  world = np.zeros((2, 25, 3), np.float32)
  world[1, 4, 0] = 2.0
  assert ntu.Body(world, world[..., :2], world[..., 0]).motion == pytest.approx(1.0)


def test_ghosts_are_dropped(tmp_path):
  person = fake_ntu.body(40, motion=0.05)
  wide = fake_ntu.body(40, motion=0.5, center=(2, 0, 3))
  for rows in wide.values():
    rows[:, 0], rows[:, 1] = 2 + (rows[:, 1] - 0), rows[:, 0] - 2  # lies down
  brief = fake_ntu.body(40, motion=0.9, center=(-2, 0, 3), first=10, last=14)
  (left,) = bodies(tmp_path, a=person, b=wide, c=brief)
  np.testing.assert_allclose(left.world[0], person[0][:, :3], rtol=1e-5)


def test_a_lone_ghost_is_kept(tmp_path):
  """Somebody who lies on the floor is wide, but is the actor."""
  lying = fake_ntu.body(40)
  for rows in lying.values():
    rows[:, [0, 1]] = rows[:, [1, 0]]
  assert len(bodies(tmp_path, a=lying)) == 1


def test_a_track_lost_and_found_is_one_person(tmp_path):
  """After a loss, the tracker uses a new identifier; nearby, it is the same person."""
  early = fake_ntu.body(40, last=20)
  late = fake_ntu.body(40, first=23)
  (one,) = bodies(tmp_path, a=early, b=late)
  np.testing.assert_array_equal(np.flatnonzero(~one.tracked), [20, 21, 22])
  far = fake_ntu.body(40, first=23, center=(3, 0, 3))
  assert len(bodies(tmp_path, a=early, b=far)) == 2


@pytest.fixture
def root(tmp_path):
  """Two complete clips, half of two others, a missing skeleton, and other files."""
  fake_ntu.write_pair(tmp_path, NAME)
  fake_ntu.write_pair(tmp_path, "S018C001P050R001A061")
  fake_ntu.write_pair(tmp_path, "S001C002P005R002A008")  # on the official list
  fake_ntu.write_pair(tmp_path, "S002C001P001R001A001")[0].unlink()
  fake_ntu.write_pair(tmp_path, "S003C001P001R001A001")[1].unlink()
  (tmp_path / "rgb" / "notes.txt").write_text("x")
  (tmp_path / "rgb" / "S001C001P001R001A001.mp3").write_text("x")
  return tmp_path


def test_finds_pairs(root):
  clips, left_out = ntu.NTU(root, 60).clips()
  assert [c.name for c in clips] == [NAME]
  assert clips[0].label == 49
  assert clips[0].attributes["subject"] == 3
  reasons = dict(left_out)
  assert set(reasons) == {
    "S001C002P005R002A008",
    "S002C001P001R001A001",
    "S003C001P001R001A001",
  }
  assert "official list" in reasons["S001C002P005R002A008"]
  assert "no skeleton" in reasons["S002C001P001R001A001"]
  assert "no video" in reasons["S003C001P001R001A001"]
  clips, _ = ntu.NTU(root, 120).clips()
  assert [c.name for c in clips] == [NAME, "S018C001P050R001A061"]


def test_read(root):
  dataset = pickle.loads(pickle.dumps(ntu.NTU(root, 60)))
  clip = dataset.clips()[0][0]
  raw = dataset.read(clip)
  assert raw.pose.shape == (8, 2, 25, 3)
  assert raw.image_joints.shape == (8, 2, 25, 2)
  assert raw.pose.dtype == raw.image_joints.dtype == np.float32
  assert (raw.visibility[:, 0] == 1.0).all()  # tracked
  assert np.isnan(raw.visibility[:, 1]).all()
  assert np.isfinite(raw.pose[:, 0]).all()
  assert np.isnan(raw.pose[:, 1]).all()
  assert raw.fps == 30
  assert len(list(raw.frames())) == len(list(raw.frames())) == 8
  # The video has 96x54 pixels, a twentieth of 1920x1080; joints are scaled with it.
  np.testing.assert_allclose(
    raw.image_joints[:, 0], ntu.read_skeleton(clip.pose)[0].image / 20, rtol=1e-5
  )


def test_two_people(tmp_path):
  people = {
    "a": fake_ntu.body(9, center=(-0.5, 0, 3), motion=0.1),
    "b": fake_ntu.body(9, center=(0.5, 0, 3), motion=0.3),
    "c": fake_ntu.body(9, center=(1.5, 0, 4), motion=0.01),
  }
  fake_ntu.write_pair(tmp_path, NAME, 9, people)
  dataset = ntu.NTU(tmp_path)
  raw = dataset.read(dataset.clips()[0][0])
  x = raw.pose[0, :, :, 0].mean(axis=-1)
  assert x[0] > 0 > x[1]


def test_missing_data_messages_say_how_to_get_it(tmp_path):
  for folder in (tmp_path / "gone", tmp_path):
    with pytest.raises(FileNotFoundError, match=r"rose1\.ntu\.edu\.sg") as e:
      ntu.NTU(folder, 120).clips()
    assert "--config=configs/ntu120.py:cs2 --job=prepare" in str(e.value)
    assert "\n" not in str(e.value)
  with pytest.raises(ValueError, match="which is 61, expected 60 or 120"):
    ntu.NTU(tmp_path, 61)
  assert "inria.fr" in instructions.how_to_prepare("smarthome")
  assert "wangjiangb" in instructions.how_to_prepare("nucla")


def test_real_skeleton(shared):
  path = shared / "sample" / "S001C001P001R001A001.skeleton"
  if not path.exists():
    pytest.skip("needs the real NTU sample of ../shared/data/sample")
  (body,) = ntu.actors(ntu.read_skeleton(path))
  assert body.world.shape == (103, 25, 3)
  assert body.tracked.all()
  # Frame 0, joint 0 of the file.
  np.testing.assert_allclose(body.world[0, 0], [0.2181153, 0.1725972, 3.785547])
  np.testing.assert_allclose(body.image[0, 0], [1036.233, 519.1677])
  assert 0 < body.world[..., 2].min() < body.world[..., 2].max() < 5


def test_a_skeleton_of_another_system(tmp_path):
  """A byte order mark, UTF-16, Ctrl-Z, and no number where none is used."""
  path, _ = fake_ntu.write_pair(tmp_path, "S001C001P001R001A001")
  (want,) = ntu.read_skeleton(path)
  text = path.read_text()
  unused = text.replace(" 250.5 200.5 ", " 1.#QNAN -1.#IND ").replace(
    " 0 0 0 1 2", " 1.#INF 0 0 1 2"
  )
  assert unused != text
  for words in (text, unused):
    for encoding in ("utf-8-sig", "utf-16"):
      path.write_bytes((words.replace("\n", "\r\n") + "\x1a").encode(encoding))
      (found,) = ntu.read_skeleton(path)
      np.testing.assert_array_equal(found.world, want.world)
      np.testing.assert_array_equal(found.image, want.image)
  x, y = text.splitlines()[4].split()[5:7]
  path.write_text(text.replace(f" {x} {y} ", " 1.#QNAN 1.#QNAN ", 1))
  (found,) = ntu.read_skeleton(path)  # a joint that is not in the image
  assert np.isnan(found.image[0, 0]).all()
  lines = text.splitlines()
  lines[4] = " ".join(["1.#QNAN", *lines[4].split()[1:]])
  path.write_text("\n".join(lines))
  with pytest.raises(BadClip, match=r"line 5: joint 0 is at 1\.#QNAN .* finite metres"):
    ntu.read_skeleton(path)
