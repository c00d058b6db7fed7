"""The job "predict": the best classes of a video, printed, as JSON, as pictures."""

import dataclasses
import functools
import pathlib

from vpn_jax import timing
from vpn_jax.inference import predict, trained_network
from vpn_jax.inference.options import Options


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
  options = {f.name: settings[f.name] for f in dataclasses.fields(Options)}
  Options(**options)  # fails before anything is loaded
  _check(settings)
  with clock.stage("load"):
    network = trained_network.load(workdir) if workdir else None
  result = predict.predict(
    network,
    overlay_file=settings.overlay,
    max_windows=settings.max_windows,
    say=functools.partial(print, flush=True),
    clock=clock,
    **options,
  )
  _report(settings, result, clock.summary(result.num_frames))


def _report(settings, result: predict.Result, rates: dict) -> None:
  left_out = f", {result.left_out} left out" if result.left_out else ""
  print(
    f"{result.video}: {result.num_frames} frames "
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
  if settings.overlay:
    print(f"wrote {settings.overlay}, {result.num_frames} frames")
  print(timing.in_words(rates, result.num_frames))


def _check(settings) -> None:
  """ValueError for what the job can refuse before it loads a network."""
  for name, least in (("top", 1), ("max_windows", 0)):
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
