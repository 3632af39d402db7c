# shellcheck shell=sh
# Owns the one worker of a PM2 cluster that tries the new code before the others leave the old.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

# pm2_canary: lets one worker of each cluster try the new code. PM2 ends the old workers of a reload
# even when the new ones die or never listen, and says 0; so a bad release would take the whole app down.
pm2_canary() {
    [ -s "$pm2_work/plan/canary" ] || return 0
    while read -r pm2_id pm2_name <&8; do
        # PM2 refuses while another app of this user is reloaded; then the others are not waited for.
        pm2_run "$pm2_patience" reload "$pm2_id" >/dev/null 2>&1 || continue
        app_clock
        pm2_until=$((app_now + 10))
        pm2_said='wait'
        while [ "$pm2_said" = wait ] && app_clock && [ "$app_now" -lt "$pm2_until" ]; do
            if ! pm2_said=$(pm2_judge tried "$pm2_id" "$pm2_work"); then
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
    done 8<"$pm2_work/plan/canary"
}

# pm2_knock "PID OTHERS": whether the worker that tries the new code takes requests, and answers them as all
# the health checks want it that a connection can be made for. What cannot be told so is left to app_verify.
pm2_knock() {
    [ -f "$RECIPE/health" ] && [ -f "$RECIPE/pm2-canary.cjs" ] || return 0
    # shellcheck disable=SC2086 # one word a process
    pm2_said=$(pm2_node pm2-canary.cjs "$RECIPE" "$pm2_name (id $pm2_id)" $1) || pm2_said=unknown
}
