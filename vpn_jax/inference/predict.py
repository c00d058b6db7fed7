"""A user's own video -> the scores of its classes, window by window.

The network is a trained one, which also takes poses (`pose_video.py`), or I3D with its
Kinetics weights (`kinetics.py`). The video may be a file, a webcam or a stream, of any
length; it is read once.
"""

import contextlib
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from vpn_jax import interrupt, timing
from vpn_jax.datasets import clip_joints, folders, single_clip, skeletons
from vpn_jax.datasets.base import BadClip
from vpn_jax.inference import (
  kinetics,
  overlay,
  pose_sequence,
  pose_video,
  stream,
  trained_network,
  video_scores,
  windows,
)
from vpn_jax.inference.options import Options

POSE_ENDINGS = (".npz", ".skeleton", ".json")  # of the files beside videos


class Recognizer(Protocol):
  """A network that scores videos.

  Attributes:
    network: which one, in words.
    combined: how scores of windows become those of a video: "mean" or "max".
    class_names: K of them.
    skeleton: of the poses; None for a network of frames alone.
    length, stride: of a window and between their starts, frames.
  """

  network: str
  combined: str
  class_names: tuple[str, ...]
  skeleton: skeletons.Skeleton | None
  length: int
  stride: int

  def segments(
    self, video: stream.Stream, buffer: windows.FrameBuffer | None
  ) -> Iterator[windows.Segment]:
    """Plays a video and gives its windows; their frames are in `buffer` meanwhile."""
    ...

  def forward(self, batch) -> tuple[np.ndarray, np.ndarray | None]:
    """Softmax float32 [K] of a segment's batch, and A_ST [T, M, N] or None."""
    ...


def predict(
  network: trained_network.TrainedNetwork | None,
  video: str = "",
  *,
  pose: str | np.ndarray = "",
  overlay_file: str = "",
  max_windows: int = 0,
  say: Callable[[str], None] = lambda line: None,
  clock: timing.Clock | None = None,
  **options,
) -> video_scores.Result:
  """Scores a video file, a webcam or a stream, or poses alone.

  A webcam or stream is scored until it ends or SIGINT (Ctrl-C) arrives.

  >>> net = vpn_jax.load("runs/vpn")
  >>> result = vpn_jax.predict(net, "videos/wave.avi", pose="videos/wave.npz")
  >>> [(name, score)] = result.ranked(1)

  Args:
    network: from `trained_network.load`; None for I3D with its Kinetics weights.
    video: a file, the number of a webcam or the address of a stream; "" for poses
      alone, by a network that takes no frames.
    pose: of the video, as a file; see `Options`. Without a video also as an array,
      float [F, J, C] or [F, persons, J, C]; see `pose_sequence.from_array`.
    overlay_file: .mp4, .avi or .mkv to write with skeleton, attention and scores drawn
      over the frames; "" for none.
    max_windows: 0 for all.
    say: receives a line for each window of a webcam or stream as it comes.
    clock: of the stages "load", "decode", "pose", "crop", "compile", "network", "draw".
    options: further fields of `Options`, such as boxes="mediapipe".
  Raises: FileNotFoundError for a file that is missing; ValueError for a damaged file,
    poses that do not belong to the video or the network, or a video that shows nobody.
  """
  clock = clock or timing.Clock()
  if isinstance(pose, os.PathLike):
    pose = os.fspath(pose)
  if not isinstance(pose, str) or not str(video):
    if overlay_file:
      raise ValueError(
        f"config.predict.overlay is {overlay_file!r}, which is drawn on a video: leave "
        "it out, or set config.predict.video."
      )
    about = {"max_windows": max_windows, "clock": clock}
    return _predict_poses(network, str(video), pose, about, options)
  options = Options(video=str(video), pose=pose, **options)
  try:
    with contextlib.ExitStack() as stack:
      with clock.stage("load"):
        if network is None:
          recognizer = kinetics.KineticsRecognizer(options, clock)
        else:
          recognizer = pose_video.PoseRecognizer(network, options, clock)
        opened = stream.open_stream(options.video)
      frames = clock.each("decode", opened.frames)
      if opened.live:
        requests = stack.enter_context(interrupt.Requests())
        frames = itertools.takewhile(lambda _: not requests.arrived(), frames)
        say(
          f"{opened.name}, {opened.fps:g} frames/s: windows as they come; Ctrl-C ends"
        )
      buffer = writer = None
      if network is not None or overlay_file:
        capacity = recognizer.length + recognizer.stride
        buffer = stack.enter_context(windows.FrameBuffer(capacity))
      if overlay_file:
        writer = overlay.OverlayWriter(
          overlay_file, opened.fps, recognizer, buffer, opened.times
        )
        stack.enter_context(writer)
      return recognize(
        recognizer,
        dataclasses.replace(opened, frames=frames),
        buffer,
        writer,
        max_windows=max_windows,
        say=say,
        clock=clock,
      )
  except BadClip as e:
    name = stream.public(options.video)
    if network is None:
      raise ValueError(f"{name}: {e}: give a video that plays.") from e
    files = " and ".join(filter(None, (name, options.pose)))
    remedy = "Give a video and poses that belong together, one pose a frame."
    raise ValueError(f"{files}: {e}. {remedy}") from e


def _predict_poses(
  network: trained_network.TrainedNetwork | None,
  video: str,
  pose: str | np.ndarray,
  about: dict,
  options: dict,
) -> video_scores.Result:
  """Scores poses without a video.

  Args:
    network, pose, options: as in `predict`.
    video: must be empty.
    about: further arguments of `recognize`.
  """
  if video:
    raise ValueError(
      f"pose is an array of shape {list(np.shape(pose))} and video is {video!r}: give "
      "the poses of a video as a file."
    )
  name = pose if isinstance(pose, str) else pose_sequence.ARRAY
  options = Options(pose=name, **options)
  pose_sequence.check_alone(network)
  try:
    if isinstance(pose, str):
      opened = pose_sequence.open_file(network, options)
    else:
      opened = pose_sequence.from_array(network, pose)
    recognizer = pose_sequence.SequenceRecognizer(
      network, opened, pathlib.Path(name).stem, options.window_stride, about["clock"]
    )
    return recognize(recognizer, pose_sequence.play(opened, name), **about)
  except BadClip as e:
    kind = network.skeleton.name
    raise ValueError(
      f"{name}: {e}. The network was trained on joints of {kind}."
    ) from e


def predict_folder(
  network: trained_network.TrainedNetwork,
  folder: str | pathlib.Path,
  *,
  on_error: Callable[[pathlib.Path, Exception], None] | None = None,
  **options,
) -> Iterator[tuple[pathlib.Path, video_scores.Result]]:
  """Scores every clip in a folder and the folders below it, in order of their paths.

  Clips are videos or, for a network of poses alone where there is no video, files of
  joints, folders with a file per frame, and the clips of an npz that holds several.

  >>> net = vpn_jax.load("runs/vpn")
  >>> found = dict(vpn_jax.predict_folder(net, "videos"))
  >>> [path.name for path in found]
  ['nod.avi', 'wave.avi']

  Args:
    network: from `trained_network.load`.
    folder: of the clips, or such an npz. Unless `pose` is given, the joints of a video
      are read from the file beside it with its name and one of `POSE_ENDINGS`, where
      there is one.
    on_error: called with a clip that cannot be scored, which is then left out; None
      raises its error.
    options: as in `predict`, for all clips.
  Yields: path of the clip and its scores.
  Raises: FileNotFoundError when there is no clip; as `predict`.
  """
  paths = folders.files_below(pathlib.Path(folder), depth=1).videos
  alone = not paths and tuple(network.model.inputs) == ("pose",)
  if alone:
    paths = _pose_files(pathlib.Path(folder))
  if not paths:
    kind, endings = "video", folders.ENDINGS
    if tuple(network.model.inputs) == ("pose",):
      kind, endings = "video or file of joints", (*endings, *POSE_ENDINGS)
    raise FileNotFoundError(
      f"no {kind} in {folder}, expected files that end in {', '.join(endings)}."
    )
  for path in paths:
    own = dict(options)
    if alone:
      own["pose"] = str(path)
    elif "pose" not in options:
      beside = (path.with_suffix(ending) for ending in POSE_ENDINGS)
      own["pose"] = str(next((file for file in beside if file.is_file()), ""))
    try:
      result = predict(network, "" if alone else str(path), **own)
    except (ValueError, FileNotFoundError) as e:
      if on_error is None:
        raise
      on_error(path, e)
      continue
    yield path, result


def _pose_files(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files of joints in a folder, or the clips of an npz as paths in it."""
  if folder.is_file():
    return [folder / name for name in clip_joints.packed_clips(folder)]
  return folders.files_below(folder, depth=1, also=single_clip.ENDINGS).joints


def recognize(
  recognizer: Recognizer,
  video: stream.Stream,
  buffer: windows.FrameBuffer | None = None,
  writer: overlay.OverlayWriter | None = None,
  *,
  max_windows: int = 0,
  say: Callable[[str], None] = lambda line: None,
  clock: timing.Clock | None = None,
) -> video_scores.Result:
  """Plays a video to its end, or for so many windows, and combines their scores.

  Only the scores of the windows are kept.

  Args:
    recognizer: scores the windows.
    video: one that has not begun to play.
    buffer: room for the frames of a window, as the recognizer needs it.
    writer: of an overlay from the frames in `buffer`.
    max_windows: 0 for all.
    say: receives a line for each window of a live video as it comes.
    clock: of the stage "draw".
  Raises: BadClip for damage, and when no window can be scored.
  """
  clock = clock or timing.Clock()
  scored, lost, end, reason = [], 0, 0, "it ended before the first frame"
  with contextlib.closing(recognizer.segments(video, buffer)) as segments:
    for segment in segments:
      end, best, attention = segment.end, [], None
      if segment.batch is None:
        lost, reason = lost + 1, segment.reason
      else:
        scores, attention = recognizer.forward(segment.batch)
        span = segment.first, segment.end
        scored.append(video_scores.Window(*segment.shown, span, scores))
        best = video_scores.ranked(recognizer.class_names, scores, overlay.SHOWN)
      if video.live:
        words = f"{best[0][1]:.4f}  {best[0][0]}" if best else f"left out: {reason}"
        start, stop = video.times[segment.first], video.times[segment.end]
        say(f"{start:9.1f} to {stop:.1f} s  {words}")
      if writer is not None:
        with clock.stage("draw"):
          writer.show(segment, best, attention)
      if len(scored) == max_windows > 0:
        break
  if not scored:
    raise BadClip(reason + (f", nor in the {lost - 1} windows before") * (lost > 1))
  if writer is not None:
    with clock.stage("draw"):
      writer.finish()
  scores = np.stack([w.scores for w in scored])
  return video_scores.Result(
    video=video.name,
    network=recognizer.network,
    combined=recognizer.combined,
    class_names=recognizer.class_names,
    scores=scores.max(axis=0) if recognizer.combined == "max" else scores.mean(axis=0),
    windows=tuple(scored),
    left_out=lost,
    num_frames=end,
    fps=video.fps,
    times=video.times,
  )
