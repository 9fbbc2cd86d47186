# What the recipes' drivers share: options, checks, the stages that are alike.
# A driver declares its options between two marks, names the stages in `stages`, its
# whole numbers in `whole` and its switches in `switches`, then sources this file.

. "$(dirname "$(readlink -f "$0")")/../supervise.sh"

me=${0/#"$PWD"\//./} # as it was called: exec makes the path absolute
command=$(printf '%q ' "$me" "$@")

log() { echo "$(date '+%Y-%m-%dT%H:%M:%S') $*"; }
die() { echo "$me: $*" >&2; exit 1; }

options() { sed -n '/^# options begin$/,/^# options end$/{/^[a-z]/p}' "$(readlink -f "$me")"; }

is_option() { [[ $1 =~ ^--[a-z_0-9]+$ ]] && options | grep -q "^${1#--}="; }

usage() {
    echo "usage: $me [--OPTION VALUE]..."
    echo "$stages" | fold -s -w 76 | sed -E '1s/^/stages: /; 2,$s/^/        /; s/ +$//'
    echo "options, with their defaults:"
    # The values as they are now: a run.sh that calls the driver has set its own.
    options | sed -E 's/^([a-z_0-9]+)=[^#]*# (.*)$/\1|\2/' |
        while IFS='|' read -r name what; do
            printf '  --%-22s %s%s\n' "$name" "$what" "${!name:+ [${!name}]}"
        done
}

while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --*)
            name=${1#--}
            is_option "$1" || die "unknown option $1; see $me --help"
            [ $# -ge 2 ] && ! is_option "$2" || die "option $1 needs a value"
            printf -v "$name" %s "$2"
            shift 2 ;;
        *) die "unexpected argument '$1'; options are --NAME VALUE, see $me --help" ;;
    esac
done
for name in $whole; do
    [[ ${!name} =~ ^[0-9]+$ ]] || die "--$name '${!name}' is not a whole number"
done
for name in $switches; do
    [[ ${!name} =~ ^(true|false)$ ]] || die "--$name '${!name}' is not true or false"
done

[ -f ./path.sh ] && [ -f ./cmd.sh ] || die "run it in a recipe folder: it reads path.sh and cmd.sh"
. ./path.sh
. ./cmd.sh

runs() { [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ]; }
need() { # need STAGE FILE...
    local maker=$1 file
    shift
    for file in "$@"; do
        [ -e "$file" ] || die "$file does not exist; stage $maker makes it (--stage $maker)"
    done
}
# Whatever a stage says when it fails: a disk that takes no more is told as such.
writable() { # writable FOLDER: or why not, on standard error
    mkdir -p "$1" && head -c 65536 /dev/zero >"$1/.space" && rm "$1/.space"
}
tell_full_disks() {
    local status=$? folder why
    [ "$status" != 0 ] && [ "$BASHPID" = $$ ] || return 0
    for folder in "$dumpdir" "$expdir"; do
        [ -d "$folder" ] || continue
        why=$(writable "$folder" 2>&1) ||
            echo "$me: cannot write to $folder: ${why##*: }; then run the same command again" >&2
        rm -f "$folder/.space" 2>/dev/null
    done
}
trap tell_full_disks EXIT
declare -A locked=()
lock() { # lock FOLDER: nobody else writes there until this and its jobs have ended
    local fd status=0
    [ -z "${locked[$1]:-}" ] || return 0
    mkdir -p "$1" && : >>"$1/.lock" || die "cannot write to $1; see above"
    command -v flock >/dev/null || return 0
    exec {fd}<>"$1/.lock"
    flock --nonblock --conflict-exit-code 75 "$fd" 2>/dev/null || status=$?
    if [ "$status" = 75 ]; then
        die "$1 is in use by $(cat "$1/.lock"); this is host $(uname -n)." \
            "Wait for it, stop it, or take another folder (--asr_tag, --expdir, --dumpdir)"
    elif [ "$status" != 0 ]; then
        log "the disk of $1 has no locks: see to it that nothing else writes there"
    fi
    echo "host $(uname -n), process $SUPERVISED_BY, since $(date '+%Y-%m-%dT%H:%M:%S')" >"$1/.lock"
    locked[$1]=1
}
stem() { local name; name=$(basename "$1"); echo "${name%.*}"; }

decoding() { # conf/decode_greedy.yaml: greedy; conf/decode.yaml: default
    local name
    name=$(stem "$1")
    name=${name#decode}
    name=${name#_}
    echo "${name:-default}"
}

local_data() { # stage 1
    log "Stage 1: data"
    lock "$dumpdir"
    [ -x local/data.sh ] || die "local/data.sh does not exist; it has to write data/{$train_set,$valid_set,$test_sets}"
    # shellcheck disable=SC2086
    PYTHON=$python local/data.sh $local_data_opts
}

speed_perturb() { # stage 2
    log "Stage 2: speed perturbation of $train_set with $speed_perturb_factors"
    need 1 "data/$train_set/wav.scp"
    lock "$dumpdir"
    # shellcheck disable=SC2086
    $python -m espnet_smoe.data.speech.speed_perturb --in "data/$train_set" \
        --out "data/$perturbed" --factors $speed_perturb_factors
}

# The next two are for data of one bandwidth; they read the driver's $org, the folder of
# what stage 3 makes, and its options ${skip[@]}.
format_audio() { # stage 3
    log "Stage 3: format: check every utterance, audio to 16 kHz mono 16-bit"
    [ -z "$speed_perturb_factors" ] || need 2 "data/$perturbed/wav.scp"
    failed=()
    lock "$dumpdir"
    for set in $perturbed $valid_set $test_sets; do
        need 1 "data/$set/wav.scp"
        $python -m espnet_smoe.data.prepare --in "data/$set" --out "$org/$set" \
            --nj "$nj" --bandwidth wb --min-seconds 0 --max-seconds 0 "${skip[@]}" ||
            failed+=("$set")
    done
    [ ${#failed[@]} -eq 0 ] || writable "$dumpdir" || die "stage 3 stopped"
    [ ${#failed[@]} -eq 0 ] || die "stage 3 stopped: bad data in ${failed[*]}"
}

filter_by_length() { # stage 4
    log "Stage 4: filter by length"
    lock "$dumpdir"
    for set in $perturbed $valid_set $test_sets; do
        need 3 "$org/$set/wav.scp"
        limits=(--min-seconds "$min_seconds" --max-seconds "$max_seconds")
        # a test set stays whole, or its scores would flatter
        [[ " $test_sets " != *" $set "* ]] || limits=(--min-seconds 0 --max-seconds 0)
        $python -m espnet_smoe.data.filter --in "$org/$set" \
            --out "$dumpdir/raw/$set" --max-tokens 0 "${limits[@]}"
    done
}

# The next two read the driver's data_options and model_options (which files feed the
# model, and how) and its $token_files.
collect_statistics() { # stage 10
    log "Stage 10: statistics of $train_dir and $valid_dir"
    need 4 "$train_dir/wav.scp" "$valid_dir/wav.scp"
    # shellcheck disable=SC2086
    need 5 $token_files
    [ -f "$asr_config" ] || die "--asr_config $asr_config does not exist"
    lock "$stats_dir"
    logdir=$stats_dir/logdir
    # Nothing of earlier statistics stays, or a stop half-way would leave a mixture.
    rm -rf "$logdir" "$stats_dir"/{train,valid,provenance.json}
    mkdir -p "$logdir"
    jobs=$(cat "$train_dir/wav.scp" "$valid_dir/wav.scp" | wc -l)
    for dir in "$train_dir" "$valid_dir"; do # no more jobs than utterances
        lines=$(wc -l <"$dir/wav.scp")
        jobs=$((jobs < lines ? jobs : lines))
    done
    jobs=$((jobs < nj ? jobs : nj))
    for part in train valid; do
        dir=$train_dir
        [ $part = train ] || dir=$valid_dir
        awk -v n="$jobs" -v p="$logdir/$part" '{print > (p "." (NR - 1) % n + 1 ".scp")}' \
            "$dir/wav.scp"
    done
    # shellcheck disable=SC2046,SC2086
    $train_cmd JOB=1:"$jobs" "$logdir/stats.JOB.log" \
        $python -m espnet_smoe -m espnet2.bin.asr_train --collect_stats true --ngpu 0 \
        $(model_options) $(data_options train "$train_dir") \
        $(data_options valid "$valid_dir") \
        --train_shape_file "$logdir/train.JOB.scp" \
        --valid_shape_file "$logdir/valid.JOB.scp" \
        --output_dir "$logdir/stats.JOB" $asr_args
    inputs=()
    for job in $(seq "$jobs"); do
        inputs+=(--input_dir "$logdir/stats.$job")
    done
    # its command line, all that it says when it succeeds, is of no use on a terminal
    $python -m espnet2.bin.aggregate_stats_dirs "${inputs[@]}" \
        --output_dir "$stats_dir" 2>"$logdir/aggregate.log" ||
        { cat "$logdir/aggregate.log" >&2; die "stage 10 could not sum up the statistics"; }
    ! [ -f "$logdir/stats.1/provenance.json" ] ||
        cp "$logdir/stats.1/provenance.json" "$stats_dir"
}

# The size of the model as it was trained, --asr_args included, to params.json; how long
# the training utterances are, to lengths.json.
count_parameters='
import json, sys
from espnet2.tasks.asr import ASRTask
from espnet_smoe import register
from espnet_smoe.check_config import count_parameters
from espnet_smoe.cost import one_second
from espnet_smoe.inference.config_files import write_lengths
register()
model, _ = ASRTask.build_model_from_file(f"{sys.argv[1]}/config.yaml")
with open(f"{sys.argv[1]}/params.json", "w") as out:
    cost = {"multiply_accumulates": sum(one_second(model).values()) or None}
    json.dump(count_parameters(model) | cost, out)
write_lengths(sys.argv[1])
'

train() { # stage 11
    log "Stage 11: train $asr_exp"
    need 10 "$stats_dir/train/feats_stats.npz" "$stats_dir/valid/speech_shape"
    # shellcheck disable=SC2086
    need 5 $token_files
    [ -f "$asr_config" ] || die "--asr_config $asr_config does not exist"
    lock "$asr_exp"
    launch=()
    distributed=(--multiprocessing_distributed true)
    if [ "$num_nodes" -gt 1 ]; then
        [[ $cuda_cmd == *slurm* ]] || die "--num_nodes $num_nodes needs the slurm backend; set it in cmd.sh"
        launch=(srun --export=ALL)
        # A file on the shared disk tells the nodes where to meet.
        init=$(readlink -f "$asr_exp")/.dist_init_$$_$(date +%s)
        distributed+=(--dist_launcher slurm --dist_init_method "file://$init")
        [ "$ngpu" -gt 0 ] || distributed+=(--dist_backend gloo)
    fi
    # shellcheck disable=SC2046,SC2086
    training=(-m espnet2.bin.asr_train --resume true --ngpu "$ngpu" "${distributed[@]}" \
        $(model_options) $(data_options train "$train_dir") \
        $(data_options valid "$valid_dir") \
        --train_shape_file "$stats_dir/train/speech_shape" \
        --train_shape_file "$stats_dir/train/text_shape" \
        --valid_shape_file "$stats_dir/valid/speech_shape" \
        --valid_shape_file "$stats_dir/valid/text_shape" \
        --fold_length 80000 --fold_length 150 \
        --normalize global_mvn \
        --normalize_conf "stats_file=$stats_dir/train/feats_stats.npz" \
        ${pretrained_model:+--init_param $pretrained_model} \
        --output_dir "$asr_exp" $asr_args)
    export ESPNET_SMOE_ALLOW_CHANGES=$allow_changes
    # A checkpoint goes on only with what it was made from; before a log is written.
    local checker=$python
    [[ $python != *torchrun* ]] || checker=${python##* } # one process is enough
    ! compgen -G "$asr_exp/*.pth" >/dev/null ||
        $checker -m espnet_smoe.training.start "${training[@]}" || exit 1
    # shellcheck disable=SC2086
    $cuda_cmd --gpu "$ngpu" --num_nodes "$num_nodes" "$asr_exp/train.log" "${launch[@]}" \
        $python -m espnet_smoe "${training[@]}"
    $train_cmd "$asr_exp/params.log" $python -c "$count_parameters" "$asr_exp"
    log "trained; log: $asr_exp/train.log"
}

pack() { # stage 14
    log "Stage 14: pack"
    need 11 "$asr_exp/config.yaml" "$asr_exp/$inference_model"
    lock "$asr_exp"
    $python -m espnet_smoe.inference.pack --exp "$asr_exp" --model "$inference_model" \
        --out "$asr_exp/$asr_tag.zip"
}
