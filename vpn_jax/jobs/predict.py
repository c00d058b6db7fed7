"""The job "predict": the best classes of a video, printed, as JSON, as pictures.

Or of poses without a video, of a file or a folder of them.
"""

import dataclasses
import functools
import pathlib
import sys

import jax

from vpn_jax import timing
from vpn_jax.datasets import clip_joints
from vpn_jax.datasets.pose_files import reader
from vpn_jax.inference import pose_sequence, predict, trained_network, video_scores
from vpn_jax.inference.options import Options


def write_timeline(path: str, result: video_scores.Result) -> None:
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
  settings, clock = config.predict, timing.Clock(_say_compiling)
  options = {f.name: settings[f.name] for f in dataclasses.fields(Options)}
  Options(**options)  # fails before anything is loaded
  _check(settings)
  _say(f"loading {workdir or 'I3D with its Kinetics weights'}")
  temperature = config.inference.temperature
  if not workdir and temperature != 1.0:
    raise ValueError(
      f"config.inference.temperature is {temperature} and --workdir is empty, expected "
      "a trained network, whose validation gives that number: leave it out."
    )
  with clock.stage("load"):
    network = None
    if workdir:
      network = trained_network.load(workdir, temperature=temperature)
  if not settings.video and _is_folder(settings.pose):
    _score_folder(settings, network, options)
    return
  result = predict.predict(
    network,
    overlay_file=settings.overlay,
    max_windows=settings.max_windows,
    say=functools.partial(print, flush=True),
    clock=clock,
    **options,
  )
  _report(settings, result, clock.summary(result.num_frames))


def _say(line: str) -> None:
  """A line of what takes a while, beside the results."""
  print(line, file=sys.stderr, flush=True)


def _say_compiling() -> None:
  cache = jax.config.jax_compilation_cache_dir
  kept = f"{cache} keeps it for the next start" if cache else "no cache is set"
  _say(f"compiling the network, which may take a minute or two; {kept}")


def in_digits(score: float) -> str:
  """A score with four decimals, or its magnitude where these are all zero.

  >>> in_digits(0.98765), in_digits(0.00001234)
  ('0.9877', '1.2e-05')
  """
  return f"{score:.4f}" if score >= 0.00005 or score == 0 else f"{score:.1e}"


def _is_folder(pose: str) -> bool:
  """Whether a path holds several clips: a folder, or an npz by their names."""
  path = pathlib.Path(pose)
  if path.suffix == ".npz" and path.is_file():
    return bool(clip_joints.packed_clips(path))
  if not path.is_dir():
    return False
  inside = sorted(path.iterdir())
  files, folders = ([p.name for p in inside if p.is_dir() == d] for d in (False, True))
  return not reader.is_clip_folder(path, files, folders)


def _score_folder(settings, network, options: dict) -> None:
  """Prints the best class of every clip of poses in a folder; csv if asked for."""
  for name in ("json", "timeline", "overlay"):
    if settings[name]:
      raise ValueError(
        f"config.predict.{name} is {settings[name]!r}, which is of one clip, and "
        f"{settings.pose} holds several: leave it out, or name one of them."
      )
  pose_sequence.check_alone(network)
  folder, results = options["pose"], []
  options = {k: v for k, v in options.items() if k not in ("pose", "video")}
  options["max_windows"] = settings.max_windows

  def left_out(path, error):
    print(f"{path}: left out, {error}")

  found = predict.predict_folder(network, folder, on_error=left_out, **options)
  for path, result in found:
    results.append((path.relative_to(folder).as_posix(), result))
    ((name, score),) = result.ranked(1)
    print(f"{in_digits(score)}  {name:<24}  {path}", flush=True)
  if not results:
    raise ValueError(f"no clip in {folder} could be scored; see the reasons.")
  print(f"{len(results)} clips; {results[0][1].network}")
  if settings.csv:
    video_scores.write_csv(settings.csv, results)
    print(f"wrote {settings.csv}")


def _report(settings, result: video_scores.Result, rates: dict) -> None:
  left_out = f", {result.left_out} left out" if result.left_out else ""
  print(
    f"{result.video}: {result.num_frames} frames "
    f"({result.seconds(result.num_frames):.1f} s), {len(result.windows)} window(s)"
    f"{left_out}, {result.combined} of their scores; {result.network}"
  )
  for rank, (name, score) in enumerate(result.ranked(settings.top), 1):
    print(f"{rank:3d}  {in_digits(score)}  {name}")
  if settings.csv:
    name = pathlib.Path(result.video).name
    video_scores.write_csv(settings.csv, [(name, result)])
    print(f"wrote {settings.csv}")
  if settings.json:
    video_scores.write_json(settings.json, result, settings.top, rates)
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
