"""Feature maps of the networks over frames (figure 5b)."""

import dataclasses
from collections.abc import Iterable

import jax
import numpy as np
from matplotlib.figure import Figure

from vpn_jax import drawing
from vpn_jax.analysis import activations
from vpn_jax.figures import pictures, style
from vpn_jax.figures.runs import NotAvailableError, Runs
from vpn_jax.inputs import sampling
from vpn_jax.records import record_format

CLIPS, CHANNELS = 2, 8
MARGIN, LABEL, TITLE, GAP, AXIS = 0.1, 1.2, 0.5, 0.06, 0.45  # inches
CHANNEL_WIDTH, CHANNEL_NAMES, HEIGHT = 1.5, 0.4, 4.6
NOTE = "$f$: features\n$f'$: with attention\none scale for\neach run and time"


@dataclasses.dataclass(frozen=True)
class Map:
  """A feature map of one run on one clip.

  Attributes:
    run: name of the run.
    symbol: "f", or "f'" after the attention.
    heat: from `activations.heat`, float [T, M, N].
    channels, over_time: from `activations.strongest_channels`.
    window: frames of the record that the network saw, int [F].
  """

  run: str
  symbol: str
  heat: np.ndarray
  channels: np.ndarray
  over_time: np.ndarray
  window: np.ndarray

  def at(self, moment: float) -> np.ndarray:
    """The map at a fraction of the clip, float [M, N]."""
    (step,) = pictures.steps_at((moment,), len(self.heat))
    return self.heat[step]


def feature_maps(runs: Runs, record: record_format.Record) -> list[Map]:
  """f of every run with a single map of the whole frames; f' of those with attention.

  Raises: NotAvailableError when no run has one.
  """
  maps = []
  for run, name in enumerate(runs.names):
    network = runs.network(run)
    if "frames" not in network.model.inputs or network.settings.region != "body":
      continue  # poses alone, or a hand
    _, out, _ = runs.forward(run, record)
    if out["features"].ndim != 4:
      continue  # one map for each part of the body (P-I3D)
    frames = network.settings.num_frames
    window = sampling.frame_window(record.num_frames, frames, None)
    kinds = {"f": "features"}
    if network.has_attention:
      kinds["f'"] = "modulated"
    for symbol, key in kinds.items():
      features = jax.device_get(out[key])
      strongest = activations.strongest_channels(features, CHANNELS)
      heat = activations.heat(features)
      maps.append(Map(name, symbol, heat, *strongest, window))
  if not maps:
    raise NotAvailableError("no run has a single feature map of the frames")
  return maps


def heatmaps(runs: Runs) -> tuple[Figure, Iterable[list]]:
  """Feature maps at chosen times of look-alike clips, and their strongest channels.

  f and f' of a run share one scale at each time, so that the effect of the attention
  can be seen.
  Source: figure 5 (b). Reading: the activated kernels are the channels of largest mean.
  """
  times = tuple(runs.settings.times)
  if not times or not all(isinstance(t, (int, float)) and 0 <= t < 1 for t in times):
    raise ValueError(
      f"config.figures.times is {times}, expected fractions of the clip from 0 to 1, "
      "such as (0.2,0.5,0.8)."
    )
  found = []
  for name in runs.clips(CLIPS):
    record = runs.record(name)
    found.append((name, record, feature_maps(runs, record)))
  room = style.WIDTH - 2 * MARGIN - LABEL - CHANNEL_NAMES - CHANNEL_WIDTH
  side = min(room / len(times), HEIGHT / (1 + len(found[0][2])))
  block = TITLE + (1 + len(found[0][2])) * (side + GAP) + AXIS
  figure = style.new_figure(block * len(found), None)
  rows = [["clip", "class", "run", "map", "t", "m", "n", "channel", "value"]]
  for i, (name, record, maps) in enumerate(found):
    label = runs.label(name)
    _draw_clip(figure, block * i, side, label, record, maps, times)
    for one in maps:
      rows += _rows([name, label, one.run, one.symbol], one)
  return figure, rows


def _rows(start: list[str], one: Map) -> list[list]:
  """Rows of the map (mean over channels), then of its channels (mean over M and N)."""
  rows = [
    [*start, t, m, n, "", f"{value:.6g}"]
    for (t, m, n), value in np.ndenumerate(one.heat)
  ]
  return rows + [
    [*start, t, "", "", int(one.channels[c]), f"{value:.6g}"]
    for (c, t), value in np.ndenumerate(one.over_time)
  ]


def _span(maps: list[Map], run: str, moment: float) -> tuple[float, float]:
  """Cold and hot of a run's maps at a moment."""
  return drawing.heat_range(np.stack([m.at(moment) for m in maps if m.run == run]))


def _draw_clip(
  figure: Figure,
  top: float,
  side: float,
  label: str,
  record: record_format.Record,
  maps: list[Map],
  times: tuple[float, ...],
) -> None:
  """Draws one clip below `top`: a row of frames, then one for each map.

  Args:
    top, side: of the clip from the top of the figure, and of a frame, inches.
    label: its class.
    times: fractions of the clip, a column each.
  """
  style.text_at(
    figure, MARGIN, top + 0.16, style.short(label, 60), fontsize=11, fontweight="bold"
  )
  lefts = [MARGIN + LABEL + column * side for column in range(len(times) + 1)]
  above = top + TITLE
  window = maps[-1].window
  for left, moment, i in zip(lefts, times, pictures.steps_at(times, len(window))):
    picture = pictures.frame_picture(record, window[i])
    pictures.show(figure, left, above, side - GAP, picture)
    style.text_at(
      figure, left + (side - GAP) / 2, above - 0.1, f"{moment:.0%} of the clip",
      fontsize=8, ha="center",
    )  # fmt: skip
  style.text_at(figure, MARGIN, above + side / 2, NOTE, fontsize=7.5)
  for one in maps:
    above += side + GAP
    frames = one.window[pictures.steps_at(times, len(one.window))]
    for left, moment, frame in zip(lefts, times, frames):
      picture = pictures.frame_picture(
        record, frame, heat=one.at(moment), span=_span(maps, one.run, moment)
      )
      pictures.show(figure, left, above, side - GAP, picture)
    name = f"{style.short(one.run, 16)}\n${one.symbol}$"
    style.text_at(figure, MARGIN, above + side / 2, name, fontsize=8.5)
    left = lefts[-1] + CHANNEL_NAMES
    _draw_channels(figure, left, above, side - GAP, one, last=one is maps[-1])


def _draw_channels(
  figure: Figure, left: float, top: float, height: float, one: Map, last: bool
) -> None:
  """The strongest channels over the steps of the map, each named by its number.

  Args:
    left, top, height: inches; the width is what is left of the figure's.
    last: whether to write the meaning below.
  """
  axes = style.axes_at(figure, left, top, style.WIDTH - MARGIN - left, height)
  axes.imshow(one.over_time, aspect="auto", cmap="Blues", vmin=0, interpolation="none")
  style.bare(axes)
  axes.set_yticks(range(len(one.channels)), one.channels, fontsize=6.5)
  axes.tick_params(pad=1)
  axes.set_xticks([])
  if last:
    steps = one.over_time.shape[1]
    axes.set_xticks([0, steps - 1], [1, steps], fontsize=7)
    axes.set_xlabel("strongest channels\nover the steps of $f$", fontsize=8, labelpad=1)
