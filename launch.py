r"""One command for every job.

python launch.py --config=configs/synthetic.py:cs --job=prepare
python launch.py --config=configs/synthetic.py:cs --workdir=runs/vpn
python launch.py --config=configs/synthetic.py:cs --workdir=runs/vpn --job=evaluate
"""

from vpn_jax.jobs import command_line

if __name__ == "__main__":
  command_line.main()
