r"""Your own videos and poses.

An index (csv) names the clips: columns clip, video, label, and any others to split by.
Two files hold the joints by clip name (npz): 3D in metres and 2D in the image.

  python launch.py --config=configs/custom.py --job=prepare \
      --config.data.index=my/index.csv --config.data.world_joints=my/world.npz \
      --config.data.image_joints=my/image.npz --config.data.skeleton=mediapipe_33 \
      --config.data.records=data/my
  python launch.py --config=configs/custom.py --workdir=runs/my \
      --config.data.records=data/my --config.data.skeleton=mediapipe_33 \
      --config.data.train=subject:1,3,6 --config.data.test=subject:5,8
"""

from configs import common


def get_config(arg="split"):
  arg = common.parse_arg(arg, protocols=("split",))
  c = common.recipe(arg)
  with c.unlocked():
    c.data.index = ""
    c.data.world_joints = ""
    c.data.image_joints = ""
    c.data.image_units = "fraction"  # of the image, or "pixel"
    c.data.train = "split:train"  # column:values of the training part
    c.data.test = "split:test"
  c.data.update(dataset="custom", records="data/custom", skeleton="mediapipe_33")
  c.data.example.pose_steps = 20  # t_p
  return c
