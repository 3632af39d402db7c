# shellcheck shell=sh
# Owns how supervisord is reached (supervisorctl, its configuration, sudo where the login user may not
# use the socket), and what is read from it: the states of programs, and what their configuration says.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

# The end of a log that is asked for, in bytes. sudo compares words, so it is always the same.
supervisord_bytes=65536

# supervisord_find: where supervisorctl and its configuration are, as it would look itself, but for the
# working directory: what lies there must not decide what root runs.
supervisord_find() {
    supervisord_ctl=$(command -v supervisorctl 2>/dev/null) || supervisord_ctl=
    for supervisord_at in /usr/local/bin /usr/bin "${HOME:-}/.local/bin"; do
        [ -z "$supervisord_ctl" ] || break
        [ ! -x "$supervisord_at/supervisorctl" ] || supervisord_ctl=$supervisord_at/supervisorctl
    done
    supervisord_config=$(app_setting supervisord-config)
    supervisord_at=${supervisord_ctl%/*/*}
    for supervisord_file in "$supervisord_at/etc/supervisord.conf" "$supervisord_at/supervisord.conf" \
        /etc/supervisord.conf /etc/supervisor/supervisord.conf; do
        [ -z "$supervisord_config" ] || break
        [ ! -e "$supervisord_file" ] || supervisord_config=$supervisord_file
    done
    supervisord_via=
}

# supervisord_version: prints the version. Its package has it in a file, which costs no Python.
supervisord_version() {
    for supervisord_file in "${supervisord_ctl%/*/*}"/lib*/python3*/*-packages/supervisor/version.txt; do
        [ ! -r "$supervisord_file" ] || {
            head -n 1 "$supervisord_file"
            return
        }
    done
    "${supervisord_ctl%ctl}d" -v 2>/dev/null </dev/null | grep . || echo "?"
}

# supervisord_run SECONDS WORD...: calls supervisorctl. What it says of errors of its own is kept apart:
# Python may warn there of anything.
supervisord_run() (
    supervisord_seconds=$1
    shift
    set -- "$supervisord_ctl" -c "$supervisord_config" "$@"
    [ "$supervisord_via" != sudo ] || set -- sudo -n "$@"
    # The app's variables are none of this Python program's.
    unset LC_ALL PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONWARNINGS PYTHONINSPECT PYTHONVERBOSE
    PYTHONIOENCODING=utf-8
    export PYTHONIOENCODING
    exec </dev/null 2>"$WORK/supervisord.err" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
    app_limit "$supervisord_seconds" "$@"
)

# supervisord_why: the reason in what the last call said.
supervisord_why() {
    if [ -n "$supervisord_said" ]; then
        printf '%s\n' "$supervisord_said" | head -n 1
    else
        grep -v -e 'Warning:' -e '^ ' "$WORK/supervisord.err" | head -n 1
    fi
}

# supervisord_status: the states of all programs, into supervisord_said. The exit status alone tells little:
# it is 0 with a program that fails again and again, and in version 3 always.
supervisord_status() {
    supervisord_said=$(supervisord_run 20 status)
    case $? in 0 | 3) ;; *) return 1 ;; esac
    printf '%s\n' "$supervisord_said" | awk '
        NF && $2 !~ /^(STOPPED|STARTING|RUNNING|BACKOFF|STOPPING|EXITED|FATAL|UNKNOWN)$/ { bad = 1 }
        END { exit bad }'
}

# supervisord_ask: asks for the states; the first time, finds out how one may ask.
supervisord_ask() {
    [ -n "${supervisord_ctl:-}" ] || supervisord_find
    if [ -z "$supervisord_ctl" ] || [ -z "$supervisord_config" ]; then
        supervisord_said="supervisorctl or its configuration is not on this host"
        return 1
    fi
    if [ -n "$supervisord_via" ]; then
        supervisord_status
        return
    fi
    supervisord_via=plain
    supervisord_status && return
    if [ "$(id -u)" != 0 ] && supervisord_may status; then
        supervisord_via=sudo
        supervisord_status
        return
    fi
    supervisord_via=
    return 1
}

# supervisord_may WORD...: whether sudo lets this user call supervisorctl so, without a password.
supervisord_may() {
    sudo -n -l "$supervisord_ctl" -c "$supervisord_config" "$@" </dev/null >/dev/null 2>&1
}

# supervisord_command WORD...: the order as a person gives it.
supervisord_command() {
    supervisord_line=supervisorctl
    [ -z "$(app_setting supervisord-config)" ] || supervisord_line="supervisorctl -c $supervisord_config"
    [ -O "$supervisord_config" ] || supervisord_line="sudo $supervisord_line"
    echo "$supervisord_line $*"
}

# supervisord_list FILE: the programs named there, as supervisord_ask found them: a line of `PROGRAM PROCESS
# STATE PID WHAT IT SAYS` each; `PROGRAM - ABSENT 0` for one that it does not know.
supervisord_list() {
    printf '%s\n' "$supervisord_said" | awk '
        NR == FNR { wanted[++n] = $0; next }
        NF {
            process[++m] = $1
            group[m] = $1
            sub(/:.*/, "", group[m])
            pid = 0
            if ($3 == "pid") {
                pid = $4
                sub(/,/, "", pid)
            }
            rest = $0
            sub(/^[^ ]+ +[A-Z]+ */, "", rest)
            told[m] = $2 " " pid " " rest
        }
        END {
            for (i = 1; i <= n; i++) {
                g = wanted[i]
                sub(/:.*/, "", g)
                name = wanted[i] == g ":" g ? g : wanted[i]
                all = name == g ":*"
                found = 0
                for (j = 1; j <= m; j++)
                    if (all ? group[j] == g : process[j] == name) {
                        print wanted[i], process[j], told[j]
                        found = 1
                    }
                if (!found) print wanted[i], "-", "ABSENT", 0
            }
        }' "$1" -
}

# supervisord_is_group NAME: whether NAME is no process but a group of them.
supervisord_is_group() {
    case "
$supervisord_said" in
        *"
$1:"*) return 0 ;;
    esac
    return 1
}

# supervisord_patterns: what the configuration includes, a pattern a line, each from the root.
supervisord_patterns() {
    supervisord_here=${supervisord_config%/*} awk '
        /^[;#]/ { next }
        /^\[/ { inside = $0 ~ /^\[include\]/; on = 0; next }
        !inside { next }
        /^[^ \t]/ { on = $0 ~ /^files[ \t]*[=:]/; sub(/^[^=:]*[=:]/, "") }
        !on { next }
        {
            sub(/[ \t]+[;#].*/, "")
            for (i = 1; i <= NF; i++) {
                pattern = $i
                if (index(pattern, "%(here)s/") == 1) pattern = substr(pattern, 10)
                if (pattern !~ /^\//) pattern = ENVIRON["supervisord_here"] "/" pattern
                print pattern
            }
        }' "$supervisord_config" 2>/dev/null
}

# supervisord_files: the files of the configuration, one a line. supervisord_sure becomes `no` where that may
# not be all of it, or a release may bring it along.
supervisord_files() {
    supervisord_sure=yes supervisord_listed=
    if [ ! -r "$supervisord_config" ] || ! grep -q '^\[supervisord\]' "$supervisord_config"; then
        supervisord_sure=no
        return 0
    fi
    supervisord_listed="$supervisord_config
"
    case $supervisord_config in "$ROOT"/current/*) supervisord_sure=no ;; esac
    set -f
    # shellcheck disable=SC2046 # a word a pattern
    set -- $(supervisord_patterns)
    set +f
    for supervisord_pattern; do
        case $supervisord_pattern in *%* | "$ROOT"/current/*) supervisord_sure=no ;; esac
        [ -r "${supervisord_pattern%/*}" ] || supervisord_sure=no
        for supervisord_file in $supervisord_pattern; do
            if [ -r "$supervisord_file" ]; then
                supervisord_listed="$supervisord_listed$supervisord_file
"
            elif [ -e "$supervisord_file" ]; then
                supervisord_sure=no
            fi
        done
    done
}

# supervisord_read: what the configuration says of the recipe's programs, into supervisord_facts, a line each:
# `known PROGRAM`, `pinned SECTION` (names a release), `instant SECTION` (startsecs=0), `manual SECTION`
# (autostart=false). supervisorctl can be asked for none of it.
supervisord_read() {
    supervisord_files
    supervisord_real=$(cd "$ROOT" 2>/dev/null && pwd -P) || supervisord_real=$ROOT
    supervisord_facts=$(printf '%s' "$supervisord_listed" | while IFS= read -r supervisord_file; do
        cat "$supervisord_file"
        echo
    done | supervisord_root=$ROOT supervisord_real=$supervisord_real awk '
        function trimmed(text) {
            sub(/[ \t]+[;#].*/, "", text)
            gsub(/^[ \t]+|[ \t\r]+$/, "", text)
            return text
        }
        function look(name,    said) {
            if (!(name in section)) return
            known = 1
            if (name in told) return
            told[name] = 1
            said = value[name, "directory"] " " value[name, "command"]
            if (index(said, ENVIRON["supervisord_root"] "/releases/") ||
                index(said, ENVIRON["supervisord_real"] "/releases/")) print "pinned", name
            if (value[name, "startsecs"] ~ /^0+$/) print "instant", name
            if (tolower(value[name, "autostart"]) ~ /^(false|no|off|0)$/) print "manual", name
        }
        NR == FNR { wanted[++n] = $0; next }
        /^[;#]/ || /^[ \t\r]*$/ { next }
        /^\[/ {
            name = $0
            sub(/\].*/, "", name)
            kind = name = substr(name, 2)
            key = ""
            sub(/:.*/, "", kind)
            sub(/^[^:]*:/, "", name)
            if (kind == "group") group[name] = 1
            else if (kind == "program" || kind == "fcgi-program") section[name] = 1
            else name = ""
            next
        }
        /^[ \t]/ { if (key != "") value[name, key] = value[name, key] " " trimmed($0); next }
        {
            at = match($0, /[=:]/)
            key = kind == "group" ? "group" : ""
            key = key tolower(trimmed(substr($0, 1, at - 1)))
            value[name, key] = trimmed(substr($0, at + 1))
        }
        END {
            for (name in group) {
                split(value[name, "groupprograms"], members, /[ \t,]+/)
                for (i in members) if (members[i] != "") {
                    inside[members[i]] = 1
                    member[name, members[i]] = 1
                }
            }
            for (i = 1; i <= n; i++) {
                g = process = wanted[i]
                sub(/:.*/, "", g)
                sub(/^[^:]*:/, "", process)
                known = 0
                if (g in group) {
                    # The process of a program is named otherwise where there are several of it.
                    for (name in section)
                        if ((g, name) in member && (process == name || !((g, process) in member))) look(name)
                } else if (!(g in inside)) look(g)
                if (known) print "known", wanted[i]
            }
        }' "$RECIPE/supervisord-programs" -)
}

# supervisord_says FACT NAME: whether supervisord_read found that.
supervisord_says() {
    printf '%s\n' "$supervisord_facts" | grep -qxF "$1 $2"
}

# supervisord_told FACT: the names of which supervisord_read found that.
supervisord_told() {
    printf '%s\n' "$supervisord_facts" | sed -n "s/^$1 //p"
}
