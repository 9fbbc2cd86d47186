# What every run_all.sh shares: several systems, each trained, decoded and scored by the
# recipe's run.sh, and tables of them. A run_all.sh sets the defaults of $systems and of
# the other options that it reads itself, these named in $own; then it sources this file.

template=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
. "$template/supervise.sh"
. "$template/overrides.sh"

command=$(printf '%q ' "${0/#"$PWD"\//./}" "$@")
seeds=1
jobs=1
stage=1
expdir=exp
dumpdir=dump
results= # RESULTS.md, see results_file
own="systems seeds jobs stage expdir dumpdir results ${own:-}"
taken="stop_stage seed asr_tag asr_exp asr_config inference_tag ${taken:-}" # of each system
configs=conf/tuning # train_SYSTEM.yaml
options=()
while [ $# -gt 0 ]; do
    case $1 in -h | --help)
        sed -n '2,/^set /{s/^# \?//p}' "$0"
        echo "Its own options, with their defaults:"
        for name in $own; do echo "  --$name '${!name}'"; done
        echo "Those of run.sh: ./run.sh --help"
        exit ;;
    esac
    name=${1#--}
    name=${name//-/_}
    [ $# -ge 2 ] || { echo "$0: option $1 needs a value" >&2; exit 1; }
    [ "$name" != inference_configs ] || name=inference_config # its former name
    if [[ " $taken " == *" $name "* ]]; then
        echo "$0: $1 belongs to run.sh; all systems have their own" >&2
        exit 1
    elif [[ " $own " == *" $name "* ]]; then
        printf -v "$name" %s "$2"
    else
        options+=("$1" "$2")
        [ "$name" != inference_args ] || inference_args=$2
    fi
    shift 2
done
options+=(--expdir "$expdir" --dumpdir "$dumpdir")
threads=$(($(nproc) / jobs))
if [ "$jobs" -gt 1 ]; then
    export OMP_NUM_THREADS=$((threads > 1 ? threads : 1))
    [[ " ${options[*]} " == *" --nj "* ]] || options+=(--nj "$OMP_NUM_THREADS")
fi

prepare() { # prepare SYSTEM [more options]: stages 1 to 10, with the features of its configuration
    [ "$stage" -gt 10 ] || ./run.sh "${options[@]}" \
        --asr_config "$configs/train_$1.yaml" --stage "$stage" --stop_stage 10 "${@:2}"
}

# What a system needs beside its configuration, into the array `more`; a run_all.sh may
# define it anew.
before() { more=(); } # before SYSTEM SEED

make() { # make SYSTEM SEED [more options]; SYSTEM in a user's option becomes its name
    local tag=$1_seed$2 more
    echo "$(date '+%Y-%m-%dT%H:%M:%S') $tag: train, decode and score; log: $expdir/$tag/run.log"
    mkdir -p "$expdir/$tag"
    {
        before "$1" "$2" && ./run.sh "${options[@]//SYSTEM/$tag}" \
            --asr_config "$configs/train_$1.yaml" --asr_tag "$tag" --seed "$2" \
            --results "$expdir/$tag/RESULTS.md" "${more[@]}" "${@:3}" \
            --stage 11 --stop_stage 13
    } >"$expdir/$tag/run.log" 2>&1 ||
        { echo "$0: $tag failed; see $expdir/$tag/run.log" >&2; return 1; }
}

done_before() { # done_before SYSTEM SEED: whether it was made; says so where its YAML is newer
    local results=$expdir/$1_seed$2/RESULTS.md config=$configs/train_$1.yaml
    [ -f "$results" ] || return 1
    ! [ "$config" -nt "$results" ] || echo "$0: $1_seed$2 is not made again, although" \
        "$config is newer; rm -r $expdir/$1_seed$2 makes it anew" >&2
}

make_all() { # make_all "SYSTEM..." [more options]: those whose RESULTS.md does not exist
    local system seed
    for seed in $seeds; do
        for system in $1; do
            [[ " $systems " == *" $system "* ]] && ! done_before "$system" "$seed" || continue
            while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
            make "$system" "$seed" "${@:2}" &
        done
    done
    while [ -n "$(jobs -p)" ]; do wait -n; done
}

# trained SYSTEM...: the experiments of those that were made, into `tags`
trained() {
    local name seed
    tags=()
    for name; do
        for seed in $seeds; do
            [[ " $systems " != *" $name "* ]] || tags+=("$expdir/${name}_seed$seed")
        done
    done
}

# compare TABLE TITLE DECODING SETS SYSTEM...: a table of each test set whose name fits
# the pattern SETS, against the first of them that was made, of decode_DECODING
tables=()
compare_options=()
rivals=() # further experiments of every table
compare() {
    local table=$1 title=$2 decoding=$3$(overrides) sets=$4 set
    trained "${@:5}"
    tags+=("${rivals[@]}")
    [ ${#tags[@]} -gt 0 ] || return 0
    for set in "${tags[0]}/decode_$decoding"/*/scores.json; do
        [ -f "$set" ] || continue # not decoded so
        set=$(basename "$(dirname "$set")")
        # shellcheck disable=SC2053
        [[ $set == $sets ]] || continue
        python3 -m espnet_smoe compare "${tags[@]}" --test-set "$set" \
            --decode "$decoding" --data "$dumpdir/raw/$set" --title "$title, on $set" \
            "${compare_options[@]}" \
            --out "$expdir/${table}_$set.md" --png "$expdir/${table}_$set.png"
        tables+=("$expdir/${table}_$set.md")
    done
}

# The tables in RESULTS.md stay those of the command that they name: other systems, seeds
# or sets go elsewhere, unless --results says so.
results_file() {
    local kept=RESULTS.md
    if [ -n "$results" ]; then
        kept=$results
    elif [ -f $kept ] && ! grep -qxF -- "${command% }" $kept; then
        kept=$expdir/RESULTS.md
        echo "$0: RESULTS.md holds the tables of another command and stays;" \
            "these go to $kept (--results RESULTS.md replaces it)" >&2
    fi
    echo "$kept"
}

report() { # all tables
    [ ${#tables[@]} -gt 0 ] || {
        echo "$0: none of the systems in $expdir is decoded as this command asks, so there" \
            "is no table: a system whose RESULTS.md exists is not decoded again; remove it" >&2
        return 1
    }
    python3 -m espnet_smoe.report.tables.results --comparison "${tables[@]}" \
        --out "$(results_file)" --command "${command% }"
}

# experts SYSTEM SETS [more options]: what the experts of its first seed do, once a set
experts() {
    local experts=$expdir/$1_seed${seeds%% *} decoded sets set
    sets=$(for decoded in "$experts"/decode_*/$2/; do
        [ ! -d "$decoded" ] || basename "$decoded"
    done | sort -u) # none where it was left out
    for set in $sets; do
        python3 -m espnet_smoe experts "$experts" --data "$dumpdir/raw/$set" --limit 200 \
            "${@:3}" --out "$experts/experts_$set.md" --png "$experts/experts_$set.png"
    done
}
