# shellcheck shell=sh
# Owns the recipe's health checks: reading them, choosing the tool that asks, asking all of them until it is
# clear, and what is said of each. How each tool asks is in ask.sh.
#
# The first check is the file `health`, the others are `health.2`, `health.3` and so on, a KEY=VALUE a line;
# what may be long or secret has files of its own, with the same ending (health-command, health-body, and
# health-headers as wget reads its configuration).
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

# probe_load N: reads a check into probe_kind and its like; fails when the recipe has none of that number.
probe_load() {
    probe_at=.$1
    [ "$1" != 1 ] || probe_at=
    probe_kind='' probe_url='' probe_name='' probe_socket='' probe_host='' probe_port=''
    probe_status=200-399 probe_timeout=30 probe_interval=1 probe_successes=1 probe_delay=0
    [ -f "$RECIPE/health$probe_at" ] || return
    while IFS= read -r probe_line; do
        probe_value=${probe_line#*=}
        case $probe_line in
            kind=*) probe_kind=$probe_value ;;
            url=*) probe_url=$probe_value ;;
            name=*) probe_name=$probe_value ;;
            socket=*) probe_socket=$probe_value ;;
            host=*) probe_host=$probe_value ;;
            port=*) probe_port=$probe_value ;;
            status=*) probe_status=$probe_value ;;
            timeout=*) probe_timeout=$probe_value ;;
            interval=*) probe_interval=$probe_value ;;
            successes=*) probe_successes=$probe_value ;;
            delay=*) probe_delay=$probe_value ;;
        esac
    done <"$RECIPE/health$probe_at"
    # It is asked through from ROOT: the kernel takes no long paths of sockets.
    case $probe_socket in '' | /*) ;; *) probe_socket=./$probe_socket ;; esac
}

# probe_count: puts the number of checks into probe_checks, and the longest time that one may take into
# probe_longest. Fails when there are none.
probe_count() {
    probe_checks=0 probe_longest=0
    while probe_load "$((probe_checks + 1))"; do
        probe_checks=$((probe_checks + 1))
        probe_total=$((probe_delay + probe_timeout))
        [ "$probe_longest" -ge "$probe_total" ] || probe_longest=$probe_total
    done
    [ "$probe_checks" -gt 0 ]
}

# probe_label N: what a check is called, as the beginning of a sentence.
probe_label() {
    probe_count
    if [ "$probe_checks" -lt 2 ]; then
        printf 'the health check'
        return
    fi
    probe_load "$1"
    case $probe_kind in
        http) probe_asked=$probe_url ;;
        tcp) probe_asked="tcp $probe_host:$probe_port" ;;
        socket) probe_asked="socket ${probe_socket#./}" ;;
        command) IFS= read -r probe_asked <"$RECIPE/health-command$probe_at" ;;
        *) probe_asked=$probe_kind ;;
    esac
    printf 'health check %s of %s (%.100s)' "$1" "$probe_checks" "$probe_asked"
}

# probe_tool: prints the tool that asks the check that was read; fails when this host has none.
probe_tool() {
    case $probe_kind in
        http) probe_first curl wget node python3 bash ;;
        tcp) probe_first node python3 bash nc curl ;;
        socket) probe_first curl node python3 ;;
        command) echo command ;;
        *) echo unknown ;;
    esac
}

# probe_first TOOL...: prints the first that is on PATH and can ask this.
probe_first() {
    for probe_try in "$@"; do
        if ! command -v "$probe_try" >/dev/null 2>&1 || ! probe_can "$probe_try"; then
            continue
        fi
        printf '%s\n' "$probe_try"
        return 0
    done
    return 1
}

# probe_can TOOL: whether a tool works, and can do what this check needs.
probe_can() {
    case $1 in
        curl)
            # Since 7.40. It reads what follows before it looks for an URL.
            [ -z "$probe_socket" ] || curl --unix-socket x --version >/dev/null 2>&1
            ;;
        wget)
            [ -z "$probe_socket" ] || return
            if ! probe_busybox; then
                # Where it is led elsewhere, it throws away what came.
                ! probe_wants_body || probe_only_success
                return
            fi
            # It knows headers as arguments only, where everybody on the host could read them, and shows
            # nothing of an answer that is not 2xx.
            ! probe_wants_body || return
            probe_has_headers || return 0
            ! grep -qv '^header = Host: ' "$RECIPE/health-headers$probe_at" && wget --help 2>&1 | grep -q -e --header
            ;;
        # A program of that name may be a stub that a version manager left.
        node) env -u NODE_OPTIONS node -e 0 2>/dev/null ;;
        python3) python3 -c 'import http.client, socket' 2>/dev/null ;;
        bash) [ -z "$probe_socket" ] ;;
    esac
}

probe_busybox() { wget --help 2>&1 | grep -q BusyBox; }

probe_has_headers() { [ -f "$RECIPE/health-headers$probe_at" ]; }

probe_wants_body() { [ -f "$RECIPE/health-body$probe_at" ]; }

# probe_only_success: whether nothing but 2xx is well.
probe_only_success() {
    for probe_range in $probe_status; do
        case $probe_range in 2?? | 2??-2??) ;; *) return 1 ;; esac
    done
}

# probe_choose N: puts the tool that asks the check that was read, which has this number, into probe_with.
probe_choose() {
    eval "probe_with=\${probe_tool_$1-}"
    [ -n "$probe_with" ] || probe_with=$(probe_tool) || probe_with=none
}

# probe_once [N]: asks one check, the first if none is named, once. 0 when it passes, 1 when it does not
# (prints one line why), 2 when this host has no tool to ask with.
probe_once() {
    probe_asks=${1:-1}
    probe_load "$probe_asks" || return 2
    probe_choose "$probe_asks"
    probe_limit=${probe_hurry:-5}
    case $probe_with:$probe_kind in
        none:*) return 2 ;;
        command:*) probe_command ;;
        *:http)
            if [ -n "$probe_socket" ]; then
                (cd "$ROOT" && probe_http)
            else
                probe_http
            fi
            ;;
        *:tcp) "probe_tcp_$probe_with" "$probe_host" "$probe_port" ;;
        *:socket) (cd "$ROOT" && "probe_socket_$probe_with" "$probe_socket") ;;
        *)
            echo "the recipe's health check is of an unknown kind: '$probe_kind'"
            return 1
            ;;
    esac
}

# probe_all: asks each check of the recipe once. 0 when all pass, 1 when one does not (prints one line why,
# for the first of them), 2 when none fails and this host has no tool for one, or there are none.
probe_all() {
    probe_count || return 2
    probe_verdict=0
    probe_nth=0
    while [ "$probe_nth" -lt "$probe_checks" ]; do
        probe_nth=$((probe_nth + 1))
        probe_answer=$(probe_once "$probe_nth")
        case $? in
            0) ;;
            2) probe_verdict=2 ;;
            *)
                [ "$probe_checks" -lt 2 ] || probe_answer="$(probe_label "$probe_nth"): $probe_answer"
                printf '%s\n' "$probe_answer"
                return 1
                ;;
        esac
    done
    return "$probe_verdict"
}

# probe_begin: prepares asking all checks until it is clear (probe_due, probe_clear). Of the Nth check,
# probe_run_N counts good answers in a row, and probe_last_N is the last bad one. With app_again set what was
# well is only asked whether it still is.
probe_begin() {
    probe_count
    probe_nth=0
    while [ "$probe_nth" -lt "$probe_checks" ]; do
        probe_nth=$((probe_nth + 1))
        probe_load "$probe_nth"
        [ -z "${app_again:-}" ] || probe_delay=0 probe_successes=1
        probe_with=$(probe_tool) || probe_with=none
        eval "probe_tool_$probe_nth=\$probe_with probe_run_$probe_nth=0 probe_last_$probe_nth=
            probe_need_$probe_nth=\$probe_successes probe_every_$probe_nth=\$((probe_interval * 100))
            probe_next_$probe_nth=\$((app_began + probe_delay * 100))
            probe_until_$probe_nth=\$((app_began + (probe_delay + probe_timeout) * 100))"
    done
}

# probe_due [all]: asks each check whose turn it is. Fails when one of them does not pass.
probe_due() {
    probe_nth=0 probe_failing=0
    while [ "$probe_nth" -lt "$probe_checks" ]; do
        probe_nth=$((probe_nth + 1))
        eval "probe_with=\$probe_tool_$probe_nth probe_next=\$probe_next_$probe_nth"
        [ "$probe_with" != none ] || continue
        [ "${1:-}" = all ] || [ "$app_fine" -ge "$probe_next" ] || continue
        probe_answer=$(probe_once "$probe_nth")
        case $? in
            0) eval "probe_run_$probe_nth=\$((probe_run_$probe_nth + 1))" ;;
            2) eval "probe_tool_$probe_nth=none" ;;
            *)
                probe_failing=1
                eval "probe_run_$probe_nth=0 probe_last_$probe_nth=\$probe_answer"
                ;;
        esac
        app_clock
        eval "probe_next_$probe_nth=\$((app_fine + probe_every_$probe_nth))"
    done
    return "$probe_failing"
}

# probe_clear: 0 when every check has passed that this host can ask, 1 when one has failed (why is in
# app_reason), 2 when it is too early.
probe_clear() {
    probe_nth=0 probe_verdict=0
    while [ "$probe_nth" -lt "$probe_checks" ]; do
        probe_nth=$((probe_nth + 1))
        eval "probe_with=\$probe_tool_$probe_nth probe_until=\$probe_until_$probe_nth
            probe_missing=\$((probe_need_$probe_nth - probe_run_$probe_nth))"
        if [ "$probe_with" = none ] || [ "$probe_missing" -le 0 ]; then
            continue
        fi
        probe_verdict=2
        [ "$app_fine" -ge "$probe_until" ] || continue
        app_reason=$(probe_failed "$probe_nth")
        return 1
    done
    return "$probe_verdict"
}

# probe_failed N: prints why a check has failed.
probe_failed() {
    eval "probe_answer=\$probe_last_$1 probe_run=\$probe_run_$1"
    probe_label "$1"
    probe_load "$1"
    printf ' did not pass within %s s. ' "$probe_timeout"
    if [ "$probe_run" -gt 0 ]; then
        printf 'Of %s good answers in a row it gave the last %s' "$probe_successes" "$probe_run"
    else
        printf 'The last answer: %s' "$probe_answer"
    fi
    if [ -z "${REVERT:-}" ] && [ -f "$BEFORE/unwell.$1" ]; then
        printf '. It did not pass before the switch either, with the release that ran then: the check itself may be wrong'
    fi
    echo
}

# probe_unasked: says the checks that this host could not ask, for the client to ask them.
probe_unasked() {
    probe_nth=0
    while [ "$probe_nth" -lt "$probe_checks" ]; do
        probe_nth=$((probe_nth + 1))
        probe_load "$probe_nth"
        probe_choose "$probe_nth"
        [ "$probe_with" = none ] || continue
        # In hexadecimal and in pieces: what is said is short, and loses spaces and lines.
        probe_written | od -An -v -tx1 | tr -d ' \n' | fold -w 2000 |
            while IFS= read -r probe_part || [ -n "$probe_part" ]; do
                say probe-part "$probe_part"
            done
        say probe-needed "$probe_nth"
    done
}

# probe_written: prints all there is of the check that was read, KEY=VALUE a line.
probe_written() {
    echo "of=$probe_checks"
    cat "$RECIPE/health$probe_at"
    ! probe_wants_body || sed 's/^/body=/' "$RECIPE/health-body$probe_at"
    # The host that is asked for is among the keys.
    ! probe_has_headers || sed -n '/^header = Host: /d; s/^header = /header=/p' "$RECIPE/health-headers$probe_at"
}

# probe_tools: prints what asks the recipe's checks, each once.
probe_tools() {
    probe_count
    probe_nth=0 probe_tools=
    while [ "$probe_nth" -lt "$probe_checks" ]; do
        probe_nth=$((probe_nth + 1))
        probe_load "$probe_nth"
        probe_with=$(probe_tool) || probe_with=forward
        case " $probe_tools " in
            *" $probe_with "*) ;;
            *) probe_tools="${probe_tools:+$probe_tools }$probe_with" ;;
        esac
    done
    printf '%s\n' "${probe_tools:-none}"
}

# probe_before: asks each check of a release that is not live yet about the one that is, and leaves what does
# not pass in BEFORE/unwell.N. What takes two seconds is taken for no answer: nobody waits for this.
probe_before() {
    probe_count || return 0
    probe_hurry=2
    probe_nth=0
    while [ "$probe_nth" -lt "$probe_checks" ]; do
        probe_nth=$((probe_nth + 1))
        (
            app_clock
            probe_began=$app_fine
            probe_answer=$(probe_once "$probe_nth")
            [ $? -eq 1 ] || exit
            app_clock
            [ $((app_fine - probe_began)) -lt 180 ] || exit
            printf '%s\n' "$probe_answer" >"$BEFORE/unwell.$probe_nth"
        ) &
    done
    wait
}

# probe_told: says what probe_before found.
probe_told() {
    probe_count || return 0
    probe_nth=0
    while [ "$probe_nth" -lt "$probe_checks" ]; do
        probe_nth=$((probe_nth + 1))
        [ -s "$BEFORE/unwell.$probe_nth" ] || continue
        IFS= read -r probe_answer <"$BEFORE/unwell.$probe_nth"
        say note "$(probe_label "$probe_nth") does not pass with the release that runs now either: $probe_answer. If the deploy fails by it, look at the check itself first"
    done
}

# probe_command: the user's own check, which may take as long as the whole health check.
probe_command() {
    app_part command
    probe_limit=${probe_hurry:-$probe_timeout}
    # Seconds are counted from the beginning of the present one.
    probe_said=$(command_run "health-command$probe_at" "$((probe_limit + 1))")
    probe_code=$?
    case $probe_code in
        0) ;;
        124) echo "the health command did not end within $probe_limit s" ;;
        *) echo "the health command ended with status $probe_code: $(printf '%s\n' "$probe_said" | tail -n 1)" ;;
    esac
    [ "$probe_code" -eq 0 ]
}
