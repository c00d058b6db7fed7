r"""Toyota Smarthome. Paper: cs 60.8, cv1 43.8, cv2 53.5; I3D alone 53.4, 34.9, 45.1
(table 6; accuracies are means over the classes).

  python launch.py --config=configs/smarthome.py:cs --job=prepare \
      --config.data.raw=<folder>
  python launch.py --config=configs/smarthome.py:cs --workdir=runs/sh_vpn

The second command trains the pose backbone, I3D, and VPN from both.

One folder of records serves the three protocols; cv1 and cv2 keep 19 of the 31 classes
and validate on camera 5.
"""

from configs import common


def get_config(arg="cs"):
  arg = common.parse_arg(arg, protocols=("cs", "cv1", "cv2"))
  c = common.recipe(arg, pose_steps=30)
  c.data.update(dataset="smarthome", records="data/smarthome", skeleton="lcrnet_13")
  c.data.balanced = arg.recipe == "best"  # a long tail, and a mean over the classes
  return c
