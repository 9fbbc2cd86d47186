#!/usr/bin/env bash
# The five systems of the paper: train, decode and score each; then its two tables, and
# what the experts of EncDecS-MoE do.
#   ./run_all.sh --seeds '1 2 3'
# Base, DecFFNx2 and DecS-MoE learn from the whole training set. Base-NBWB and
# EncDecS-MoE go on from Base and DecS-MoE on its NB/WB subset. Other options go to
# run.sh. A system whose RESULTS.md exists is not made again.
set -euo pipefail
cd "$(dirname "$0")"
. "$(dirname "$(readlink -f run_all.sh)")/../supervise.sh"
. ./path.sh

command=$(printf '%q ' "$0" "$@")
seeds=1
stage=1
asr_args=
inference_config=conf/decode.yaml
expdir=exp
dumpdir=dump
results=
options=()
while [ $# -gt 0 ]; do
    case $1 in -h | --help)
        sed -n '2,/^set /{s/^# \?//p}' "$0"
        echo "Its own options: --seeds, --stage, --asr_args, --inference_config, --expdir,"
        echo "--dumpdir, --results. Those of run.sh: ./run.sh --help"
        exit ;;
    esac
    [ $# -ge 2 ] || { echo "$0: option $1 needs a value" >&2; exit 1; }
    case $1 in
        --seeds | --stage | --asr_args | --inference_config | --expdir | --dumpdir | \
            --results)
            printf -v "${1#--}" %s "$2" ;;
        --stop_stage | --asr_tag | --asr_config | --on_nbwb | --pretrained_model)
            echo "$0: $1 belongs to run.sh; all systems have their own" >&2; exit 1 ;;
        *) options+=("$1" "$2") ;;
    esac
    shift 2
done
. "$(dirname "$(readlink -f run_all.sh)")/../results.sh"
options+=(--inference_config "$inference_config" --expdir "$expdir" --dumpdir "$dumpdir")
ctc_weight=$(awk '$1 == "ctc_weight:" {print $2}' "$inference_config")

# make TAG CONFIG SEED [more options]: train, decode and score
make() {
    local tag=$1 config=$2 seed=$3
    shift 3
    ./run.sh "${options[@]}" --asr_config "conf/tuning/train_$config.yaml" \
        --asr_tag "$tag" --results "$expdir/$tag/RESULTS.md" \
        --asr_args "--seed $seed $asr_args" --stage 11 --stop_stage 13 "$@"
}

# compare TABLE TITLE SUFFIX SYSTEM...: a table of each test set that ends in SUFFIX
comparisons=()
compare() {
    local table=$1 title=$2 suffix=$3 set systems=()
    shift 3
    for name in "$@"; do
        for seed in $seeds; do
            systems+=("$expdir/${name}_seed$seed")
        done
    done
    for set in "${systems[0]}"/decode_*/*/scores.json; do
        set=$(basename "$(dirname "$set")")
        [[ $set == *_nbwb ]] && is=_nbwb || is=
        [ "$is" = "$suffix" ] || continue
        python3 -m espnet_smoe compare "${systems[@]}" --test-set "$set" \
            --data "$dumpdir/raw/$set" --title "$title, on $set" --every-condition \
            --out "$expdir/${table}_$set.md" --png "$expdir/${table}_$set.png"
        comparisons+=("$expdir/${table}_$set.md")
    done
}

if [ "$stage" -le 10 ]; then
    first="conf/tuning/train_base.yaml"
    ./run.sh "${options[@]}" --asr_config $first --stage "$stage" --stop_stage 10
    ./run.sh "${options[@]}" --asr_config $first --on_nbwb true --stage 10 --stop_stage 10
fi
for seed in $seeds; do
    for name in base decffnx2 decsmoe; do
        tag=${name}_seed$seed
        done_before "$tag" "conf/tuning/train_$name.yaml" || make "$tag" $name "$seed"
    done
    for pair in base:base_nbwb decsmoe:encdecsmoe; do
        from=$expdir/${pair%:*}_seed$seed
        tag=${pair#*:}_seed$seed
        config=${pair#*:}
        ! done_before "$tag" "conf/tuning/train_$config.yaml" || continue
        python3 -m espnet_smoe upcycle "$from" --out "$expdir/$tag/init.pth" \
            --config "conf/tuning/train_$config.yaml"
        make "$tag" "$config" "$seed" --on_nbwb true \
            --pretrained_model "$expdir/$tag/init.pth"
    done
done

compare table1 "Table 1: experts in the decoder" "" base decffnx2 decsmoe
compare table2 "Table 2: fine-tuned on narrowband and wideband speech" _nbwb \
    base_nbwb encdecsmoe base decsmoe
python3 -m espnet_smoe.report.tables.results --comparison "${comparisons[@]}" \
    --out "$(results_file)" --command "${command% }"

experts=$expdir/encdecsmoe_seed${seeds%% *}
for set in "$experts"/decode_*/*_nbwb; do
    set=$(basename "$set")
    python3 -m espnet_smoe experts "$experts" --data "$dumpdir/raw/$set" --limit 200 \
        --ctc-weight "${ctc_weight:-0}" --out "$experts/experts_$set.md" \
        --png "$experts/experts_$set.png"
done
