"""Poses without a video -> windows, as a network of poses alone sees them.

Windows are laid as over a video (`pose_video.py`), so that a short clip gets the scores
that its record would get.
"""

import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np

from vpn_jax import timing
from vpn_jax.datasets import clip_joints, joint_files, single_clip
from vpn_jax.datasets.base import BadClip, Clip, RawClip
from vpn_jax.inference import stream, trained_network, windows
from vpn_jax.inference.options import Options
from vpn_jax.inputs import example, sampling
from vpn_jax.records import crop, make_record

ARRAY = "poses"  # the name of an array


def open_file(network: trained_network.TrainedNetwork, options: Options) -> RawClip:
  """Reads the file of joints `options.pose`.

  Raises: FileNotFoundError without it; BadClip when it is damaged or has joints of
    another skeleton.
  """
  path = pathlib.Path(options.pose)
  if not (path.exists() or clip_joints.in_pack(path)):
    raise FileNotFoundError(
      f"no file {path}: config.predict.pose is a skeleton or npz file."
    )
  files = single_clip.SingleClip(
    network.skeleton,
    options.image_units,
    needs_image=False,
    pose_format=options.pose_format,
    image_size=options.image_size,
  )
  return files.read(Clip(path.stem, 0, {}, None, str(path)))


def from_array(network: trained_network.TrainedNetwork, array: np.ndarray) -> RawClip:
  """Takes an array as the poses of a clip.

  Args:
    network: its settings say which coordinates these are.
    array: float [F, J, C] or [F, persons, J, C]; NaN where not seen. In world
      coordinates x, y, z in metres and, optionally, the visibility; in those of the
      image x and y in pixels and, optionally, the score.
  Raises: BadClip for another type or shape, infinite numbers, or nobody in any frame.
  """
  array = np.asarray(array)
  arrays = (array, None) if network.settings.coordinates != "image" else (None, array)
  made = joint_files.pair(
    *arrays, network.skeleton, (ARRAY, ARRAY), units="pixel", size=None
  )
  pose, image_joints, visibility = made
  return RawClip(pose, image_joints, None, clip_joints.FPS, visibility)


def play(opened: RawClip, name: str) -> stream.Stream:
  """Poses as a stream of the numbers of their frames."""
  return stream.Stream(name, iter(range(len(opened.pose))), opened.fps, (0, 0))


class SequenceRecognizer:
  """Scores poses with a network of poses alone; see `predict.Recognizer`."""

  combined = "max"  # over windows (section 4.1)

  def __init__(
    self,
    network: trained_network.TrainedNetwork,
    opened: RawClip,
    name: str,
    window_stride: int,
    clock: timing.Clock,
  ):
    """Checks the network.

    Args:
      network: takes poses alone.
      opened: the poses.
      name: of the clip.
      window_stride: frames from one window to the next; 0 for no overlap.
      clock: of the stages "crop", "compile" and "network".
    Raises: ValueError for a network that takes frames, or a stride above a window;
      BadClip for joints in other coordinates.
    """
    check_alone(network)
    taken = network.settings.coordinates
    given = opened.pose if taken == "world" else opened.image_joints
    if not np.isfinite(given).any():
      raise BadClip(
        f"it has no joints in {taken} coordinates, which the network was trained on"
      )
    self.network = f"{network.workdir}, step {network.step}"
    self.class_names, self.skeleton = network.class_names, network.skeleton
    self.length = 2 * network.settings.num_frames  # what F frames at stride 2 span
    self.stride = windows.check_stride(window_stride, self.length, network.workdir)
    self._trained, self._clock, self._opened = network, clock, opened
    self._clip = Clip(name, 0, {})
    self._forward = timing.timed(network.forward, network.variables, clock)

  def segments(
    self, video: stream.Stream, buffer: windows.FrameBuffer | None = None
  ) -> Iterator[windows.Segment]:
    """Windows of the poses; see `pose_video.PoseRecognizer.segments`."""
    del buffer  # there are no frames
    for stretch in windows.divide(video.frames, self.length, self.stride):
      first, end = stretch.first, stretch.first + len(stretch.items)
      with self._clock.stage("crop"):
        try:
          part = _part(self._opened, slice(first, end))
          segment = make_segment(
            self._trained, self._clip, first, part, crop.recipe("none")
          )
        except BadClip as e:
          if stretch.alone:
            raise
          segment = windows.Segment(first, end, (first, end - 1), None, str(e))
      yield segment

  def forward(self, batch: dict) -> tuple[np.ndarray, None]:
    """Softmax float32 [K] of a segment's batch; there is no attention."""
    return self._forward(batch)[0][0], None


def check_alone(network: trained_network.TrainedNetwork | None) -> None:
  """ValueError unless a network takes poses alone."""
  if network is None:
    raise ValueError(
      "config.predict.pose is set without config.predict.video, and I3D with its "
      "Kinetics weights takes frames: give the --workdir of a network of poses "
      "(model=pose), or a video."
    )
  others = [name for name in network.model.inputs if name != "pose"]
  if others:
    raise ValueError(
      f"the network in {network.workdir} takes {', '.join(others)}, and "
      "config.predict.video is not set: give the video of these poses, or a network of "
      "poses alone (model=pose)."
    )


def make_segment(
  network: trained_network.TrainedNetwork,
  clip: Clip,
  first: int,
  opened: RawClip,
  recipe: dict,
) -> windows.Segment:
  """Prepares and samples a stretch of a video as a record would be.

  Args:
    network: whose inputs are made.
    clip: its name.
    first: frame of the video that the stretch begins with.
    opened: the stretch as a dataset opens a clip.
    recipe: of the crop.
  Raises: BadClip when it cannot be scored.
  """
  dataset = _Opened(opened, network.skeleton.name, _coordinates(network, opened))
  record = make_record.make_record(dataset, clip, recipe)
  if network.uses_pose and not record.seen[:, 0].any():
    raise BadClip("the main actor is in no frame")
  batch = example.make(record, network.settings, network.skeleton, None)
  batch = {k: v[None] for k, v in batch.items() if k != "label"}
  count = record.num_frames
  frames = first + sampling.frame_window(count, network.settings.num_frames, None)
  shown = int(frames.min()), int(frames.max())
  return windows.Segment(
    first, first + count, shown, batch, record=record, positions=frames
  )


def _coordinates(network: trained_network.TrainedNetwork, opened: RawClip) -> str:
  """The coordinates in which somebody must be seen."""
  if network.uses_pose:
    return network.settings.coordinates
  return "world" if np.isfinite(opened.pose).any() else "image"


def _part(opened: RawClip, frames: slice) -> RawClip:
  """Some frames of a clip without a video."""
  visibility = opened.visibility
  return dataclasses.replace(
    opened,
    pose=opened.pose[frames],
    image_joints=opened.image_joints[frames],
    visibility=None if visibility is None else visibility[frames],
  )


@dataclasses.dataclass(frozen=True)
class _Opened:
  """A clip that is open already, as much of a dataset as `make_record` needs."""

  clip: RawClip
  skeleton: str
  coordinates: str

  def read(self, _: Clip) -> RawClip:
    return self.clip
