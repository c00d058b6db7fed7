"""The job "explain": do Grad-CAM, A_ST and the joint activations tell the truth?"""

import dataclasses
import json
import pathlib

import numpy as np
import tqdm

from vpn_jax.analysis import explanations, hand_truth
from vpn_jax.analysis.judgement import RANDOM, Judge, Judged
from vpn_jax.figures import catalogue
from vpn_jax.figures import explanations as drawing
from vpn_jax.inference import trained_network
from vpn_jax.inputs import pipeline, pose_controls
from vpn_jax.records import store
from vpn_jax.training import provenance

NAME = "explanations"  # of the files
CURVES = ("deletion", "insertion")
BASELINES = ("chance", "centre", "body")  # of the pointing game
COLUMNS = (
  "run", "explanation", "hit, %", *BASELINES, "deletion (- random)", "random",
  "insertion (- random)", "random",
)  # fmt: skip


def spread(labels: np.ndarray, number: int) -> list[int]:
  """Positions of up to `number` clips of each class, evenly over those that it has."""
  places = []
  for label in np.unique(labels):
    own = np.flatnonzero(labels == label)
    count = min(number, len(own))
    places += own[((np.arange(count) + 0.5) * len(own) / count).astype(int)].tolist()
  return places


def rest_pose(
  clips: list[store.Record], network: trained_network.TrainedNetwork
) -> np.ndarray:
  """`pose_controls.rest_pose` of these clips, as the network sees them.

  Reading: it stands for a joint that was taken away.
  """
  settings = dataclasses.replace(network.settings, inputs=("pose",))
  made = (pipeline.example(clip, settings, network.skeleton, None) for clip in clips)
  return pose_controls.rest_pose(one["pose"] for one in made)


def mean_and_error(values: np.ndarray) -> tuple[float, float | None]:
  """Mean over clips, and its standard error; None for a single one."""
  error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else None
  return float(values.mean()), error if error is None else float(error)


def judge_clips(
  network: trained_network.TrainedNetwork,
  part: pipeline.Part,
  index: store.Index,
  config,
  name: str,
) -> tuple[list[str], list[Judged]]:
  """The names of the clips that `config.explain` chooses, and what came out of each."""
  chosen = spread(
    np.array([clip["label"] for clip in part.clips]), config.explain.clips_per_class
  )
  source = store.Source(config.data.records, part.clips)
  clips = [source[i] for i in chosen]
  judge = Judge(network, rest_pose(clips, network), config.explain.steps)
  known = not hand_truth.unknown(index)
  others = [None] * len(clips)
  if len(clips) > 1:
    others = [clips[k] for k in pose_controls.donors([clip.name for clip in clips])]
  judged = []
  for i, clip, other in zip(tqdm.tqdm(chosen, desc=name, unit="clip"), clips, others):
    true = hand_truth.of(clip, index) if known else None
    rng = np.random.default_rng([config.seed, i])
    label = part.clips[i]["label"]
    judged.append(judge.judge(clip, label, true, rng, other))
  return [clip.name for clip in clips], judged


def summary(judged: list[Judged]) -> dict[str, dict]:
  """Explanation -> what `explanations.json` says of it.

  pointing: share of the clips that hit, and of pixels or joints drawn at random
  (chance), of the frame's centre and of any joint of the body; None where the truth is
  not known. deletion and insertion: area, that of random orders, and the mean
  difference of the two by clip. Hit and difference have their standard error.
  """
  methods = {}
  for name in [name for name in RANDOM if name in judged[0].curves]:
    pointed = np.array([one.pointing[name] for one in judged if name in one.pointing])
    methods[name] = {"pointing": None}
    if len(pointed):
      hit, error = mean_and_error(pointed[:, 0])
      means = [None if np.isnan(x) else x for x in pointed[:, 1:].mean(axis=0).tolist()]
      methods[name]["pointing"] = {
        "hit": hit,
        "standard_error": error,
        **dict(zip(BASELINES, means)),
        "clips": len(pointed),
      }
    own, random = (
      np.array([explanations.area(one.curves[order]) for one in judged])
      for order in (name, RANDOM[name])
    )  # [clips, 2] each
    for which, curve in enumerate(CURVES):
      difference, error = mean_and_error((own - random)[:, which])
      methods[name][curve] = {
        "area": float(own[:, which].mean()),
        "random": float(random[:, which].mean()),
        "difference": difference,
        "standard_error": error,
      }
  return methods


def table_rows(run: str, methods: dict[str, dict]) -> list[list[str]]:
  """The cells of a run's explanations, as `COLUMNS`."""
  rows = []
  for name, values in methods.items():
    row = [run, name]
    if (game := values["pointing"]) is None:
      row += ["-"] * 4
    else:
      error, *others = (
        "-" if value is None else f"{100 * value:.1f}"
        for value in (game[k] for k in ("standard_error", *BASELINES))
      )
      row += [f"{100 * game['hit']:.1f} ± {error}", *others]
    for curve in CURVES:
      c = values[curve]
      error = "-" if c["standard_error"] is None else f"{c['standard_error']:.3f}"
      gap = f"{c['difference']:+.3f} ± {error}"
      row += [f"{c['area']:.3f} ({gap})", f"{c['random']:.3f}"]
    rows.append(row)
  return rows


def print_table(rows: list[list[str]]) -> None:
  """Prints the rows under `COLUMNS`, lined up."""
  rows = [list(COLUMNS), *rows]
  widths = [max(map(len, cells)) for cells in zip(*rows)]
  for row in rows:
    print("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip())


def run(config, workdir: str) -> None:
  """The job "explain": writes <run>/explanations.json, .csv, .png; prints one table.

  Args:
    workdir: finished runs separated by commas, trained on the records of `config`.
  """
  workdirs = tuple(word.strip() for word in workdir.split(",") if word.strip())
  if not workdirs:
    raise ValueError("--workdir is empty, expected finished runs separated by commas.")
  for name, value in config.explain.items():
    if value < 1:
      raise ValueError(f"config.explain.{name} is {value}, expected 1 or more.")
  data = config.data.copy_and_resolve_references()
  index, parts = pipeline.open_parts(data, ("test",))
  part, rows = parts["test"], []
  if why := hand_truth.unknown(index):
    print(f"pointing game: left out, {why}")
  for folder, name in zip(map(pathlib.Path, workdirs), catalogue.run_names(workdirs)):
    network = trained_network.load(str(folder))
    network.provenance.check(
      provenance.Provenance.of(index, part.protocol), on_mismatch=config.on_mismatch
    )
    clips, judged = judge_clips(network, part, index, config, name)
    methods = summary(judged)
    if not methods:
      print(
        f"{name}: left out, it has neither one feature map of the frames nor a graph "
        "of joints"
      )
      continue
    content = {
      "commit": provenance.code_commit(),
      "step": network.step,
      "seed": config.seed,
      "steps": config.explain.steps,
      "top1": float(100 * np.mean([one.right for one in judged])),
      "score": float(np.mean([one.score for one in judged])),
      "methods": methods,
      "clips": clips,
    }
    (folder / f"{NAME}.json").write_text(json.dumps(content, indent=1) + "\n")
    means = {
      order: np.mean([one.curves[order] for one in judged], axis=0)
      for order in judged[0].curves
    }
    picture, numbers = catalogue.save(folder, NAME, *drawing.curves(name, means))
    print(
      f"{name}, step {network.step}: {len(clips)} clips, top-1 {content['top1']:.1f}, "
      f"score of the named class {content['score']:.2f}; wrote {folder / NAME}.json, "
      f"{numbers.name} and {picture.name}"
    )
    rows += table_rows(name, methods)
  if rows:
    print_table(rows)
