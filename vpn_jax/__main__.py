"""`python -m vpn_jax`: the jobs of launch.py, wherever the package is installed."""

from vpn_jax.jobs import command_line

if __name__ == "__main__":
  command_line.main()
