# What the recipes' drivers share: options (options.sh) and the stages that are alike. A
# driver sources this file, declares options of its own, calls `read_options "$@"`, sets
# what its stages read, defines those that are its own, and calls `run_stages`.
#
# A driver sets `stages`, what its stages are called, and
#   tokens         name of the tokens in file names; '' where there is one kind alone
#   token_files    what stage 5 makes and training needs
#   data_files     FILE,NAME,TYPE: which files of a data directory feed the model
#   model_options  further options of training: the tokens
# It may change, before run_stages:
#   endings=('')         endings of the twins that stage 3 makes of each set
#   train_endings=()    more of them, of training and validation sets alone
#   trained=''           the ending of the sets that are trained on
#   max_tokens=0         a longer text is left out by stage 4
#   format_options       options of espnet_smoe.data.prepare about bandwidth
#   decode_options=()    further options of stage 12
#   pack_options=()      further options of stage 14
#   scored_without=''    stages that --skip_train runs for test sets (beside 3 and 4)
# and has to define make_tokens (stage 5). It may define add_conditions (stage 3),
# read_tasks (sets data_files before training), language_model (stages 6 to 8) and overview
# (after stage 14), or decodings and write_results (stage 13) anew.

template=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
. "$template/supervise.sh"
. "$template/overrides.sh"
. "$template/options.sh"
. "$template/disks.sh"

endings=('')
train_endings=()
trained=
max_tokens=0
format_options=(--bandwidth wb)
decode_options=()
pack_options=()
scored_without=

runs() { [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ] && ! among "$1" $skip_stages; }
need() { # need STAGE FILE...
    local maker=$1 file
    shift
    for file in "$@"; do
        [ -e "$file" ] || die "$file does not exist; stage $maker makes it (--stage $maker)"
    done
}
stem() { local name; name=$(basename "$1"); echo "${name%.*}"; }

decoding() { # conf/decode_greedy.yaml: greedy; conf/decode.yaml: default
    local name
    name=$(stem "$1")
    name=${name#decode}
    name=${name#_}
    echo "${name:-default}"
}
symbols() { # symbols LIST: separated by commas or spaces, or a file of them
    if [ -f "$1" ]; then cat "$1"; else echo "${1//,/ }"; fi
}
each_once() { # each_once WORD...: on one line
    local word words=
    for word; do
        among "$word" $words || words+="$word "
    done
    echo "$words"
}

# Names that follow from the options.
name_files() {
    local data
    perturbed=$train_set
    [ -z "$speed_perturb_factors" ] || perturbed=${train_set}_sp
    org=$dumpdir/raw/org
    train_dir=$dumpdir/raw/$perturbed$trained
    valid_dir=$dumpdir/raw/$valid_set$trained
    data=$perturbed$trained${tokens:+_$language$tokens}
    stats_dir=${asr_stats_dir:-$expdir/stats_$data}
    asr_tag=${asr_tag:-$(stem "$asr_config")${tokens:+_$language$tokens}${speed_perturb_factors:+_sp}}
    asr_exp=${asr_exp:-$expdir/$asr_tag}
    asr_tag=$(basename "$asr_exp")
    results=${results:-$asr_exp/RESULTS.md}
    inference_nj=${inference_nj:-$nj}
    [ -n "$gpu_inference" ] || { [ "$ngpu" -gt 0 ] && gpu_inference=true || gpu_inference=false; }
    where=(--nj "$inference_nj")
    decode_gpus=0
    # one process keeps a GPU busy
    ! "$gpu_inference" || { where=(--device cuda); decode_gpus=1; }
    skip=()
    ! "$skip_bad" || skip=(--skip-bad)
    [ -z "$inference_tag" ] || [ "$(wc -w <<<"$inference_config")" -le 1 ] ||
        die "--inference_tag names one decoding, --inference_config has several"

    ! "$skip_data_prep" || skip_stages+=" 1 2 3 4 5"
    ! "$skip_eval" || skip_stages+=" 12 13"
    ! "$skip_packing" || skip_stages+=" 14"
    local number
    if "$skip_train"; then
        for number in 2 5 6 7 8 10 11; do
            among "$number" $scored_without || skip_stages+=" $number"
        done
    fi
    [ -z "${skip_stages// /}" ] || log "Skipped stages: $(tr ' ' '\n' <<<"$skip_stages" | sort -nu | xargs)"
}

name_sets() { # the sets of the stages; after stage 1, which may make the test sets
    local set ending
    if [ -z "$test_sets" ]; then
        for set in data/test* data/eval*; do
            [ ! -f "$set/wav.scp" ] || test_sets+=" ${set#data/}"
        done
        [ -n "$test_sets" ] || die "no data/test* or data/eval* here; run stage 1, or name --test_sets"
    fi
    plain_sets="$perturbed $valid_set"
    ! "$skip_train" || plain_sets=
    { ! "$skip_train" || ! "$eval_valid_set"; } || plain_sets=$valid_set
    train_sets= whole_sets=
    for ending in "${endings[@]}" "${train_endings[@]}"; do
        for set in $plain_sets; do train_sets+=" $set$ending"; done
    done
    for set in $test_sets; do
        for ending in "${endings[@]}"; do whole_sets+=" $set$ending"; done
    done
    plain_sets=$(each_once $plain_sets $test_sets)
    all_sets=$(each_once $train_sets $whole_sets)
    decoded_sets=$(each_once $whole_sets $("$eval_valid_set" && echo "$valid_set$trained"))
    decoded_sets=${decoded_sets% }
}

local_data() { # stage 1
    log "Stage 1: data"
    lock "$dumpdir"
    [ -x local/data.sh ] || die "local/data.sh does not exist; it has to write data/{$train_set,$valid_set,$test_sets}"
    PYTHON=$python local/data.sh $local_data_opts
}

speed_perturb() { # stage 2
    log "Stage 2: speed perturbation of $train_set with $speed_perturb_factors"
    need 1 "data/$train_set/wav.scp"
    lock "$dumpdir"
    $python -m espnet_smoe.data.speech.speed_perturb --in "data/$train_set" \
        --out "data/$perturbed" --factors $speed_perturb_factors
}

in_shards() { # in_shards SET: whether its audio goes into shards, as that of training alone
    [ "$audio_format" = shards ] && among "$1" "${endings[@]/#/$perturbed}"
}
format() { # format SOURCE SET; over several machines where there are
    local prepare=($python -m espnet_smoe.data.prepare --in "$1" --out "$org/$2" \
        "${format_options[@]}" --min-seconds 0 --max-seconds 0 "${skip[@]}")
    ! in_shards "$2" || prepare+=(--shards "$shard_size")
    [[ $train_cmd != *slurm* ]] || $train_cmd JOB=1:"$nj" "$org/$2/log/format.JOB.log" \
        "${prepare[@]}" --nj 1 --part "JOB/$nj" || return 1
    "${prepare[@]}" --nj "$nj"
}

format_audio() { # stage 3
    log "Stage 3: format: check every utterance, audio to 16 kHz mono 16-bit"
    local set failed=()
    lock "$dumpdir"
    { [ -z "$speed_perturb_factors" ] || "$skip_train"; } || need 2 "data/$perturbed/wav.scp"
    for set in $plain_sets; do
        need 1 "data/$set/wav.scp"
        format "data/$set" "$set" || failed+=("$set")
    done
    [ ${#failed[@]} -eq 0 ] || writable "$dumpdir" || die "stage 3 stopped"
    [ ${#failed[@]} -eq 0 ] || die "stage 3 stopped: bad data in ${failed[*]}"
    ! declare -F add_conditions >/dev/null || add_conditions
}

filter() { # filter SET [more options]: a test set stays whole, or its scores would flatter
    local limits=(--min-seconds "$min_wav_duration" --max-seconds "$max_wav_duration")
    ! among "$1" $whole_sets || limits=(--min-seconds 0 --max-seconds 0)
    $python -m espnet_smoe.data.filter --in "$org/$1" --out "$dumpdir/raw/$1" \
        --max-tokens "$max_tokens" "${limits[@]}" "${@:2}"
}

filter_by_length() { # stage 4
    log "Stage 4: filter by length"
    local set
    lock "$dumpdir"
    for set in $all_sets; do
        need 3 "$org/$set/wav.scp"
        filter "$set"
    done
}

syllables() { # syllables FOLDER [more options]: text_syllable of all sets; lexicon and tokens
    local set sets=() from=(--train "$train_dir")
    ! "$skip_train" || from=() # the tokens are there
    for set in $all_sets; do
        [ "$dumpdir/raw/$set" != "$train_dir" ] || continue
        need 4 "$dumpdir/raw/$set/text"
        sets+=("$dumpdir/raw/$set")
    done
    $python -m espnet_smoe.data.text.syllables "${from[@]}" --lang "$1" \
        --sets "${sets[@]}" "${skip[@]}" "${@:2}"
}

data_options() { # data_options train|valid DIRECTORY
    local triplet
    for triplet in "${data_files[@]}"; do
        [ "$audio_format" != shards ] || [ "$2" != "$train_dir" ] ||
            triplet=${triplet/%,sound/,shard}
        echo "--${1}_data_path_and_name_and_type $2/$triplet"
    done
}

need_for_training() {
    ! declare -F read_tasks >/dev/null || read_tasks
    need 5 $token_files
    [ -f "$asr_config" ] || die "--asr_config $asr_config does not exist"
}

collect_statistics() { # stage 10
    log "Stage 10: statistics of $train_dir and $valid_dir"
    need 4 "$train_dir/wav.scp" "$valid_dir/wav.scp"
    need_for_training
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
        dir=$train_dir job='(NR - 1) % n'
        # of a shard, one job reads what stands side by side
        [ $part != train ] || [ "$audio_format" != shards ] || job='int((NR - 1) * n / lines)'
        [ $part = train ] || dir=$valid_dir
        awk -v n="$jobs" -v lines="$(grep -c "" "$dir/wav.scp")" -v p="$logdir/$part" \
            "{print > (p \".\" $job + 1 \".scp\")}" "$dir/wav.scp"
    done
    $train_cmd JOB=1:"$jobs" "$logdir/stats.JOB.log" \
        $python -m espnet_smoe -m espnet2.bin.asr_train --collect_stats true --ngpu 0 \
        --config "$asr_config" --use_preprocessor true \
        "${model_options[@]}" $(data_options train "$train_dir") \
        $(data_options valid "$valid_dir") \
        --train_shape_file "$logdir/train.JOB.scp" \
        --valid_shape_file "$logdir/valid.JOB.scp" \
        --output_dir "$logdir/stats.JOB" $asr_args
    $python -m espnet_smoe.training.statistics "$logdir"/stats.*/ --out "$stats_dir"
    ! [ -f "$logdir/stats.1/provenance.json" ] ||
        cp "$logdir/stats.1/provenance.json" "$stats_dir"
}

train() { # stage 11
    log "Stage 11: train $asr_exp"
    need 10 "$stats_dir/train/feats_stats.npz" "$stats_dir/valid/speech_shape"
    need_for_training
    lock "$asr_exp"
    local launch=() torchrun=() distributed more= init_options= normalize_conf=() iterator=()
    [ "$audio_format" != shards ] ||
        iterator=(--iterator_type task --valid_iterator_type sequence)
    [ "$feats_normalize" != global_mvn ] ||
        normalize_conf=(--normalize_conf "stats_file=$stats_dir/train/feats_stats.npz")
    ! "$ignore_init_mismatch" || init_options="--ignore_init_mismatch true"
    if [ -n "$schedule" ]; then
        more=$($python $schedule "$asr_config" "$train_dir" --stats "$stats_dir" \
            --exp "$asr_exp" -- $asr_args)
    fi
    distributed=(--multiprocessing_distributed true)
    if [ "$num_nodes" -gt 1 ]; then
        [[ $cuda_cmd == *slurm* ]] || die "--num_nodes $num_nodes needs the slurm backend; set it in cmd.sh"
        launch=(srun --export=ALL)
        # A file on the shared disk tells the nodes where to meet.
        init=$(readlink -f "$asr_exp")/.dist_init_$$_$(date +%s)
        distributed+=(--dist_launcher slurm --dist_init_method "file://$init")
    elif [ "$train_nj" -gt 1 ]; then
        # One thread each: with more, they and the loaders wait for one another.
        launch=(env OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}")
        torchrun=(-m torch.distributed.run --standalone --nproc_per_node "$train_nj")
        distributed=(--multiprocessing_distributed false)
        distributed+=(--unused_parameters true) # experts that a process has no work for
    fi
    [ $((num_nodes * train_nj)) -eq 1 ] || [ "$ngpu" -gt 0 ] || distributed+=(--dist_backend gloo)
    training=(-m espnet2.bin.asr_train --resume true --ngpu "$ngpu" "${distributed[@]}" \
        --config "$asr_config" --use_preprocessor true "${model_options[@]}" \
        $(data_options train "$train_dir") \
        $(data_options valid "$valid_dir") \
        --train_shape_file "$stats_dir/train/speech_shape" \
        --train_shape_file "$stats_dir/train/text_shape" \
        --valid_shape_file "$stats_dir/valid/speech_shape" \
        --valid_shape_file "$stats_dir/valid/text_shape" \
        --fold_length $((asr_speech_fold_length * 100)) --fold_length "$asr_text_fold_length" \
        --normalize "$feats_normalize" "${normalize_conf[@]}" \
        ${pretrained_model:+--init_param $pretrained_model} $init_options \
        "${iterator[@]}" --output_dir "$asr_exp" ${seed:+--seed $seed} $more $asr_args)
    export ESPNET_SMOE_ALLOW_CHANGES=$allow_changes
    # A checkpoint goes on only with what it was made from; before a log is written.
    ! compgen -G "$asr_exp/*.pth" >/dev/null ||
        $python -m espnet_smoe.training.start "${training[@]}" || exit 1
    $cuda_cmd --gpu "$ngpu" --num_nodes "$num_nodes" "$asr_exp/train.log" "${launch[@]}" \
        $python "${torchrun[@]}" -m espnet_smoe "${training[@]}"
    log "trained; log: $asr_exp/train.log"
}

decodings() { # names of the folders decode_<name>, one a line
    local config
    for config in $inference_config; do
        echo "${inference_tag:-$(decoding "$config")$(overrides)}"
    done
}

decode() { # stage 12; the model is loaded once for all sets and decodings
    local set config out sets=()
    need 11 "$asr_exp/config.yaml" "$asr_exp/$inference_asr_model"
    for config in $inference_config; do
        [ -f "$config" ] || die "--inference_config $config does not exist"
    done
    for set in $decoded_sets; do
        need 4 "$dumpdir/raw/$set/wav.scp"
        sets+=("$dumpdir/raw/$set")
    done
    out=$asr_exp/decode_${inference_tag:-{decoding\}$(overrides)}/{set}
    $decode_cmd --gpu "$decode_gpus" "$asr_exp/decode.log" \
        $python -m espnet_smoe.inference.decode \
        --train-config "$asr_exp/config.yaml" \
        --model-file "$asr_exp/$inference_asr_model" --config $inference_config \
        --data "${sets[@]}" --out "$out" \
        "${decode_options[@]}" "${where[@]}" $inference_args
    log "decoded $decoded_sets: $asr_exp/decode_*"
}

score() { # stage 13
    local set name folders
    for set in $decoded_sets; do
        folders=()
        for name in $(decodings); do folders+=("$asr_exp/decode_$name/$set"); done
        need 12 "${folders[@]/%//decode.json}"
        $python -m espnet_smoe score --data "$dumpdir/raw/$set" --hyp "${folders[@]}"
    done
    write_results
}

write_results() {
    $python -m espnet_smoe.report.tables.results --exp "$asr_exp" --out "$results" \
        --command "${command% }"
}

pack() { # stage 14
    log "Stage 14: pack"
    need 11 "$asr_exp/config.yaml" "$asr_exp/$inference_asr_model"
    lock "$asr_exp"
    $python -m espnet_smoe pack "$asr_exp" --checkpoint "$inference_asr_model" \
        --out "$asr_exp/$asr_tag.zip" "${pack_options[@]}"
}

run_stages() {
    [ -f ./path.sh ] && [ -f ./cmd.sh ] || die "run it in a recipe folder: it reads path.sh and cmd.sh"
    . ./path.sh
    . ./cmd.sh
    trap tell_full_disks EXIT
    name_files
    ! runs 1 || local_data
    [ "$stop_stage" -gt 1 ] || return 0
    name_sets
    ! runs 2 || [ -z "$speed_perturb_factors" ] || speed_perturb
    ! runs 3 || format_audio
    ! runs 4 || filter_by_length
    ! runs 5 || { lock "$dumpdir"; make_tokens; }
    ! declare -F language_model >/dev/null || language_model
    ! runs 10 || collect_statistics
    ! runs 11 || train
    if runs 12; then
        log "Stage 12: decode $decoded_sets"
        lock "$asr_exp"
        decode
    fi
    local table=false
    ! { declare -F overview >/dev/null && runs 13 && runs 14; } || table=true
    if runs 13; then
        log "Stage 13: score $asr_exp"
        lock "$asr_exp"
        if "$table"; then # the recipe ends with one table of everything
            score >"$asr_exp/score.log"
        else
            score
        fi
    fi
    ! runs 14 || pack
    ! "$table" || overview
    log "done"
}
