#!/usr/bin/env bash
# The whole recipe for one system: corpora, training, decoding, scores.
#   ./run.sh --local_data_opts '--aihub /corpora/aihub' --ngpu 8
# Options go to smoe.sh. Without --test_sets every set that stage 1 names test* or eval*
# is decoded; the cosine is made as long as the training (local/schedule.py).
set -euo pipefail
cd "$(dirname "$0")"

arguments=("$@")
given() { # given NAME DEFAULT: the value of --NAME
    local value=$2 i
    for ((i = 0; i < ${#arguments[@]}; i += 2)); do
        [ "${arguments[i]}" != "--$1" ] || value=${arguments[i + 1]}
    done
    echo "$value"
}
stages() { # stages FIRST LAST [OPTION VALUE]...: those of them that were asked for
    local first=$1 last=$2
    shift 2
    first=$((first > stage ? first : stage))
    last=$((last < stop_stage ? last : stop_stage))
    [ "$first" -le "$last" ] || return 0
    ./smoe.sh --nbpe 40000 --nbwb_share 0.15 "${arguments[@]}" "$@" \
        --stage "$first" --stop_stage "$last" &
    wait $! # which a signal interrupts
}
trap 'kill -TERM $! 2>/dev/null; wait $!; exit 143' TERM INT HUP

((${#arguments[@]} % 2 == 0)) || exec ./smoe.sh "$@" # --help, or it says what is wrong
stage=$(given stage 1)
stop_stage=$(given stop_stage 13)
[[ $stage,$stop_stage =~ ^[0-9]+,[0-9]+$ ]] || exec ./smoe.sh "$@"

stages 1 1
[ "$stop_stage" -gt 1 ] || exit 0

test_sets=$(given test_sets '')
if [ -z "$test_sets" ]; then
    for set in data/test* data/eval*; do
        [ ! -f "$set/wav.scp" ] || test_sets+=" ${set#data/}"
    done
    [ -n "$test_sets" ] || {
        echo "$0: no data/test* or data/eval* here; run stage 1, or name --test_sets" >&2
        exit 1
    }
fi
stages 2 10 --test_sets "$test_sets"

schedule=
if [ "$stage" -le 11 ] && [ "$stop_stage" -ge 11 ]; then
    set=$(given train_set train)
    [ -z "$(given speed_perturb_factors '')" ] || set+=_sp
    [ "$(given on_nbwb false)" = false ] || set+=_nbwb
    python=$(given python python3)
    config=$(given asr_config conf/train.yaml)
    tokens=$(given bpe_type bbpe)$(given nbpe 40000)
    exp=$(given expdir exp)
    tag=$(basename "${config%.*}")_$tokens
    [ -z "$(given speed_perturb_factors '')" ] || tag+=_sp
    # shellcheck disable=SC2046
    schedule=$("${python##* }" local/schedule.py "$config" \
        "$(given dumpdir dump)/raw/$set" --stats "$exp/stats_${set}_$tokens" \
        --exp "$exp/$(given asr_tag "$tag")" -- $(given asr_args ''))
fi
stages 11 100 --test_sets "$test_sets" --asr_args "$schedule $(given asr_args '')"
