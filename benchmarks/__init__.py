"""Side by side with the peers: `python -m benchmarks` runs every comparison, `... NAME` one."""
