"""The job "predict": the best classes of a video, printed, as JSON, as pictures."""

import contextlib
import dataclasses
import itertools
import pathlib

from vpn_jax import interrupt, timing
from vpn_jax.datasets.base import BadClip
from vpn_jax.inference import (
  kinetics,
  overlay,
  pose_video,
  predict,
  stream,
  trained_network,
  windows,
)


def write_timeline(path: str, result: predict.Result) -> None:
  """Draws the classes over time; see `figures.timeline`."""
  from vpn_jax.figures import (
    style,
    timeline,  # matplotlib, where it is asked for
  )

  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  figure = timeline.timeline(result)
  figure.savefig(path, dpi=style.DPI, facecolor="white")


def run(config, workdir: str = "") -> None:
  """The job "predict": prints the best classes; json and pictures where asked for."""
  settings, clock = config.predict, timing.Clock()
  _check(settings)
  try:
    with contextlib.ExitStack() as stack:
      with clock.stage("load"):
        if workdir:
          viewer = pose_video.Viewer(trained_network.load(workdir), settings, clock)
        else:
          viewer = kinetics.Viewer(settings, clock)
        film = stream.open_source(settings.video)
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
      result = predict.watch(
        viewer, film, held, drawn, max_windows=settings.max_windows, clock=clock
      )
  except BadClip as e:
    if workdir:
      files = " and ".join(filter(None, (stream.public(settings.video), settings.pose)))
      remedy = "Give a video and poses that belong together, one pose a frame."
      raise ValueError(f"{files}: {e}. {remedy}") from e
    name = stream.public(settings.video)
    raise ValueError(f"{name}: {e}: give a video that plays.") from e
  _report(settings, result, drawn, clock.summary(result.num_frames))


def _report(settings, result: predict.Result, drawn, rates: dict) -> None:
  left_out = f", {result.left_out} left out" if result.left_out else ""
  print(
    f"{result.film}: {result.num_frames} frames "
    f"({result.num_frames / result.fps:.1f} s), {len(result.windows)} window(s)"
    f"{left_out}, {result.combined} of their scores; {result.network}"
  )
  for rank, (name, score) in enumerate(result.ranked(settings.top), 1):
    print(f"{rank:3d}  {score:.4f}  {name}")
  if settings.json:
    predict.write_json(settings.json, result, settings.top, rates)
    print(f"wrote {settings.json}")
  if settings.timeline:
    write_timeline(settings.timeline, result)
    print(f"wrote {settings.timeline}")
  if drawn is not None:
    print(f"wrote {settings.overlay}, {drawn.count} frames")
  print(timing.in_words(rates, result.num_frames))


def _check(settings) -> None:
  """What can be told from `config.predict` alone, before anything is loaded."""
  if not settings.video:
    raise FileNotFoundError(
      "config.predict.video is not set: add --config.predict.video=<a video file, the "
      "number of a webcam or the address of a stream>."
    )
  if not stream.is_live(settings.video) and not pathlib.Path(settings.video).is_file():
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
