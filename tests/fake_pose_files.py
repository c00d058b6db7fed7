"""Files as pose estimators write them.

Every function takes `joints` [F, persons, J, 2], pixels with NaN where not seen (a
person without any joint is not in the frame), and `scores` [F, persons, J].
"""

import json
import pathlib

import numpy as np


def clip(frames=8, persons=1, joints=17, seed=0):
  """Joints and scores of people who walk to the right, the first the largest.

  They stand one above the other, so that their boxes do not overlap.
  """
  rng = np.random.default_rng(seed)
  people = []
  for p in range(persons):
    shape = rng.uniform(-30, 30, (joints, 2)) / (1 + p)
    path = np.stack([np.arange(frames) * 2.0, np.zeros(frames)], axis=1)
    people.append(shape + (60, 40 + 100 * p) + path[:, None])
  scores = rng.uniform(0.5, 1, (frames, persons, joints)).round(3)
  return np.stack(people, axis=1).round(3), scores


def present(joints, frame):
  return [p for p in range(joints.shape[1]) if not np.isnan(joints[frame, p]).all()]


def flat(joints, scores):
  """x, y, score of each joint, and (0, 0, 0) for one that was not seen."""
  rows = np.concatenate([joints, scores[:, None]], axis=1)
  rows[np.isnan(rows).any(axis=1)] = 0
  return rows.ravel().tolist()


def write(path, content):
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  pathlib.Path(path).write_text(json.dumps(content))
  return pathlib.Path(path)


def openpose(folder, joints, scores, *, tracked=False, first=0):
  """`--write_json`: a file for each frame, also for one without people."""
  for f in range(len(joints)):
    people = [
      {
        "person_id": [p if tracked else -1],
        "pose_keypoints_2d": flat(joints[f, p], scores[f, p]),
        "face_keypoints_2d": [],
        "hand_left_keypoints_2d": [],
        "hand_right_keypoints_2d": [],
        "pose_keypoints_3d": [],
        "face_keypoints_3d": [],
        "hand_left_keypoints_3d": [],
        "hand_right_keypoints_3d": [],
      }
      for p in present(joints, f)
    ]
    write(
      folder / f"clip_{f + first:012d}_keypoints.json",
      {"version": 1.3, "people": people},
    )
  return folder


def alphapose(path, joints, scores, *, tracked=False, form=None):
  """alphapose-results.json, by default or with `--format open` or `cmu`."""
  people, frames = [], {}
  for f in range(len(joints)):
    for p in present(joints, f):
      keypoints = flat(joints[f, p], scores[f, p])
      person = {
        "image_id": f"{f}.jpg",
        "category_id": 1,
        "keypoints": keypoints,
        "score": 2.9,
        "box": [1.0, 2.0, 30.0, 40.0],
      }
      if tracked:
        person["idx"] = [float(p + 1)]
      people.append(person)
      key, name = {"cmu": ("bodies", "joints")}.get(
        form, ("people", "pose_keypoints_2d")
      )
      frame = frames.setdefault(f"{f}.jpg", {"version": "AlphaPose v0.3", key: []})
      frame[key].append({name: keypoints})
  return write(path, frames if form else people)


def mmpose(path, joints, scores, *, demo=False):
  """The predictions of the inferencer, or of a demo with `--save-predictions`."""
  frames = []
  for f in range(len(joints)):
    instances = [
      {
        "keypoints": np.nan_to_num(joints[f, p]).tolist(),
        "keypoint_scores": np.nan_to_num(scores[f, p]).tolist(),
        "bbox": [[1.0, 2.0, 31.0, 42.0]],
        "bbox_score": 0.97,
      }
      for p in present(joints, f)
    ]
    frames.append({"frame_id": f + demo, "instances": instances})
  if demo:
    meta = {"dataset_name": "coco", "num_keypoints": joints.shape[2]}
    return write(path, {"meta_info": meta, "instance_info": frames})
  return write(path, frames)


def ultralytics_labels(folder, joints, scores, size, *, conf=False, tracked=False):
  """`save_txt`: a file for each frame with somebody, numbered from 1."""
  folder.mkdir(parents=True, exist_ok=True)
  for f in range(len(joints)):
    lines = []
    for p in present(joints, f):
      rows = np.array(flat(joints[f, p], scores[f, p])).reshape(-1, 3)
      rows[:, :2] /= size
      values = [0, 0.5, 0.5, 0.2, 0.6, *rows.ravel()]
      values += [0.93] * conf + [p + 1] * tracked
      lines.append(("%g " * len(values)).rstrip() % tuple(values))
    if lines:
      text = "".join(line + "\n" for line in lines)
      (folder / f"clip_{f + 1}.txt").write_text(text)
  return folder


def ultralytics_frames(joints, scores, *, tracked=False):
  """`Results.to_json()` of each frame, as lists."""
  frames = []
  for f in range(len(joints)):
    people = []
    for p in present(joints, f):
      x, y, visible = np.array(flat(joints[f, p], scores[f, p])).reshape(-1, 3).T
      people.append({
        "name": "person",
        "class": 0,
        "confidence": 0.9,
        "box": {"x1": 1.0, "y1": 2.0, "x2": 31.0, "y2": 42.0},
        **({"track_id": p + 1} if tracked else {}),
        "keypoints": {"x": x.tolist(), "y": y.tolist(), "visible": visible.tolist()},
      })  # fmt: skip
    frames.append(people)
  return frames
