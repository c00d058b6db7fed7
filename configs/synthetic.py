r"""Made-up activities of daily living: no download, no licence; the default.

python launch.py --config=configs/synthetic.py:cs --job=prepare
python launch.py --config=configs/synthetic.py:cs,model=i3d --workdir=runs/i3d
python launch.py --config=configs/synthetic.py:cs --workdir=runs/vpn
"""

from configs import common


def get_config(arg="cs"):
  arg = common.parse_arg(arg, protocols=("cs", "cv"), size="demo")
  c = common.recipe(arg)
  with c.unlocked():
    c.data.seed = 0  # of the generator
    c.data.num_clips = 1050
    c.data.clip_frames = 48
  c.data.update(dataset="synthetic", records="data/synthetic", skeleton="kinect_v2")
  c.data.example.pose_steps = 16  # t_p
  # At 64 pixels nothing tells the objects in hand apart; a tight crop enlarges them.
  c.prepare.update(size=112, slack=0.03)
  # Schedules for two CPU cores; poses alone are cheap enough for more.
  if arg.model == "pose":
    c.train.epochs = 20.0
    if arg.pose_backbone == "gcn":
      c.optimizer.decay_epochs = (14, 18)
  else:
    c.train.update(epochs=3.0, batch_size=8)
    c.optimizer.decay_epochs = (2.2, 2.7)
  c.sweep.stages = False  # all rows from the same weights, for the same steps
  return c
