"""What `--job` starts: each job reads the configuration, calls the rooms, and prints.

A job is a module with `run(config, workdir)`; its settings are in `settings.py`.
"""
