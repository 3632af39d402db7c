# shellcheck shell=sh
# Owns apps under systemd: units of the user's own manager, or of the host's. The units are there
# already, and lead through `current`.
#
# What systemctl's exit status says is worth little: `Type=simple` counts as started once it was forked.
# What counts are a unit's properties, and where its processes run.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

systemd_is_user() { [ "$(app_setting systemd-scope user)" = user ]; }

# systemd_runtime: a login without PAM has no runtime directory in its environment.
systemd_runtime() {
    XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}
    export XDG_RUNTIME_DIR
}

# systemd_ask ARG...: a question, which needs no rights.
systemd_ask() (
    exec </dev/null
    if systemd_is_user; then
        systemd_runtime
        exec systemctl --user "$@"
    fi
    exec systemctl "$@"
)

# systemd_do SECONDS VERB [UNIT]: an order. sudo compares words, so there are no others than these.
systemd_do() (
    systemd_seconds=$1
    shift
    exec </dev/null 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
    if systemd_is_user; then
        systemd_runtime
        set -- systemctl --user "$@"
    elif [ "$(id -u)" = 0 ]; then
        set -- systemctl "$@"
    else
        set -- sudo -n systemctl "$@"
    fi
    app_limit "$systemd_seconds" "$@"
)

# systemd_command VERB UNIT: the order as a person gives it.
systemd_command() {
    if systemd_is_user; then echo "systemctl --user $1 $2"; else echo "sudo systemctl $1 $2"; fi
}

# systemd_show UNIT: puts its properties into systemd_... variables. They come in any order.
systemd_show() {
    systemd_load='' systemd_active='' systemd_sub='' systemd_result='' systemd_restarts=0 systemd_main=0
    systemd_invocation='' systemd_group='' systemd_stale='' systemd_file='' systemd_status='' systemd_places=''
    systemd_said=$(systemd_ask show "$1" -p LoadState -p LoadError -p ActiveState -p SubState -p Result \
        -p NRestarts -p MainPID -p InvocationID -p ControlGroup -p NeedDaemonReload -p UnitFileState \
        -p ExecMainStatus -p WorkingDirectory -p ExecStart 2>&1) || return
    while IFS= read -r systemd_line; do
        systemd_value=${systemd_line#*=}
        case $systemd_line in
            LoadState=*) systemd_load=$systemd_value ;;
            ActiveState=*) systemd_active=$systemd_value ;;
            SubState=*) systemd_sub=$systemd_value ;;
            Result=*) systemd_result=$systemd_value ;;
            NRestarts=*) systemd_restarts=$systemd_value ;;
            MainPID=*) systemd_main=$systemd_value ;;
            InvocationID=*) systemd_invocation=$systemd_value ;;
            ControlGroup=*) systemd_group=$systemd_value ;;
            NeedDaemonReload=*) systemd_stale=$systemd_value ;;
            UnitFileState=*) systemd_file=$systemd_value ;;
            ExecMainStatus=*) systemd_status=$systemd_value ;;
            WorkingDirectory=* | ExecStart=*) systemd_places="$systemd_places $systemd_value" ;;
        esac
    done <<END_OF_PROPERTIES
$systemd_said
END_OF_PROPERTIES
}

systemd_check() {
    if ! command -v systemctl >/dev/null 2>&1; then
        say problem "systemctl is not on this host, and deploy.toml says that systemd keeps the app up"
        return 0
    fi
    if ! systemd_said=$(systemd_ask show -p Version 2>&1); then
        systemd_cure=
        ! systemd_is_user || systemd_cure="; run on the host: sudo loginctl enable-linger $(id -un)"
        say problem "systemd cannot be asked: $(printf '%s\n' "$systemd_said" | head -n 1)$systemd_cure"
        return 0
    fi
    say fact "systemd ${systemd_said#Version=} $(app_setting systemd-scope user)"
    if systemd_is_user && [ "$(id -u)" != 0 ] && [ ! -e "/var/lib/systemd/linger/$(id -un)" ]; then
        say problem "the units of $(id -un) end when nobody is logged in; run on the host: sudo loginctl enable-linger $(id -un)"
    fi
    systemd_denied=
    while IFS= read -r systemd_unit; do
        systemd_check_unit
    done <"$RECIPE/systemd-units"
    if [ -n "$systemd_denied" ]; then
        say problem "$(id -un) may not restart the app; add to a file in /etc/sudoers.d on the host: $(id -un) ALL=(root) NOPASSWD: ${systemd_denied#, }"
    fi
}

systemd_check_unit() {
    if ! systemd_show "$systemd_unit"; then
        say problem "systemd does not tell about $systemd_unit: $(printf '%s\n' "$systemd_said" | head -n 1)"
        return 0
    fi
    case $systemd_load in
        loaded) ;;
        not-found)
            say problem "the unit $systemd_unit is not on the host; $(systemd_cure)"
            return 0
            ;;
        *)
            say problem "systemd cannot load $systemd_unit ($systemd_load); see \`$(systemd_command status "$systemd_unit")\` on the host"
            return 0
            ;;
    esac
    case $systemd_places in
        *"$ROOT/releases/"*)
            say problem "the unit $systemd_unit names a release ($ROOT/releases/...), so it would never run another one; let it lead through $ROOT/current"
            ;;
    esac
    systemd_compare
    if ! systemd_is_user && [ "$(id -u)" != 0 ]; then
        for systemd_verb in restart reset-failed start stop; do
            sudo -n -l systemctl "$systemd_verb" "$systemd_unit" </dev/null >/dev/null 2>&1 ||
                systemd_denied="$systemd_denied, $(command -v systemctl) $systemd_verb $systemd_unit"
        done
    fi
}

systemd_compile() {
    if [ ! -s "$RECIPE/systemd-units" ]; then
        echo "the recipe has no units. Set supervisor.units in deploy.toml."
        return 1
    fi
}

# systemd_record: which units were up, a line each.
systemd_record() {
    while IFS= read -r systemd_unit; do
        systemd_show "$systemd_unit" || {
            printf '%s\n' "$systemd_said"
            return 1
        }
        printf '%s %s\n' "$systemd_unit" "$systemd_active"
    done <"$RECIPE/systemd-units" >"$BEFORE/systemd"
}

# systemd_variables: the release's variables, where units may read them (EnvironmentFile=).
systemd_variables() {
    [ -f "$RECIPE/systemd-env" ] || return 0
    (umask 077 && cat "$RECIPE/systemd-env" >"$ROOT/.rdeploy/env.new") && mv -f "$ROOT/.rdeploy/env.new" "$ROOT/.rdeploy/env"
}

# systemd_restart UNIT: what failed too often is refused until it is forgotten. A unit that waits for its next start has
# that one ended, and keeps its count, where it failed once more after it was forgotten: then that is not the count of
# what was started here. Started from a running one it has none.
systemd_restart() {
    for systemd_try in 1 2 3; do
        systemd_do 20 reset-failed "$1" >/dev/null 2>&1
        systemd_said=$(systemd_do 150 restart "$1" 2>&1) || {
            systemd_refused "$1" $?
            return 1
        }
        systemd_show "$1" && [ "$systemd_restarts" != 0 ] || return 0
    done
}

# systemd_refused UNIT STATUS: what came of a restart.
systemd_refused() {
    if [ "$2" = 124 ]; then
        echo "systemd did not restart $1 within 150 s"
    else
        echo "systemd could not restart $1 (status $2): $(printf '%s\n' "$systemd_said" | head -n 1)"
    fi
    systemd_words 40
}

systemd_start() {
    systemd_variables || {
        echo "the app's variables could not be written to $ROOT/.rdeploy/env"
        return 1
    }
    while IFS= read -r systemd_unit; do
        systemd_show "$systemd_unit" || :
        [ "$systemd_stale" = yes ] || continue
        systemd_said=$(systemd_do 60 daemon-reload 2>&1) && break
        echo "the unit $systemd_unit was changed on the host, and systemd could not read it again: $(printf '%s\n' "$systemd_said" | head -n 1). Run there: $(systemd_command daemon-reload '')"
        return 1
    done <"$RECIPE/systemd-units"
    rm -f "$WORK/systemd-seen".*
    while IFS= read -r systemd_unit; do
        systemd_restart "$systemd_unit" || return
    done <"$RECIPE/systemd-units"
}

# systemd_look: see app_verify.
systemd_look() {
    if [ "$1" = quick ] && [ "${systemd_looked:-}" = "$app_now" ]; then
        return 0
    fi
    systemd_looked=
    place_begin
    while IFS= read -r systemd_unit; do
        systemd_judge || return
    done <"$RECIPE/systemd-units"
    systemd_looked=$app_now
    place_end
}

# systemd_judge: one unit. 0 well, 1 failed, 2 not yet.
systemd_judge() {
    if ! systemd_show "$systemd_unit"; then
        app_reason="systemd does not tell about $systemd_unit: $systemd_said"
        return 1
    fi
    case $systemd_active:$systemd_sub in
        active:running | active:exited | reloading:*) ;;
        activating:auto-restart)
            app_reason="$systemd_unit has ended ($systemd_result, status $systemd_status), and systemd starts it again"
            return 1
            ;;
        activating:*)
            app_reason="$systemd_unit is $systemd_active ($systemd_sub)"
            return 2
            ;;
        *)
            app_reason="$systemd_unit is $systemd_active ($systemd_sub; $systemd_result, status $systemd_status)"
            return 1
            ;;
    esac
    systemd_now="$systemd_invocation $systemd_main $systemd_restarts"
    if [ -f "$WORK/systemd-seen.$systemd_unit" ]; then
        IFS= read -r systemd_then <"$WORK/systemd-seen.$systemd_unit"
        if [ "$systemd_then" != "$systemd_now" ]; then
            app_reason="$systemd_unit ended and was started again since its start (restarts: $systemd_restarts, last status $systemd_status)"
            return 1
        fi
    elif [ "$systemd_restarts" != 0 ]; then
        app_reason="$systemd_unit ended and was started again by systemd $systemd_restarts times since its start"
        return 1
    else
        printf '%s\n' "$systemd_now" >"$WORK/systemd-seen.$systemd_unit"
    fi
    systemd_before=$place_count
    for systemd_pid in $(systemd_group_pids); do
        place_of "$systemd_pid" "$systemd_unit" || return
    done
    [ "$place_count" != "$systemd_before" ] || place_doubt "$systemd_unit has no process"
}

# systemd_group_pids: what runs in the unit's control group.
systemd_group_pids() {
    # One hierarchy; or, on older systems, several, one of which is systemd's own.
    for systemd_at in "/sys/fs/cgroup$systemd_group" "/sys/fs/cgroup/unified$systemd_group" \
        "/sys/fs/cgroup/systemd$systemd_group"; do
        if [ -n "$systemd_group" ] && [ -r "$systemd_at/cgroup.procs" ]; then
            find "$systemd_at" -name cgroup.procs -exec cat {} + 2>/dev/null
            return
        fi
    done
    [ "$systemd_main" = 0 ] || echo "$systemd_main"
}

systemd_done() { :; }

# systemd_journal LINES [FORMAT]: what the units wrote, the last lines of each.
systemd_journal() {
    while IFS= read -r systemd_unit; do
        if systemd_is_user; then
            (systemd_runtime && journalctl --user -u "$systemd_unit" -n "$1" -o "${2:-cat}" --no-pager -q </dev/null 2>&1)
        else
            journalctl -u "$systemd_unit" -n "$1" -o "${2:-cat}" --no-pager -q </dev/null 2>&1
        fi
    done <"$RECIPE/systemd-units"
}

# systemd_spoke: whether a program's words follow the manager's last word of a start. Of who may read nothing, too: it
# is no help to wait.
systemd_spoke() {
    systemd_journal 40 short | awk '
        / systemd\[[0-9]+\]: / { if (/\]: Start(ing|ed) /) spoke = 0; next }
        { spoke = 1 }
        END { exit NR && !spoke }'
}

# systemd_words LINES: why a unit may have failed. A journald that is busy reads what a program wrote well after the
# manager's word of its end.
systemd_words() {
    for systemd_read in 1 2 3 4; do
        app_nap
        ! systemd_spoke || break
    done
    systemd_text=$(systemd_journal "$1")
    [ -z "$systemd_text" ] || printf 'the last lines of its journal:\n%s\n' "$systemd_text"
}

# systemd_halt UNIT: stops it; one that is not there is stopped.
systemd_halt() {
    systemd_show "$1" || :
    case $systemd_load:$systemd_active in not-found:* | *:inactive) return 0 ;; esac
    systemd_said=$(systemd_do 100 stop "$1" 2>&1) && return
    echo "systemd could not stop $1: $(printf '%s\n' "$systemd_said" | head -n 1)"
    return 1
}

systemd_stop() {
    while IFS= read -r systemd_unit; do
        systemd_halt "$systemd_unit" || return
    done <"$RECIPE/systemd-units"
}

# systemd_restore: `current` is back; what was up comes up again, and nothing else does.
systemd_restore() {
    [ -f "$BEFORE/systemd" ] || return 0
    while read -r systemd_unit systemd_was; do
        case $systemd_was in
            active | reloading | activating) systemd_restart "$systemd_unit" || return ;;
            *) systemd_halt "$systemd_unit" || return ;;
        esac
    done <"$BEFORE/systemd"
}

# systemd_commit: units that the release does not name any more end; what would not survive a reboot is said.
systemd_commit() {
    if [ -n "${LEAVING:-}" ] && [ -f "$LEAVING/systemd-units" ]; then
        while IFS= read -r systemd_unit; do
            grep -qxF "$systemd_unit" "$RECIPE/systemd-units" || systemd_halt "$systemd_unit" || return
        done <"$LEAVING/systemd-units"
    fi
    while IFS= read -r systemd_unit; do
        systemd_show "$systemd_unit" || continue
        [ "$systemd_file" != disabled ] ||
            say warning "$systemd_unit does not come back after a reboot; run on the host: $(systemd_command enable "$systemd_unit")"
    done <"$RECIPE/systemd-units"
    return 0
}

systemd_pids() {
    while IFS= read -r systemd_unit; do
        systemd_show "$systemd_unit" && systemd_group_pids
    done <"$RECIPE/systemd-units"
    return 0
}

# systemd_census: see status.sh. A unit's restarts are told with the first of its processes.
systemd_census() {
    while IFS= read -r systemd_unit; do
        if ! systemd_show "$systemd_unit"; then
            printf '%s\n' "$systemd_said"
            return 1
        fi
        systemd_now=$systemd_active
        [ "$systemd_load" = loaded ] || systemd_now=missing
        systemd_count=$systemd_restarts
        for systemd_pid in $(systemd_group_pids); do
            app_alive "$systemd_pid" || continue
            printf '%s|%s|%s|%s\n' "$systemd_pid" "$systemd_now" "$systemd_count" "$systemd_unit"
            systemd_count=-
        done
        [ "$systemd_count" = - ] || printf '0|%s|%s|%s\n' "$systemd_now" "$systemd_count" "$systemd_unit"
    done <"$RECIPE/systemd-units"
}

systemd_logs() { systemd_journal "$1"; }

systemd_stream() {
    set -- -f -n "$1" -o cat --no-pager -q
    while IFS= read -r systemd_unit; do
        set -- "$@" -u "$systemd_unit"
    done <"$RECIPE/systemd-units"
    if systemd_is_user; then
        systemd_runtime
        set -- --user "$@"
    fi
    exec journalctl "$@" </dev/null
}
