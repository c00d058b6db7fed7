r"""NTU RGB+D 120. Paper: cs1 86.3, cs2 87.8; I3D alone 77.0, 80.1 (table 5).

  python launch.py --config=configs/ntu120.py:cs1 --job=prepare \
      --config.data.raw=<folder>
  python launch.py --config=configs/ntu120.py:cs1 --workdir=runs/ntu120_vpn

The second command trains the pose backbone, I3D, and VPN from both.
"""

from configs import common


def get_config(arg="cs1"):
  arg = common.parse_arg(arg, protocols=("cs1", "cs2"))
  c = common.recipe(arg, pose_steps=20)
  c.data.update(dataset="ntu120", records="data/ntu120", skeleton="kinect_v2")
  if arg.recipe == "best":
    c.data.example.persons = 2  # for the classes of two people
  return c
