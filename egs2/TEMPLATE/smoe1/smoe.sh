#!/usr/bin/env bash
# Train, decode and score one model for speech recognition and translation.
# The stages have the numbers of ESPnet's asr.sh; everything they need is in pip.
set -euo pipefail

# Options: each is NAME=DEFAULT  # what it does. --NAME VALUE sets it.
# options begin
stage=1                     # first stage to run
stop_stage=100              # last stage to run
train_set=train             # name of the training set under data/
valid_set=dev               # name of the validation set
test_sets=test              # names of the test sets, separated by spaces
asr_config=conf/train.yaml  # configuration of model and training
inference_config=conf/decode.yaml # configuration of decoding
asr_args=                   # more options for training, such as '--max_epoch 3'
inference_args=             # more options for decoding
asr_tag=                    # name of the experiment (default: from asr_config)
inference_tag=              # name of the decoding (default: from inference_config)
inference_model=valid.acc.ave.pth # the checkpoint to decode and pack
pretrained_model=           # start from these weights: FILE or FILE:SRC:DST
speed_perturb_factors=      # such as '0.9 1.0 1.1' (default: none)
bandwidth=file              # file, auto or a label: see espnet-smoe prepare --help
bandwidths='nb wb'          # the bandwidth labels of the data
nbwb_share=                 # make *_nbwb sets too, of this share of training, such as 0.15
on_nbwb=false               # true: stages 10 and 11 train on the *_nbwb sets
skip_bad=false              # true: leave bad utterances out instead of stopping
min_seconds=0.1             # leave out shorter audio (training and validation)
max_seconds=30              # leave out longer audio
max_tokens=120              # leave out longer texts
bpe_type=bbpe               # bbpe or sentencepiece
nbpe=40000                  # tokens, special ones included
special_tokens='<transcribe> <translate> <ko> <en> <wb> <nb>' # labels and prompts
ngpu=0                      # GPUs (of each node)
num_nodes=1                 # nodes for training; more than one needs slurm
nj=2                        # processes for data, statistics and decoding
dumpdir=dump                # prepared data
expdir=exp                  # statistics, models, results
tokendir=data/token_list    # subword models
python=python3              # the interpreter
results=RESULTS.md          # where stage 13 writes the tables
local_data_opts=            # options for local/data.sh
# options end

me=$0
command=$(printf '%q ' "$me" "$@")

log() { echo "$(date '+%Y-%m-%dT%H:%M:%S') $*"; }
die() { echo "$me: $*" >&2; exit 1; }

options() { sed -n '/^# options begin$/,/^# options end$/{/^[a-z]/p}' "$(readlink -f "$me")"; }

usage() {
    echo "usage: $me [--OPTION VALUE]..."
    echo "stages: 1 data, 2 speed perturbation, 3 format, 4 filter, 5 tokens,"
    echo "        10 statistics, 11 train, 12 decode, 13 score, 14 pack"
    echo "options, with their defaults:"
    options | sed -E 's/^([a-z_]+)=([^#]*[^ #])? *# (.*)$/\1|\2|\3/' |
        while IFS='|' read -r name default what; do
            printf '  --%-22s %s%s\n' "$name" "$what" "${default:+ [$default]}"
        done
}

while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --*)
            name=${1#--}
            options | grep -q "^${name}=" || die "unknown option $1; see $me --help"
            [ $# -ge 2 ] || die "option $1 needs a value"
            printf -v "$name" %s "$2"
            shift 2 ;;
        *) die "unexpected argument '$1'; options are --NAME VALUE, see $me --help" ;;
    esac
done
for name in stage stop_stage ngpu num_nodes nj nbpe; do
    [[ ${!name} =~ ^[0-9]+$ ]] || die "--$name '${!name}' is not a whole number"
done
for name in skip_bad on_nbwb; do
    [[ ${!name} =~ ^(true|false)$ ]] || die "--$name '${!name}' is not true or false"
done

! "$on_nbwb" || [ -n "$nbwb_share" ] || die "--on_nbwb true needs --nbwb_share"

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
stem() { local name; name=$(basename "$1"); echo "${name%.*}"; }

# Names that follow from the options.
perturbed=$train_set
[ -z "$speed_perturb_factors" ] || perturbed=${train_set}_sp
org=$dumpdir/raw/org
nbwb=${nbwb_share:+_nbwb}
train_sets="$perturbed $valid_set${nbwb:+ $perturbed$nbwb $valid_set$nbwb}"
decoded_sets=$test_sets
for set in $test_sets; do
    decoded_sets+=${nbwb:+ $set$nbwb}
done
trained=
! "$on_nbwb" || trained=$nbwb
train_dir=$dumpdir/raw/$perturbed$trained
valid_dir=$dumpdir/raw/$valid_set$trained
token_dir=$tokendir/$bpe_type$nbpe
bpemodel=$token_dir/bpe.json
[ "$bpe_type" = bbpe ] || bpemodel=$token_dir/bpe.model
stats_dir=$expdir/stats_$perturbed${trained}_$bpe_type$nbpe
asr_tag=${asr_tag:-$(stem "$asr_config")_$bpe_type$nbpe${speed_perturb_factors:+_sp}}
asr_exp=$expdir/$asr_tag
inference_tag=${inference_tag:-$(stem "$inference_config")}
inference_tag=${inference_tag#decode} # conf/decode_beam1.yaml: beam1
inference_tag=${inference_tag#_}
inference_tag=${inference_tag:-default}
decode_dir=$asr_exp/decode_$inference_tag

# The same words for stages 10 and 11: which files feed the model, and how.
data_options() { # data_options train|valid DIRECTORY
    local triplet
    for triplet in wav.scp,speech,sound text,text,text text_st,text_st,text \
        utt2bandwidth,bandwidth,text; do
        echo "--${1}_data_path_and_name_and_type $2/$triplet"
    done
}
model_options() {
    echo "--config $asr_config --use_preprocessor true --allow_variable_data_keys true"
    echo "--token_type bpe --bpemodel $bpemodel --token_list $token_dir/tokens.txt"
}

if runs 1; then
    log "Stage 1: data"
    [ -x local/data.sh ] || die "local/data.sh does not exist; it has to write data/{$train_set,$valid_set,$test_sets}"
    # shellcheck disable=SC2086
    PYTHON=$python local/data.sh $local_data_opts
fi

if runs 2 && [ -n "$speed_perturb_factors" ]; then
    log "Stage 2: speed perturbation of $train_set with $speed_perturb_factors"
    need 1 "data/$train_set/wav.scp"
    # shellcheck disable=SC2086
    $python -m espnet_smoe.data.speed_perturb --in "data/$train_set" \
        --out "data/$perturbed" --factors $speed_perturb_factors
fi

if runs 3; then
    log "Stage 3: format: check every utterance, audio to 16 kHz mono 16-bit"
    [ -z "$speed_perturb_factors" ] || need 2 "data/$perturbed/wav.scp"
    skip=()
    ! "$skip_bad" || skip=(--skip-bad)
    format() { # format SOURCE SET
        # shellcheck disable=SC2086
        $python -m espnet_smoe.data.prepare --in "$1" --out "$org/$2" \
            --nj "$nj" --bandwidth "$bandwidth" --labels $bandwidths \
            --min-seconds 0 --max-seconds 0 "${skip[@]}"
    }
    failed=()
    for set in $perturbed $valid_set $test_sets; do
        need 1 "data/$set/wav.scp"
        format "data/$set" "$set" || failed+=("$set")
    done
    [ ${#failed[@]} -eq 0 ] || die "stage 3 stopped: bad data in ${failed[*]}"
    if [ -n "$nbwb_share" ]; then
        # A share of training and all of validation, each utterance in one of five
        # channel conditions; every test utterance in each of them.
        log "Stage 3: narrowband and wideband conditions"
        for set in $perturbed $valid_set $test_sets; do
            case $set in
                "$perturbed") which=(--share "$nbwb_share") ;;
                "$valid_set") which=(--share 1) ;;
                *) which=(--every) ;;
            esac
            $python -m espnet_smoe.data.channel --in "$org/$set" \
                --out "$dumpdir/raw/channel/$set" --nj "$nj" "${which[@]}"
            format "$dumpdir/raw/channel/$set" "$set$nbwb"
        done
    fi
fi

filter() { # filter SET [more options]
    local set=$1
    shift
    $python -m espnet_smoe.data.filter --in "$org/$set" --out "$dumpdir/raw/$set" \
        --min-seconds "$min_seconds" --max-seconds "$max_seconds" \
        --max-tokens "$max_tokens" "$@"
}

if runs 4; then
    log "Stage 4: filter by length"
    for set in $train_sets; do
        need 3 "$org/$set/wav.scp"
        filter "$set"
    done
    for set in $decoded_sets; do # a test set stays whole, or its scores would flatter
        need 3 "$org/$set/wav.scp"
        filter "$set" --min-seconds 0 --max-seconds 0
    done
fi

if runs 5; then
    log "Stage 5: $nbpe $bpe_type tokens from the transcripts and translations"
    texts=$dumpdir/raw/$perturbed
    need 4 "$texts/text" "$valid_dir/text"
    # shellcheck disable=SC2086
    $python -m espnet_smoe.data.tokens --text "$texts/text" "$texts/text_st" \
        --type "$bpe_type" --size "$nbpe" --special $special_tokens --out "$token_dir"
    for set in $train_sets; do # now that tokens can be counted
        filter "$set" --bpemodel "$bpemodel"
    done
fi

if runs 10; then
    log "Stage 10: statistics of $train_dir and $valid_dir"
    need 4 "$train_dir/wav.scp" "$valid_dir/wav.scp"
    need 5 "$token_dir/tokens.txt" "$bpemodel"
    [ -f "$asr_config" ] || die "--asr_config $asr_config does not exist"
    logdir=$stats_dir/logdir
    rm -rf "$logdir"
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
    $python -m espnet2.bin.aggregate_stats_dirs "${inputs[@]}" --output_dir "$stats_dir"
fi

# The model as it was trained, --asr_args included, to {"total": ..., "active": ...}.
count_parameters='
import json, sys
from espnet2.tasks.asr import ASRTask
from espnet_smoe import register
from espnet_smoe.check_config import count_parameters
register()
model, _ = ASRTask.build_model_from_file(f"{sys.argv[1]}/config.yaml")
with open(f"{sys.argv[1]}/params.json", "w") as out:
    json.dump(count_parameters(model), out)
'

if runs 11; then
    log "Stage 11: train $asr_exp"
    need 10 "$stats_dir/train/feats_stats.npz" "$stats_dir/valid/speech_shape"
    need 5 "$token_dir/tokens.txt" "$bpemodel"
    [ -f "$asr_config" ] || die "--asr_config $asr_config does not exist"
    mkdir -p "$asr_exp"
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
    $cuda_cmd --gpu "$ngpu" --num_nodes "$num_nodes" "$asr_exp/train.log" "${launch[@]}" \
        $python -m espnet_smoe -m espnet2.bin.asr_train --resume true --ngpu "$ngpu" \
        "${distributed[@]}" \
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
        --output_dir "$asr_exp" $asr_args
    $train_cmd "$asr_exp/params.log" $python -c "$count_parameters" "$asr_exp"
    log "trained; log: $asr_exp/train.log"
fi

if runs 12; then
    log "Stage 12: decode $decoded_sets"
    where=(--nj "$nj")
    [ "$ngpu" -eq 0 ] || where=(--device cuda) # one process keeps a GPU busy
    need 11 "$asr_exp/config.yaml" "$asr_exp/$inference_model"
    [ -f "$inference_config" ] || die "--inference_config $inference_config does not exist"
    for set in $decoded_sets; do
        need 4 "$dumpdir/raw/$set/wav.scp"
        # shellcheck disable=SC2086
        $decode_cmd --gpu "$ngpu" "$decode_dir/$set/decode.log" \
            $python -m espnet_smoe.inference.decode \
            --train-config "$asr_exp/config.yaml" \
            --model-file "$asr_exp/$inference_model" \
            --config "$inference_config" --data "$dumpdir/raw/$set" \
            --out "$decode_dir/$set" "${where[@]}" $inference_args
        log "decoded $set: $decode_dir/$set"
    done
fi

if runs 13; then
    log "Stage 13: score $decode_dir"
    for set in $decoded_sets; do
        need 12 "$decode_dir/$set/decode.json"
        $python -m espnet_smoe score --data "$dumpdir/raw/$set" --hyp "$decode_dir/$set"
    done
    $python -m espnet_smoe.report.results --exp "$asr_exp" --out "$results" \
        --command "${command% }"
    log "results: $results"
fi

if runs 14; then
    log "Stage 14: pack"
    need 11 "$asr_exp/config.yaml" "$asr_exp/$inference_model"
    $python -m espnet_smoe.inference.pack --exp "$asr_exp" --model "$inference_model" \
        --out "$asr_exp/$asr_tag.zip"
fi

log "done"
