#!/usr/bin/env bash
# The seven systems of the SpeechMoE paper: train, decode and score each; then its
# Tables 1 to 3, one of the greedy search, the validation curves of its Figure 2, and what
# the experts of 4e do.
#   ./run_all.sh --seeds '1 2 3' --jobs 2
# --jobs systems are trained side by side, each with its share of the cores; --systems
# leaves some out. Other options go to run.sh. A system whose RESULTS.md exists is not
# made again.
set -euo pipefail
cd "$(dirname "$0")"
. ./path.sh

systems='8e 4e emb 2e b1 b2 moe_l1' # the longest first, so that no core waits at the end
. "$(dirname "$(readlink -f run_all.sh)")/../systems.sh"
options=(--asr_args '' "${options[@]}") # as long as the configuration says, unlike a run.sh

prepare b1
make_all "$systems"

compare table1 "Table 1: the sparsity loss" default '*' b1 b2 moe_l1
compare table2 "Table 2: embedding network and importance loss" default '*' moe_l1 emb 4e
compare table3 "Table 3: the number of experts" default '*' b1 2e 4e 8e
compare greedy "Greedy search: syllables without language model" greedy '*' \
    b1 2e 4e 8e b2 moe_l1 emb
report

trained b1 2e 4e 8e
[ ${#tags[@]} -eq 0 ] ||
    python3 -m espnet_smoe curves "${tags[@]}" --key loss_ctc --png "$expdir/curves.png"

# where the frames go in 4e, and whether that follows phonetics
experts 4e '*'
