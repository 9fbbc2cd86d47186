# Sourced by stages.sh and systems.sh.

overrides() { # --beam_size 3: _beam_size3, as ESPnet names the folder
    sed -e 's/--/_/g' -e 's![ =/]!!g' <<<"${inference_args:-}"
}
