"""Numbers -> figures; the one file that knows about matplotlib.

A figure is a function of `Inputs` that returns a matplotlib figure and its numbers as
rows of a csv; it stands in `FIGURES` under the name of its files.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Iterable

import cv2
import jax
import numpy as np
from matplotlib import ticker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vpn_jax import analysis, evaluate, overlay, pipeline, records, trained
from vpn_jax.provenance import Provenance

DPI = 150
WIDTH = 8.0  # inches; 1200 pixels
COLORS = ("#7a8794", "#d1495b")  # baseline, the run in question
GAIN, LOSS = "#2a7f62", "#b5651d"
INK, FAINT = "#222222", "#d8dce0"
MAX_NAMES = 40  # classes; above, axes have numbers instead of names
MAX_BARS = 20  # of gains.png on each side
# attention.png: clips, frames of each, and inches of its parts.
CLIPS, COLUMNS, PIXELS = 4, 8, 240
MARGIN, TITLE, BARS, GAP = 0.5, 0.3, 0.3, 0.05
FRAME = (WIDTH - 1.25 * MARGIN) / COLUMNS


class NotAvailableError(Exception):
  """A figure that these runs do not allow; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What a figure may draw on.

  Attributes:
    config: for the records.
    workdirs: one, or the baseline and another.
    names: how the runs are called in figures.
    predictions: of the test part, one for each run.
  """

  config: object
  workdirs: tuple[str, ...]
  names: tuple[str, ...]
  predictions: tuple[evaluate.Predictions, ...]

  @property
  def colors(self) -> tuple[str, ...]:
    """One for each run; the last has the same whether or not there is a baseline."""
    return COLORS[-len(self.workdirs) :]


def _figure(height: float, **settings) -> Figure:
  figure = Figure(figsize=(WIDTH, height), layout="constrained", **settings)
  FigureCanvasAgg(figure)
  return figure


def _plain(axes) -> None:
  """Takes the box off and lets a faint grid guide the eye."""
  axes.spines[["top", "right"]].set_visible(False)
  axes.spines[["left", "bottom"]].set_color(FAINT)
  axes.tick_params(colors=INK, length=0)
  axes.grid(color=FAINT, linewidth=0.6)
  axes.set_axisbelow(True)


# curves.png


def curves(inputs: Inputs) -> tuple[Figure, Iterable[list]]:
  """Loss and accuracy over the steps of training, one colour a run."""
  figure = _figure(3.2)
  left, right = figure.subplots(1, 2)
  rows = [["run", "scalar", "step", "value"]]
  for workdir, name, color in zip(inputs.workdirs, inputs.names, inputs.colors):
    scalars = analysis.read_curves(workdir)
    for axes, scalar in (
      (left, "train/classification_loss"),
      (right, "train/accuracy"),
    ):
      if scalar not in scalars:
        continue
      steps, values = scalars[scalar]
      window = max(1, len(values) // 20)
      axes.plot(steps, values, color=color, linewidth=0.8, alpha=0.3)
      smooth = analysis.running_mean(values, window)
      label = f"{name}, training" if axes is right else name
      axes.plot(steps, smooth, color=color, linewidth=1.8, label=label)
    for part, style in (("validation", "--s"), ("test", "-o")):
      if f"{part}/top1" in scalars:
        steps, values = scalars[f"{part}/top1"]
        right.plot(
          steps, values, style, color=color, markersize=5, linewidth=1.2,
          markeredgecolor="white", label=f"{name}, {part}",
        )  # fmt: skip
    rows += [
      [name, scalar, int(step), float(value)]
      for scalar, (steps, values) in sorted(scalars.items())
      for step, value in zip(steps, values)
    ]
  for axes, title in ((left, "classification loss"), (right, "accuracy, %")):
    _plain(axes)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel("step", color=INK)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    if axes.lines:
      axes.legend(frameon=False, fontsize=9)
  return figure, rows


# confusion.png


def confusion(inputs: Inputs) -> tuple[Figure, Iterable[list]]:
  """Row-normalised confusion matrices side by side, percent of the true class."""
  names = inputs.predictions[-1].class_names
  count, runs = len(names), len(inputs.workdirs)
  named = count <= MAX_NAMES
  font = float(np.clip(200 / count / runs, 3.5, 9)) if named else 8
  figure = _figure((4.5 if named else 3.9) if runs == 2 else 6.2)
  figure.set_layout_engine("compressed")
  rows = [["run", "true", *names]]
  panels = figure.subplots(1, runs, squeeze=False, sharey=True)[0]
  for axes, name, predictions in zip(panels, inputs.names, inputs.predictions):
    percent = analysis.row_percent(analysis.confusion(predictions))
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    top1 = evaluate.metrics(predictions)["top1"]
    axes.set_title(f"{name}: top-1 {top1:.1f} %", loc="left", fontsize=11, color=INK)
    axes.set_xlabel("predicted", color=INK)
    axes.tick_params(length=0, labelsize=font, colors=INK)
    axes.spines[:].set_visible(False)
    if named:
      axes.set_xticks(range(count), names, rotation=90)
      axes.set_yticks(range(count), names)
    else:  # their numbers, from 1
      numbers = [1, *range(20, count + 1, 20)]
      axes.set_xticks([n - 1 for n in numbers], numbers)
      axes.set_yticks([n - 1 for n in numbers], numbers)
    if count <= 20:
      for i, j in zip(*np.nonzero(np.nan_to_num(percent))):
        color = "white" if percent[i, j] > 55 else INK
        axes.text(
          j, i, f"{percent[i, j]:.0f}", ha="center", va="center", color=color,
          fontsize=font * 0.8,
        )  # fmt: skip
    rows += [[name, names[i], *np.round(row, 2)] for i, row in enumerate(percent)]
  panels[0].set_ylabel("true", color=INK)
  bar = figure.colorbar(image, ax=panels, shrink=0.6, pad=0.02)
  bar.set_label("% of the true class", color=INK)
  bar.outline.set_visible(False)
  return figure, rows


# gains.png


def gains(inputs: Inputs) -> tuple[Figure, Iterable[list]]:
  """Accuracy of the second run over the first, class by class, largest gain first."""
  if len(inputs.workdirs) < 2:
    raise NotAvailableError("it compares two runs: --workdir=<baseline>,<run>")
  found = analysis.class_gain(*inputs.predictions)
  shown = found
  if len(found) > 2 * MAX_BARS:
    shown = found[:MAX_BARS] + found[-MAX_BARS:]
  figure = _figure(1.2 + 0.24 * len(shown))
  axes = figure.subplots()
  values = np.array([g.gain for g in shown])
  colors = [GAIN if v >= 0 else LOSS for v in values]
  axes.barh(range(len(shown)), values, color=colors, height=0.72)
  for i, g in enumerate(shown):
    axes.annotate(
      f"{g.gain:+.1f}" if g.gain else "0", (g.gain, i), (4 if g.gain >= 0 else -4, 0),
      textcoords="offset points", va="center", ha="left" if g.gain >= 0 else "right",
      fontsize=8, color=INK,
    )  # fmt: skip
  _plain(axes)
  axes.grid(visible=False, axis="y")
  axes.axvline(0, color=INK, linewidth=0.8)
  axes.margins(x=0.15, y=0.01)
  axes.invert_yaxis()
  axes.set_yticks(range(len(shown)), [g.name for g in shown], fontsize=9)
  if shown is not found:
    axes.axhline(MAX_BARS - 0.5, color=INK, linewidth=0.8, linestyle=":")
  axes.set_xlabel("percentage points", color=INK)
  title = f"accuracy per class: {inputs.names[1]} minus {inputs.names[0]}"
  if shown is not found:
    title += f" ({MAX_BARS} largest and smallest of {len(found)})"
  axes.set_title(title, loc="left", fontsize=11, color=INK)
  rows = [["class", "clips", *inputs.names, "gain"]]
  rows += [
    [g.name, g.clips, *(round(v, 2) for v in (g.baseline, g.accuracy, g.gain))]
    for g in found
  ]
  return figure, rows


# attention.png


def attention(inputs: Inputs) -> tuple[Figure, Iterable[list]]:
  """Where and when the last run looks: A_ST over frames of test clips, A_T below."""
  network = trained.load(inputs.workdirs[-1])
  if not network.has_attention:
    raise NotAvailableError("the network has no attention")
  data = inputs.config.data.copy_and_resolve_references()
  data.example = dataclasses.asdict(network.settings)
  try:
    index, parts = pipeline.open_parts(data, ("test",))
  except FileNotFoundError as e:
    raise NotAvailableError(str(e)) from e
  part = parts["test"]
  network.provenance.check(
    Provenance.of(index, part.protocol), on_mismatch=inputs.config.on_mismatch
  )
  places = analysis.spread(np.array([clip["label"] for clip in part.clips]), CLIPS)
  source = records.Source(data.records, [part.clips[i] for i in places])
  block = TITLE + FRAME + BARS + GAP
  figure = Figure(figsize=(WIDTH, block * len(places)))
  FigureCanvasAgg(figure)
  rows = [["clip", "true", "predicted", "score", "t", "m", "n", "A_T", "A_ST"]]
  for i, place in enumerate(places):
    label = part.class_names[part.clips[place]["label"]]
    top = block * (len(places) - i)
    rows += _attention_block(figure, top, network, source[i], label)
  return figure, rows


def _attention_block(figure, top: float, network, record, label: str) -> list[list]:
  """Draws one clip below `top`, in inches from the bottom; returns its rows.

  From left to right runs the time of the window: a bar of A_T is as wide as its step.
  """
  settings = network.settings
  batch = pipeline.example(record, settings, network.skeleton, None)
  batch = {k: v[None] for k, v in batch.items() if k != "label"}
  scores, out = jax.device_get(network.forward(network.variables, batch))
  best = int(np.argmax(scores[0]))
  predicted = network.provenance.class_names[best]
  heat = out["attention"][0]  # [T, M, N]
  steps, span = len(heat), overlay.heat_range(heat)

  def axes_at(x, bottom, width, height):
    full = figure.get_figheight()
    return figure.add_axes((x / WIDTH, bottom / full, width / WIDTH, height / full))

  window = pipeline.frame_window(len(record.frames), settings.num_frames, None)
  for column in range(COLUMNS):
    moment = (column + 0.5) / COLUMNS
    frame = window[int(moment * len(window))]
    picture = records.decode_frame(record.frames[frame])
    joints = record.image_joints[frame] * PIXELS / len(picture)
    picture = cv2.resize(picture, (PIXELS, PIXELS), interpolation=cv2.INTER_CUBIC)
    picture = overlay.draw_heat(picture, heat[int(moment * steps)], span)
    picture = overlay.draw_skeleton(picture, joints, network.skeleton)
    x, bottom = MARGIN + column * FRAME, top - TITLE - FRAME
    axes = axes_at(x + 0.02, bottom + 0.02, FRAME - 0.04, FRAME - 0.04)
    axes.imshow(picture)
    axes.set_axis_off()
  a_t = out["temporal_attention"][0] if "temporal_attention" in out else None
  if a_t is not None:
    bottom = top - TITLE - FRAME - BARS
    axes = axes_at(MARGIN + 0.02, bottom, COLUMNS * FRAME - 0.04, BARS - 0.04)
    axes.bar(np.arange(steps) + 0.5, a_t, color=COLORS[1], width=0.9)
    axes.axhline(1 / steps, color=INK, linewidth=0.6, linestyle=":")
    axes.set_xlim(0, steps)
    axes.set_ylim(0, max(a_t.max() * 1.1, 2 / steps))
    axes.set_xticks([])
    axes.set_yticks([1 / steps], ["1/T"], fontsize=7)
    axes.set_ylabel("$A_T$", fontsize=9, rotation=0, ha="right", va="center")
    axes.tick_params(length=0, pad=1)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)

  right = predicted == label
  said = "recognised" if right else f"predicted {predicted}"
  height = (top - 0.75 * TITLE) / figure.get_figheight()
  figure.text(
    MARGIN / WIDTH, height, f"{label}, {said} ({scores[0, best]:.2f})",
    fontsize=10, color=GAIN if right else COLORS[1],
  )  # fmt: skip
  figure.text(
    1 - MARGIN / 4 / WIDTH, height, f"$A_{{ST}}$ {span[0]:.3f} to {span[1]:.3f}",
    fontsize=8, color=INK, ha="right",
  )  # fmt: skip
  start = [record.name, label, predicted, f"{scores[0, best]:.4f}"]
  return [
    [*start, t, m, n, "" if a_t is None else f"{a_t[t]:.6g}", f"{value:.6g}"]
    for (t, m, n), value in np.ndenumerate(heat)
  ]


# Name of the files -> the function; figures 5 to 12 of the paper join here.
FIGURES = {
  "curves": curves,
  "confusion": confusion,
  "gains": gains,
  "attention": attention,
}


def save(folder: pathlib.Path, name: str, figure: Figure, rows: Iterable[list]):
  """Writes name.png and name.csv; returns their paths."""
  folder.mkdir(parents=True, exist_ok=True)
  picture, numbers = folder / f"{name}.png", folder / f"{name}.csv"
  figure.savefig(picture, dpi=DPI, facecolor="white")
  with numbers.open("w", newline="") as file:
    csv.writer(file).writerows(rows)
  return picture, numbers


def run(config, workdir: str) -> None:
  """The job "figures": writes <last workdir>/figures and prints the paths.

  Args:
    workdir: a finished run, or two parted by a comma, the baseline first.
  """
  workdirs = tuple(word.strip() for word in workdir.split(",") if word.strip())
  if len(workdirs) not in (1, 2):
    raise ValueError(
      f"--workdir is {workdir!r}, expected a finished run, or two parted by a comma: "
      "the baseline and the run to compare."
    )
  names = tuple(pathlib.Path(w).name for w in workdirs)
  inputs = Inputs(
    config=config,
    workdirs=workdirs,
    names=names if len(set(names)) == len(names) else workdirs,
    predictions=tuple(evaluate.read(pathlib.Path(w) / "test") for w in workdirs),
  )
  folder = pathlib.Path(workdirs[-1]) / "figures"
  for name, draw in FIGURES.items():
    try:
      figure, rows = draw(inputs)
    except NotAvailableError as e:
      print(f"{name}: left out, {e}")
      continue
    picture, numbers = save(folder, name, figure, rows)
    print(f"wrote {picture} and {numbers.name}")
