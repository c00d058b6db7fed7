"""A video of your own -> its best classes: printed, as json, as a picture, as a film.

With a workdir, the network trained there looks at a video and its poses (`posed.py`).
Without one, I3D with its Kinetics weights looks at any video (`kinetics.py`). The video
may be a file, a webcam or a stream, of any length: it plays once, window by window.
"""

import contextlib
import dataclasses
import itertools
import json
import pathlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from vpn_jax import (
  interrupt,
  kinetics,
  overlay,
  posed,
  skeletons,
  source,
  speed,
  trained,
  windows,
)
from vpn_jax.raw import BadClip


class Viewer(Protocol):
  """A network that looks at videos.

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

  def parts(
    self, film: source.Source, held: windows.Held | None
  ) -> Iterator[windows.Part]:
    """Plays a video and gives its windows; their frames are in `held` meanwhile."""
    ...

  def look(self, batch) -> tuple[np.ndarray, np.ndarray | None]:
    """Softmax float32 [K] of a part's batch, and A_ST [T, M, N] or None."""
    ...


@dataclasses.dataclass(frozen=True)
class Window:
  """A stretch of the video and what the network says about it.

  Attributes:
    first, last: frames of the video that the network saw, both inclusive.
    part: frames that the window stands for, end exclusive.
    scores: softmax, float32 [K].
  """

  first: int
  last: int
  part: tuple[int, int]
  scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class Result:
  """Scores of a whole video.

  Attributes:
    film: its name.
    network, combined, class_names: of the `Viewer`.
    scores: float32 [K]; a maximum over windows need not sum to 1.
    windows: in order, at least one.
    left_out: how many more windows there were, in which nobody was seen.
    num_frames: of the video, as far as the windows reach.
    fps: frames a second.
  """

  film: str
  network: str
  combined: str
  class_names: tuple[str, ...]
  scores: np.ndarray
  windows: tuple[Window, ...]
  left_out: int
  num_frames: int
  fps: float

  def ranked(self, top: int) -> list[tuple[str, float]]:
    """The best `top` classes as (name, score), best first."""
    return ranked(self.class_names, self.scores, top)


def ranked(class_names, scores: np.ndarray, top: int) -> list[tuple[str, float]]:
  """The best `top` classes as (name, score), best first."""
  order = np.argsort(-scores, kind="stable")[:top]
  return [(class_names[k], float(scores[k])) for k in order]


def watch(
  viewer: Viewer,
  film: source.Source,
  held: windows.Held | None = None,
  drawn: overlay.Film | None = None,
  *,
  max_windows: int = 0,
  clock: speed.Clock | None = None,
) -> Result:
  """Plays a video to its end, or for so many windows, and combines their scores.

  Of all windows only the scores are kept. Those of a live source are printed as they
  come, a line each.

  Args:
    viewer: who looks.
    film: at what.
    held: room for the frames of a window, as the viewer needs it.
    drawn: a film that shows `held` with the scores.
    max_windows: 0 for all.
    clock: of the stage "draw".
  Raises: BadClip for damage, and when there is no window to look at.
  """
  clock = clock or speed.Clock()
  seen, lost, end, reason = [], 0, 0, "it ended before the first frame"
  with contextlib.closing(viewer.parts(film, held)) as parts:
    for part in parts:
      end, best, attention = part.end, [], None
      if part.batch is None:
        lost, reason = lost + 1, part.reason
      else:
        scores, attention = viewer.look(part.batch)
        seen.append(Window(*part.shown, (part.first, part.end), scores))
        best = ranked(viewer.class_names, scores, overlay.SHOWN)
      if film.live:
        said = f"{best[0][1]:.4f}  {best[0][0]}" if best else f"left out: {reason}"
        times = f"{part.first / film.fps:9.1f} to {part.end / film.fps:.1f} s"
        print(f"{times}  {said}", flush=True)
      if drawn is not None:
        with clock.stage("draw"):
          drawn.show(part, best, attention)
      if len(seen) == max_windows > 0:
        break
  if not seen:
    raise BadClip(reason + (f", nor in the {lost - 1} windows before") * (lost > 1))
  if drawn is not None:
    with clock.stage("draw"):
      drawn.finish()
  scores = np.stack([w.scores for w in seen])
  return Result(
    film=film.name,
    network=viewer.network,
    combined=viewer.combined,
    class_names=viewer.class_names,
    scores=scores.max(axis=0) if viewer.combined == "max" else scores.mean(axis=0),
    windows=tuple(seen),
    left_out=lost,
    num_frames=end,
    fps=film.fps,
  )


# What comes out.


def write_json(path: str, result: Result, top: int, rates: dict) -> None:
  """Writes video, network, the best classes, and the best class of each window.

  Args:
    top: how many classes.
    rates: a `speed.Clock.summary`.
  """

  def entries(pairs):
    return [{"class": name, "score": round(score, 6)} for name, score in pairs]

  content = {
    "video": result.film,
    "network": result.network,
    "frames": result.num_frames,
    "fps": result.fps,
    "combined": result.combined,
    "top": entries(result.ranked(top)),
    "windows": [
      {
        "first": w.first,
        "last": w.last,
        **entries(ranked(result.class_names, w.scores, 1))[0],
      }
      for w in result.windows
    ],
    "speed": rates,
  }
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  pathlib.Path(path).write_text(json.dumps(content, indent=1) + "\n")


def write_timeline(path: str, result: Result) -> None:
  """Draws the classes over time; see `figures.timeline`."""
  from vpn_jax.figures import style, timeline  # matplotlib, where it is asked for

  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  figure = timeline.timeline(result)
  figure.savefig(path, dpi=style.DPI, facecolor="white")


def run(config, workdir: str = "") -> None:
  """The job "predict": prints the best classes; json and pictures where asked for."""
  settings, clock = config.predict, speed.Clock()
  _check(settings)
  try:
    with contextlib.ExitStack() as stack:
      with clock.stage("load"):
        if workdir:
          viewer = posed.Viewer(trained.load(workdir), settings, clock)
        else:
          viewer = kinetics.Viewer(settings, clock)
        film = source.open_source(settings.video)
      frames = clock.each("decode", film.frames)
      if film.live:
        asked = stack.enter_context(interrupt.Requests())
        frames = itertools.takewhile(lambda _: not asked.arrived(), frames)
        print(f"{film.name}, {film.fps:g} frames/s: windows as they come; Ctrl-C ends")
      film = dataclasses.replace(film, frames=frames)
      held = drawn = None
      if workdir or settings.overlay:
        held = stack.enter_context(windows.Held(viewer.length + viewer.stride))
      if settings.overlay:
        drawn = overlay.Film(settings.overlay, film.fps, viewer, held)
        stack.enter_context(drawn)
      result = watch(
        viewer, film, held, drawn, max_windows=settings.max_windows, clock=clock
      )
  except BadClip as e:
    if workdir:
      files = " and ".join(filter(None, (source.public(settings.video), settings.pose)))
      remedy = "Give a video and poses that belong together, one pose a frame."
      raise ValueError(f"{files}: {e}. {remedy}") from e
    name = source.public(settings.video)
    raise ValueError(f"{name}: {e}: give a video that plays.") from e
  _report(settings, result, drawn, clock.summary(result.num_frames))


def _report(settings, result: Result, drawn, rates: dict) -> None:
  left_out = f", {result.left_out} left out" if result.left_out else ""
  print(
    f"{result.film}: {result.num_frames} frames "
    f"({result.num_frames / result.fps:.1f} s), {len(result.windows)} window(s)"
    f"{left_out}, {result.combined} of their scores; {result.network}"
  )
  for rank, (name, score) in enumerate(result.ranked(settings.top), 1):
    print(f"{rank:3d}  {score:.4f}  {name}")
  if settings.json:
    write_json(settings.json, result, settings.top, rates)
    print(f"wrote {settings.json}")
  if settings.timeline:
    write_timeline(settings.timeline, result)
    print(f"wrote {settings.timeline}")
  if drawn is not None:
    print(f"wrote {settings.overlay}, {drawn.count} frames")
  print(speed.in_words(rates, result.num_frames))


def _check(settings) -> None:
  """What can be told from `config.predict` alone, before anything is loaded."""
  if not settings.video:
    raise FileNotFoundError(
      "config.predict.video is not set: add --config.predict.video=<a video file, the "
      "number of a webcam or the address of a stream>."
    )
  if not source.is_live(settings.video) and not pathlib.Path(settings.video).is_file():
    raise FileNotFoundError(
      f"no file {settings.video}: config.predict.video is a video file, the number of "
      "a webcam or the address of a stream."
    )
  for name, least in (("top", 1), ("window_stride", 0), ("max_windows", 0)):
    if settings[name] < least:
      raise ValueError(
        f"config.predict.{name} is {settings[name]}, expected {least} or more."
      )
  endings = {"overlay": (".mp4", ".avi", ".mkv"), "timeline": (".png", ".pdf", ".svg")}
  for name, known in endings.items():
    if settings[name] and not settings[name].endswith(known):
      raise ValueError(
        f"config.predict.{name} is {settings[name]}, expected a name that ends in "
        f"{', '.join(known[:-1])} or {known[-1]}."
      )
