"""Common look of the figures: size, colours for colour-blind readers, axes, legends."""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

DPI = 150
WIDTH = 8.0  # inches; 1200 pixels
COLORS = ("#8c96a0", "#0072b2")  # the baseline, the run in question
GAIN, LOSS = "#0072b2", "#d55e00"
INK, FAINT = "#222222", "#d8dce0"
# Of classes (Okabe and Ito), each with a marker, so that a print in grey shows as much.
CLASSES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = "osD^vPX"
# Of limbs, as drawn over frames but dark enough for paper.
LEFT, RIGHT = "#0072b2", "#b87900"


def new_figure(height: float, layout: str | None = "constrained") -> Figure:
  """An empty figure of the common width; height in inches."""
  figure = Figure(figsize=(WIDTH, height), layout=layout)
  FigureCanvasAgg(figure)
  return figure


def plain(axes: Axes) -> None:
  """Removes the box and draws a faint grid."""
  axes.spines[["top", "right"]].set_visible(False)
  axes.spines[["left", "bottom"]].set_color(FAINT)
  axes.grid(color=FAINT, linewidth=0.6)
  axes.set_axisbelow(True)
  _ink(axes)


def bare(axes: Axes) -> None:
  """Removes the box and the tick marks, as for a matrix; names stay."""
  axes.spines[:].set_visible(False)
  _ink(axes)


def _ink(axes: Axes) -> None:
  axes.tick_params(colors=INK, length=0)
  for axis in (axes.xaxis, axes.yaxis):
    axis.label.set_color(INK)


def title(axes: Axes, text: str) -> None:
  axes.set_title(text, loc="left", fontsize=11, color=INK)


def heading(figure: Figure, text: str) -> None:
  """The title of a whole figure, from its left edge."""
  text = textwrap.fill(text, 90)
  figure.suptitle(text, x=0.01, ha="left", fontsize=11, color=INK)


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
  """The legend of `axes`, below all axes of the figure."""
  figure.legend(
    *axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns,
    frameon=False, fontsize=9,
  )  # fmt: skip


def colorbar(figure: Figure, image, label: str, fontsize: float = 10, **settings):
  """A colour bar without a box; `settings` are those of matplotlib."""
  bar = figure.colorbar(image, **settings)
  bar.set_label(label, color=INK, fontsize=fontsize)
  bar.outline.set_visible(False)
  return bar


def axes_at(figure: Figure, left: float, top: float, width: float, height: float):
  """Axes at a position in inches from the left and the top of the figure."""
  across, down = figure.get_size_inches()
  return figure.add_axes(
    (left / across, 1 - (top + height) / down, width / across, height / down)
  )


def text_at(figure: Figure, left: float, top: float, text: str, **settings) -> None:
  """Text at a position in inches from the left and the top of the figure."""
  across, down = figure.get_size_inches()
  settings = {"fontsize": 9, "color": INK, "va": "center", **settings}
  figure.text(left / across, 1 - top / down, text, **settings)


def short(name: str, limit: int = 26) -> str:
  """Cuts a name to at most `limit` letters; a name that was cut ends in an ellipsis."""
  return name if len(name) <= limit else name[: limit - 1].rstrip() + "…"


def signed(value: float) -> str:
  """Formats a difference with its sign and one digit, "0" for none."""
  text = f"{value:+.1f}".replace("-", "−")
  return "0" if text in ("+0.0", "−0.0") else text


def label_points(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
  """Writes names beside points; leaves out a name that would cover something else.

  Args:
    points: (x, y, name), the most important first; the limits of the axes are final.
  """
  figure = axes.get_figure()
  figure.draw_without_rendering()
  positions = axes.transData.transform([(x, y) for x, y, _ in points])
  taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in positions]
  for x, y, name in points:
    for shift, ha in (((6, 4), "left"), ((6, -10), "left"),
                      ((-6, 4), "right"), ((-6, -10), "right")):  # fmt: skip
      text = axes.annotate(
        name, (x, y), shift, textcoords="offset points", fontsize=8, color=INK, ha=ha
      )
      box = text.get_window_extent()
      if (
        axes.bbox.contains(*box.p0)
        and axes.bbox.contains(*box.p1)
        and not any(box.overlaps(other) for other in taken)
      ):
        taken.append(box)
        break
      text.remove()
