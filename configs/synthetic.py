"""Synthetic activities of daily living: nothing to download, no licence to sign.

python launch.py --config=configs/synthetic.py:cs --job=prepare
python launch.py --config=configs/synthetic.py:cs,model=i3d --workdir=runs/i3d
python launch.py --config=configs/synthetic.py:cs --workdir=runs/vpn
"""

from configs import common

# For two CPU cores; chosen on seed 0 of cs.
SCHEDULES = {
  "pose": dict(epochs=40.0, decay_epochs=(28, 36)),
  "lstm": dict(epochs=20.0),
  "visual": dict(epochs=16.0, batch_size=8, schedule="cosine"),
  "whole": dict(epochs=16.0, batch_size=8, schedule="cosine"),
}


def get_config(arg="cs"):
  arg = common.parse_arg(arg, protocols=("cs", "cv"), size="demo")
  c = common.recipe(arg, SCHEDULES, pose_steps=16, small=True)
  with c.unlocked():
    c.data.seed = 0  # of the generator
    c.data.num_clips = 1050
    c.data.clip_frames = 48
  c.data.update(dataset="synthetic", records="data/synthetic", skeleton="kinect_v2")
  c.model.pose.align = "view"  # cameras 45 degrees apart
  if c.model.get("attention", "none") != "none":
    c.model.attention_scale = "mean"  # else VPN ignores the pose (docs/results.md)
  if arg.recipe == "best":
    c.data.example.augment.noise = 0.0  # worse on cv with noise (docs/results.md)
  # At 64 pixels the objects in hand look the same; a tight crop enlarges them.
  c.prepare.update(size=112, slack=0.03)
  return c
