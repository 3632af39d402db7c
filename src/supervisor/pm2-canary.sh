# shellcheck shell=sh
# Owns how running processes under PM2 get the new code: first the one worker of a cluster that tries it, before the
# others leave the old.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

# pm2_roll: replaces the running processes. Where their settings stay the same the daemon is told so directly
# (pm2-roll.cjs); its command line does the rest, and what the daemon refuses.
pm2_roll() {
    if [ ! -f "$pm2_work/plan/roll" ]; then
        pm2_by_command
        return
    fi
    while :; do
        if [ -z "$pm2_begun" ]; then
            pm2_alone 3600 env -u NODE_OPTIONS node "$RECIPE/pm2-roll.cjs" roll "$(pm2_home)" "$ROOT" "$RELEASE" \
                "$RECIPE" "$pm2_work" "$pm2_patience" "${REVERT-}"
            pm2_begun=$?
        fi
        pm2_came=$pm2_begun pm2_begun=
        case $pm2_came in
            0) break ;;
            75)
                pm2_hear
                pm2_by_command
                return
                ;;
            76)
                # It takes its time, for which nobody else has to wait.
                read -r pm2_id pm2_name <"$pm2_work/plan/canary"
                pm2_try kept || return
                sed 1d "$pm2_work/plan/canary" >"$pm2_work/plan/canary.left"
                mv -f "$pm2_work/plan/canary.left" "$pm2_work/plan/canary" || return
                ;;
            *)
                pm2_words 40
                return 1
                ;;
        esac
    done
    pm2_facts "$pm2_work/plan/facts"
    if [ -f "$pm2_work/plan/again" ]; then
        pm2_hear
        pm2_reload
        return
    fi
    pm2_rolled=1
}

# pm2_by_command: replaces the running processes by PM2's command line, which reads the apps' settings anew.
pm2_by_command() {
    pm2_canary && pm2_reload
}

# pm2_reload: replaces running processes by new ones. PM2 may refuse, with status 0, while an earlier
# reload goes on, and may keep the place an app was registered from: the list tells.
pm2_reload() {
    for pm2_try in 1 2 3; do
        pm2_tell "restarting the apps" "$pm2_patience" startOrReload "$pm2_work/plan/reload.json" || return
        pm2_judge recheck "$RECIPE" "$pm2_work" || return
        pm2_facts "$pm2_work/plan/facts"
        [ -f "$pm2_work/plan/again" ] || return 0
        [ "$pm2_try" -eq 3 ] || sleep 2
    done
    echo "PM2 goes on running the old processes of: $(cat "$pm2_work/plan/again"). Another reload may hang; see \`pm2 ls\` on the host."
    return 1
}

# pm2_canary: lets one worker of each cluster try the new code. PM2 ends the old workers of a reload
# even when the new ones die or never listen, and says 0; so a bad release would take the whole app down.
pm2_canary() {
    [ -s "$pm2_work/plan/canary" ] || return 0
    while read -r pm2_id pm2_name <&8; do
        # PM2 refuses while another app of this user is reloaded; then the others are not waited for.
        pm2_run "$pm2_patience" reload "$pm2_id" >/dev/null 2>&1 || continue
        pm2_try '' || return
    done 8<"$pm2_work/plan/canary"
}

# pm2_try [KEPT]: waits until it is clear how the worker fares that has the new code. KEPT says that it is not
# restarted once more, with the others.
pm2_try() {
    app_clock
    pm2_until=$((app_now + 10))
    pm2_said='wait'
    while [ "$pm2_said" = wait ] && app_clock && [ "$app_now" -lt "$pm2_until" ]; do
        if ! pm2_said=$(pm2_judge tried "$pm2_id" "$pm2_work" "$1"); then
            printf '%s\n' "$pm2_said"
            return 1
        fi
        [ "$pm2_said" != wait ] || app_nap
    done
    case $pm2_said in ok\ *) pm2_knock "${pm2_said#ok }" ;; esac
    case $pm2_said in
        bad\ *)
            echo "${pm2_said#bad }. It was the first to run the new code; the other processes of $pm2_name still run the old."
            pm2_words 40
            return 1
            ;;
    esac
}

# pm2_knock "PID OTHERS": whether the worker that tries the new code takes requests, and answers them as all
# the health checks want it that a connection can be made for. What cannot be told so is left to app_verify.
pm2_knock() {
    [ -f "$RECIPE/health" ] && [ -f "$RECIPE/pm2-canary.cjs" ] || return 0
    # shellcheck disable=SC2086 # one word a process
    pm2_said=$(pm2_node pm2-canary.cjs "$RECIPE" "$pm2_name (id $pm2_id)" $1) || pm2_said=unknown
}
