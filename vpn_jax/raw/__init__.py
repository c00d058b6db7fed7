"""Raw datasets: one file each, from its names and files to `Clip` and `RawClip`.

A dataset is an object with the members of `Dataset`; `prepare.py` needs no more.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np


class BadClip(Exception):
  """A clip that cannot be used; the message is the reason in `skipped.tsv`."""


@dataclasses.dataclass(frozen=True)
class Clip:
  """One clip by name, before any file is opened.

  Attributes:
    name: unique in its dataset; no path.
    label: class, 0-based.
    attributes: what protocols split by, such as subject, camera, setup.
    video: path of the video file, or None for a made-up clip.
    pose: path (or key) of the poses; None when there are none.
  """

  name: str
  label: int
  attributes: dict[str, int | str]
  video: str | None = None
  pose: str | None = None


@dataclasses.dataclass(frozen=True)
class RawClip:
  """A clip opened for reading.

  Attributes:
    pose: float32 [F, persons, J, 3], metres, camera axes; NaN where nobody was seen.
    image_joints: float32 [F, persons, J, 2], x and y in pixels of the video; NaN where
      unknown. The number of frames may differ from the video's by a few.
    frames: call it for an iterator over uint8 RGB frames [H, W, 3] in order.
    fps: frames a second.
    visibility: float32 [F, persons, J], 0 for a guess to 1 for a joint in plain sight;
      NaN, or None for all of it, where the source does not say.
    boxes: float32 [F, people, 4], left, top, right, bottom in pixels of the video; NaN
      where nobody was detected. None: the crop follows `image_joints`.
  """

  pose: np.ndarray
  image_joints: np.ndarray
  frames: Callable[[], Iterator[np.ndarray]]
  fps: float
  visibility: np.ndarray | None = None
  boxes: np.ndarray | None = None


class Dataset(Protocol):
  """What `prepare.py` asks of a raw dataset; instances are picklable.

  Attributes:
    name: such as "ntu60".
    class_names: in label order.
    skeleton: name in `skeletons.SKELETONS`.
    source: plain values for json that the content of its clips depends on, beside
      their list; a folder of records is only gone on with while they are the same.
  """

  name: str
  class_names: tuple[str, ...]
  skeleton: str
  source: dict

  def clips(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    """Clips in a fixed order, and (name, reason) of those left out by name."""
    ...

  def read(self, clip: Clip) -> RawClip:
    """Opens one clip; raises `BadClip` with the reason when it is damaged."""
    ...


_OBTAIN = {
  "synthetic": "The clips are made up on this machine",
  "custom": "Put your videos in a folder, <class>/<clip>.mp4, or write an index",
  "ntu60": "Request NTU RGB+D at https://rose1.ntu.edu.sg/dataset/actionRecognition/",
  "ntu120": "Request NTU RGB+D at https://rose1.ntu.edu.sg/dataset/actionRecognition/",
  "smarthome": "Request Toyota Smarthome at https://project.inria.fr/toyotasmarthome/",
  "nucla": "Download N-UCLA from https://wangjiangb.github.io/my_data.html",
}
_ARGUMENT = {
  "synthetic": "cs",
  "custom": "split",
  "ntu60": "cs",
  "ntu120": "cs2",
  "smarthome": "cs",
  "nucla": "v12_3",
}


def obtain(dataset: str) -> str:
  """One sentence: where a dataset comes from and which command prepares it."""
  command = f"python launch.py --config=configs/{dataset}.py:{_ARGUMENT[dataset]}"
  if dataset == "synthetic":
    return f"{_OBTAIN[dataset]}: run `{command} --job=prepare`."
  if dataset == "custom":
    return f"{_OBTAIN[dataset]} as configs/custom.py says, and run `{command} ...`."
  # N-UCLA's skeletons have no joints in the image to crop by.
  boxes = " --config.data.boxes=<file, or mediapipe>" if dataset == "nucla" else ""
  return (
    f"{_OBTAIN[dataset]}, unpack it, and run `{command} --job=prepare "
    f"--config.data.raw=<folder>{boxes}`."
  )


def open_dataset(data) -> Dataset:
  """The raw dataset that a config's data block names.

  Args:
    data: ConfigDict with `dataset` and
      ntu60, ntu120, smarthome, nucla: `raw`, the folder that holds the files at any
        depth;
      custom: either `raw`, a folder of `<class>/<clip>.mp4` with `skeleton` and
        `pattern` (see `folders.Folders`), or `index`, `skeleton`, `world_joints`,
        `image_joints`, and, where they differ from the defaults of `custom.Custom`,
        `image_units`, `columns` and `allow_absolute`;
      synthetic: `seed`, `num_clips`, and `clip_frames`, `frame_height`,
        `frame_width` where they differ from `synthetic.Settings`;
      any but synthetic: `pose`, "mediapipe" to estimate the poses from the video with
        the bundle `pose_model`, "" for the dataset's own; `boxes`, a file of detections
        for the crop (see `detections.Detected`), "mediapipe", or "".
  Raises: FileNotFoundError when raw data is missing, with how to get it; ValueError
    for an unknown dataset or a setting that is not possible.
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
      "config.data.pose or config.data.boxes is set, but made-up clips have no video "
      "file to look at: leave both out."
    )
  dataset = _OPEN[data.dataset](data, poses=not pose)
  if pose == "mediapipe" or boxes == "mediapipe":
    from vpn_jax.raw import estimate

    wrap = estimate.Estimated if pose else estimate.EstimatedBoxes
    dataset = wrap(dataset, data.get("pose_model") or "")
  if boxes and boxes != "mediapipe":
    from vpn_jax.raw import detections

    dataset = detections.Detected(dataset, boxes)
  return dataset


# One function a dataset. A module is imported when its dataset is asked for.


def _folder(data) -> str:
  if not data.get("raw"):
    raise FileNotFoundError(f"config.data.raw is not set. {obtain(data.dataset)}")
  return data.raw


def _open_ntu(data, poses: bool) -> Dataset:
  from vpn_jax.raw import ntu

  which = int(data.dataset.removeprefix("ntu"))
  return ntu.NTU(_folder(data), which=which, poses=poses)


def _open_smarthome(data, poses: bool) -> Dataset:
  from vpn_jax.raw import smarthome

  return smarthome.Smarthome(_folder(data), poses=poses)


def _open_nucla(data, poses: bool) -> Dataset:
  from vpn_jax.raw import nucla

  return nucla.NUCLA(_folder(data), poses=poses)


def _open_custom(data, poses: bool) -> Dataset:
  from vpn_jax.raw import custom, folders

  if data.get("raw"):
    return folders.Folders(
      data.raw, data.skeleton, pattern=data.get("pattern") or "", poses=poses
    )
  needed = ("index", "world_joints") if poses else ("index",)
  lacking = [field for field in needed if not data.get(field)]
  if lacking:
    raise FileNotFoundError(
      f"config.data.{lacking[0]} is not set: a dataset of your own is a folder of "
      "<class>/<clip>.mp4 (config.data.raw), or an index csv with the joints as npz; "
      "configs/custom.py describes both."
    )
  return custom.Custom(
    data.index,
    data.skeleton,
    (data.world_joints or None) if poses else None,
    (data.get("image_joints") or None) if poses else None,
    image_units=data.get("image_units") or "fraction",
    columns=dict(data.get("columns") or {}),
    allow_absolute=bool(data.get("allow_absolute")),
  )


def _open_synthetic(data, poses: bool) -> Dataset:
  from vpn_jax import synthetic
  from vpn_jax.raw import made_up

  fields = {
    "num_frames": data.get("clip_frames"),
    "height": data.get("frame_height"),
    "width": data.get("frame_width"),
  }
  settings = synthetic.Settings(**{k: v for k, v in fields.items() if v})
  return made_up.MadeUp(data.seed, data.num_clips, settings)


_OPEN: dict[str, Callable[..., Dataset]] = {
  "ntu60": _open_ntu,
  "ntu120": _open_ntu,
  "smarthome": _open_smarthome,
  "nucla": _open_nucla,
  "custom": _open_custom,
  "synthetic": _open_synthetic,
}
