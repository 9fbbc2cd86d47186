# Folders that the stages write: full disks are named, two drivers never write into one.

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
