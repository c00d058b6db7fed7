"""The runs of a table, their dependencies and their order."""

import functools
import pathlib

import fake_run
import pytest

from configs import synthetic
from vpn_jax.results import sweep_plan
from vpn_jax.training import run_summary


def planned(folder, rows, **settings):
  settings = {"protocols": ("cs", "cv"), "seeds": (0,), **settings}
  return sweep_plan.plan("configs/synthetic.py:cs", str(folder), rows=rows, **settings)


def test_a_row_brings_what_it_starts_from():
  runs = planned("runs", ("VPN, LSTM",), protocols=("cs",))
  i3d, lstm, vpn = runs
  assert i3d.words == (
    "launch.py",
    "--config=configs/synthetic.py:cs,model=i3d",
    "--config.seed=0",
    "--workdir=runs/synthetic/cs/i3d/seed0",
  )
  assert lstm.workdir == "runs/synthetic/cs/pose_pose_backbone-lstm/seed0"
  assert vpn.needs == (i3d.workdir, lstm.workdir)
  assert vpn.words[-2:] == (
    f"--config.init.backbone={i3d.workdir}",
    f"--config.init.pose_backbone={lstm.workdir}",
  )


def test_a_pose_backbone_alone_has_no_flags_of_the_frames_network():
  flags = (
    "--config.model.pose.align=view",
    "--config.model.endpoint=Mixed_4f",
    "--config.features.cached=True",
    "--config.data.example.views=4",
  )
  i3d, pose, vpn = planned("runs", ("VPN",), protocols=("cs",), flags=flags)
  assert i3d.words[-4:] == vpn.words[-4:] == flags
  assert pose.words[-1] == flags[0]
  assert not set(flags[1:]) & set(pose.words)


def test_a_graph_is_trained_alone_as_well():
  flags = ("--config.train.epochs=9", "--config.pretraining.pose.train.epochs=5")
  i3d, pose, vpn = planned("runs", ("VPN",), protocols=("cs",), flags=flags)
  assert pose.workdir == "runs/synthetic/cs/pose/seed0"
  assert vpn.needs == (i3d.workdir, pose.workdir)
  assert vpn.words[-2:] == flags
  assert pose.words[-2:] == ("--config.train.epochs=9", "--config.train.epochs=5")
  assert i3d.words[-1] == "--config.train.epochs=9"
  flags = (
    "--config.pretraining.pose.dropout=0.1",
    "--config.pretraining.visual.frozen_until=Mixed_3b",
  )
  rows = ("VPN", "I3D+NL", "I3D, continued")
  i3d, pose, vpn, nl, continued = planned("runs", rows, protocols=("cs",), flags=flags)
  assert pose.words[-1] == "--config.model.dropout=0.1"
  assert i3d.words[-1] == "--config.model.frozen_until=Mixed_3b"
  assert vpn.words[-2:] == flags
  assert not any("pretraining" in word for word in nl.words)  # it has no stages
  assert continued.words[-1] == flags[1]
  assert flags[0] not in continued.words
  (vpn,) = planned("runs", ("VPN",), protocols=("cs",), stages=False)
  assert not any(".init." in word for word in vpn.words)


def test_a_frozen_backbone_keeps_the_published_weights():
  pose, vpn = sweep_plan.plan(
    "configs/synthetic.py:cs,frozen=True",
    "runs",
    rows=("VPN",),
    protocols=(),
    seeds=(0,),
  )
  assert pose.words[1] == "--config=configs/synthetic.py:cs,model=pose"
  assert vpn.words[1] == "--config=configs/synthetic.py:cs,frozen=True"
  assert vpn.needs == (pose.workdir,)
  assert not any("init.backbone" in word for word in vpn.words)


def test_heads_of_a_row_are_a_stage_of_its_own():
  flags = ("--config.pretraining.heads.train.epochs=9", "--config.data.records=r")
  pose, vpn, i3d = sweep_plan.plan(
    "configs/synthetic.py:cs,start=heads",
    "runs",
    rows=("VPN", "I3D"),
    protocols=(),
    seeds=(0,),
    flags=flags,
  )
  assert pose.words[1] == "--config=configs/synthetic.py:cs,model=pose"
  assert pose.words[-1] == flags[1]
  assert vpn.words[1] == "--config=configs/synthetic.py:cs,start=heads"
  assert vpn.needs == (pose.workdir,)
  assert vpn.words[-2:] == i3d.words[-2:] == flags
  assert i3d.words[1] == "--config=configs/synthetic.py:cs,model=i3d,start=heads"


def test_without_stages_only_the_pose_backbone_is_trained_before():
  lstm, vpn = planned("runs", ("VPN, LSTM",), protocols=("cs",), stages=False)
  assert vpn.needs == (lstm.workdir,)
  assert not any("init.backbone" in word for word in vpn.words)


def test_p_i3d_starts_from_one_network_per_part():
  runs = planned("runs", ("P-I3D",), protocols=("cs",))
  assert [pathlib.Path(r.workdir).parent.name for r in runs] == [
    *("i3d", "i3d_left_hand", "i3d_right_hand"),
    *("pose_pose_backbone-lstm", "p_i3d"),
  ]
  assert runs[1].words[-1] == "--config.data.example.region=left_hand"
  assert f"--config.init.backbone={','.join(runs[-1].needs[:3])}" in runs[-1].words


def test_nucla_starts_from_ntu60():
  runs = sweep_plan.plan(
    "configs/nucla.py:v12_3", "runs", rows=("VPN",), protocols=(), seeds=(4,)
  )
  assert [r.workdir for r in runs] == [
    "runs/ntu60/cs/i3d/seed4",
    "runs/nucla/v12_3/pose/seed4",
    "runs/nucla/v12_3/vpn/seed4",
  ]
  assert "--config.init.backbone=runs/ntu60/cs/i3d/seed4" in runs[2].words
  rows = ("VPN, RNX3D101",)  # its own backbone, not I3D's
  first, *_ = sweep_plan.plan(
    "configs/nucla.py:v12_3", "runs", rows=rows, protocols=(), seeds=(4,)
  )
  assert first.workdir == "runs/ntu60/cs/i3d_backbone-resnext3d/seed4"


def test_runs_are_planned_once_and_keep_the_words_of_the_config():
  runs = sweep_plan.plan(
    "configs/ntu60.py:cs,size=cpu",
    "runs",
    rows=("VPN", "I3D", "VPN, kl_fp"),
    protocols=("cs", "cv"),
    seeds=(0, 1),
    flags=("--config.train.steps=2",),
  )
  assert len({r.workdir for r in runs}) == len(runs) == 4 * 2 * 2  # and the pose alone
  assert runs[0].words[1] == "--config=configs/ntu60.py:cs,model=i3d,size=cpu"
  assert all(r.words[-1] == "--config.train.steps=2" for r in runs)


def test_rows_are_fused_for_each_protocol_and_seed():
  found = sweep_plan.fusions(
    "VPN without embedding + pose alone",
    "configs/synthetic.py:cs,frozen=True",
    "runs",
    ("cs", "cv"),
    (0, 1),
  )
  assert found == [
    [f"runs/synthetic/{p}/{row}/seed{seed}" for row in ("embedding-none", "pose")]
    for p in ("cs", "cv")
    for seed in (0, 1)
  ]
  with pytest.raises(ValueError, match=r"config.sweep.fuse is 'VPN', expected rows"):
    sweep_plan.fusions("VPN", "configs/synthetic.py:cs", "runs", (), (0,))


def test_a_finished_run_with_other_settings_says_so(tmp_path):
  flags = ("--config.train.epochs=9", "--config.data.threads=2")
  plan = functools.partial(planned, tmp_path, ("I3D",), protocols=("cs",))
  (run,) = plan(flags=flags)
  folder = pathlib.Path(run.workdir)
  folder.mkdir(parents=True)
  config = synthetic.get_config("cs,model=i3d").to_dict()
  run_summary.write_summary(folder, config, fake_run.RESULT, run.command())
  assert run.done()
  assert run.changes() == []
  (again,) = plan(flags=(*flags[:1], "--config.data.threads=4"))
  assert again.changes() == []  # of speed alone
  (other,) = plan(flags=("--config.train.epochs=3", "--config.loss.features=0"))
  assert other.changes() == [
    "trained with train.epochs=9", "now loss.features=0", "now train.epochs=3",
  ]  # fmt: skip


def test_unknown_rows():
  with pytest.raises(ValueError, match=r"unknown rows \['VPM'\], expected some of"):
    planned("runs", ("VPM",))
