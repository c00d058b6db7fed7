"""A user's own video -> the scores of its classes, window by window.

The network is a trained one, which also takes poses (`pose_video.py`), or I3D with its
Kinetics weights (`kinetics.py`). The video may be a file, a webcam or a stream, of any
length; it is read once.
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from vpn_jax import timing
from vpn_jax.datasets import skeletons
from vpn_jax.datasets.base import BadClip
from vpn_jax.inference import (
  overlay,
  stream,
  windows,
)


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
    self, film: stream.Source, held: windows.Held | None
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
  film: stream.Source,
  held: windows.Held | None = None,
  drawn: overlay.Film | None = None,
  *,
  max_windows: int = 0,
  clock: timing.Clock | None = None,
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
  clock = clock or timing.Clock()
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
    rates: a `timing.Clock.summary`.
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
