# What a driver starts ends with it. A driver sources this first: the script runs again,
# in a process group of its own, and a signal to the first process ends the whole group.
# Nothing in the group reads the terminal: a question would wait for ever.

if [ -z "${SUPERVISED_BY:-}" ]; then
    export SUPERVISED_BY=$$
    # of what it ends, Python's helper would tell semaphores that nobody needs any more
    export PYTHONWARNINGS="${PYTHONWARNINGS:+$PYTHONWARNINGS,}ignore:resource_tracker:UserWarning"
    script=$0
    [ -e "$script" ] || script=./${0##*/}
    set -m # a job has a process group
    "$BASH" "$script" "$@" </dev/null &
    driver=$!
    set +m

    stop() { # stop NUMBER NAME: of the signal
        trap '' TERM INT HUP
        kill -TERM -- "-$driver" 2>/dev/null || true
        for _ in {1..100}; do # longer than run_job waits for its own
            kill -0 -- "-$driver" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$driver" 2>/dev/null || true
        echo "$0: stopped by $2, with all that it had started; the same command goes on" >&2
        exit $((128 + $1))
    }
    trap 'stop 15 SIGTERM' TERM
    trap 'stop 2 Ctrl-C' INT
    trap 'stop 1 SIGHUP' HUP
    trap 'kill -STOP -- -$driver; kill -STOP $$; kill -CONT -- -$driver' TSTP
    status=0
    wait "$driver" || status=$?
    exit "$status"
fi
