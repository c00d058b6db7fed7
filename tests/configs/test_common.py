"""Argument strings, the recipe of section 4.1, and launch.py's own errors."""

import pathlib
import subprocess
import sys

import pytest

from configs import common, custom, ntu60, ntu120, nucla, smarthome, synthetic

ROOT = pathlib.Path(__file__).parents[2]


def test_recipe_is_section_4_1():
  c = ntu120.get_config("cs2")
  assert (c.data.dataset, c.data.protocol) == ("ntu120", "cs2")
  assert c.data.example.num_frames == 64
  assert c.data.example.frame_size == 224
  assert c.data.example.pose_steps == 20
  assert (c.model.pose.bone_weight, c.model.pose.other_weight) == (5.0, 2.0)
  assert c.optimizer.to_dict() == {
    "kind": "sgd",
    "clip_norm": 0.0,
    "learning_rate": 0.01,
    "momentum": 0.9,
    "decay_epochs": (10, 20),
    "decay_factor": 0.1,
    "schedule": "steps",
    "warmup_epochs": 0.0,
    "weight_decay": 0.0,
    "rates": {"visual_backbone": 1.0, "pose_backbone": 1.0, "new": 1.0},
  }
  assert (c.train.epochs, c.train.batch_size) == (30.0, 16)
  assert c.loss.classification_weight == 0.8
  assert c.loss.attention_weight == 1e-5
  assert c.model.dropout == 0.3
  assert not c.data.example.flip
  assert c.init.backbone == "kinetics"


@pytest.mark.parametrize("module", [ntu60, ntu120, smarthome, nucla, custom, synthetic])
def test_every_config_has_the_same_fields(module):
  c = module.get_config()
  assert c.network == "vpn"
  assert c.model.pose.skeleton == c.data.skeleton
  c.data.skeleton = "lcrnet_13"  # the network follows the data
  assert c.model.pose.skeleton == "lcrnet_13"


def test_rows():
  i3d = ntu60.get_config("cv,model=i3d")
  assert (i3d.model.attention, i3d.model.embedding) == ("none", False)
  l2 = ntu60.get_config("cv,embedding=none")
  assert (l2.model.attention, l2.model.embedding) == ("spatiotemporal", False)
  assert not ntu60.get_config("cs,coupler=False").model.coupler
  assert ntu60.get_config("cs,embedding=kl_fp").loss.embedding == "kl_fp"
  assert ntu60.get_config("cs,model=pose").network == "pose"
  tiny = ntu60.get_config("cs,size=tiny")
  assert (tiny.data.example.num_frames, tiny.data.example.frame_size) == (16, 64)
  assert (tiny.model.endpoint, tiny.model.frozen_until) == ("Mixed_4f", "Mixed_3c")
  demo = synthetic.get_config("cs")
  assert (demo.data.example.num_frames, demo.data.example.frame_size) == (16, 112)
  assert (demo.prepare.size, demo.prepare.slack) == (112, 0.03)
  assert (demo.model.endpoint, demo.model.frozen_until) == ("Mixed_4f", "Mixed_3c")
  assert ntu60.get_config("cs").model.frozen_until == ""


def test_the_lstm_is_trained_alone_and_then_frozen():
  alone = ntu60.get_config("cs,model=pose,pose_backbone=lstm")
  assert not alone.model.pose.frozen
  assert (alone.optimizer.kind, alone.optimizer.clip_norm) == ("adam", 1.0)
  vpn = ntu60.get_config("cs,pose_backbone=lstm")
  assert vpn.model.pose.frozen
  assert (vpn.optimizer.kind, vpn.optimizer.clip_norm) == ("sgd", 0.0)
  assert not ntu60.get_config("cs").model.pose.frozen
  synthetic_lstm = synthetic.get_config("cs,model=pose,pose_backbone=lstm")
  assert synthetic_lstm.optimizer == alone.optimizer  # fewer epochs, else the same
  assert (synthetic_lstm.train.epochs, synthetic_lstm.train.batch_size) == (20.0, 32)


def test_nucla_starts_from_the_backbone_of_ntu60():
  assert nucla.get_config("v12_3").init.backbone == "runs/ntu60_i3d"
  assert nucla.get_config("v12_3,model=p_i3d").init.backbone == "runs/ntu60_i3d"
  assert ntu60.get_config("cs").init.backbone == "kinetics"


def test_comparators():
  sta = ntu60.get_config("cs,model=separable_sta")
  assert (sta.model.coupler, sta.model.embedding) == (False, False)
  assert (sta.model.pose.kind, sta.model.pose.frozen) == ("lstm", True)
  assert sta.model.pose.recurrent_output == "last"
  parts = ntu60.get_config("cs,model=p_i3d")
  assert parts.data.example.inputs == ("frames", "left_hand", "right_hand", "pose")
  assert parts.model.frozen_until == parts.model.endpoint == "Mixed_5c"
  assert ntu60.get_config("cs,model=i3d_nl").model.non_local == ("Mixed_4e",)
  rnx = ntu60.get_config("cs,backbone=resnext3d,size=tiny")
  assert (rnx.model.endpoint, rnx.model.frozen_until) == ("layer3", "layer2")
  assert ntu60.get_config("cs,model=pose").data.example.inputs == ("pose",)


def test_the_best_recipe_changes_poses_and_how_they_are_trained():
  paper, best = (nucla.get_config(f"v1_2{word}") for word in ("", ",recipe=best"))
  assert best.row.startswith(paper.row)
  assert best.row.endswith(", best recipe")
  assert best.data.example.pose_window == "video"
  assert best.data.example.pose_steps > paper.data.example.pose_steps == 5
  assert (best.model.pose.align, best.model.pose.scale) == ("auto", "torso")
  assert any(best.data.example.augment.rotation)
  # the whole network is trained as in the paper, its pose stage as the row of poses
  assert best.optimizer == paper.optimizer
  assert best.loss == paper.loss
  alone = nucla.get_config("v1_2,model=pose,recipe=best")
  stage = best.pretraining.pose
  assert (stage.train, stage.optimizer) == (alone.train, alone.optimizer)
  assert stage.label_smoothing == alone.loss.label_smoothing
  assert stage.row == alone.row
  example = {**best.data.example.to_dict(), "inputs": ("pose",)}
  assert alone.data.example.to_dict() == example
  assert alone.optimizer.schedule == "cosine"
  given = nucla.get_config("v1_2,model=pose,recipe=best,pose_backbone=gcn")
  assert given.model.pose.kind == "gcn"
  assert given.row == "pose alone, best recipe"
  # At ST-GCN++'s rate the graph of the paper may stay at chance.
  rates = given.optimizer.learning_rate, alone.optimizer.learning_rate
  assert rates == (0.01, 0.1)
  assert given.train == alone.train
  assert nucla.get_config("v1_2,model=pose,recipe=paper").row == "pose alone"
  assert smarthome.get_config("cs,recipe=best").data.balanced
  assert not smarthome.get_config("cs").data.balanced
  assert best.data.corrections == alone.data.corrections == "known"
  assert not best.data.correct_test
  assert not nucla.get_config("v1_2").data.corrections
  # Noise costs synthetic clips accuracy, and N-UCLA, where it was settled, nothing.
  noises = [
    module.get_config(f"{protocol},recipe=best").data.example.augment.noise
    for module, protocol in ((nucla, "v1_2"), (ntu60, "cs"), (synthetic, "cs"))
  ]
  assert noises == [0.02, 0.0, 0.0]
  two = ntu60.get_config("cs,recipe=best")
  assert two.model.pose.persons == two.data.example.persons == 2


def test_a_row_from_heads_keeps_what_the_heads_were_trained_on():
  tuned = ntu60.get_config("cs,embedding=none,start=heads")
  heads = ntu60.get_config("cs,embedding=none,frozen=True")
  moving = {"frozen_until": "", "bn_frozen": True}
  assert tuned.model.to_dict() == {**heads.model.to_dict(), **moving}
  assert tuned.row == heads.row == tuned.pretraining.heads.row
  assert tuned.pretraining.heads.optimizer == heads.optimizer
  assert tuned.optimizer.learning_rate < heads.optimizer.learning_rate
  assert not tuned.features.cached
  with pytest.raises(ValueError, match="frozen=True the heads alone: leave one"):
    ntu60.get_config("cs,frozen=True,start=heads")
  with pytest.raises(ValueError, match="model=p_i3d has no start=heads, expected a"):
    ntu60.get_config("cs,model=p_i3d,start=heads")


def test_unknown_arguments_list_the_known_ones():
  with pytest.raises(ValueError, match=r"unknown protocol 'xs', expected .*'cs', 'cv'"):
    ntu60.get_config("xs")
  with pytest.raises(ValueError, match=r"unknown argument 'modle=i3d'.*'model'"):
    ntu60.get_config("cs,modle=i3d")
  with pytest.raises(ValueError, match=r"model is 'c3d', expected .*'vpn', 'i3d'"):
    ntu60.get_config("cs,model=c3d")
  with pytest.raises(ValueError, match=r"coupler is 'no', expected .*'True', 'False'"):
    common.parse_arg("cs,coupler=no", protocols=("cs",))
  with pytest.raises(ValueError, match=r"i3d_nl has no backbone=resnext3d, expected"):
    ntu60.get_config("cs,model=i3d_nl,backbone=resnext3d")
  with pytest.raises(AttributeError, match="learning_rat"):
    ntu60.get_config("cs").optimizer.learning_rat = 0.1


def launch(*args):
  return subprocess.run(
    [sys.executable, "launch.py", *args], cwd=ROOT, capture_output=True, text=True
  )


def test_missing_data_is_one_line_with_source_and_command(tmp_path):
  done = launch(
    "--config=configs/ntu120.py:cs2",
    f"--workdir={tmp_path}",
    f"--config.data.records={tmp_path / 'none'}",
  )
  assert done.returncode == 1
  lines = done.stderr.strip().splitlines()
  assert len(lines) == 1
  assert "no prepared ntu120 records" in lines[0]
  assert "https://rose1.ntu.edu.sg" in lines[0]
  assert "--config=configs/ntu120.py:cs2 --job=prepare --config.data.raw=" in lines[0]


def test_a_job_without_config_says_so():
  done = launch("--job=train")
  assert done.returncode != 0
  assert "--config is missing" in done.stdout + done.stderr
