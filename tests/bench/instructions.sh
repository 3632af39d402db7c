# shellcheck shell=bash disable=SC2034,SC2154,SC2029
# Instructions that pack, the difference of two manifests and loading a configuration take. They do not depend on how
# busy the machine is, only on the compiler and the target, with which tests/bench/instructions.txt begins.
counts=$BENCH_HERE/instructions.txt

prepare() {
    local work counted
    trees tree "$BENCH_DIR/counted" 300 3000000 20
    cp "$BENCH_HERE/../../deploy.toml.example" "$BENCH_DIR/counted/deploy.toml"
    # What that configuration includes.
    mkdir "$BENCH_DIR/counted/dist"
    cp -r "$BENCH_DIR/counted/src" "$BENCH_DIR/counted/dist"
    {
        echo "# Instructions (callgrind) of each piece of work; written by tests/bench/run --accept."
        echo "$BENCH_COMPILER" | sed -n 's/^release: /# rustc /p; s/^host: /# target /p'
    } >"$BENCH_DIR/counts"
    for work in pack diff config; do
        counted=$(count "$work")
        echo "$work $counted" >>"$BENCH_DIR/counts"
    done
}

count() {
    # One core, so that threads do not wait for each other by turning.
    taskset -c 0 valgrind --tool=callgrind --callgrind-out-file="$BENCH_DIR/callgrind" \
        "$BENCH_EXAMPLES/bench-instructions" "$1" "$BENCH_DIR/counted" "$BENCH_DIR/counted-cache" >>"$log" 2>&1 ||
        give_up "counting $1 failed"
    awk '/^(summary|totals):/ { print $2; exit }' "$BENCH_DIR/callgrind"
}

# Nothing is measured by time.
measure_all() { :; }

criteria() {
    local work new old
    if [[ -n ${BENCH_ACCEPT-} ]]; then
        cp "$BENCH_DIR/counts" "$counts"
        say "wrote $counts"
    fi
    if ! diff <(grep '^#' "$counts") <(grep '^#' "$BENCH_DIR/counts") >/dev/null; then
        say "not compared: $counts is of another compiler or target; --accept writes it anew"
        return
    fi
    while read -r work new; do
        old=$(awk -v work="$work" '$1 == work { print $2 }' "$counts")
        result "$work" "$new" recorded "$old" "$(awk "BEGIN { printf \"%.4f\", $new / $old }")" 1.03
    done < <(grep -v '^#' "$BENCH_DIR/counts")
}
