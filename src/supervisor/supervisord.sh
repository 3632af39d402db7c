# shellcheck shell=sh
# Owns apps under supervisord: programs that it knows already, and that lead through `current`. How it is
# asked is in supervisord-ask.sh.
#
# What counts is that each process is RUNNING, stays the one it was, and where it and its children run:
# supervisorctl also answers 0 for a program that ends again and again.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

supervisord_check() {
    supervisord_find
    if [ -z "$supervisord_ctl" ]; then
        say problem "supervisorctl is not on this host, and deploy.toml says that supervisord keeps the app up. Install it (apt-get install supervisor), or name its directory in deploy.toml: path = [\"/directory/of/supervisorctl\"]"
        return 0
    fi
    if [ -z "$supervisord_config" ] || [ ! -e "$supervisord_config" ]; then
        say problem "there is no ${supervisord_config:-supervisord.conf where supervisorctl looks for it} on this host; say where it is: supervisor.config in deploy.toml"
        return 0
    fi
    if ! supervisord_ask; then
        supervisord_unreached
        return 0
    fi
    say fact "supervisord $(supervisord_version) $supervisord_via"
    supervisord_read
    supervisord_list "$RECIPE/supervisord-programs" >"$WORK/supervisord-now"
    while read -r supervisord_program supervisord_process supervisord_state supervisord_rest; do
        supervisord_check_program
    done <"$WORK/supervisord-now"
    supervisord_told pinned | while IFS= read -r supervisord_name; do
        say problem "the program $supervisord_name names a release ($ROOT/releases/...), so it would never run another one; let it lead through $ROOT/current"
    done
    supervisord_told instant | while IFS= read -r supervisord_name; do
        say note "the program $supervisord_name has startsecs=0, so supervisord takes it for started whatever becomes of it; let it be 1 or more"
    done
    supervisord_compare
    [ "$supervisord_via" != sudo ] || supervisord_rights
}

# supervisord_unreached: says why supervisord cannot be asked, and what helps.
supervisord_unreached() {
    supervisord_reason=$(supervisord_why)
    case $supervisord_reason in
        *'ermission denied'* | *PermissionError* | *'could not read config file'*)
            if [ -O "$supervisord_ctl" ] || [ -O "$supervisord_config" ]; then
                say problem "supervisord cannot be asked: $supervisord_reason. Let $(id -un) use its socket: chown= and chmod= below [unix_http_server] in its configuration"
            else
                supervisord_rights
            fi
            ;;
        *'no such file'* | *'refused connection'*)
            say problem "supervisord does not run on this host ($supervisord_reason); start it, and have it started at boot: sudo systemctl enable --now supervisor"
            ;;
        *authentication*)
            say problem "supervisord wants a password, and $supervisord_config says none below [supervisorctl]"
            ;;
        *) say problem "supervisord cannot be asked: ${supervisord_reason:-supervisorctl said nothing}" ;;
    esac
}

supervisord_check_program() {
    if [ "$supervisord_state" = ABSENT ]; then
        if supervisord_is_group "$supervisord_program"; then
            say problem "$supervisord_program is a group of processes; write programs = [\"$supervisord_program:*\"] in deploy.toml"
        elif [ "$supervisord_sure" = yes ] && ! supervisord_says known "$supervisord_program"; then
            say problem "supervisord does not know the program $supervisord_program; $(supervisord_cure)"
        fi
    elif [ "$supervisord_sure" = yes ] && ! supervisord_says known "$supervisord_program"; then
        say problem "the program $supervisord_program runs, but is not in the configuration any more ($supervisord_config and what it includes), so supervisord would remove it; put it back"
    fi
}

# supervisord_rights: says which words of sudo's this user lacks.
supervisord_rights() {
    supervisord_denied=
    supervisord_right status
    while IFS= read -r supervisord_program; do
        supervisord_group=${supervisord_program%%:*}
        supervisord_right update "$supervisord_group"
        supervisord_right restart "$supervisord_program"
        supervisord_right stop "$supervisord_program"
        case $supervisord_program in
            # The processes of a group come and go, so that no list of them would hold.
            *:\*)
                supervisord_may tail "-$supervisord_bytes" "$supervisord_group:any" stderr ||
                    supervisord_denied="$supervisord_denied, $(supervisord_sudoers tail "-$supervisord_bytes" "$supervisord_group:")*"
                ;;
            *)
                supervisord_right tail "-$supervisord_bytes" "$supervisord_program"
                supervisord_right tail "-$supervisord_bytes" "$supervisord_program" stderr
                ;;
        esac
    done <"$RECIPE/supervisord-programs"
    [ -z "$supervisord_denied" ] ||
        say problem "$(id -un) may not restart the app; add to a file in /etc/sudoers.d on the host: $(id -un) ALL=(root) NOPASSWD: ${supervisord_denied#, }"
}

supervisord_right() {
    supervisord_may "$@" || supervisord_denied="$supervisord_denied, $(supervisord_sudoers "$@")"
}

# supervisord_sudoers WORD...: a call as sudoers(5) wants it written.
supervisord_sudoers() {
    printf '%s ' "$supervisord_ctl"
    printf '%s' "-c $supervisord_config $*" | sed 's/[][,:=\\*?]/\\&/g'
}

supervisord_compile() {
    if [ ! -s "$RECIPE/supervisord-programs" ]; then
        echo "the recipe has no programs. Set supervisor.programs in deploy.toml."
        return 1
    fi
}

# supervisord_reach: asks, or fails with a sentence.
supervisord_reach() {
    if supervisord_ask; then
        printf '%s\n' "$supervisord_via" >"$WORK/supervisord-via"
        return
    fi
    echo "supervisord cannot be asked: $(supervisord_why)"
    return 1
}

# supervisord_open: finds out how supervisord is reached, without asking again what was found out before.
supervisord_open() {
    supervisord_find
    if [ -s "$WORK/supervisord-via" ]; then
        IFS= read -r supervisord_via <"$WORK/supervisord-via"
    else
        supervisord_reach
    fi
}

# supervisord_record: what was up, a line a process.
supervisord_record() {
    supervisord_reach && supervisord_list "$RECIPE/supervisord-programs" >"$BEFORE/supervisord"
}

# supervisord_variables: the release's variables, where a program's shell may read them.
supervisord_variables() {
    [ -f "$RECIPE/env.sh" ] || return 0
    (umask 077 && cat "$RECIPE/env.sh" >"$ROOT/.rdeploy/env.sh.new") &&
        mv -f "$ROOT/.rdeploy/env.sh.new" "$ROOT/.rdeploy/env.sh"
}

# supervisord_renew [BACK]: what was changed in the configuration of the programs is read again: `restart` alone
# goes on with the old. Leaves in supervisord_renewed the groups that were stopped and started for it. On the way
# back, a configuration that cannot be read keeps nothing from being restarted.
supervisord_renew() {
    supervisord_renewed=' ' supervisord_groups=' '
    while IFS= read -r supervisord_program; do
        supervisord_group=${supervisord_program%%:*}
        case $supervisord_groups in *" $supervisord_group "*) continue ;; esac
        supervisord_groups="$supervisord_groups$supervisord_group "
        supervisord_said=$(supervisord_run 150 update "$supervisord_group")
        supervisord_code=$?
        case $supervisord_code:$supervisord_said in
            0:*ERROR* | 0:error:* | [!0]*)
                echo "supervisord could not read the configuration of $supervisord_group again: $(supervisord_why)"
                [ -n "$1" ] || return 1
                ;;
            *'added process group'* | *'updated process group'*) supervisord_renewed="$supervisord_renewed$supervisord_group " ;;
        esac
    done <"$RECIPE/supervisord-programs"
}

# supervisord_is STATES PROGRAM: whether all its processes are in one of these states (a `case` pattern is none
# in a variable, so they stand between spaces).
supervisord_is() {
    supervisord_ask || return
    supervisord_list "$WORK/supervisord-one" | {
        while read -r supervisord_each supervisord_process supervisord_state supervisord_rest; do
            [ "$supervisord_each" = "$2" ] || continue
            case " $1 " in *" $supervisord_state "*) ;; *) exit 1 ;; esac
        done
    }
}

# supervisord_failure: the first error in what supervisorctl said, but for one that is none.
supervisord_failure() {
    printf '%s\n' "$supervisord_said" | grep -v 'ERROR (not running)' | grep -e ERROR -e '^error:' | head -n 1 |
        sed 's/^[^ ]*: ERROR (\(.*\))$/\1/'
}

# supervisord_restart PROGRAM
supervisord_restart() {
    printf '%s\n' "$1" >"$WORK/supervisord-one"
    case ${supervisord_renewed:-} in
        *" ${1%%:*} "*) ! supervisord_is "STARTING RUNNING BACKOFF" "$1" || return 0 ;;
    esac
    supervisord_said=$(supervisord_run 150 restart "$1")
    supervisord_code=$?
    supervisord_reason=$(supervisord_failure)
    [ "$supervisord_code:$supervisord_reason" != 0: ] || return 0
    [ -n "$supervisord_reason" ] || supervisord_reason=$(supervisord_why)
    if [ "$supervisord_code" = 124 ]; then
        echo "supervisord did not restart $1 within 150 s"
    else
        # What became of it says more than "spawn error" does.
        supervisord_state=$(supervisord_ask && supervisord_list "$WORK/supervisord-one" | while read -r \
            supervisord_program supervisord_process supervisord_state supervisord_pid supervisord_rest; do
            case $supervisord_state in BACKOFF | FATAL | EXITED) ;; *) continue ;; esac
            echo "$supervisord_process is $supervisord_state ($supervisord_rest)"
            break
        done)
        echo "supervisord could not start $1: ${supervisord_state:-$supervisord_reason}"
    fi
    supervisord_words 40
    return 1
}

supervisord_start() {
    supervisord_variables || {
        echo "the app's variables could not be written to $ROOT/.rdeploy/env.sh"
        return 1
    }
    supervisord_open || return
    supervisord_renew "${REVERT:-}" || return
    rm -f "$WORK/supervisord-seen"
    while IFS= read -r supervisord_program; do
        supervisord_restart "$supervisord_program" || return
    done <"$RECIPE/supervisord-programs"
}

# supervisord_look: see app_verify. While every process is the one that was seen, there is nothing to ask.
supervisord_look() {
    if [ -n "${supervisord_steady:-}" ] && supervisord_unchanged; then
        # To ask costs a Python: not again for what has just been said.
        if [ "$1" = quick ] || [ $((app_fine - supervisord_looked)) -lt 50 ]; then
            return 0
        fi
    elif [ "$1" = quick ] && [ $((app_fine - ${supervisord_looked:--100})) -lt 100 ]; then
        return "$supervisord_found"
    fi
    supervisord_steady=
    supervisord_judge
    supervisord_found=$?
    app_clock
    supervisord_looked=$app_fine
    [ "$supervisord_found" != 0 ] || supervisord_steady=1
    return "$supervisord_found"
}

# supervisord_unchanged: whether every process that was seen lives. Where /proc hides it, it is asked again.
supervisord_unchanged() {
    while read -r supervisord_process supervisord_pid supervisord_born; do
        [ -n "$supervisord_born" ] && app_alive "$supervisord_pid" &&
            [ "$(app_born "$supervisord_pid")" = "$supervisord_born" ] || return
    done <"$WORK/supervisord-seen"
}

# supervisord_judge: all programs. 0 well, 1 failed, 2 not yet.
supervisord_judge() {
    if ! supervisord_ask; then
        app_reason="supervisord cannot be asked: $(supervisord_why)"
        return 1
    fi
    supervisord_list "$RECIPE/supervisord-programs" >"$WORK/supervisord-now"
    supervisord_seen=
    [ ! -f "$WORK/supervisord-seen" ] || supervisord_seen=$(cat "$WORK/supervisord-seen")
    supervisord_wait=
    while read -r supervisord_program supervisord_process supervisord_state supervisord_pid supervisord_rest; do
        supervisord_judge_one || return
    done <"$WORK/supervisord-now"
    [ -z "$supervisord_wait" ] || return 2
    place_begin
    supervisord_family >"$WORK/supervisord-family"
    while read -r supervisord_pid supervisord_process; do
        place_of "$supervisord_pid" "$supervisord_process" || return
    done <"$WORK/supervisord-family"
    while read -r supervisord_program supervisord_process supervisord_state supervisord_pid supervisord_rest; do
        app_alive "$supervisord_pid" || place_doubt "process $supervisord_pid of $supervisord_process cannot be seen"
    done <"$WORK/supervisord-now"
    place_end
}

supervisord_judge_one() {
    case $supervisord_state in
        RUNNING | STARTING) ;;
        ABSENT)
            app_reason="supervisord does not know the program $supervisord_program"
            return 1
            ;;
        BACKOFF)
            app_reason="$supervisord_process has ended, and supervisord starts it again ($supervisord_rest)"
            return 1
            ;;
        *)
            app_reason="$supervisord_process is $supervisord_state ($supervisord_rest)"
            return 1
            ;;
    esac
    supervisord_now="$supervisord_process $supervisord_pid $(app_born "$supervisord_pid")"
    case "
$supervisord_seen
" in
        *"
$supervisord_now
"*) return 0 ;;
        *"
$supervisord_process "*)
            app_reason="$supervisord_process ended and was started again since its start"
            return 1
            ;;
    esac
    if [ "$supervisord_state" = STARTING ]; then
        app_reason="$supervisord_process is STARTING"
        supervisord_wait=1
    else
        printf '%s\n' "$supervisord_now" >>"$WORK/supervisord-seen"
    fi
}

supervisord_done() { :; }

# supervisord_halt PROGRAM: stops it; one that is not there is stopped.
supervisord_halt() {
    printf '%s\n' "$1" >"$WORK/supervisord-one"
    ! supervisord_is "STOPPED EXITED FATAL UNKNOWN ABSENT" "$1" || return 0
    supervisord_said=$(supervisord_run 100 stop "$1")
    supervisord_code=$?
    supervisord_reason=$(supervisord_failure)
    [ "$supervisord_code:$supervisord_reason" != 0: ] || return 0
    echo "supervisord could not stop $1: ${supervisord_reason:-$(supervisord_why)}"
    return 1
}

supervisord_stop() {
    while IFS= read -r supervisord_program; do
        supervisord_halt "$supervisord_program" || return
    done <"$RECIPE/supervisord-programs"
}

# supervisord_restore: `current` is back; what was up comes up again, and nothing else does.
supervisord_restore() {
    [ -f "$BEFORE/supervisord" ] || return 0
    supervisord_open || return
    # A program that the release brought along is gone again.
    supervisord_renew back >/dev/null
    awk '
        $3 ~ /^(RUNNING|STARTING|BACKOFF)$/ { up[$1] = 1 }
        !($1 in seen) { seen[$1] = 1; program[++n] = $1 }
        END { for (i = 1; i <= n; i++) print program[i], (program[i] in up) }' "$BEFORE/supervisord" >"$WORK/supervisord-back"
    while read -r supervisord_program supervisord_up; do
        if [ "$supervisord_up" = 0 ]; then
            supervisord_halt "$supervisord_program" || return
        else
            supervisord_restart "$supervisord_program" || return
        fi
    done <"$WORK/supervisord-back"
    # Of a group, some may have been down.
    while read -r supervisord_program supervisord_process supervisord_state supervisord_rest; do
        case $supervisord_program:$supervisord_state in
            *:RUNNING | *:STARTING | *:BACKOFF | *:ABSENT) ;;
            *:\*:*) supervisord_halt "$supervisord_process" || return ;;
        esac
    done <"$BEFORE/supervisord"
}

# supervisord_commit: programs that the release does not name any more end; what would not survive a reboot is
# said.
supervisord_commit() {
    if [ -n "${LEAVING:-}" ] && [ -f "$LEAVING/supervisord-programs" ] &&
        grep -qvxF -f "$RECIPE/supervisord-programs" "$LEAVING/supervisord-programs"; then
        supervisord_reach || return
        supervisord_list "$RECIPE/supervisord-programs" >"$WORK/supervisord-now"
        # By the name it had in deploy.toml, which sudo knows, unless only a part of a group leaves.
        supervisord_list "$LEAVING/supervisord-programs" | awk '
            NR == FNR { stays[$2] = 1; next }
            { program[++n] = $1; process[n] = $2 }
            $2 in stays { some[$1] = 1 }
            END {
                for (i = 1; i <= n; i++)
                    if (process[i] != "-" && !(process[i] in stays)) print (program[i] in some) ? process[i] : program[i]
            }' "$WORK/supervisord-now" - >"$WORK/supervisord-gone"
        while IFS= read -r supervisord_program; do
            supervisord_halt "$supervisord_program" || return
        done <"$WORK/supervisord-gone"
    fi
    supervisord_find
    [ -n "$supervisord_config" ] || return 0
    supervisord_read
    supervisord_told manual | while IFS= read -r supervisord_name; do
        say warning "the program $supervisord_name does not come back after a reboot: it has autostart=false"
    done
    return 0
}
