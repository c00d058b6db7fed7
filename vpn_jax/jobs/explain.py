"""The job "explain": do Grad-CAM, A_ST and the joint activations tell the truth?"""

import functools
import json
import pathlib

import numpy as np
import tqdm

from vpn_jax import text
from vpn_jax.analysis import explanation_summary, ground_truth
from vpn_jax.analysis.explanation_summary import BASELINES
from vpn_jax.analysis.explanations import CURVES
from vpn_jax.figures import catalogue
from vpn_jax.figures import explanations as explanation_figure
from vpn_jax.inference import trained_network
from vpn_jax.inputs import pipeline, protocol_data
from vpn_jax.training import provenance

NAME = "explanations"  # of the files
COLUMNS = (
  "run", "explanation", "hit, %", *BASELINES, "deletion (- random)", "random",
  "insertion (- random)", "random",
)  # fmt: skip


def table_rows(run: str, methods: dict[str, dict]) -> list[list[str]]:
  """The cells of a run's explanations under `COLUMNS`.

  Args:
    run: its name.
    methods: from `explanation_summary.summary`.
  """
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


def explain_run(
  folder: pathlib.Path,
  name: str,
  config,
  index,
  part: pipeline.Part,
  output: pathlib.Path,
) -> list[list[str]]:
  """Writes output/explanations.json, .csv and .png of a run; returns its table rows.

  Args:
    folder: of the finished run.
    name: what the figure and the table call it.
    config: the configuration.
    index, part: of the test clips.
    output: where the files go.
  """
  network = trained_network.load(str(folder))
  network.provenance.check_part(index, part, config.on_mismatch)
  clips, results = explanation_summary.explain_clips(
    network,
    index,
    part,
    config.data.records,
    clips_per_class=config.explain.clips_per_class,
    steps=config.explain.steps,
    seed=config.seed,
    progress=functools.partial(tqdm.tqdm, desc=name, unit="clip"),
  )
  methods = explanation_summary.summary(results)
  if not methods:
    print(
      f"{name}: left out, it has neither one feature map of the frames nor a graph "
      "of joints"
    )
    return []
  content = {
    "commit": provenance.code_commit(),
    "step": network.step,
    "seed": config.seed,
    "steps": config.explain.steps,
    "top1": float(100 * np.mean([one.correct for one in results])),
    "score": float(np.mean([one.score for one in results])),
    "methods": methods,
    "clips": clips,
  }
  line = (
    f"{name}, step {network.step}: {len(clips)} clips, top-1 {content['top1']:.1f}, "
    f"score of the predicted class {content['score']:.2f}"
  )
  rows = table_rows(name, methods)
  try:
    print(f"{line}; wrote {_write(output, name, content, results)}")
  except OSError as e:  # the numbers are not lost by that
    print(line)
    print_table(rows)
    raise OSError(
      f"{output} cannot be written ({e.strerror or e}): look at the space and the "
      "rights of that disk, or set --config.output to another folder."
    ) from e
  return rows


def _write(output: pathlib.Path, name: str, content: dict, results: list) -> str:
  """Writes the files of a run; returns their names in words."""
  output.mkdir(parents=True, exist_ok=True)
  (output / f"{NAME}.json").write_text(json.dumps(content, indent=1) + "\n")
  means = explanation_summary.mean_curves(results)
  picture, numbers = catalogue.save(
    output, NAME, *explanation_figure.curves(name, means)
  )
  return f"{output / NAME}.json, {numbers.name} and {picture.name}"


def print_table(rows: list[list[str]]) -> None:
  """Prints rows under `COLUMNS`."""
  for row in text.padded([COLUMNS, *rows]):
    print("  ".join(row).rstrip())


def run(config, workdir: str) -> None:
  """Explains test clips by finished runs; prints one table.

  Args:
    workdir: finished runs separated by commas, trained on the records of `config`.
  """
  workdirs = text.split_paths(workdir)
  if not workdirs:
    raise ValueError("--workdir is empty, expected finished runs separated by commas.")
  for name, value in config.explain.items():
    if value < 1:
      raise ValueError(f"config.explain.{name} is {value}, expected 1 or more.")
  data = config.data.copy_and_resolve_references()
  rows = []
  for folder, name in zip(map(pathlib.Path, workdirs), catalogue.run_names(workdirs)):
    output = folder
    if config.output:  # one run, or a folder for each
      output = pathlib.Path(config.output, *[name] * (len(workdirs) > 1))
    index, parts = protocol_data.open_parts(data, ("test",), examples=False)
    if not rows and (why := ground_truth.unknown(index)):
      print(f"pointing game: left out, {why}")
    rows += explain_run(folder, name, config, index, parts["test"], output)
  if rows:
    print_table(rows)
