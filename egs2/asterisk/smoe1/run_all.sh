#!/usr/bin/env bash
# Five systems on the same prompts: train, decode and score each; then their table, and
# what the experts of EncDecS-MoE do.
#   ./run_all.sh --seeds '1 2 3'
# --jobs systems are trained side by side, --systems leaves some out. Other options go to
# run.sh. A system whose RESULTS.md exists is not made again.
set -euo pipefail
cd "$(dirname "$0")"
. ./path.sh

systems='base decffnx2 decsmoe encdecsmoe declanguage'
. ../../TEMPLATE/systems.sh
compare_options=(--every-condition)

prepare base
make_all "$systems"

compare table "Experts by task, by bandwidth and by language" default '*' \
    base decffnx2 decsmoe encdecsmoe declanguage
report

experts encdecsmoe '*' --ctc-weight 0.3
