# What the run_all.sh of the recipes for CTC and U2++ share: several systems, trained,
# decoded and scored side by side. A run_all.sh sets $driver, the script that makes one
# system, the defaults of $systems and of the other options that it reads itself, these
# named in $own; then it sources this file.

. "$(dirname "$(readlink -f run_all.sh)")/../supervise.sh"

command=$(printf '%q ' "${0/#"$PWD"\//./}" "$@")
seeds=1
jobs=1
stage=1
asr_args=
expdir=exp
dumpdir=dump
results= # RESULTS.md, see results.sh
own="systems seeds jobs stage asr_args expdir dumpdir results $own"
options=()
while [ $# -gt 0 ]; do
    case $1 in -h | --help)
        sed -n '2,/^set /{s/^# \?//p}' "$0"
        echo "Its own options, with their defaults:"
        for name in $own; do echo "  --$name '${!name}'"; done
        echo "Those of $driver: ./$driver --help"
        exit ;;
    esac
    [ $# -ge 2 ] || { echo "$0: option $1 needs a value" >&2; exit 1; }
    case $1 in
        --stop_stage | --asr_tag | --asr_config)
            echo "$0: $1 belongs to $driver; all systems have their own" >&2; exit 1 ;;
        *) if [[ " $own " == *" ${1#--} "* ]]; then
            printf -v "${1#--}" %s "$2"
        else
            options+=("$1" "$2")
        fi ;;
    esac
    shift 2
done
. "$(dirname "$(readlink -f run_all.sh)")/../results.sh"
options+=(--expdir "$expdir" --dumpdir "$dumpdir")
threads=$(($(nproc) / jobs))
if [ "$jobs" -gt 1 ]; then
    export OMP_NUM_THREADS=$((threads > 1 ? threads : 1))
    [[ " ${options[*]} " == *" --nj "* ]] || options+=(--nj "$OMP_NUM_THREADS")
fi

prepare() { # prepare SYSTEM: stages 1 to 10, with the features of its configuration
    [ "$stage" -gt 10 ] || "./$driver" "${options[@]}" \
        --asr_config "conf/tuning/train_$1.yaml" --stage "$stage" --stop_stage 10
}

make() { # make SYSTEM SEED [more options]; SYSTEM in a user's option becomes its name
    local system=$1 seed=$2 tag=$1_seed$2
    shift 2
    echo "$(date '+%Y-%m-%dT%H:%M:%S') $tag: train, decode and score; log: $expdir/$tag/run.log"
    mkdir -p "$expdir/$tag"
    "./$driver" "${options[@]//SYSTEM/$tag}" --asr_config "conf/tuning/train_$system.yaml" \
        --asr_tag "$tag" --results "$expdir/$tag/RESULTS.md" "$@" \
        --asr_args "--seed $seed $asr_args" --stage 11 --stop_stage 13 \
        >"$expdir/$tag/run.log" 2>&1 ||
        { echo "$0: $tag failed; see $expdir/$tag/run.log" >&2; return 1; }
}

make_all() { # make_all [more options]: every system whose RESULTS.md does not exist
    for seed in $seeds; do
        for system in $systems; do
            ! done_before "${system}_seed$seed" "conf/tuning/train_$system.yaml" || continue
            while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
            make "$system" "$seed" "$@" &
        done
    done
    while [ -n "$(jobs -p)" ]; do wait -n; done
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

# compare TABLE TITLE DECODING SYSTEM...: a table of each test set, against the first
# of them that was made, of the results in decode_DECODING
tables=()
compare() {
    local table=$1 title=$2 decoding=$3 set
    shift 3
    trained "$@"
    [ ${#tags[@]} -gt 0 ] || return 0
    for set in "${tags[0]}/decode_$decoding"/*/scores.json; do
        [ -f "$set" ] || continue # not decoded so
        set=$(basename "$(dirname "$set")")
        python3 -m espnet_smoe compare "${tags[@]}" --test-set "$set" \
            --decode "$decoding" --data "$dumpdir/raw/$set" --title "$title, on $set" \
            --out "$expdir/${table}_$set.md" --png "$expdir/${table}_$set.png"
        tables+=("$expdir/${table}_$set.md")
    done
}

report() { # all tables
    python3 -m espnet_smoe.report.tables.results --comparison "${tables[@]}" \
        --out "$(results_file)" --command "${command% }"
}
