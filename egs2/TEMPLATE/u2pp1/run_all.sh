#!/usr/bin/env bash
# Dense and MoE (2, 4 and 8 experts, of which a frame visits 1 or 2): train each, decode
# it in four ways, whole and in chunks, and score it; then the systems against the dense
# one, and of each system a table of the ways and the chunks.
#   ./run_all.sh --seeds '1 2 3' --jobs 2
# --jobs systems are trained side by side, each with its share of the cores; --systems
# leaves some out, and may name dense2 and dense8, dense models of the active and of the
# total size of 8 experts of which 2 are visited. Other options go to run.sh; SYSTEM in
# them stands for dense_seed1, moe2k1_seed1 and so on:
# --pretrained_model exp/SYSTEM/valid.acc.ave.pth:encoder:encoder.
# A system whose RESULTS.md exists is not made again.
set -euo pipefail
cd "$(dirname "$0")"
. ./path.sh

systems='moe8k2 moe4k2 moe2k2 moe8k1 moe4k1 moe2k1 dense' # the longest first
inference_config='conf/decode_greedy.yaml conf/decode_prefix_beam.yaml'
inference_config+=' conf/decode_attention.yaml conf/decode_rescoring.yaml'
chunk_sizes='0 16 8 4'
compared=rescoring # the way in which the systems are compared
own='inference_config chunk_sizes compared'
. "$(dirname "$(readlink -f run_all.sh)")/../systems.sh"

prepare dense
make_all "$systems" --inference_config "$inference_config" --chunk_sizes "$chunk_sizes"

all='dense dense2 dense8 moe2k1 moe4k1 moe8k1 moe2k2 moe4k2 moe8k2'
# shellcheck disable=SC2086
{
    compare full "Decoded by $compared, whole" "${compared}_full" '*' $all
    compare chunk16 "Decoded by $compared in chunks of 16 frames" "${compared}_chunk16" '*' $all
    trained $all
}
for set in "${tags[0]}"/modes_*.md; do
    set=$(basename "${set#*/modes_}" .md)
    python3 -m espnet_smoe.report.tables.decoding_table "${tags[@]}" --test-set "$set" \
        --out "$expdir/modes_$set.md"
    tables+=("$expdir/modes_$set.md")
done
report

python3 -m espnet_smoe curves "${tags[@]}" --key acc --png "$expdir/curves.png"
