#!/usr/bin/env bash
# Rows l1, l2, l3 of table 1 on the made-up clips: cs and cv, three seeds each.
#   bash benchmarks/synthetic_rows.sh [folder] [first core] ...
# One stream per core named; each run uses one core. Finished runs are not repeated.
set -euo pipefail
folder=${1:-runs/synthetic}
shift || true
cores=("${@:-0}")
python=${PYTHON:-.venv/bin/python}
"$python" launch.py --config=configs/synthetic.py:cs --job=prepare
runs=()
for seed in 0 1 2; do for protocol in cs cv; do for row in model=i3d embedding=none vpn; do
  runs+=("$seed $protocol $row")
done; done; done
stream() {  # core, number of this stream
  for i in "${!runs[@]}"; do
    (( i % ${#cores[@]} == $2 )) || continue
    read -r seed protocol row <<< "${runs[i]}"
    argument=$protocol; [ "$row" = vpn ] || argument=$protocol,$row
    workdir=$folder/$protocol-$row-$seed
    [ -e "$workdir/summary.json" ] && continue
    mkdir -p "$workdir"
    taskset -c "$1" "$python" launch.py --config="configs/synthetic.py:$argument" \
      --config.seed="$seed" --workdir="$workdir" > "$workdir/log" 2>&1
  done
}
for k in "${!cores[@]}"; do stream "${cores[k]}" "$k" & done
wait
"$python" launch.py --job=tables --workdir="$folder"
