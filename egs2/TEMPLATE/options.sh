# The options that every driver has, named as in ESPnet's asr.sh where it has one, and how
# options are read. Those of a driver alone stand between the same marks in its own file;
# there a name may come again with another default.
# An option is NAME=DEFAULT  # what it does. --NAME VALUE sets it.

# options begin
## Stages
stage=1                     # first stage to run
stop_stage=10000            # last stage to run
skip_stages=                # stages to leave out, such as '2 14'
skip_data_prep=false        # true: leave out stages 1 to 5
skip_train=false            # true: leave out what only training needs; stages 3 and 4 make test sets alone
skip_eval=false             # true: leave out stages 12 and 13
skip_packing=false          # true: leave out stage 14
## Machine
ngpu=0                      # GPUs for training (of each node)
num_nodes=1                 # nodes for training; more than one needs slurm
nj=2                        # processes for data and statistics
train_nj=1                  # processes of a training without GPUs, each with its part of every batch
inference_nj=               # processes for decoding (default: as nj)
gpu_inference=              # true: decode on a GPU (default: where training does)
python=python3              # the interpreter
dumpdir=dump                # prepared data
expdir=exp                  # statistics, models, results
tokendir=                   # tokens (default: data/token_list, with lang data/<lang>_token_list)
## Data
train_set=train             # name of the training set under data/
valid_set=dev               # name of the validation set
test_sets=test              # names of the test sets, separated by spaces; '': data/test* and data/eval*
eval_valid_set=false        # true: decode the validation set too, as stage 4 left it
lang=noinfo                 # language: part of the names of tokens, statistics, experiment
local_data_opts=            # options for local/data.sh
speed_perturb_factors=      # such as '0.9 1.0 1.1' (default: no perturbation)
audio_format=wav            # of stage 3: wav, a file an utterance; shards, tar archives of training audio
shard_size=1000             # utterances of a shard
skip_bad=false              # true: leave bad utterances out instead of stopping
min_wav_duration=0.1        # leave out shorter audio, seconds (training and validation)
max_wav_duration=30         # leave out longer audio, seconds (training and validation)
## Training
asr_config=conf/train.yaml  # configuration of model and training
asr_args=                   # more options for training, such as '--max_epoch 3'
seed=                       # of the training (default: that of asr_config)
schedule=                   # a program that prints more options for training from its data
asr_tag=                    # name of the experiment (default: from asr_config)
asr_exp=                    # its folder (default: asr_tag in expdir)
asr_stats_dir=              # folder of the statistics (default: named after the data, in expdir)
feats_normalize=global_mvn  # how features are normalized: global_mvn, utt_mvn or none
pretrained_model=           # start from these weights: FILE or FILE:SRC:DST
ignore_init_mismatch=false  # true: leave out weights that do not fit, of pretrained_model
allow_changes=false         # true: stage 11 goes on although what it trains from changed
asr_speech_fold_length=800  # samples / 100 beyond which a 'folded' batch holds fewer utterances
asr_text_fold_length=150    # the same for texts, in tokens
## Decoding
inference_asr_model=valid.acc.ave.pth # the checkpoint to decode and pack
inference_config=conf/decode.yaml # configurations of decoding, separated by spaces
inference_args=             # more options for decoding, over those of inference_config
inference_tag=              # name of the decoding (default: from inference_config and inference_args)
results=                    # where stage 13 writes the tables (default: RESULTS.md of the experiment)
# options end

# Former names. Taken with a note until the version after 0.1.
renamed='inference_model=inference_asr_model inference_configs=inference_config
    bpe_type=bpemode ntoken=nbpe special_tokens=bpe_nlsyms lm_order=ngram_num
    min_seconds=min_wav_duration max_seconds=max_wav_duration'
# Options of asr.sh that have one value here; a driver may have others in `fixed`.
fixed="${fixed:-} feats_type=raw fs=16k
    asr_task=asr use_lightning=false num_splits_asr=1 num_ref=1 batch_size=1
    use_lm=false use_word_lm=false use_ngram=false use_k2=false use_maskctc=false
    use_streaming=false oov=<unk> blank=<blank> sos_eos=<sos/eos> bpe_char_cover=0.9995
    cleaner=none hyp_cleaner=none g2p=none nlsyms_txt=none skip_upload_hf=true"

me=${0/#"$PWD"\//./} # as it was called: exec makes the path absolute
command=$(printf '%q ' "$me" "$@")
lists=("${BASH_SOURCE[0]}" "$(readlink -f "$0")")

log() { echo "$(date '+%Y-%m-%dT%H:%M:%S') $*"; }
die() { echo "$me: $*" >&2; exit 1; }

declared() { # declared FILE: its lines NAME=DEFAULT  # what it does, and headings
    sed -n '/^# options begin$/,/^# options end$/{/^[a-z]/p;/^## /p}' "$1"
}
names() { sed -n 's/^\([a-z_0-9]*\)=.*/\1/p'; }
among() { [[ " ${*:2} " == *" $1 "* ]]; } # among WORD WORDS...
value_of() { # value_of NAME NAME=VALUE...: of the first; fails where there is none
    local pair
    for pair in ${*:2}; do
        [[ $pair != "$1="* ]] || { echo "${pair#*=}"; return; }
    done
    return 1
}

usage() {
    echo "usage: $me [--OPTION VALUE]..."
    echo "stages: $stages" | fold -s -w 80 | sed -E '2,$s/^/        /; s/ +$//'
    echo "options, with their defaults:"
    local own file line name default
    own=$(declared "${lists[1]}" | names)
    for file in "${lists[@]}"; do
        while read -r line; do
            name=${line%%=*}
            if [[ $line == '## '* ]]; then
                echo "${line#\## }:"
            elif [ "$file" = "${lists[1]}" ] || ! among "$name" $own; then
                # The value as it is now: a run.sh that calls the driver has set its own.
                line=${line#*# } default=${!name}
                [ -n "$default" ] || [[ $line == *"(default: "* ]] || default=none
                printf '  --%-26s%s%s\n' "$name" "$line" "${default:+ [$default]}"
            fi
        done < <(declared "$file")
    done
}

unknown() { # unknown NAME: stop, with the nearest option that there is
    local near
    near=$(python3 -c 'import difflib, sys
print(*difflib.get_close_matches(sys.argv[1], sys.argv[2:], 1))' "$1" $known 2>/dev/null) || near=
    die "unknown option --$1${near:+ (did you mean --$near?)}; see $me --help"
}

read_option() { # read_option --NAME VALUE
    local name=${1#--} new only
    name=${name//-/_}
    if new=$(value_of "$name" $renamed) && among "$new" $known; then
        echo "$me: note: --$name is called --$new now" >&2
        name=$new
    fi
    if ! among "$name" $known; then
        only=$(value_of "$name" $fixed) || unknown "$name"
        [ "${2-}" = "$only" ] || die "--$name is always $only here, not '${2-}'"
        return 0
    fi
    if [ $# -lt 2 ] || { [[ $2 == --* ]] && among "${2#--}" $known; }; then
        die "option $1 needs a value"
    fi
    printf -v "$name" %s "$2"
}

check_values() { # each has the kind of its default
    local name value default
    while IFS='=#' read -r name default _; do
        value=${!name} default=${default%% *}
        if [[ $name == *_duration ]]; then
            [[ $value =~ ^[0-9]*\.?[0-9]+$ ]] || die "--$name '$value' is no number of seconds"
        elif [[ $default =~ ^[0-9]+$ ]]; then
            [[ $value =~ ^[0-9]+$ ]] || die "--$name '$value' is not a whole number"
        elif [[ $default =~ ^(true|false)$ ]]; then
            [[ $value =~ ^(true|false)$ ]] || die "--$name '$value' is not true or false"
        fi
    done < <(for file in "${lists[@]}"; do declared "$file"; done | grep '^[a-z]')
    [[ $inference_nj =~ ^[0-9]*$ ]] || die "--inference_nj '$inference_nj' is not a whole number"
    among "$audio_format" wav shards || die "--audio_format '$audio_format' is not wav or shards"
    [ "$shard_size" -gt 0 ] || die "--shard_size is 1 at least"
    [ "$train_nj" -gt 0 ] || die "--train_nj is 1 at least"
    [ "$train_nj" -eq 1 ] || [ "$ngpu$num_nodes" = 01 ] ||
        die "--train_nj $train_nj is for one machine without GPUs; --ngpu and --num_nodes start processes of their own"
    [[ $python != *torchrun* ]] || die "--python is one process; --ngpu and --train_nj start more"
    [[ $gpu_inference =~ ^(true|false|)$ ]] ||
        die "--gpu_inference '$gpu_inference' is not true or false"
    [[ $skip_stages =~ ^[0-9\ ]*$ ]] || die "--skip_stages '$skip_stages' are no whole numbers"
}

read_options() { # read_options "$@"
    known=$(for file in "${lists[@]}"; do declared "$file"; done | names)
    known=${known//$'\n'/ }
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) usage; exit 0 ;;
            --*=*) die "options are --NAME VALUE, not '$1'; see $me --help" ;;
            --*) read_option "${@:1:2}"; shift; [ $# -eq 0 ] || shift ;;
            *) die "unexpected argument '$1'; options are --NAME VALUE, see $me --help" ;;
        esac
    done
    check_values
    language=
    [ "$lang" = noinfo ] || language=${lang}_
    tokendir=${tokendir:-data/${language}token_list}
}
