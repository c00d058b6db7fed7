r"""Northwestern-UCLA. Paper: v12_3 93.5 (table 7).

  python launch.py --config=configs/nucla.py:v12_3 --job=prepare \
      --config.data.raw=<folder> --config.data.boxes=<boxes of the persons>
  python launch.py --config=configs/ntu60.py:cs,model=i3d --workdir=runs/ntu60_i3d
  python launch.py --config=configs/nucla.py:v12_3 --workdir=runs/nucla_vpn

The second command trains the backbone that VPN starts from: N-UCLA is too small to
start from Kinetics (section 4.4).

The skeletons have no joints in the image, so the crop needs boxes of the persons.
--config.data.boxes=mediapipe detects them; --config.prepare.crop=full keeps the whole
frame. Poses alone need no videos, and are best with settings of their own:

  python launch.py --config=configs/nucla.py:v12_3,model=pose --job=prepare \
      --config.data.raw=<folder>
  python launch.py --config=configs/nucla.py:v12_3,model=pose,recipe=best \
      --workdir=runs/nucla_pose

v1_2 and v2_1 train on one view and test on another. recipe=best trains on corrected
labels where they are known to be wrong, 24 clips of view 2 (docs/data.md); the test
keeps the published ones.
"""

from configs import common


def get_config(arg="v12_3"):
  arg = common.parse_arg(arg, protocols=("v12_3", "v13_2", "v23_1", "v1_2", "v2_1"))
  c = common.recipe(arg, pose_steps=5, small=True)
  c.data.update(dataset="nucla", records="data/nucla", skeleton="kinect_v1")
  if arg.recipe == "best":
    c.data.corrections = "known"
  if arg.model != "pose" and arg.backbone == "i3d":
    c.init.backbone = "runs/ntu60_i3d"
  return c
