# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns the processes of an attempt: each registers before it does anything, and a guardian that closes
# forbids first and looks then, so that it misses none. The register is a directory of names without
# content, KIND.PID.START: they need no space on the disk.

# register KIND: this process, which leads its process group, as part of the attempt.
register() {
    read_stat $$ && mark "$RUN/pg/$1.$$.$stat_start"
}

# register_child KIND PID: a child with a session of its own, which would outlive this process.
register_child() {
    read_stat "$2" && mark "$RUN/pg/$1.$2.$stat_start"
}

# read_entry FILE: puts an entry's process into entry_pid and entry_start.
read_entry() {
    entry_start=${1##*.}
    entry_pid=${1%.*}
    entry_pid=${entry_pid##*.}
}

# family PID: the processes in the session or group of that number, and all their descendants: a
# `timeout` or `setsid` in a command has left the group, not the family. Zombies are left out.
family() {
    cat /proc/[0-9]*/stat 2>/dev/null | sed 's/ (.*) / /' | awk -v root="$1" '
        { pid[NR] = $1; state[NR] = $2; parent[NR] = $3
          if ($1 == root || $4 == root || $5 == root) of[$1] = 1 }
        END {
            do {
                more = 0
                for (n = 1; n <= NR; n++)
                    if (!(pid[n] in of) && (parent[n] in of)) { of[pid[n]] = 1; more = 1 }
            } while (more)
            for (n = 1; n <= NR; n++) if ((pid[n] in of) && state[n] !~ /[ZX]/) print pid[n]
        }'
}

# end_family PID START: ends them and waits for it. Fails when something does not die.
end_family() {
    # Somebody else has that number by now, and numbers of groups that live on are not given away.
    if read_stat "$1" && [ "$stat_start" != "$2" ]; then
        return 0
    fi
    end_tries=0
    while end_pids=$(family "$1") && [ -n "$end_pids" ]; do
        [ "$end_tries" -lt 50 ] || return 1
        # Frozen first: what is stopped cannot start anything that would be missed. A daemon in the making leaves the
        # family when its parent ends, perhaps stopped already.
        end_frozen='' end_seen=''
        while [ "$end_pids" != "$end_frozen" ] && [ "$end_tries" -lt 50 ]; do
            # shellcheck disable=SC2086
            kill -STOP $end_pids 2>/dev/null
            end_frozen=$end_pids
            end_seen="$end_seen $end_pids"
            end_pids=$(family "$1")
            end_tries=$((end_tries + 1))
        done
        # shellcheck disable=SC2086
        kill -KILL $end_pids $end_seen 2>/dev/null
        nap
    done
}

# end_entries FILE...: ends what these entries of the register name. Puts those that live on into
# `survivors`; their entries stay.
end_entries() {
    survivors=
    for end_entry; do
        [ -e "$end_entry" ] || continue
        read_entry "$end_entry"
        [ "$entry_pid" != $$ ] || continue
        if end_family "$entry_pid" "$entry_start"; then
            rm -f "$end_entry"
        else
            survivors="$survivors $entry_pid"
        fi
    done
    [ -z "$survivors" ]
}

# end_all: ends everything of the attempt in RUN but this process.
end_all() {
    boot_id
    # After a reboot the numbers name strangers.
    read_lock "$RUN/lock" && [ "$lock_boot" = "$boot" ] || return 0
    end_entries "$RUN"/pg/*
}
