# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns the read-only questions asked before anything changes. States every problem, not only the first.

problem() { say problem "$1"; }

# nearest existing directory at or above PATH
standing() {
    standing_at=$1
    while [ ! -d "$standing_at" ]; do
        standing_at=$(dirname "$standing_at")
    done
    printf %s "$standing_at"
}

# look_up: what the questions need programs for, and no more than ROOT. A guardian does that while its settings are on
# their way: sshd takes no input for a command before it runs, so they follow a round trip behind.
look_up() {
    looked_up=$ROOT
    looked_at=$ROOT
    [ -d "$looked_at" ] || looked_at=$(standing "$ROOT")
    # Blocks, their size, inodes.
    looked_space=$(stat -f -c '%a %S %d' "$looked_at" 2>/dev/null)
    # shellcheck disable=SC2046 # words
    set -- $(date -u '+%s %Y-%m-%dT%H:%M:%SZ')
    looked_clock=$1 looked_now=$2
    looked_tree=$(cd "$ROOT" 2>/dev/null && pwd -P || printf %s "$ROOT")
    [ ! -L "$ROOT/current" ] || state_current=$(readlink "$ROOT/current")
    look_kill
    looked_missing=
    for look_tool in tar gzip sha256sum setsid mkfifo mktemp sed awk grep sort find mv cp ln rm chmod readlink dd df head tail tr wc id ls date cmp sync sleep dirname basename; do
        have "$look_tool" || looked_missing="$looked_missing $look_tool"
    done
}

check_tools() {
    ! have zstd || say fact "zstd yes"
    [ -z "$looked_missing" ] || problem "these programs are missing on the host:$looked_missing; install them (coreutils, tar, gzip, util-linux or busybox)"
    # The journal is written in place, and has to reach the disk; it did where an earlier lock left this program.
    [ -z "$AGENT_NEW" ] || printf x | dd of="$META/dd" bs=96 seek=1 conv=notrunc,fsync 2>/dev/null ||
        problem "the dd on the host does not know conv=notrunc,fsync; install coreutils or a fuller busybox"
    [ -r /proc/self/stat ] || problem "/proc is not mounted; rdeploy needs a Linux host with /proc"
}

check_root() {
    if [ ! -e "$ROOT" ]; then
        check_up=$(standing "$(dirname "$ROOT")")
        if [ -w "$check_up" ] && [ -x "$check_up" ]; then
            say fact "root absent"
        else
            problem "$ROOT does not exist and $(id -un) may not create it in $check_up; run on the host: sudo install -d -o $(id -un) -g $(id -gn) $(quote "$ROOT")"
        fi
        return
    fi
    say fact "root present"
    if [ ! -d "$ROOT" ]; then
        problem "$ROOT is not a directory"
        return
    fi
    for check_dir in "$ROOT" "$ROOT/releases" "$ROOT/shared" "$ROOT/.rdeploy"; do
        [ ! -e "$check_dir" ] || [ -w "$check_dir" ] ||
            problem "$(id -un) may not write to $check_dir; run on the host: sudo chown -R $(id -un):$(id -gn) $(quote "$check_dir")"
    done
    if [ -e "$ROOT/current" ] && [ ! -L "$ROOT/current" ]; then
        problem "$ROOT/current is a real directory or file, not the link to the live release; move it away yourself (for example: mv $(quote "$ROOT/current") $(quote "$ROOT/current.before-rdeploy")), rdeploy never deletes it"
    fi
    # Empty is what a power cut left of it before anything was deployed.
    if [ -s "$ROOT/.rdeploy/app" ]; then
        first_line "$ROOT/.rdeploy/app"
        [ "$line" = "$APP $ENV" ] ||
            problem "$ROOT belongs to app and environment \`$line\`, not to \`$APP $ENV\`; give each its own deploy_to"
    fi
}

# The artifact may still be in the making; the client compares with what it needs. What an upload left that was
# cut off becomes part of the release, or goes.
check_space() {
    check_kb='' check_inodes=''
    set -- "$ROOT"/.rdeploy/incoming/*
    if [ -e "$1" ]; then
        check_kb=$(du -sk "$ROOT/.rdeploy/incoming" 2>/dev/null) check_kb=${check_kb%%[!0-9]*}
        check_inodes=$(find "$ROOT/.rdeploy/incoming" 2>/dev/null | wc -l)
    fi
    # Where that cannot be asked at once, there are two questions.
    # shellcheck disable=SC2086 # words
    set -- $looked_space
    case $#$* in
        3*[!0-9\ ]* | [!3]*) set -- "$(df -Pk "$looked_at" 2>/dev/null | fourth)" "$(df -Pi "$looked_at" 2>/dev/null | fourth)" ;;
        *) set -- "$(($1 * $2 / 1024))" "$3" ;;
    esac
    check_free "$1" "${check_kb:-0}"
    say fact "space_kb $check_got $looked_at"
    check_free "$2" "${check_inodes:-0}"
    say fact "inodes $check_got $looked_at"
}

# check_free FREE MORE: puts what is free, and MORE, into `check_got`; what is no number stays as it is.
check_free() {
    check_got=$1
    case $1 in
        '' | 0 | *[!0-9]*) ;;
        *) check_got=$(($1 + $2)) ;;
    esac
}

check_linked() {
    [ -s "$META/linked_files" ] || return 0
    while IFS= read -r check_file; do
        [ -e "$ROOT/shared/$check_file" ] ||
            problem "the linked file $check_file is missing: put it at $ROOT/shared/$check_file"
    done <"$META/linked_files"
}

# look_kill: whether logind would end the processes of a login at its end, and which file says so. Of several settings
# the last one counts; root is exempt unless somebody changed that.
look_kill() {
    looked_kill=
    [ -d /run/systemd/system ] && ! is_root || return 0
    for look_conf in /etc/systemd/logind.conf /usr/lib/systemd/logind.conf.d/*.conf \
        /run/systemd/logind.conf.d/*.conf /etc/systemd/logind.conf.d/*.conf; do
        [ -r "$look_conf" ] || continue
        while IFS="= $tab" read -r look_key look_value || [ -n "$look_key" ]; do
            [ "$look_key" != KillUserProcesses ] || looked_kill="$look_value in $look_conf"
        done <"$look_conf"
    done
}

# The guardian puts the host back after the client's death, so it has to outlive its login.
check_outlive() {
    case $looked_kill in
        yes\ * | true\ * | 1\ * | on\ *)
            problem "${looked_kill#* in } has KillUserProcesses=yes: the host would kill rdeploy's guardian and the app at logout; set it to no and restart systemd-logind"
            ;;
    esac
}

# state_facts: what stands on the host, for the plan.
state_facts() {
    # shellcheck disable=SC3013 # every shell that runs this has it
    if ! first_line "$PRIVATE/last" || [ "$PRIVATE/history.ndjson" -nt "$PRIVATE/last" ]; then
        line=
        [ ! -s "$PRIVATE/history.ndjson" ] || line=$(tail -n 1 "$PRIVATE/history.ndjson" 2>/dev/null)
    fi
    say fact "last $line"
    [ ! -s "$PRIVATE/absent" ] || say fact "absent $(tr '\n' ' ' <"$PRIVATE/absent")"
    if [ -L "$ROOT/current" ]; then
        # Asked for a second time, under the lock, it mostly leads where it led.
        # shellcheck disable=SC3013 # every shell that runs this has it
        case ${state_current:-} in
            /*) [ "$ROOT/current" -ef "$state_current" ] || state_current=$(readlink "$ROOT/current") ;;
            *) state_current=$(readlink "$ROOT/current") ;;
        esac
        say fact "current $state_current"
    fi
    for state_dir in "$PRIVATE"/incoming/*; do
        [ ! -s "$state_dir/manifest" ] || say fact "partial ${state_dir##*/}"
    done
    for state_dir in "$ROOT"/releases/*; do
        [ -d "$state_dir" ] || continue
        state_id=${state_dir##*/}
        line=foreign
        # A record without a state is what a power cut left of one.
        [ ! -d "$PRIVATE/releases/$state_id" ] || state_of "$state_id" || line=failed
        state_text="$state_id $line"
        # The actor, last, may have spaces in the name.
        for state_file in digest previous commit made actor; do
            first_line "$PRIVATE/releases/$state_id/$state_file"
            state_text="$state_text ${line:--}"
        done
        say fact "release $state_text"
    done
}

# preflight: the questions. How the host stands is said by whoever asks, perhaps under the lock.
preflight() {
    [ ! -e "$META/problem" ] || rm -f "$META/problem"
    RECIPE=$META/recipe
    BEFORE=$META/none
    WORK=$META/scratch
    RELEASE=$ROOT/releases/none
    [ "${looked_up-}" = "$ROOT" ] || look_up
    check_tools
    check_root
    check_space
    [ "$VERB" = rollback ] || check_linked
    check_outlive
    say fact "clock $looked_clock"
    first_line /etc/machine-id
    check_machine=$line
    first_line /proc/sys/kernel/hostname
    say fact "tree $check_machine $line $looked_tree"
    # Who asks again wants to know how it is then.
    looked_up=
    if [ -f "$RECIPE/kind" ]; then
        (app_check) </dev/null
    fi
}
