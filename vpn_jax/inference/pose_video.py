"""A trained network on a video with its poses: window by window, as clips.

Each window is cropped, compressed and sampled by the very steps that prepared the
network's records, so that a short video gets the scores that its record would get.

Reading: the paper does not speak of long videos. Here a window is the clip, as
  evaluation sees clips: its crop goes around the people in it, and its poses are
  centred on its own first one, whether they come from a file or from MediaPipe.
"""

import pathlib
from collections.abc import Iterable, Iterator

import numpy as np

from vpn_jax import timing
from vpn_jax.datasets import detections, pose_estimation, single_clip
from vpn_jax.datasets.base import BadClip, Clip, RawClip
from vpn_jax.inference import pose_sequence, stream, trained_network, windows
from vpn_jax.inference.options import Options
from vpn_jax.records import crop, make_record


class PoseRecognizer:
  """Scores a video with a trained network; see `predict.Recognizer`."""

  combined = "max"  # over windows (section 4.1)

  def __init__(
    self,
    network: trained_network.TrainedNetwork,
    options: Options,
    clock: timing.Clock,
  ):
    """Opens the poses; the video waits for `segments`.

    Args:
      network: its crop recipe and skeleton say what it needs.
      options: the video, its poses and its windows.
      clock: of the stages "pose", "crop", "compile" and "network".
    Raises: ValueError or FileNotFoundError that says what is wrong with which file or
      setting; BadClip for poses that are damaged.
    """
    _check(network, options)
    self.network = f"{network.workdir}, step {network.step}"
    self.class_names = network.provenance.class_names
    self.skeleton = network.skeleton
    self.length = 2 * network.settings.num_frames  # what F frames at stride 2 span
    self.stride = windows.check_stride(
      options.window_stride, self.length, network.workdir
    )
    self._trained, self._clock = network, clock
    self._forward = timing.timed(network.forward, network.variables, clock)
    self._pose_found = options.pose == "mediapipe"
    self._boxes_found = _boxed(network) and options.boxes == "mediapipe"
    pose = None if self._pose_found else options.pose or None
    self._clip = Clip(pathlib.Path(options.video).stem, 0, {}, options.video, pose)
    needs_image = network.provenance.crop["kind"] == "joints"
    files = single_clip.SingleClip(
      network.skeleton,
      options.image_units,
      needs_image=needs_image,
      pose_format=options.pose_format,
    )
    self._people = options.pose_people or max(network.settings.persons, 1)
    self._model = ""  # MediaPipe's bundle, where it is needed
    if self._pose_found or self._boxes_found:
      self._model = pose_estimation.WithEstimatedPoses(files, options.pose_model).model
    self._opened: RawClip | None = None  # what files say about the whole video
    if _boxed(network) and not self._boxes_found:
      files = detections.WithDetections(files, options.boxes)
      self._opened = files.read(self._clip)
    elif pose:
      self._opened = files.read(self._clip)

  def segments(
    self, video: stream.Stream, buffer: windows.FrameBuffer
  ) -> Iterator[windows.Segment]:
    """Windows of the video, as the network sees them.

    A file with less than two windows is one, whole (`windows.divide`); of a webcam or
    stream each comes as soon as it is full (`windows.slide`).

    Args:
      video: a video that has not begun to play.
      buffer: takes its frames; of `length` + `stride` at least.
    Raises: BadClip, from `next`, for damage, for poses and frames that differ in number
      (`make_record.check_lengths`), and where a video of one window shows nobody.
    """
    cut = windows.slide if video.live else windows.divide
    for stretch in cut(self._rows(video, buffer), self.length, self.stride):
      first, end = stretch.first, stretch.first + len(stretch.items)
      with self._clock.stage("crop"):
        try:
          segment = pose_sequence.make_segment(
            self._trained,
            self._clip,
            first,
            self._raw(stretch, buffer, video.fps),
            self._trained.provenance.crop,
          )
        except BadClip as e:
          if stretch.alone:
            raise
          segment = windows.Segment(first, end, (first, end - 1), None, str(e))
      yield segment

  def forward(self, batch: dict) -> tuple[np.ndarray, np.ndarray | None]:
    """Softmax float32 [K], and A_ST [T, M, N] where the network has attention."""
    scores, out = self._forward(batch)
    return scores[0], out["attention"][0] if "attention" in out else None

  def _rows(self, video: stream.Stream, buffer: windows.FrameBuffer) -> Iterator:
    """What MediaPipe finds in each frame, [people, 33, 6], or None; fills `buffer`."""
    frames = video.frames
    if self._opened is not None:
      frames = _with_pose(frames, self._opened)
    if self._model:
      found = pose_estimation.follow(
        frames, video.fps, video.size, self._model, self._people, video.times
      )
      found = self._clock.each("pose", found)
    else:
      found = ((frame, None) for frame in frames)
    for frame, row in found:
      with self._clock.stage("crop"):
        buffer.append(frame)
      yield row

  def _raw(
    self, stretch: windows.Stretch, buffer: windows.FrameBuffer, fps: float
  ) -> RawClip:
    """A stretch as a dataset opens a clip."""
    first, count = stretch.first, len(stretch.items)
    world = np.zeros((count, 1, self.skeleton.num_joints, 3), np.float32)
    image, visibility, boxes = np.full_like(world[..., :2], np.nan), None, None
    if self._opened is not None:
      # A dataset's poses may go on for some frames after the video: see `make_record`.
      known = slice(None) if stretch.alone else slice(first, first + count)
      world, image = self._opened.pose[known], self._opened.image_joints[known]
      if self._opened.visibility is not None:
        visibility = self._opened.visibility[known]
      if self._opened.boxes is not None:
        boxes = self._opened.boxes[known]
    if self._model:
      joints = np.stack(stretch.items)
      if np.isnan(joints).all():
        raise BadClip(pose_estimation.nobody(count))
      if self._pose_found:
        world, image, visibility = pose_estimation.split(joints)
      if self._boxes_found:
        boxes = pose_estimation.boxes(pose_estimation.split(joints)[1])
    frames = range(first, first + count)
    return RawClip(
      world,
      image,
      lambda: (buffer[t] for t in frames),
      fps,
      visibility,
      boxes,
      drops_frames=True,  # their numbers are compared over the whole video
    )


def _with_pose(frames: Iterable[np.ndarray], raw: RawClip) -> Iterator[np.ndarray]:
  """The first frames, as many as there are poses; see `make_record.check_lengths`."""
  for i, frame in enumerate(make_record.check_lengths(frames, raw)):
    if i < len(raw.pose):
      yield frame


def _boxed(network: trained_network.TrainedNetwork) -> bool:
  return network.provenance.crop["kind"] == "boxes"


def _check(network: trained_network.TrainedNetwork, options: Options) -> None:
  """Raises what can be said before a file is opened."""
  recipe, workdir = network.provenance.crop, network.workdir
  alone = recipe.get("kind") == "none"  # of poses, which no crop concerns
  needed = {*crop.recipe("none")} if alone else {*crop.recipe(), "jpeg_quality"}
  lacking = needed - recipe.keys()
  if lacking or recipe.get("version") != crop.VERSION:
    raise ValueError(
      f"the crop recipe of {workdir} is {recipe}, expected version {crop.VERSION}"
      + (f" with {sorted(lacking)}" if lacking else "")
      + ": use the version of the code that trained it, or train again."
    )
  live, pose = stream.is_live(options.video), options.pose
  for field in ("pose", "boxes"):
    if live and getattr(options, field) not in ("", "mediapipe"):
      raise ValueError(
        f"config.predict.{field} is {getattr(options, field)}, but "
        f"{stream.public(options.video)} is not a file that it could belong to: set it "
        "to mediapipe."
      )
  if options.boxes and not _boxed(network):
    raise ValueError(
      f"config.predict.boxes is {options.boxes!r}, but the network in {workdir} does "
      f"not see a crop around detections but {recipe['kind']!r}: leave it out."
    )
  if options.pose_model and "mediapipe" not in (pose, options.boxes):
    raise ValueError(
      f"config.predict.pose_model is {options.pose_model!r}, but nothing is estimated: "
      "set config.predict.pose to mediapipe, or leave it out."
    )
  if _boxed(network) and not options.boxes:
    raise FileNotFoundError(
      f"the network in {workdir} sees a crop around detections, and "
      "config.predict.boxes is not set: give a file as vpn_jax/datasets/detections.py "
      "describes, or mediapipe."
    )
  if not pose and (network.uses_pose or recipe["kind"] == "joints"):
    why = "takes poses" if network.uses_pose else "sees a crop around the person"
    remedy = (
      "give the dataset's own skeleton file, or an npz with `world` [T, J, 3] and "
      f"`image` [T, J, 2] of the {network.skeleton.num_joints} joints of "
      f"{network.skeleton.name}."
    )
    if live:
      remedy = "a webcam or stream has poses by mediapipe only, so set it to that."
    raise FileNotFoundError(
      f"the network in {workdir} {why}, and config.predict.pose is not set: {remedy}"
    )
  if pose == "mediapipe" and network.skeleton.name != pose_estimation.SKELETON:
    remedy = "take one trained on MediaPipe's, as configs/custom.py says"
    raise ValueError(
      "config.predict.pose is mediapipe, whose joints are "
      f"{pose_estimation.SKELETON}; the network in {workdir} was trained on "
      f"{network.skeleton.name}: "
      f"{remedy if live else 'give poses of these joints'}."
    )
  if pose and pose != "mediapipe" and not pathlib.Path(pose).exists():
    raise FileNotFoundError(
      f"no file {pose}: config.predict.pose is a skeleton or npz file, the file or "
      "folder of a pose estimator, or mediapipe."
    )
