"""Sets of skeletons as other projects prepare them."""

import pickle

import numpy as np

# Two subjects that train (P001, P002) and one that tests (P003), by NTU's protocols.
NAMES = [
  f"S001C{c:03d}P{p:03d}R001A{a:03d}"
  for c in (1, 2)
  for p in (1, 2, 3)
  for a in (1, 2, 10)
]


def body(rng, frames, channels=3, joints=25):
  """A person of about two metres, or of about 200 pixels, who moves."""
  shape = rng.uniform(0, 1, (joints, channels)) * ([0.8, 1.8, 0.3][:channels])
  path = np.cumsum(rng.normal(scale=0.02, size=(frames, 1, channels)), axis=0)
  pose = shape + path + [0.1, 0.1, 3][:channels]
  return pose if channels == 3 else 100 * pose


def annotation(name, label, rng, *, channels=3, joints=25, persons=1):
  """A clip of pyskl; of several people, the last is seen in the first half alone."""
  frames = int(rng.integers(8, 14))
  keypoint = np.stack([body(rng, frames, channels, joints) for _ in range(persons)])
  made = {"frame_dir": name, "label": label, "total_frames": frames}
  if persons > 1:
    keypoint[-1, frames // 2 :] = 0
  if channels == 2:
    score = rng.uniform(0.3, 1, keypoint.shape[:3])
    score[(keypoint == 0).all(axis=-1)] = 0
    made["keypoint_score"] = score.astype(np.float16)
    made |= {"img_shape": (1080, 1920), "original_shape": (1080, 1920)}
  return made | {"keypoint": keypoint.astype(np.float16)}


def ntu(*, channels=3, persons=1):
  """The content of ntu60_3danno.pkl, or with two channels of ntu60_hrnet.pkl."""
  rng = np.random.default_rng(0)
  joints = 25 if channels == 3 else 17
  made = [
    annotation(
      n, int(n[-3:]) - 1, rng, channels=channels, joints=joints, persons=persons
    )
    for n in NAMES
  ]
  split = {
    "xsub_train": [n for n in NAMES if "P003" not in n],
    "xsub_val": [n for n in NAMES if "P003" in n],
    "xview_train": [n for n in NAMES if "C001" not in n],
    "xview_val": [n for n in NAMES if "C001" in n],
  }
  return {"split": split, "annotations": made}


def gym(classes=3, clips=12):
  """A dataset in 2D with one split; the class is in the path of the person."""
  rng = np.random.default_rng(0)
  made = []
  for i in range(clips):
    clip = annotation(f"A0{i}_0001", i % classes, rng, channels=2, joints=17)
    drift = np.arange(clip["total_frames"])[:, None] * 8 * (i % classes)
    clip["keypoint"] += drift.astype(np.float16)[..., None]
    made.append(clip)
  names = [a["frame_dir"] for a in made]
  split = {"train": names[: 2 * clips // 3], "val": names[2 * clips // 3 :]}
  return {"split": split, "annotations": made}


def save(path, content, protocol=2):
  """By default with the protocol of mmcv.dump."""
  path.write_bytes(pickle.dumps(content, protocol=protocol))
  return path


def ctrgcn(path, sizes=(6, 4), classes=60, frames=20, persons=2):
  """An npz of CTR-GCN; every second clip has a second person in its first frames.

  Returns: the path, and part -> clips [F, persons, 25, 3] without the zeros at the end.
  """
  rng = np.random.default_rng(0)
  arrays, clips = {}, {}
  for part, count in zip(("train", "test"), sizes):
    x = np.zeros((count, frames, 75 * persons), np.float32)
    y = np.zeros((count, classes))
    clips[part] = []
    for i in range(count):
      length = int(rng.integers(8, frames))
      x[i, :length, :75] = body(rng, length).reshape(length, 75)
      if i % 2 and persons > 1:
        x[i, : length // 2, 75:150] = body(rng, length // 2).reshape(-1, 75)
      x[i, :length, :75] -= np.tile(x[i, 0, 3:6], 25)  # the middle of the spine
      y[i, i % 3] = 1
      clips[part].append(x[i, :length].reshape(length, persons, 25, 3))
    arrays |= {f"x_{part}": x, f"y_{part}": y}
  np.savez(path, **arrays)
  return path, clips
