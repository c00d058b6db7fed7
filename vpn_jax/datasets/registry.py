"""The datasets by their names in a configuration."""

import os
from collections.abc import Callable

from vpn_jax.datasets import instructions
from vpn_jax.datasets.base import Dataset


def open_dataset(data) -> Dataset:
  """Opens the raw dataset of a config's data block.

  Args:
    data: ConfigDict with `dataset` and
      ntu60, ntu120, smarthome, nucla: `raw`, the folder that contains the files at any
        depth;
      custom: either `raw`, a folder of `<class>/<clip>.mp4` with `skeleton` and
        `pattern` (see `folders.Folders`), or `index`, `skeleton`, `world_joints` and
        `image_joints` (without both, the index names a file for each clip), and, where
        they differ from the defaults of `custom.Custom`, `image_units`, `pose_format`,
        `image_size`, `columns` and `allow_absolute`;
      ntu60, ntu120, custom: `raw`, a file of `prepared.ENDINGS`, for skeletons alone;
        of custom also `class_names`, see `prepared.Prepared`;
      synthetic: `seed`, `num_clips`, and `clip_frames`, `frame_height`, `frame_width`
        where they differ from `generator.Settings`;
      all: `frames`, False for records without frames: clips need no video beside their
        poses; True where it is missing;
      all but synthetic: `pose`, "mediapipe" to estimate the poses of at most
        `pose_people` people from the video with the bundle `pose_model`, "" for the
        dataset's own; `boxes`, a file of detections for the crop (see
        `detections.WithDetections`), "mediapipe", or "".
  Raises: FileNotFoundError when raw data is missing, which says how to get it;
    ValueError for an unknown dataset or a contradictory setting.
  """
  if data.dataset not in _OPEN:
    raise ValueError(
      f"config.data.dataset is {data.dataset!r}, expected one of {tuple(_OPEN)}."
    )
  pose, boxes = data.get("pose") or "", data.get("boxes") or ""
  if pose not in ("", "mediapipe"):
    raise ValueError(
      f"config.data.pose is {pose!r}, expected 'mediapipe', or '' for the dataset's "
      "own."
    )
  if data.dataset == "synthetic" and (pose or boxes):
    raise ValueError(
      "config.data.pose or config.data.boxes is set, but synthetic clips have no video "
      "file: leave both out."
    )
  frames = data.get("frames", True)
  model = data.get("pose_model") or ""
  if model and "mediapipe" not in (pose, boxes):
    raise ValueError(
      f"config.data.pose_model is {model!r}, but nothing is estimated: set "
      "config.data.pose or config.data.boxes to mediapipe, or leave it out."
    )
  if boxes and not frames:
    raise ValueError(
      f"config.data.boxes is {boxes!r}, but records without frames (config.data.frames="
      "False, as model=pose sets it) have no crop: leave one of the two out."
    )
  # Poses that are estimated need the videos, whatever the records hold.
  dataset = _OPEN[data.dataset](data, poses=not pose, frames=frames or bool(pose))
  if pose == "mediapipe" or boxes == "mediapipe":
    from vpn_jax.datasets import pose_estimation

    wrap = (
      pose_estimation.WithEstimatedPoses if pose else pose_estimation.WithEstimatedBoxes
    )
    people = data.get("pose_people", 1)
    if people < 1:
      raise ValueError(f"config.data.pose_people is {people}, expected 1 or more.")
    dataset = wrap(dataset, data.get("pose_model") or "", people=people)
  if boxes and boxes != "mediapipe":
    from vpn_jax.datasets import detections

    dataset = detections.WithDetections(dataset, boxes)
  return dataset


# One function per dataset, which imports its module.


def _folder(data) -> str:
  if not data.get("raw"):
    raise FileNotFoundError(
      f"config.data.raw is not set. {instructions.how_to_prepare(data.dataset)}"
    )
  return data.raw


def _open_prepared(data, skeleton: str, *, poses: bool, frames: bool) -> Dataset | None:
  """The set of skeletons in the file `data.raw`; None when it is a folder."""
  from vpn_jax.datasets import prepared, prepared_npz, prepared_pickle

  raw = data.get("raw") or ""
  if not raw.lower().endswith(prepared.ENDINGS) or os.path.isdir(raw):
    return None
  if frames or not poses:
    raise ValueError(
      f"config.data.raw is {raw!r}, which holds skeletons alone, without videos: use a "
      "row that takes no frames, such as --config=configs/"
      f"{data.dataset}.py:{data.get('protocol') or 'split'},model=pose, and leave "
      "config.data.pose out."
    )
  npz = raw.lower().endswith(".npz")
  kind = prepared_npz.PreparedNpz if npz else prepared_pickle.PreparedPickle
  return kind(raw, data.dataset, skeleton, data.get("class_names") or "")


def _open_ntu(data, **files: bool) -> Dataset:
  from vpn_jax.datasets import ntu

  found = _open_prepared(data, "", **files)
  if found is not None:
    return found
  which = int(data.dataset.removeprefix("ntu"))
  return ntu.NTU(_folder(data), which=which, **files)


def _open_smarthome(data, **files: bool) -> Dataset:
  from vpn_jax.datasets import smarthome

  return smarthome.Smarthome(_folder(data), **files)


def _open_nucla(data, **files: bool) -> Dataset:
  from vpn_jax.datasets import nucla

  return nucla.NUCLA(_folder(data), **files)


def _open_custom(data, *, poses: bool, frames: bool) -> Dataset:
  from vpn_jax.datasets import custom, folders

  _check_route(data, poses)
  found = _open_prepared(data, data.skeleton, poses=poses, frames=frames)
  if found is not None:
    return found
  formats = {
    "image_units": data.get("image_units") or "fraction",
    "pose_format": data.get("pose_format") or "",
    "image_size": data.get("image_size") or "",
  }
  if data.get("raw"):
    return folders.Folders(
      data.raw,
      data.skeleton,
      pattern=data.get("pattern") or "",
      poses=poses,
      frames=frames,
      **formats,
    )
  if not data.get("index"):
    raise FileNotFoundError(
      "config.data.index is not set: a dataset of your own is a folder of "
      "<class>/<clip>.mp4 (config.data.raw), or an index csv with the joints as npz; "
      "configs/custom.py describes both."
    )
  return custom.Custom(
    data.index,
    data.skeleton,
    data.get("world_joints") or None,
    data.get("image_joints") or None,
    columns=dict(data.get("columns") or {}),
    allow_absolute=bool(data.get("allow_absolute")),
    poses=poses,
    frames=frames,
    **formats,
  )


# Fields of configs/custom.py -> the routes that read them.
_ROUTES = {
  "index": ("an index",),
  "world_joints": ("an index",),
  "image_joints": ("an index",),
  "columns": ("an index",),
  "allow_absolute": ("an index",),
  "pattern": ("a folder",),
  "image_units": ("an index", "a folder"),
  "pose_format": ("an index", "a folder"),
  "image_size": ("an index", "a folder"),
  "class_names": ("a prepared set",),
}
_OF_POSES = ("world_joints", "image_joints", "image_units", "pose_format", "image_size")


def _check_route(data, poses: bool) -> None:
  """ValueError for a field that is set and that this kind of raw data does not use."""
  from vpn_jax.datasets import prepared

  route, raw = "an index", data.get("raw") or ""
  if raw:
    packed = raw.lower().endswith(prepared.ENDINGS) and not os.path.isdir(raw)
    route = "a prepared set" if packed else "a folder"
  for field, routes in _ROUTES.items():
    value = data.get(field)
    if not value or (field, value) == ("image_units", "fraction"):
      continue
    if route not in routes:
      here = f"config.data.raw={raw}" if raw else "config.data.index"
      raise ValueError(
        f"config.data.{field} is {value!r}, which {route} ({here}) does not use: leave "
        f"it out, or give {' or '.join(routes)}."
      )
    if not poses and field in _OF_POSES:
      raise ValueError(
        f"config.data.{field} is {value!r}, but the poses are estimated "
        "(config.data.pose=mediapipe): leave one of the two out."
      )


def _open_synthetic(data, *, poses: bool, frames: bool) -> Dataset:
  from vpn_jax.datasets.synthetic import generator, synthetic_dataset

  fields = {
    "num_frames": data.get("clip_frames"),
    "height": data.get("frame_height"),
    "width": data.get("frame_width"),
  }
  settings = generator.Settings(**{k: v for k, v in fields.items() if v})
  return synthetic_dataset.Synthetic(data.seed, data.num_clips, settings, frames=frames)


_OPEN: dict[str, Callable[..., Dataset]] = {
  "ntu60": _open_ntu,
  "ntu120": _open_ntu,
  "smarthome": _open_smarthome,
  "nucla": _open_nucla,
  "custom": _open_custom,
  "synthetic": _open_synthetic,
}
