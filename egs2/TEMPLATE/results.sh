# For every run_all.sh: which systems are made, and where the tables go.

# done_before TAG CONFIG: whether the system was made; says so where its YAML is newer.
done_before() {
    local results=$expdir/$1/RESULTS.md
    [ -f "$results" ] || return 1
    ! [ "$2" -nt "$results" ] || echo "$0: $1 is not made again, although $2 is newer;" \
        "rm -r $expdir/$1 makes it anew" >&2
}

# The tables in RESULTS.md stay those of the command that they name: other systems, seeds
# or sets go elsewhere, unless --results says so. Reads $command, $expdir and $results.
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
