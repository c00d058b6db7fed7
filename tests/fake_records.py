"""Records of noise."""

import dataclasses

import numpy as np

from vpn_jax.datasets import skeletons
from vpn_jax.records import record_format, store


def noise_record(i: int, *, frames=12, size=40, joints=25, classes=4, persons=2):
  """A record of noise, in which all frames and joints differ."""
  rng = np.random.default_rng(i)
  pixels = rng.integers(0, 255, (frames, 8, 8, 3), dtype=np.uint8)
  blobs = []
  for t, frame in enumerate(pixels):
    frame = frame.repeat(size // 8, 0).repeat(size // 8, 1)
    frame[: size // 4] = t * 10  # the top encodes the number of the frame
    blobs.append(record_format.encode_frame(frame, quality=95))
  pose = rng.normal(size=(frames, persons, joints, 3)).astype(np.float32)
  pose[:, 1:] = np.nan
  return record_format.Record(
    name=f"clip{i:03d}",
    label=i % classes,
    attributes={"subject": i // classes % 4 + 1, "camera": i % 3 + 1},
    fps=20.0,
    boxes=np.float32([[0, 0, 40, 40]]).repeat(frames, 0),
    frames=tuple(blobs),
    pose=pose,
    image_joints=rng.uniform(0, size, (frames, persons, joints, 2)).astype(np.float32),
    visibility=rng.uniform(0, 1, (frames, persons, joints)).astype(np.float32),
  )


def save_index(folder, shards, class_names=("a", "b", "c", "d")):
  """Writes the index of shards of `noise_record`s with four classes."""
  store.Index(
    dataset="custom",
    class_names=class_names,
    skeleton="kinect_v2",
    skeleton_digest=skeletons.get("kinect_v2").digest(),
    crop={"kind": "full", "size": 40},
    shards=shards,
  ).save(folder)


def lab_record(name="a", frames=5, size=16, label=1):
  """A record of noise with attributes of both types; the second person is absent."""
  rng = np.random.default_rng(len(name) + frames)
  pose = rng.normal(size=(frames, 2, 25, 3)).astype(np.float32)
  pose[:, 1] = np.nan
  images = rng.integers(0, 255, (frames, size, size, 3), np.uint8)
  return record_format.Record(
    name=name,
    label=label,
    attributes={"subject": 3, "place": "lab"},
    fps=29.97,
    boxes=np.float32([[-3, 4, 61, 68]]).repeat(frames, 0),
    frames=tuple(record_format.encode_frame(i) for i in images),
    pose=pose,
    image_joints=rng.normal(size=(frames, 2, 25, 2)).astype(np.float32),
    visibility=rng.random((frames, 2, 25)).astype(np.float32),
  )


def assert_same(a, b):
  """Two records are equal."""
  for field in dataclasses.fields(record_format.Record):
    x, y = getattr(a, field.name), getattr(b, field.name)
    if field.name == "frames":
      assert tuple(x) == tuple(y)
    elif isinstance(x, np.ndarray):
      assert x.dtype == y.dtype
      np.testing.assert_array_equal(x, y)
    else:
      assert x == y
