# shellcheck shell=bash disable=SC2154
# Measuring: who is run when, what of it is counted, what a scenario demands of the medians. Sourced by
# tests/bench/room; knows nothing of what is measured.
#
# A scenario says `contenders` and has for each a function run_NAME; besides, `before NAME RUN`, `verify NAME RUN`
# and `criteria`. One line `NAME METRIC VALUE` a measurement goes to $records, one a criterion to $BENCH_RESULTS.

scenario=$BENCH_SCENARIO
records=$BENCH_DIR/$scenario.records
log=$BENCH_DIR/$scenario.log

say() { echo "$scenario: $*"; }

give_up() {
    say "$1; what was said of errors, and last:" >&2
    grep -iE 'error|failed' "$log" | cut -c1-400 | head -n 20 >&2 || true
    tail -n 20 "$log" >&2
    exit 1
}

# Runs all contenders in turn, once without measuring (the first deploy, or a warm cache), then BENCH_RUNS times.
measure_all() {
    local run who
    : >"$records"
    for ((run = 0; run <= BENCH_RUNS; run++)); do
        for who in "${contenders[@]}"; do
            before "$who" "$run"
            measure "$who" "$run"
            verify "$who" "$run" || give_up "what $who deployed in run $run is not there"
            if declare -F after >/dev/null; then after "$who"; fi
        done
    done
}

# Runs one contender once, in its project.
measure() {
    local who=$1 run=$2 started ended sent=0 received=0 sent_after=0 received_after=0
    echo "--- $who, run $run" >>"$log"
    [[ -z ${rtt-} ]] || read -r sent received < <(link_bytes)
    started=${EPOCHREALTIME/./}
    (
        cd "$projects/$who" || exit
        set -o pipefail
        "run_$who"
    ) </dev/null >>"$log" 2>&1 || give_up "$who failed in run $run"
    ended=${EPOCHREALTIME/./}
    [[ -z ${rtt-} ]] || read -r sent_after received_after < <(link_bytes)
    if ((run == 0)); then
        show_commands "$who"
        return
    fi
    local seconds
    seconds=$(awk "BEGIN { printf \"%.3f\", ($ended - $started) / 1e6 }")
    record "$who" seconds "$seconds"
    if [[ -n ${rtt-} ]]; then
        record "$who" sent $((sent_after - sent))
        record "$who" received $((received_after - received))
        say "run $run, $who: $seconds s, $((sent_after - sent)) bytes sent, $((received_after - received)) received"
    else
        say "run $run, $who: $seconds s"
    fi
}

# What a contender runs, as it is run.
show_commands() {
    say "$1 runs"
    declare -f "run_$1" | sed "1,2d; \$d; s|\\\$release|${release-}|g; s|\\\$FLEET_HOSTS|${FLEET_HOSTS-}|g"
}

record() { echo "$1 $2 $3" >>"$records"; }

median() {
    awk -v who="$1" -v metric="$2" '$1 == who && $2 == metric { print $3 }' "$records" | sort -g |
        awk '{ all[NR] = $1 } END { print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'
}

# The median of METRIC of contender WHO, divided by that of PEER, may be LIMIT (none: it is only told).
ratio() {
    local who=$1 metric=$2 peer=$3 limit=${4-} mine theirs
    mine=$(median "$who" "$metric") theirs=$(median "$peer" "$metric")
    result "$who" "$(shown "$metric" "$mine")" "$peer" "$(shown "$metric" "$theirs")" \
        "$(awk "BEGIN { printf \"%.3f\", $mine / $theirs }")" "$limit"
}

# The median of METRIC of WHO, divided by DIVISOR, may be LIMIT.
at_most() {
    local who=$1 metric=$2 limit=$3 divisor=${4:-1} mine
    mine=$(awk "BEGIN { print $(median "$1" "$2") / $divisor }")
    result "$who" "$(shown "$metric" "$mine")" - - "$mine" "$limit"
}

shown() {
    case $1 in
        seconds) awk "BEGIN { printf \"%.2f s\", $2 }" ;;
        *) awk "BEGIN { printf \"%s %.1f kB\", \"$1\", $2 / 1000 }" ;;
    esac
}

# One line of the table: who, what it took, the peer, what that took, the number, its limit, whether it is met.
result() {
    local met=-
    [[ -z $6 ]] || met=$(awk "BEGIN { print ($5 <= $6) ? \"met\" : \"MISSED\" }")
    printf '%s\t' "$scenario" "$1" "$2" "$3" "$4" "$5" "${6:--}" >>"$BENCH_RESULTS"
    echo "$met" >>"$BENCH_RESULTS"
}
