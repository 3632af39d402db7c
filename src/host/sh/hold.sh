# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns what people do about a lock without a deploy: looking at it, ordering its owner to put the host
# back, and the freeze, which is a lock without a process: a file that deploys respect until it is lifted.

# look: how the lock stands and what is on the host; takes nothing, changes nothing.
#   fact owner STATE TOKEN TEXT   free, alive, dead, foreign (another user's) or unreadable
#   fact freeze TEXT              only where there is one
#   fact left N                   attempts that died here and are not settled
look() {
    boot_id
    if first_line "$PRIVATE/app" && [ "$line" != "$APP $ENV" ]; then
        say problem "$ROOT belongs to app and environment \`$line\`, not to \`$APP $ENV\`"
    fi
    look_owner
    if [ -e "$PRIVATE/freeze" ]; then
        say fact "freeze $(freeze_line)"
    fi
    look_left=0
    each_dead_run count_left
    say fact "left $look_left"
    state_facts
}

look_owner() {
    if [ -d "$PRIVATE" ] && [ ! -x "$PRIVATE" ]; then
        say fact "owner foreign - the user $(user_of "$PRIVATE") of the host"
    elif [ ! -e "$PRIVATE/lock" ]; then
        say fact "owner free -"
    elif ! ours "$PRIVATE/lock"; then
        say fact "owner foreign - $(foreign_line)"
    elif ! read_lock "$PRIVATE/lock"; then
        # Freed between the two looks, or something that names nobody.
        look_state=unreadable
        [ -e "$PRIVATE/lock" ] || look_state=free
        say fact "owner $look_state -"
    elif lock_is_dead; then
        say fact "owner dead $lock_token $(lock_line)"
    else
        say fact "owner alive $lock_token $(lock_line)"
    fi
}

count_left() {
    [ ! -f "$1/attempt" ] || look_left=$((look_left + 1))
}

# order TOKEN: has the living guardian of that attempt put its host back; it looks for this at each tick, and is told
# of it. Complete from the moment it is seen.
order() {
    order_to=$PRIVATE/run/$1
    read_lock "$PRIVATE/lock" && [ "$lock_token" = "$1" ] && ours "$order_to" || return 1
    plain "$OWNER"
    printf '%s\n' "$line" >"$order_to/order.$TOKEN" &&
        mv -f "$order_to/order.$TOKEN" "$order_to/order" || return
    # Opened for both ways, which waits for nobody.
    [ ! -p "$order_to/fifo" ] || printf 'tick 0\n' 1<>"$order_to/fifo"
}

# freeze_line: the freeze, in one line.
freeze_line() {
    if read_lock "$PRIVATE/freeze"; then
        printf '%s (%s from %s since %s' "$lock_message" "$lock_who" "$lock_from" "$lock_since"
        [ -z "$lock_ci" ] || printf ', %s' "$lock_ci"
        printf ')'
    else
        printf 'no message (placed by %s)' "$(user_of "$PRIVATE/freeze")"
    fi
}

# frozen: whether there is a freeze that this attempt has to respect; it is told then.
frozen() {
    case $VERB in recover | unlock | stop | restart | start | setup) return 1 ;; esac
    [ -e "$PRIVATE/freeze" ] || return 1
    say frozen "$(freeze_line)"
}

# work_freeze: under the lock, so that no deploy runs.
work_freeze() {
    first_line "$RUN/message"
    freeze_message=$line
    about "token=$TOKEN" "message=$freeze_message" >"$RUN/freeze" && on_disk "$RUN/freeze" && mv -f "$RUN/freeze" "$PRIVATE/freeze" &&
        durable "$PRIVATE" || fail "could not write $PRIVATE/freeze" || return
    history frozen "$freeze_message" || true
}

# work_thaw: lifts whoever's freeze, and says whose it was.
work_thaw() {
    [ -e "$PRIVATE/freeze" ] || return 0
    thaw_line=$(freeze_line)
    say fact "lifted $thaw_line"
    rm -f "$PRIVATE/freeze" && durable "$PRIVATE" || fail "could not remove $PRIVATE/freeze" || return
    history thawed "$thaw_line" || true
}

# thaw_own: a freeze that is not placed everywhere is placed nowhere.
thaw_own() {
    if read_lock "$PRIVATE/freeze" && [ "$lock_token" = "$TOKEN" ]; then
        rm -f "$PRIVATE/freeze"
    fi
}
