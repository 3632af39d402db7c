# shellcheck shell=sh
# Owns what can be seen of programs of supervisord: their processes, and what they write.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

# supervisord_family: the processes of what is in supervisord-now, with their children and whoever is in
# their process group, a line of `PID PROCESS` each.
supervisord_family() {
    cat /proc/[0-9]*/stat 2>/dev/null | awk '
        NR == FNR { if ($4 > 0) owner[$4] = $2; next }
        /^[0-9]+ \(/ {
            pid = $1
            sub(/^.*\) /, "")
            parent[pid] = $2
            group[pid] = $3
        }
        END {
            do {
                more = 0
                for (pid in parent) {
                    if (pid in owner) continue
                    if (parent[pid] in owner) owner[pid] = owner[parent[pid]]
                    else if (group[pid] in owner) owner[pid] = owner[group[pid]]
                    else continue
                    more = 1
                }
            } while (more)
            for (pid in owner) print pid, owner[pid]
        }' "$WORK/supervisord-now" -
}

supervisord_pids() {
    supervisord_ask || return 0
    supervisord_list "$RECIPE/supervisord-programs" >"$WORK/supervisord-now"
    supervisord_family | sed 's/ .*//'
}

# supervisord_census: see status.sh. supervisord does not tell how often it has started something.
supervisord_census() {
    supervisord_reach || return
    supervisord_list "$RECIPE/supervisord-programs" >"$WORK/supervisord-now"
    supervisord_family | sort -n | awk '
        NR == FNR {
            name[NR] = $2 == "-" ? $1 : $2
            state[NR] = $3 == "ABSENT" ? "missing" : tolower($3)
            pid[NR] = $4
            n = NR
            next
        }
        { process[++m] = $1; owner[m] = $2 }
        END {
            for (i = 1; i <= n; i++) {
                # The one that supervisord started, then what came of it.
                print pid[i] "|" state[i] "|-|" name[i]
                for (j = 1; j <= m; j++)
                    if (owner[j] == name[i] && process[j] != pid[i]) print process[j] "|" state[i] "|-|" name[i]
            }
        }' "$WORK/supervisord-now" -
}

# supervisord_text PROCESS stdout|stderr: the end of one of its logs; nothing where there is none.
supervisord_text() {
    set -- "$1" "$2" "-$supervisord_bytes"
    if [ "$2" = stderr ]; then
        supervisord_end=$(supervisord_run 20 tail "$3" "$1" stderr)
    else
        supervisord_end=$(supervisord_run 20 tail "$3" "$1")
    fi
    case $supervisord_end in '' | "$1: ERROR ("* | error:*) return 0 ;; esac
    printf '%s\n' "$supervisord_end" | sed '/^Warning: sys.stdout.encoding is set to/d'
}

# supervisord_logs LINES [TITLE]: the end of every log of the programs.
supervisord_logs() {
    supervisord_ask || return 0
    supervisord_begun=
    supervisord_names >"$WORK/supervisord-followed"
    while IFS= read -r supervisord_process; do
        for supervisord_channel in stdout stderr; do
            supervisord_end=$(supervisord_text "$supervisord_process" "$supervisord_channel" | tail -n "$1")
            supervisord_tell
        done
    done <"$WORK/supervisord-followed" >"$WORK/supervisord-logged"
    [ -s "$WORK/supervisord-logged" ] || return 0
    [ -z "${2:-}" ] || printf '%s\n' "$2"
    cat "$WORK/supervisord-logged"
}

supervisord_words() { supervisord_logs "$1" "the last lines of its logs:"; }

# supervisord_names: the processes that supervisord_ask found, one a line.
supervisord_names() {
    supervisord_list "$RECIPE/supervisord-programs" | awk '$2 != "-" { print $2 }'
}

# supervisord_tell: prints what was found in a log, below its name unless that was the last one.
supervisord_tell() {
    [ -n "$supervisord_end" ] || return 0
    if [ "$supervisord_begun" != "$supervisord_process $supervisord_channel" ]; then
        supervisord_begun="$supervisord_process $supervisord_channel"
        printf '==> %s <==\n' "$supervisord_begun"
    fi
    printf '%s\n' "$supervisord_end"
}

# supervisord_stream LINES: see status.sh. Asks again and again: what `supervisorctl tail -f` begins with cannot
# be chosen, and what runs as root through sudo could not be ended.
supervisord_stream() {
    supervisord_reach || return
    supervisord_begun=
    supervisord_names >"$WORK/supervisord-followed"
    rm -f "$WORK"/supervisord-log.*
    while :; do
        while IFS= read -r supervisord_process; do
            for supervisord_channel in stdout stderr; do
                supervisord_more "$1" "$WORK/supervisord-log.$supervisord_process.$supervisord_channel"
            done
        done <"$WORK/supervisord-followed"
        sleep 2
    done
}

# supervisord_more LINES FILE: prints what a log has got since FILE was written; at first, its last lines.
supervisord_more() {
    supervisord_text "$supervisord_process" "$supervisord_channel" >"$2.new"
    if [ ! -f "$2" ]; then
        supervisord_end=$(tail -n "$1" "$2.new")
    elif [ -s "$2.new" ]; then
        supervisord_end=$(supervisord_added "$2" "$2.new")
    else
        # It did not answer, or the log was emptied.
        return 0
    fi
    mv -f "$2.new" "$2"
    supervisord_tell
}

# supervisord_added OLD NEW: what NEW has that OLD, an earlier end of the same log, has not.
supervisord_added() {
    LC_ALL=C awk '
        FILENAME == ARGV[1] { old = old $0 "\n"; next }
        { new = new $0 "\n" }
        END {
            # The last line may not have been whole.
            old = substr(old, 1, length(old) - 1)
            # Where the beginning of NEW stands in OLD, so that the rest of OLD is there.
            head = substr(new, 1, length(old) < 200 ? length(old) : 200)
            for (from = 1; (at = index(substr(old, from), head)) > 0; from += at) {
                rest = substr(old, from + at - 1)
                if (substr(new, 1, length(rest)) == rest) {
                    printf "%s", substr(new, length(rest) + 1)
                    exit
                }
            }
            printf "%s", new
        }' "$1" "$2" | sed '1{/^$/d;}'
}
