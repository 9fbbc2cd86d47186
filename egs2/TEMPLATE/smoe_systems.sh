# What the run_all.sh of S-MoE share, sourced behind systems.sh: how they decode; Whisper models
# that are decoded as they come (--whisper PATHS), and one that all begin with (--start PATH).

decode_by() { # decode_by CONFIG: sets decoding and ctc_weight
    decoding=$(basename "$1" .yaml)
    decoding=${decoding#decode}
    decoding=${decoding#_}
    decoding=${decoding:-default}
    ctc_weight=$(awk '$1 == "ctc_weight:" {print $2}' "$1")
    options+=(--inference_config "$1")
}

import_options=() # of espnet-smoe import whisper, such as (--language es)

import_whisper() { # import_whisper PATH NAME [more options]: an experiment of it
    [ -f "$expdir/$2/model.pth" ] ||
        python3 -m espnet_smoe import whisper "$1" --out "$expdir/$2" \
            "${import_options[@]}" "${@:3}"
}

whisper_name() { # whisper_name PATH: whisper_base of whisper-base, of base.pt
    local name
    name=$(basename "$1" .pt)
    echo "whisper_${name#whisper[-_]}"
}

as_it_comes() { # as_it_comes PATH: decode and score a Whisper
    local name exp
    name=$(whisper_name "$1")
    exp=$expdir/$name
    rivals+=("$exp")
    [ ! -f "$exp/RESULTS.md" ] || return 0
    echo "$(date '+%Y-%m-%dT%H:%M:%S') $name: decode and score $1; log: $exp.log"
    mkdir -p "$exp"
    {
        import_whisper "$1" "$name" &&
            grep -v '^ctc_weight:' "$inference_config" >"$exp/decode.yaml" && # it has no CTC
            ./run.sh "${options[@]}" --asr_tag "$name" --inference_asr_model model.pth \
                --inference_config "$exp/decode.yaml" --inference_tag "$decoding$(overrides)" \
                --results "$exp/RESULTS.md" --stage 12 --stop_stage 13
    } >"$exp.log" 2>&1 || { echo "$0: $name failed; see $exp.log" >&2; return 1; }
}

begin_with_whisper() { # with --start: systems of conf/whisper, with its tokens and features
    local same
    same=$(for path in $whisper; do whisper_name "$path"; done | sort | uniq -d)
    [ -z "$same" ] || { echo "$0: --whisper: two models are called $same" >&2; exit 1; }
    [ -n "$start" ] || return 0
    mkdir -p "$expdir"
    import_whisper "$start" start --pad 0
    configs=conf/whisper
    options+=(--tokens_from "$expdir/start" --feats_normalize none)
}

whispers_as_they_come() {
    local path
    for path in $whisper; do as_it_comes "$path"; done
    [ -z "$whisper" ] || compare_options+=(--letters)
}
