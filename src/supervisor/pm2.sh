# shellcheck shell=sh
# Owns apps under PM2. How PM2 is asked and told is in pm2-call.sh, what its answers mean is judged by pm2.cjs (node is
# there, since PM2 needs it), and how running processes get new code is in pm2-canary.sh.
#
# What PM2's exit statuses say is worth nothing: 0 after a start whose code then throws, 0 after a
# reload that was refused. What counts is what its list and /proc say afterwards.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

# pm2_own NAMES [KEEP]: puts the ids of this tree's apps into the file `remove`, without those that stay.
pm2_own() {
    if ! pm2_judge own "$ROOT" "$pm2_work/list" "$@" >"$pm2_work/remove"; then
        cat "$pm2_work/remove"
        return 1
    fi
}

# pm2_facts FILE: hands on what a node program wanted to be said, one `KEY TEXT` a line.
pm2_facts() {
    [ -f "$1" ] || return 0
    while IFS= read -r pm2_fact; do
        say "${pm2_fact%% *}" "${pm2_fact#* }"
    done <"$1"
}

# pm2_ready: PATH is right, and there is a place for scratch.
pm2_ready() {
    app_find_path || return
    pm2_work=$WORK/pm2
    mkdir -p "$pm2_work" && chmod 700 "$pm2_work"
}

pm2_check() {
    if ! pm2_said=$(app_find_path); then
        say problem "$(printf '%s\n' "$pm2_said" | head -n 1)"
        return 0
    fi
    pm2_ready || return
    pm2_node pm2.cjs facts "$(command -v pm2)" >"$pm2_work/facts"
    pm2_facts "$pm2_work/facts"
    say fact "boot $(pm2_boot)"
    [ -f "$RECIPE/pm2-apps.json" ] || return 0
    if pm2_judge foreign "$ROOT" "$pm2_work/list" "$RECIPE/pm2-apps.json" >"$pm2_work/facts"; then
        pm2_facts "$pm2_work/facts"
    else
        say problem "$(head -n 1 "$pm2_work/facts")"
    fi
}

# pm2_boot: prints what starts this user's PM2 when the host boots.
pm2_boot() {
    pm2_user=$(id -un)
    for pm2_file in "/etc/systemd/system/pm2-$pm2_user.service" "/etc/init.d/pm2-$pm2_user" \
        "$HOME"/.config/systemd/user/pm2*.service /etc/init.d/pm2-init.sh; do
        if [ -e "$pm2_file" ]; then
            printf '%s\n' "$pm2_file"
            return
        fi
    done
    echo none
}

# pm2_compile: the apps' settings as the new release states them, free of the release's own path.
pm2_compile() {
    pm2_ready || return
    rm -f "$RECIPE/pm2.json" "$RECIPE/pm2-names" "$pm2_work/facts" "$pm2_work/recorded"
    (
        set -- "$RECIPE/pm2-compile.cjs" "$ROOT" "$RELEASE" "$RECIPE" "$pm2_work/facts" "$(command -v pm2)"
        cd "$RELEASE" || exit
        app_user_env
        RDEPLOY_NODE_OPTIONS=${NODE_OPTIONS-}
        unset NODE_OPTIONS
        export RDEPLOY_NODE_OPTIONS
        umask 077
        app_limit 60 node "$@" </dev/null
    ) >"$pm2_work/compile.log" 2>&1
    pm2_status=$?
    if [ "$pm2_status" -ne 0 ] || [ ! -s "$RECIPE/pm2.json" ]; then
        [ "$pm2_status" -ne 124 ] || echo "evaluating the ecosystem file took more than 60 s"
        # Its own sentence comes last; what user code printed before stays below it.
        pm2_sentence=$(sed -n 's/^rdeploy-error: //p' "$pm2_work/compile.log" | tail -n 1)
        printf '%s\n' "${pm2_sentence:-the ecosystem file ended node (status $pm2_status) before its apps were known. Run \`node\` on it by hand.}"
        sed '/^rdeploy-error: /d' "$pm2_work/compile.log" | tail -n 40
        return 1
    fi
    pm2_facts "$pm2_work/facts"
    # What runs now is recorded on the way: starting node is most of what that costs.
    if ! pm2_judge foreign "$ROOT" "$pm2_work/list" "$RECIPE/pm2.json" \
        "$BEFORE/pm2.json" "$RECIPE/pm2-names" "${LEAVING:+$LEAVING/pm2-names}" >"$pm2_work/foreign"; then
        cat "$pm2_work/foreign"
        return 1
    fi
    if [ -s "$pm2_work/foreign" ]; then
        sed 's/^problem //' "$pm2_work/foreign"
        return 1
    fi
    : >"$pm2_work/recorded"
}

pm2_record() {
    pm2_ready || return
    # A moment ago, by pm2_compile. Who asks once more gets a new record.
    if [ -e "$pm2_work/recorded" ]; then
        rm -f "$pm2_work/recorded"
        return
    fi
    pm2_judge record "$pm2_work/list" "$BEFORE/pm2.json" "$RECIPE/pm2-names" "${LEAVING:+$LEAVING/pm2-names}"
}

# pm2_hear: writes down what the apps say on PM2's bus, in the background, until pm2_deaf.
pm2_hear() {
    # Not through pm2_node: the process itself has to be known, to be ended.
    env -u NODE_OPTIONS node "$RECIPE/pm2-logs.cjs" hear "$(pm2_home)" "$RECIPE/pm2-names" "$pm2_work/heard" \
        </dev/null >/dev/null 2>&1 &
    pm2_ear=$!
}

pm2_deaf() {
    [ -z "${pm2_ear:-}" ] || kill "$pm2_ear" 2>/dev/null
    pm2_ear=''
}

# pm2_start: the plan is made from the list; each of its parts is a file that exists when there is
# something to do.
pm2_start() {
    pm2_ready || return
    rm -rf "$pm2_work/heard" "$pm2_work/plan"
    mkdir "$pm2_work/plan" || return
    pm2_rolled=''
    pm2_plan || return
    pm2_follow
    pm2_status=$?
    pm2_deaf
    return "$pm2_status"
}

# pm2_plan: makes the plan, and follows it as far as one program can (pm2-roll.cjs); what came of that is in
# pm2_begun, nothing where it is all to be done.
pm2_plan() {
    pm2_begun=78
    if [ -f "$RECIPE/pm2-roll.cjs" ]; then
        # It ends by itself: whatever it waits for has a limit.
        pm2_alone 3600 env -u NODE_OPTIONS node "$RECIPE/pm2-roll.cjs" start "$(pm2_home)" "$ROOT" "$RELEASE" "$RECIPE" \
            "$pm2_work" "${LEAVING-}" "${REVERT-}"
        pm2_begun=$?
    fi
    case $pm2_begun in
        77) pm2_begun= ;;
        78)
            pm2_begun=
            pm2_judge plan "$ROOT" "$RECIPE" "$pm2_work" "${LEAVING-}" "${REVERT-}" || return
            ;;
        0 | 75 | 76) ;;
        # What was wrong is printed already; pm2_roll says more where there was a plan.
        *) [ -f "$pm2_work/plan/roll" ] || return ;;
    esac
    [ ! -e "$pm2_work/plan/nothing" ] || pm2_daemon
}

# pm2_follow: does what the plan says.
pm2_follow() {
    # Else who replaces the processes hears, too.
    [ -f "$pm2_work/plan/roll" ] || pm2_hear
    [ -n "$pm2_begun" ] || pm2_facts "$pm2_work/plan/facts"
    read -r pm2_patience <"$pm2_work/plan/seconds"
    pm2_delete "$pm2_work/plan/remove" || return
    pm2_scale "$pm2_work/plan/shrink" || return
    if [ -f "$pm2_work/plan/reload.json" ]; then
        pm2_roll || return
    fi
    pm2_scale "$pm2_work/plan/grow" || return
    pm2_replace "$pm2_work/plan" || return
    if [ -f "$pm2_work/plan/start.json" ]; then
        pm2_tell "starting the apps" "$pm2_patience" start "$pm2_work/plan/start.json" || return
    fi
    [ -z "${REVERT:-}" ] || pm2_remember
}

# pm2_scale FILE: brings apps to the number of processes that is wanted, `NUMBER NAME` a line.
pm2_scale() {
    [ -s "$1" ] || return 0
    while read -r pm2_number pm2_name; do
        pm2_tell "scaling $pm2_name to $pm2_number" "$pm2_patience" scale "$pm2_name" "$pm2_number" || return
    done <"$1"
}

# pm2_replace DIR: removes apps and starts them again, one by one, so that each gap is short.
pm2_replace() {
    for pm2_file in "$1"/replace-*.json; do
        [ -f "$pm2_file" ] || continue
        pm2_delete "${pm2_file%.json}.ids" || return
        pm2_tell "starting an app" "$pm2_patience" start "$pm2_file" || return
    done
}

# pm2_look HOW: see app_verify. `quick` asks PM2 only when a process that was seen is gone, or every
# other second.
pm2_look() {
    if [ "$1" = quick ] && [ -n "${pm2_seen:-}" ] && [ $((app_now - pm2_looked)) -lt 2 ]; then
        pm2_same=yes
        for pm2_pair in $pm2_seen; do
            [ "$(app_born "${pm2_pair%:*}")" = "${pm2_pair#*:}" ] || pm2_same=no
        done
        [ "$pm2_same" = no ] || return 0
    fi
    if [ -z "${pm2_work:-}" ]; then
        pm2_ready || { app_reason="PM2 cannot be asked"; return 1; }
        pm2_hear
    fi
    pm2_looked=$app_now
    pm2_seen=''
    if [ -n "${pm2_rolled:-}" ]; then
        # Looked at a moment ago, by who replaced the processes.
        pm2_said=$(cat "$pm2_work/looked")
        pm2_rolled=''
    else
        pm2_said=$(pm2_judge look "$ROOT" "$RELEASE" "$RECIPE" "$pm2_work" "${REVERT-}") || {
            app_reason="PM2's list could not be had, or not be judged: $pm2_said"
            return 1
        }
    fi
    app_reason=$(printf '%s\n' "$pm2_said" | sed -n -e 's/^bad //p' -e 's/^wait //p')
    case $pm2_said in
        bad\ *) return 1 ;;
        wait\ *) return 2 ;;
    esac
    app_proof=$(printf '%s\n' "$pm2_said" | sed -n 's/^proof //p')
    for pm2_pid in $(printf '%s\n' "$pm2_said" | sed -n 's/^pid //p'); do
        pm2_seen="$pm2_seen $pm2_pid:$(app_born "$pm2_pid")"
    done
}

pm2_done() {
    pm2_deaf
}

# pm2_words LINES: what the apps wrote since they were started.
pm2_words() {
    pm2_node pm2-logs.cjs words "$RECIPE" "$pm2_work" "$1"
}

# pm2_stop: removes what this recipe registered from under ROOT; other apps stay.
pm2_stop() {
    [ -f "$RECIPE/pm2-names" ] || return 0
    pm2_ready || return
    pm2_own "$RECIPE/pm2-names" || return
    pm2_delete "$pm2_work/remove" && pm2_remember
}

# pm2_restore: PM2's own way back to a saved list, with a list that holds only the apps concerned.
pm2_restore() {
    # Without a record nothing was started.
    [ -f "$BEFORE/pm2.json" ] || return 0
    pm2_ready || return
    pm2_judge restore "$ROOT" "$pm2_work" "$BEFORE/pm2.json" "$BEFORE/pm2-restored.json" \
        "$RECIPE/pm2-names" || return
    pm2_delete "$pm2_work/remove" || return
    [ -s "$pm2_work/dump" ] || return 0
    pm2_daemon || return
    (
        PM2_DUMP_FILE_PATH=$pm2_work/dump
        export PM2_DUMP_FILE_PATH
        pm2_tell "putting back what ran before" 120 resurrect
    ) || return
    pm2_judge restored "$pm2_work" "$BEFORE/pm2.json" "$BEFORE/pm2-restored.json"
}

# pm2_commit: removes the apps that left the file, and saves the list for the next boot.
pm2_commit() {
    pm2_ready || return
    # Where no name left the file there is nothing to look for.
    if [ -n "${LEAVING:-}" ] && [ -f "$LEAVING/pm2-names" ] &&
        grep -qvxF -f "$RECIPE/pm2-names" "$LEAVING/pm2-names"; then
        pm2_own "$LEAVING/pm2-names" "$RECIPE/pm2-names" || return
        pm2_delete "$pm2_work/remove" || return
    fi
    pm2_save
}

# pm2_save: writes the list that PM2 starts at boot. It holds every variable, so only its owner reads it.
# As PM2 itself does it, but whole or not at all; PM2 is asked where its daemon does not answer.
pm2_save() {
    pm2_at=$(pm2_home)
    pm2_alone 30 env -u NODE_OPTIONS node "$RECIPE/pm2-rpc.cjs" list "$pm2_at" "$pm2_work/list" save "$pm2_at" "$pm2_work/list"
    pm2_status=$?
    [ "$pm2_status" -eq 75 ] || return "$pm2_status"
    # --force: an empty list has to be saved too, else apps that were removed come back at boot.
    (
        pm2_mask=077
        pm2_tell "saving its list for the next boot" 30 save --force
    ) || return
    for pm2_file in "$pm2_at/dump.pm2" "$pm2_at/dump.pm2.bak"; do
        [ ! -f "$pm2_file" ] || chmod 600 "$pm2_file"
    done
}

# pm2_remember: brings a saved list up to date where there is one. The apps run whether or not that works.
pm2_remember() {
    [ -f "$(pm2_home)/dump.pm2" ] || return 0
    pm2_alive || return 0
    pm2_said=$(pm2_save) ||
        say warning "the list that PM2 starts at boot could not be brought up to date: $(printf '%s\n' "$pm2_said" | head -n 1)"
}

# pm2_halt: the apps stay in PM2's list, and stay stopped when the host boots.
pm2_halt() {
    [ -f "$RECIPE/pm2-names" ] || return 0
    pm2_ready && pm2_own "$RECIPE/pm2-names" || return
    [ -s "$pm2_work/remove" ] || return 0
    # shellcheck disable=SC2046 # one word an id
    pm2_tell "stopping the apps" 90 stop $(cat "$pm2_work/remove") && pm2_remember
}

pm2_census() {
    [ -f "$RECIPE/pm2-names" ] || return 0
    pm2_ready && pm2_judge census "$pm2_work/list" "$RECIPE/pm2-names"
}

pm2_stream() {
    [ -f "$RECIPE/pm2-names" ] || return 0
    pm2_ready && pm2_list "$pm2_work/list" || return
    exec env -u NODE_OPTIONS node "$RECIPE/pm2-logs.cjs" stream "$pm2_work/list" "$RECIPE/pm2-names" "$1" </dev/null
}

pm2_pids() {
    [ -f "$RECIPE/pm2-names" ] || return 0
    pm2_ready && pm2_judge pids "$pm2_work/list" "$RECIPE/pm2-names"
}

pm2_logs() {
    [ -f "$RECIPE/pm2-names" ] || return 0
    pm2_ready && pm2_list "$pm2_work/list" && pm2_node pm2-logs.cjs logs "$pm2_work/list" "$RECIPE/pm2-names" "$1"
}
