"""A video of your own -> its best classes: printed, as json, and drawn over the video.

With a workdir, the network trained there looks at a video and its poses, prepared by
the very steps that prepared its records. Without one, I3D with its Kinetics weights
looks at any video.
"""

import collections
import dataclasses
import itertools
import json
import pathlib
import time
from collections.abc import Iterator

import cv2
import jax
import numpy as np

from vpn_jax import overlay, pipeline, records, trained, video
from vpn_jax.models import i3d, pretrained
from vpn_jax.raw import BadClip

KINETICS_FRAMES = 64  # of a window
KINETICS_CROP = 224 / 256  # side of the centre crop, of the short side
SHORTEST = 16  # frames; a shorter video repeats until it has as many


@dataclasses.dataclass(frozen=True)
class Window:
  """A stretch of the video and what the network says about it.

  Attributes:
    first, last: frames of the video, both inclusive.
    scores: softmax, float32 [K].
    attention: A_ST, float32 [T, M, N]; None for a network without.
  """

  first: int
  last: int
  scores: np.ndarray
  attention: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Result:
  """Scores of a whole video.

  Attributes:
    network: which one, in words.
    combined: how the windows became one: "mean" or "max" of their softmax.
    class_names: K of them.
    scores: float32 [K]; a maximum over windows need not sum to 1.
    windows: in order, at least one.
    num_frames: of the video, as far as it was read.
    fps: frames a second.
    record: the prepared clip; None for Kinetics.
  """

  network: str
  combined: str
  class_names: tuple[str, ...]
  scores: np.ndarray
  windows: tuple[Window, ...]
  num_frames: int
  fps: float
  record: records.Record | None = None

  def ranked(self, top: int, scores: np.ndarray | None = None):
    """The best `top` classes as (name, score), best first; of the video if None."""
    scores = self.scores if scores is None else scores
    order = np.argsort(-scores, kind="stable")[:top]
    return [(self.class_names[k], float(scores[k])) for k in order]


# Kinetics: any video, frames alone.


def kinetics_frame(frame: np.ndarray, short_side: int) -> np.ndarray:
  """Resizes the short side of a frame and cuts its centre, uint8 [side, side, 3].

  The side is 7/8 of the short side: 224 for 256, as I3D was tested.
  """
  height, width = frame.shape[:2]
  scale = short_side / min(height, width)
  size = max(short_side, round(width * scale)), max(short_side, round(height * scale))
  how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
  frame = cv2.resize(frame, size, interpolation=how)
  side = round(short_side * KINETICS_CROP)
  top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
  return frame[top : top + side, left : left + side]


def stream_windows(
  frames: Iterator[np.ndarray], length: int, stride: int
) -> Iterator[tuple[int, np.ndarray]]:
  """Cuts a stream into windows; never holds more than one of them.

  Every frame is in a window: the last one ends with the stream, and overlaps the one
  before where the rest is too short. A stream shorter than a window is one window, and
  repeats when it is shorter than `SHORTEST`.

  Args:
    frames: arrays of one shape.
    length: frames of a window.
    stride: frames from one start to the next, 1 to `length`.
  Yields: (first frame, frames [length or fewer, ...]).
  """
  held, count, fresh = collections.deque(maxlen=length), 0, 0
  for frame in frames:
    held.append(frame)
    count, fresh = count + 1, fresh + 1
    if count == length or (count > length and fresh == stride):
      yield count - length, np.stack(held)
      fresh = 0
  if fresh:
    window = np.stack(held)
    if len(window) < min(length, SHORTEST):
      window = window[np.arange(min(length, SHORTEST)) % len(window)]
    yield count - len(held), window


def load_kinetics():
  """I3D with its published weights: (model, variables)."""
  variables, _ = pretrained.load_i3d()
  return i3d.KineticsI3D(), variables


def kinetics(settings) -> Result:
  """Scores `settings.video` by I3D on 400 classes; see `config.predict`."""
  length = KINETICS_FRAMES
  stride = settings.window_stride or length
  if not 1 <= stride <= length or settings.short_side < 32:
    raise ValueError(
      f"config.predict has window_stride {stride} and short_side "
      f"{settings.short_side}, expected 1 to {length} and at least 32."
    )
  if settings.pose:
    raise ValueError(
      "config.predict.pose is set, but I3D on Kinetics takes no pose: add --workdir="
      "<a trained run>, or leave the pose out."
    )
  header = video.probe(settings.video)
  model, variables = load_kinetics()
  variables = jax.device_put(variables)

  @jax.jit
  def forward(variables, frames):
    logits, _ = model.apply(variables, i3d.normalize_frames(frames))
    return jax.nn.softmax(logits, axis=-1)[0]

  count, windows = 0, []

  def frames():
    nonlocal count
    for frame in video.read_frames(settings.video, threads=0):
      count += 1
      yield kinetics_frame(frame, settings.short_side)

  cut = stream_windows(frames(), length, stride)
  for first, window in itertools.islice(cut, settings.max_windows or None):
    scores = np.asarray(forward(variables, window[None]))
    last = min(first + len(window), count) - 1  # a short video repeats
    windows.append(Window(first, last, scores))
  scores = np.mean([w.scores for w in windows], axis=0, dtype=np.float32)
  names = tuple(pretrained.kinetics_class_names())[: len(scores)]
  return Result(
    "I3D, Kinetics-400", "mean", names, scores, tuple(windows), count, header.fps
  )


# A trained network: video and poses.


def spans(available: int, num_frames: int, stride: int) -> list[tuple[int, int]]:
  """Parts of a long video that are scored one by one: (first, end), end exclusive.

  A part has as many frames as the network's window spans, 2F. A video with less than
  two of them is one part, whole, so that it is seen as evaluation sees a clip. What is
  left over is divided between both ends.

  Args:
    available: frames of the video.
    num_frames: F.
    stride: from one part to the next, frames; 0 for 2F.
  """
  span = 2 * num_frames
  stride = stride or span
  count = 1 + max(0, available - span) // stride
  if count == 1:
    return [(0, available)]
  start = (available - span - (count - 1) * stride) // 2
  return [(start + i * stride, start + i * stride + span) for i in range(count)]


def score_record(
  network: trained.Trained,
  record: records.Record,
  stride: int = 0,
  max_windows: int = 0,
) -> Result:
  """Scores a record window by window, and takes the maximum over them (section 4.1).

  Windows in which nobody was seen are left out where the network takes poses.
  """
  settings, windows = network.settings, []
  parts = spans(len(record.frames), settings.num_frames, stride)
  if network.uses_pose:
    seen = np.isfinite(record.pose[:, 0]).all(axis=-1).any(axis=-1)
    parts = [p for p in parts if seen[slice(*p)].any()]
  for first, end in parts[: max_windows or None]:
    part = records.cut(record, first, end)
    shown = pipeline.frame_window(end - first, settings.num_frames, None)
    batch = pipeline.example(part, settings, network.skeleton, None)
    batch = {k: v[None] for k, v in batch.items() if k != "label"}
    scores, out = jax.device_get(network.forward(network.variables, batch))
    attention = out["attention"][0] if "attention" in out else None
    windows.append(
      Window(first + int(shown.min()), first + int(shown.max()), scores[0], attention)
    )
  return Result(
    network=f"{network.workdir}, step {network.step}",
    combined="max",
    class_names=network.provenance.class_names,
    scores=np.max([w.scores for w in windows], axis=0),
    windows=tuple(windows),
    num_frames=len(record.frames),
    fps=record.fps,
    record=record,
  )


# What comes out.


def write_json(path: str, film: str, result: Result, top: int) -> None:
  """Writes video, network, the best classes, and the best class of each window."""

  def entries(pairs):
    return [{"class": name, "score": round(score, 6)} for name, score in pairs]

  content = {
    "video": film,
    "network": result.network,
    "frames": result.num_frames,
    "fps": result.fps,
    "combined": result.combined,
    "top": entries(result.ranked(top)),
    "windows": [
      {"first": w.first, "last": w.last, **entries(result.ranked(1, w.scores))[0]}
      for w in result.windows
    ],
  }
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  pathlib.Path(path).write_text(json.dumps(content, indent=1) + "\n")


def run(config, workdir: str = "") -> None:
  """The job "predict": prints the best classes; json and film where asked for."""
  began, settings = time.monotonic(), config.predict
  film, top = settings.video, settings.top
  _check(settings)
  try:
    if workdir:
      network = trained.load(workdir)
      skeleton = network.skeleton
      record = trained.make_record(
        network,
        film,
        settings.pose,
        settings.image_units,
        pose_model=settings.pose_model,
        boxes=settings.boxes,
      )
      result = score_record(
        network, record, settings.window_stride, settings.max_windows
      )
    else:
      skeleton, result = None, kinetics(settings)
  except BadClip as e:
    raise ValueError(f"{film}: {e}: give a video that plays.") from e
  print(
    f"{film}: {result.num_frames} frames ({result.num_frames / result.fps:.1f} s), "
    f"{len(result.windows)} window(s), {result.combined} of their scores; "
    f"{result.network}; {time.monotonic() - began:.1f} s"
  )
  for rank, (name, score) in enumerate(result.ranked(top), 1):
    print(f"{rank:3d}  {score:.4f}  {name}")
  if settings.json:
    write_json(settings.json, film, result, top)
    print(f"wrote {settings.json}")
  if settings.overlay:
    pathlib.Path(settings.overlay).parent.mkdir(parents=True, exist_ok=True)
    frames = overlay.film_frames(film, result, skeleton)
    count = video.write_video(settings.overlay, frames, result.fps)
    print(f"wrote {settings.overlay}, {count} frames")


def _check(settings) -> None:
  """What can be told from `config.predict` alone, before anything is loaded."""
  if not settings.video:
    raise FileNotFoundError(
      "config.predict.video is not set: add --config.predict.video=<a video file>."
    )
  if not pathlib.Path(settings.video).is_file():
    raise FileNotFoundError(
      f"no file {settings.video}: config.predict.video is a video file."
    )
  for name, least in (("top", 1), ("window_stride", 0), ("max_windows", 0)):
    if settings[name] < least:
      raise ValueError(
        f"config.predict.{name} is {settings[name]}, expected {least} or more."
      )
  if settings.overlay and not settings.overlay.endswith((".mp4", ".avi", ".mkv")):
    raise ValueError(
      f"config.predict.overlay is {settings.overlay}, expected a name that ends in "
      ".mp4, .avi or .mkv."
    )
