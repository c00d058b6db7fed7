"""Which joints the graph responds to, step by step (figure 5a)."""

from collections.abc import Iterable

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vpn_jax.analysis import activations
from vpn_jax.datasets.skeletons import Skeleton
from vpn_jax.figures import style
from vpn_jax.figures.runs import NotAvailableError, Runs
from vpn_jax.models import pose_backbone

PANELS, POSES = 4, 5  # clips, and poses drawn above each
# Inches.
NAMES, BAR, GAP, TOP, BOTTOM, ROW = 1.2, 0.75, 0.12, 1.2, 0.62, 0.16


def joints(runs: Runs) -> tuple[Figure, Iterable[list]]:
  """Response of the graph convolution to each joint at each pose step, a panel a clip.

  Networks of several graph convolutions show the last one, whose steps may be fewer
  than those of the pose: each is as wide as the steps that it stands for. Joints are in
  the order of the body; a frame marks the part of largest mean response. The poses
  stand above. Of several persons the main one is shown.
  Source: figure 5 (a).
  """
  network = runs.network(-1)
  kind = network.config["model"].get("pose", {}).get("kind")
  if not network.uses_pose or kind not in pose_backbone.GRAPHS:
    raise NotAvailableError("the network has no graph convolution")
  skeleton = network.skeleton
  parts = activations.body_order(skeleton)
  order = [joint for part in parts.values() for joint in part]
  maps, poses, titles = [], [], []
  rows = [["clip", "class", "step", "part", "joint", "activation"]]
  for name in runs.clips(PANELS):
    _, out, inputs = runs.forward(-1, runs.record(name))
    features = jax.device_get(out["joint_features"])[:, : skeleton.num_joints]
    values = activations.joint_activation(features)  # [S, J]
    maps.append(values[:, order].T)
    poses.append(inputs["pose"][:, : skeleton.num_joints])
    titles.append(runs.label(name))
    rows += [
      [name, titles[-1], step, part, skeleton.joints[j], f"{values[step, j]:.6g}"]
      for step in range(len(values))
      for part, members in parts.items()
      for j in members
    ]
  return _draw(skeleton, parts, maps, poses, titles), rows


def _draw(
  skeleton: Skeleton,
  parts: dict[str, list[int]],
  maps: list[np.ndarray],
  poses: list[np.ndarray],
  titles: list[str],
) -> Figure:
  """Draws a panel for each clip.

  Args:
    parts: from `activations.body_order`.
    maps: float [J, S'], joints in the order of the body.
    poses: float [S, J, 3], joints in the order of the skeleton.
    titles: of the panels.
  """
  order = [joint for part in parts.values() for joint in part]
  height = ROW * len(order)
  figure = style.new_figure(TOP + height + BOTTOM, None)
  width = (style.WIDTH - NAMES - BAR - GAP * (len(maps) - 1)) / len(maps)
  low, high = min(m.min() for m in maps), max(m.max() for m in maps)
  for panel, (values, pose, title) in enumerate(zip(maps, poses, titles)):
    left = NAMES + panel * (width + GAP)
    name = style.short(title, round(12 * width))
    style.text_at(figure, left + width / 2, 0.15, name, fontsize=10, ha="center")
    above = style.axes_at(figure, left, 0.3, width, TOP - 0.35)
    _draw_poses(above, pose, skeleton, order[0], width, TOP - 0.35)
    axes = style.axes_at(figure, left, TOP, width, height)
    extent = (-0.5, len(pose) - 0.5, len(order) - 0.5, -0.5)  # in steps of the pose
    image = axes.imshow(
      values, aspect="auto", cmap="cividis", vmin=low, vmax=high, interpolation="none",
      extent=extent,
    )  # fmt: skip
    style.bare(axes)
    steps = np.unique(np.linspace(0, len(pose) - 1, 4).astype(int))
    axes.set_xticks(steps, steps + 1, fontsize=8)
    axes.set_xlabel("pose step", fontsize=9)
    sizes = [len(members) for members in parts.values()]
    _mark_parts(axes, values, sizes, len(pose))
    names = [skeleton.joints[j].replace("_", " ") for j in order]
    axes.set_yticks(range(len(order)), names if panel == 0 else [], fontsize=8)
    for label, joint in zip(axes.get_yticklabels(), order):
      label.set_color(_color(skeleton.joints[joint]))
  style.text_at(
    figure, NAMES, TOP + height + BOTTOM - 0.12,
    "framed: the part of the body with the largest mean activation", fontsize=8,
  )  # fmt: skip
  bar_axes = style.axes_at(figure, style.WIDTH - BAR + 0.1, TOP, 0.12, height)
  label = "activation: root mean square of $f_t^+$"
  style.colorbar(figure, image, label, fontsize=9, cax=bar_axes)
  bar_axes.tick_params(labelsize=7, length=0)
  return figure


def _mark_parts(axes: Axes, values: np.ndarray, sizes: list[int], steps: int) -> None:
  """Separates the parts of the body and frames the part of largest mean.

  Args:
    values: float [J, S'].
    sizes: joints of each part.
    steps: of the pose, along the horizontal axis.
  """
  ends = np.cumsum(sizes)
  axes.hlines(ends[:-1] - 0.5, -0.5, steps - 0.5, "white", linewidth=1.5)
  best = int(np.argmax([part.mean() for part in np.split(values, ends[:-1])]))
  axes.add_patch(Rectangle(
    (-0.5, ends[best] - sizes[best] - 0.5), steps, sizes[best], fill=False,
    edgecolor=style.LOSS, linewidth=2, clip_on=False, zorder=3,
  ))  # fmt: skip


def _color(joint: str) -> str:
  """The colour of the joint's side of the body."""
  words = set(joint.split("_"))
  if "left" in words:
    return style.LEFT
  return style.RIGHT if "right" in words else style.INK


def _draw_poses(
  axes: Axes,
  pose: np.ndarray,
  skeleton: Skeleton,
  head: int,
  width: float,
  height: float,
) -> None:
  """Stick figures of some steps, as the camera sees them, each above its step.

  Args:
    pose: float [S, J, 3].
    head: its joint.
    width, height: of the axes, inches.
  """
  axes.set_axis_off()
  axes.set(xlim=(0, width), ylim=(0, height))
  count = min(POSES, len(pose))
  steps = ((np.arange(count) + 0.5) * len(pose) / count).astype(int)
  flat = pose[steps, :, :2].astype(float)
  flat -= (flat.max(axis=1, keepdims=True) + flat.min(axis=1, keepdims=True)) / 2
  if flat[:, head, 1].mean() < 0:  # some cameras' y points down
    flat[..., 1] *= -1
  reach = np.maximum(abs(flat).max(axis=(0, 1)), 1e-6)
  flat *= 0.47 * min(width / count / reach[0], height / reach[1])
  middles = [((step + 0.5) * width / len(pose), height / 2) for step in steps]
  flat += np.array(middles)[:, None]
  axes.scatter(*flat[:, head].T, s=14, color=style.INK, zorder=3)
  for points in flat:
    for i, j in skeleton.bone_indices():
      ends = {_color(skeleton.joints[i]), _color(skeleton.joints[j])} - {style.INK}
      axes.plot(
        points[[i, j], 0], points[[i, j], 1], color=min(ends, default=style.INK),
        linewidth=1.0, solid_capstyle="round",
      )  # fmt: skip
