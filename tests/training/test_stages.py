"""The stages of a row: which there are, each trained once, and what starts whence."""

import json
import pathlib
import shlex

import jax
import numpy as np
import pytest

from configs import common, nucla, synthetic
from vpn_jax.jobs import train
from vpn_jax.training import checkpoint, run_summary, stages

COMMAND = (
  "python launch.py --config=configs/synthetic.py:cs,embedding=none,size=tiny "
  "--workdir=runs/vpn --config.seed=3 --config.model.pose.identity_filter=True "
  "--config.model.attention_norm=none --config.train.epochs=1 "
  "--config.pretraining.pose.train.epochs=2 --config.pretraining.pose.dropout=0.1 "
  "--config.data.records=some/records --config.data.example.views=4"
)


def config_of(arg, **data):
  c = synthetic.get_config(arg)
  c.data.update(data)
  return c


def planned(arg, **settings):
  c = config_of(arg)
  c.update(settings)
  return [pathlib.Path(s.workdir).name for s in stages.plan(c, "runs/vpn")]


def test_rows_that_attend_have_both_backbones_trained_alone():
  assert planned("cs") == ["pose", "visual"]
  assert planned("cs,pose_backbone=lstm,coupler=False") == ["pose", "visual"]
  assert planned("cs,model=separable_sta") == ["pose", "visual"]
  assert planned("cs,model=p_i3d") == [
    *("pose", "visual", "visual_left_hand", "visual_right_hand"),
  ]
  assert planned("cs,model=i3d_continued") == ["visual"]
  assert planned("cs,frozen=True") == ["pose"]  # the published weights stay
  for row in ("model=i3d", "model=i3d_nl", "model=pose", "model=i3d,frozen=True"):
    assert planned(f"cs,{row}") == []
  assert planned("cs", stages=False) == []
  assert planned("cs,start=heads") == ["pose", "heads"]
  assert planned("cs,model=i3d,start=heads") == ["heads"]


def test_finished_runs_take_the_place_of_stages(tmp_path):
  for name in ("a", "b"):
    (tmp_path / name / checkpoint.FOLDER).mkdir(parents=True)
  c = config_of("cs")
  c.init.pose_backbone = str(tmp_path / "a")
  assert [s.kind for s in stages.plan(c, "runs/vpn")] == ["visual"]
  c.init.backbone = str(tmp_path / "b")
  assert stages.plan(c, "runs/vpn") == []
  c = config_of("cs")
  c.init.network = str(tmp_path / "a")  # which has all
  assert stages.plan(c, "runs/vpn") == []
  n = nucla.get_config("v12_3")  # the backbone of another dataset
  n.init.backbone = str(tmp_path / "b")
  assert [s.kind for s in stages.plan(n, "runs/vpn")] == ["pose"]


def test_the_whole_starts_from_its_stages():
  c = config_of("cs")
  found = stages.started_from(c, stages.plan(c, "runs/vpn"))
  assert found.init.pose_backbone == "runs/vpn/pose"
  assert found.init.backbone == "runs/vpn/visual"
  c = config_of("cs,model=p_i3d")
  found = stages.started_from(c, stages.plan(c, "w"))
  assert found.init.backbone == "w/visual,w/visual_left_hand,w/visual_right_hand"
  c = config_of("cs,frozen=True")
  found = stages.started_from(c, stages.plan(c, "w"))
  assert (found.init.backbone, found.init.pose_backbone) == ("kinetics", "w/pose")
  c = config_of("cs,start=heads")
  planned = stages.plan(c, "w")
  assert stages.started_from(c, planned).init.network == "w/heads"
  assert planned[-1].config.init.to_dict() == found.init.to_dict()


@pytest.mark.parametrize(
  ("arg", "alone"),
  [
    ("cs", ["cs,model=pose", "cs,model=i3d"]),
    ("cs,embedding=kl_fp", ["cs,model=pose", "cs,model=i3d"]),
    (
      "cs,pose_backbone=lstm,coupler=False",
      ["cs,model=pose,pose_backbone=lstm", "cs,model=i3d"],
    ),
    (
      "cs,backbone=resnext3d,size=full",
      ["cs,model=pose,size=full", "cs,model=i3d,backbone=resnext3d,size=full"],
    ),
    ("cs,frozen=True", ["cs,model=pose"]),
    ("cs,head=time,embedding=none", ["cs,model=pose", "cs,model=i3d"]),
    ("cs,recipe=best", ["cs,model=pose,recipe=best", "cs,model=i3d,recipe=best"]),
    ("cs,start=heads", ["cs,model=pose", "cs,frozen=True"]),
    ("cs,model=i3d,start=heads", ["cs,model=i3d,frozen=True"]),
  ],
)
def test_a_stage_is_the_row_of_its_backbone_alone(arg, alone):
  """Its configuration, wherever training reads it, is that of its own command."""
  for stage, expected in zip(
    stages.plan(config_of(arg), "w"), map(config_of, alone), strict=True
  ):
    got, want = stage.config.to_dict(), expected.to_dict()
    assert got["row"] == want["row"]
    assert got["loss"]["label_smoothing"] == want["loss"]["label_smoothing"]
    for name in ("network", "optimizer", "train", "data", "inference", "features"):
      assert got[name] == want[name], name
    if stage.kind in ("pose", "heads"):
      assert got["model"] == want["model"]
    else:
      fields = {name: want["model"][name] for name in got["model"] if name != "pose"}
      assert {n: v for n, v in got["model"].items() if n != "pose"} == fields


def test_the_command_of_a_stage_trains_it_by_itself():
  c = config_of("cs,embedding=none,size=tiny")
  pose, visual = stages.plan(c, "runs/vpn", COMMAND)
  assert shlex.split(pose.command) == [
    "python",
    "launch.py",
    "--config=configs/synthetic.py:cs,model=pose,size=tiny",
    "--workdir=runs/vpn/pose",
    "--config.seed=3",
    "--config.model.pose.identity_filter=True",
    "--config.train.epochs=2",
    "--config.model.dropout=0.1",
    "--config.data.records=some/records",
  ]
  best = "configs/synthetic.py:cs,recipe=best,pose_backbone=gcn"
  c = config_of(best.partition(":")[2])
  pose, _ = stages.plan(c, "w", f"launch.py --config={best} --workdir=w")
  assert pose.command.split()[1:] == [
    "--config=configs/synthetic.py:cs,model=pose,pose_backbone=gcn,recipe=best",
    "--workdir=w/pose",
  ]
  assert shlex.split(visual.command)[2:] == [
    "--config=configs/synthetic.py:cs,model=i3d,size=tiny",
    "--workdir=runs/vpn/visual",
    "--config.seed=3",
    "--config.data.records=some/records",
    "--config.data.example.views=4",
  ]


def test_the_command_of_the_heads_is_that_of_a_frozen_row():
  command = COMMAND.replace("none,", "none,start=heads,") + (
    " --config.model.frozen_until= --config.pretraining.heads.train.epochs=9"
  )
  c = config_of("cs,embedding=none,start=heads,size=tiny")
  _, heads = stages.plan(c, "runs/vpn", command)
  assert shlex.split(heads.command)[2:] == [
    "--config=configs/synthetic.py:cs,embedding=none,frozen=True,size=tiny",
    "--workdir=runs/vpn/heads",
    "--config.seed=3",
    "--config.model.pose.identity_filter=True",
    "--config.model.attention_norm=none",
    "--config.data.records=some/records",
    "--config.data.example.views=4",
    "--config.train.epochs=9",
    "--config.init.pose_backbone=runs/vpn/pose",
  ]


@pytest.fixture
def staged_config(small_config):
  """The small network of `make_config`, two steps in every stage."""
  c = small_config
  c.stages, c.train.steps = True, 2
  for kind in ("pose", "visual"):
    c.pretraining[kind].train.update(
      steps=2, batch_size=8, eval_batch_size=8, tensorboard=False
    )
  c.pretraining.visual.frozen_until = ""
  return c


def test_one_command_trains_all_and_no_stage_twice(staged_config, tmp_path, capsys):
  c, workdir = staged_config, tmp_path / "vpn"
  train.run(c, str(workdir))
  said = capsys.readouterr().out
  assert "stage 1 of 3, pose backbone alone: " in said
  assert "stage 3 of 3, the whole: " in said
  found = {
    path.parent.name: json.loads(path.read_text())
    for path in workdir.rglob(run_summary.SUMMARY_FILE)
  }
  rows = {name: summary["row"] for name, summary in found.items()}
  assert rows == {"pose": "pose alone", "visual": "I3D", "vpn": "VPN"}
  assert found["vpn"]["started_from"] == {
    "backbone": f"I3D in {workdir}/visual",
    "pose_backbone": f"pose alone in {workdir}/pose",
  }
  assert found["visual"]["started_from"] == {"backbone": "none"}
  assert found["pose"]["started_from"] == {}

  before = {path: path.stat().st_mtime_ns for path in workdir.rglob("summary.json")}
  (workdir / "summary.json").unlink()
  train.run(c, str(workdir))
  said = capsys.readouterr().out
  assert f"stage 1 of 3, pose backbone alone: finished in {workdir}/pose" in said
  for path in before:
    assert (path.stat().st_mtime_ns == before[path]) == (path.parent != workdir)

  c.pretraining.pose.train.update(steps=3, batch_size=4)
  train.run(c, str(workdir))
  said = capsys.readouterr().out
  assert (
    "with other settings than now: train.batch_size: 8 -> 4; train.steps: 2" in said
  )


def test_the_whole_has_the_weights_of_its_stages(staged_config, tmp_path):
  c, workdir = staged_config, tmp_path / "vpn"
  c.optimizer.rates.update(visual_backbone=0.0, pose_backbone=0.0)
  train.run(c, str(workdir))

  def params(name):
    with checkpoint.reading(workdir / name) as runs:
      return runs.restore_variables()["params"]

  whole, pose, visual = params(""), params("pose"), params("visual")
  same = jax.tree.map(np.array_equal, whole["pose_backbone"], pose["pose_backbone"])
  assert all(jax.tree.leaves(same))
  same = jax.tree.map(np.array_equal, whole["backbone"], visual["backbone"])
  assert all(jax.tree.leaves(same))


def test_all_trains_on_from_where_the_heads_ended(
  shrunk, make_config, plain_operations, tmp_path
):
  """The frozen backbones and the heads are a stage; statistics stay as they were."""
  c = shrunk(synthetic.get_config("cs,embedding=none,start=heads"))
  c.data, c.optimizer.warmup_epochs = make_config().data, 0.0
  c.stages, c.train.steps = True, 2
  for kind in ("pose", "heads"):
    c.pretraining[kind].train.update(
      steps=2, batch_size=8, eval_batch_size=8, tensorboard=False
    )
  lines, workdir = [], tmp_path / "vpn"
  stages.train(c, str(workdir), say=lines.append)
  assert f"stage 2 of 3, heads on frozen backbones: {workdir}/heads" in lines
  assert f"weights: all of {workdir}/heads (step 2)" in lines
  assert not any("other settings" in line for line in lines)
  started = run_summary.read_summary(workdir / run_summary.SUMMARY_FILE)
  assert started["started_from"] == {
    "network": f"VPN without embedding in {workdir}/heads"
  }

  def variables(name):
    with checkpoint.reading(workdir / name) as runs:
      return runs.restore_variables()

  whole, heads, pose = variables(""), variables("heads"), variables("pose")
  for name in ("params", "batch_stats"):
    for later, earlier in ((whole, heads), (heads, pose)):
      same = jax.tree.map(
        np.array_equal, later[name]["pose_backbone"], earlier[name]["pose_backbone"]
      )
      assert all(jax.tree.leaves(same))
  assert_same = np.testing.assert_array_equal
  jax.tree.map(
    assert_same, whole["batch_stats"]["backbone"], heads["batch_stats"]["backbone"]
  )
  for part in ("backbone", "attention", "classifier"):
    same = jax.tree.map(np.array_equal, whole["params"][part], heads["params"][part])
    assert not all(jax.tree.leaves(same)), part
  lines.clear()
  stages.train(c, str(workdir), say=lines.append)
  assert f"stage 2 of 3, heads on frozen backbones: finished in {workdir}/heads" in (
    lines
  )
  assert not any("other settings" in line for line in lines)


def test_schedules_of_a_dataset_name_what_there_is():
  arg = common.parse_arg("cs", protocols=("cs",))
  with pytest.raises(ValueError, match=r"schedule of 'pose' has 'epoch', expected"):
    common.recipe(arg, {"pose": {"epoch": 3}})
  with pytest.raises(ValueError, match=r"schedules of \['gcn'\], expected some of"):
    common.recipe(arg, {"gcn": {}})
  c = common.recipe(arg, {"whole": {"rates": {"pose_backbone": 0.1}}})
  assert c.optimizer.rates.to_dict() == {
    "visual_backbone": 1.0,
    "pose_backbone": 0.1,
    "new": 1.0,
  }


def test_weights_that_are_not_there_are_refused_before_a_stage(staged_config, tmp_path):
  """Not after the hours of the pose stage."""
  c = staged_config
  c.init.backbone = "kinetics"
  c.init.kinetics.i3d = str(tmp_path / "gone")
  with pytest.raises(FileNotFoundError, match="is none, kinetics, the workdir"):
    stages.train(c, str(tmp_path / "run"))
  c.init.kinetics.i3d = ""
  with pytest.raises(ValueError, match=r"config\.init\.kinetics\.i3d is empty"):
    stages.train(c, str(tmp_path / "run"))
  assert not (tmp_path / "run").exists()


def test_what_the_whole_cannot_use_is_refused_before_a_stage(staged_config, tmp_path):
  c, workdir = staged_config, str(tmp_path / "run")
  with pytest.raises(ValueError, match=r"expected a name without commas"):
    stages.train(c, str(tmp_path / "a,b"))
  c.optimizer.kind = "sdg"
  with pytest.raises(ValueError, match=r"config\.optimizer\.kind is 'sdg'"):
    stages.train(c, workdir)
  c.optimizer.kind, c.loss.label_smoothing = "sgd", 1.0
  with pytest.raises(ValueError, match=r"config\.loss\.label_smoothing is 1\.0"):
    stages.train(c, workdir)
  c.loss.label_smoothing, c.model.guide = 0.0, "features"
  with pytest.raises(ValueError, match=r"config\.init\.teacher is ''"):
    stages.train(c, workdir)
  assert not (tmp_path / "run").exists()


def test_a_classifier_on_poses_belongs_to_the_whole_alone(staged_config, tmp_path):
  c, workdir = staged_config, str(tmp_path / "run")
  c.loss.pose_weight = 0.3
  stages.train(c, workdir)
  with checkpoint.reading(workdir) as runs:
    assert runs.about().config["model"]["pose_classifier"]
  lines = []
  stages.train(c, workdir, say=lines.append)  # goes on, and lists no change
  assert not any("other settings" in line for line in lines)
