#!/usr/bin/env bash
# The seven systems of the SpeechMoE paper: train, decode and score each; then its
# Tables 1 to 3, the validation curves of its Figure 2, and what the experts of 4e do.
#   ./run_all.sh --seeds '1 2 3' --jobs 2
# --jobs systems are trained side by side, each with its share of the cores; --systems
# leaves some out. Other options go to ctc.sh. A system whose RESULTS.md exists is not
# made again.
set -euo pipefail
cd "$(dirname "$0")"
. ./path.sh

command=$(printf '%q ' "$0" "$@")
systems='8e 4e emb 2e b1 b2 moe_l1' # the longest first, so that no core waits at the end
seeds=1
jobs=1
stage=1
asr_args=
inference_configs='conf/decode.yaml conf/decode_greedy.yaml'
expdir=exp
dumpdir=dump
results=RESULTS.md
options=()
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || { echo "$0: option $1 needs a value" >&2; exit 1; }
    case $1 in
        --systems | --seeds | --jobs | --stage | --asr_args | --inference_configs | \
            --expdir | --dumpdir | --results)
            printf -v "${1#--}" %s "$2" ;;
        --stop_stage | --asr_tag | --asr_config)
            echo "$0: $1 belongs to ctc.sh; all systems have their own" >&2; exit 1 ;;
        *) options+=("$1" "$2") ;;
    esac
    shift 2
done
options+=(--expdir "$expdir" --dumpdir "$dumpdir")
threads=$(($(nproc) / jobs))
[ "$jobs" -eq 1 ] || export OMP_NUM_THREADS=$((threads > 1 ? threads : 1))

make() { # make SYSTEM SEED
    local tag=$1_seed$2
    echo "$(date '+%Y-%m-%dT%H:%M:%S') $tag: train, decode and score; log: $expdir/$tag/run.log"
    mkdir -p "$expdir/$tag"
    ./ctc.sh "${options[@]}" --asr_config "conf/tuning/train_$1.yaml" --asr_tag "$tag" \
        --inference_configs "$inference_configs" --results "$expdir/$tag/RESULTS.md" \
        --asr_args "--seed $2 $asr_args" --stage 11 --stop_stage 13 \
        >"$expdir/$tag/run.log" 2>&1 ||
        { echo "$0: $tag failed; see $expdir/$tag/run.log" >&2; return 1; }
}

# trained SYSTEM...: the experiments of those that were made, into `tags`
trained() {
    tags=()
    for name in "$@"; do
        for seed in $seeds; do
            [[ " $systems " != *" $name "* ]] || tags+=("$expdir/${name}_seed$seed")
        done
    done
}

# compare TABLE TITLE SYSTEM...: a table of each test set, against the first system
tables=()
compare() {
    local table=$1 title=$2 set
    shift 2
    trained "$@"
    for set in "${tags[0]}"/decode_default/*/scores.json; do
        set=$(basename "$(dirname "$set")")
        python3 -m espnet_smoe compare "${tags[@]}" --test-set "$set" --decode default \
            --data "$dumpdir/raw/$set" --title "$title, on $set" \
            --out "$expdir/${table}_$set.md" --png "$expdir/${table}_$set.png"
        tables+=("$expdir/${table}_$set.md")
    done
}

if [ "$stage" -le 10 ]; then
    ./ctc.sh "${options[@]}" --asr_config conf/tuning/train_b1.yaml \
        --stage "$stage" --stop_stage 10
fi
for seed in $seeds; do
    for system in $systems; do
        [ ! -f "$expdir/${system}_seed$seed/RESULTS.md" ] || continue
        while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
        make "$system" "$seed" &
    done
done
while [ -n "$(jobs -p)" ]; do wait -n; done

compare table1 "Table 1: the sparsity loss" b1 b2 moe_l1
compare table2 "Table 2: embedding network and importance loss" moe_l1 emb 4e
compare table3 "Table 3: the number of experts" b1 2e 4e 8e
python3 -m espnet_smoe.report.results --comparison "${tables[@]}" --out "$results" \
    --command "${command% }"

trained b1 2e 4e 8e
python3 -m espnet_smoe.report.curves "${tags[@]}" --key loss_ctc --png "$expdir/curves.png"

# where the frames go in 4e, and whether that follows phonetics
experts=$expdir/4e_seed${seeds%% *}
for set in "$experts"/decode_default/*/; do
    set=$(basename "$set")
    python3 -m espnet_smoe experts "$experts" --data "$dumpdir/raw/$set" --limit 200 \
        --out "$experts/experts_$set.md" --png "$experts/experts_$set.png"
done
