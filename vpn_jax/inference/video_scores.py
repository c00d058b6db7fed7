"""The scores of a user's own video, window by window, and the files they go to."""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Iterable

import numpy as np

from vpn_jax.datasets.video import Times


@dataclasses.dataclass(frozen=True)
class Window:
  """A segment of the video and its scores.

  Attributes:
    first, last: frames of the video that the network saw, both inclusive.
    span: frames that the window stands for, end exclusive.
    scores: softmax, float32 [K].
  """

  first: int
  last: int
  span: tuple[int, int]
  scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class Result:
  """Scores of a whole video.

  Attributes:
    video: its name.
    network, combined, class_names: of the `Recognizer`.
    scores: float32 [K]; a maximum over windows need not sum to 1.
    windows: in order, at least one.
    left_out: how many more windows there were, in which nobody was seen.
    num_frames: of the video, as far as the windows reach.
    fps: frames a second; the average where the rate varies.
    times: when the frames are shown; None for a constant rate.
  """

  video: str
  network: str
  combined: str
  class_names: tuple[str, ...]
  scores: np.ndarray
  windows: tuple[Window, ...]
  left_out: int
  num_frames: int
  fps: float
  times: Times | None = None

  def seconds(self, frame: float) -> float:
    """When a frame of the video is shown, in seconds after the first one.

    Args:
      frame: its number, or a position between two frames.
    """
    return self.times.at(frame) if self.times else frame / self.fps

  def ranked(self, top: int = 5) -> list[tuple[str, float]]:
    """The best `top` classes as (name, score), best first."""
    return ranked(self.class_names, self.scores, top)


def ranked(class_names, scores: np.ndarray, top: int) -> list[tuple[str, float]]:
  """The best `top` classes as (name, score), best first."""
  order = np.argsort(-scores, kind="stable")[:top]
  return [(class_names[k], float(scores[k])) for k in order]


def write_csv(path: str, results: Iterable[tuple[str, Result]]) -> None:
  """Writes a line for each clip: clip, predicted, score, top5.

  Args:
    path: of the csv.
    results: name of each clip, and its scores.
  """
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  with open(path, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["clip", "predicted", "score", "top5"])
    for name, result in results:
      best = result.ranked(5)
      top5 = "; ".join(name for name, _ in best)
      writer.writerow([name, best[0][0], f"{best[0][1]:.4f}", top5])


def write_json(path: str, result: Result, top: int, rates: dict) -> None:
  """Writes video, network, the best classes, and the best class of each window.

  Args:
    top: how many classes.
    rates: a `timing.Clock.summary`.
  """

  def entries(pairs):
    return [{"class": name, "score": round(score, 6)} for name, score in pairs]

  content = {
    "video": result.video,
    "network": result.network,
    "frames": result.num_frames,
    "fps": result.fps,
    "seconds": round(result.seconds(result.num_frames), 3),
    "combined": result.combined,
    "top": entries(result.ranked(top)),
    "windows": [
      {
        "first": w.first,
        "last": w.last,
        "start": round(result.seconds(w.span[0]), 3),
        "end": round(result.seconds(w.span[1]), 3),
        **entries(ranked(result.class_names, w.scores, 1))[0],
      }
      for w in result.windows
    ],
    "speed": rates,
  }
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  pathlib.Path(path).write_text(json.dumps(content, indent=1) + "\n")
