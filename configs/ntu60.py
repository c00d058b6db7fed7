r"""NTU RGB+D 60. Paper: cs 93.5, cv 96.2 (table 5).

  python launch.py --config=configs/ntu60.py:cs --job=prepare \
      --config.data.raw=<folder>
  python launch.py --config=configs/ntu60.py:cs --workdir=runs/ntu60_vpn

The second command trains the pose backbone, I3D, and VPN from both.
"""

from configs import common


def get_config(arg="cs"):
  arg = common.parse_arg(arg, protocols=("cs", "cv"))
  c = common.recipe(arg, pose_steps=20)
  c.data.update(dataset="ntu60", records="data/ntu60", skeleton="kinect_v2")
  if arg.recipe == "best":
    c.data.example.persons = 2  # for the classes of two people
  return c
