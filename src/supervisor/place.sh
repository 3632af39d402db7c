# shellcheck shell=sh
# Owns the proof of where processes run: by its directory or its program, as the kernel says. For
# supervisors that start a command of the host's own, which leads through `current`.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

# place_begin: forgets what was found.
place_begin() {
    place_doubts='' place_count=0
    place_release=$(cd "$RELEASE" && pwd -P) || place_release=$RELEASE
    place_releases=$(cd "$ROOT/releases" && pwd -P) || place_releases=$ROOT/releases
}

# place_of PID OWNER: where a process runs. 1 when it is the old code, with the reason in app_reason.
place_of() {
    app_alive "$1" || return 0
    place_count=$((place_count + 1))
    place_cwd=$(readlink "/proc/$1/cwd" 2>/dev/null)
    place_exe=$(readlink "/proc/$1/exe" 2>/dev/null)
    if [ -z "$place_cwd$place_exe" ]; then
        place_doubts="$place_doubts; process $1 of $2 belongs to another user"
        return 0
    fi
    for place_at in "$place_exe" "$place_cwd"; do
        case $place_at in
            "$place_release" | "$place_release"/*) ;;
            "$place_releases"/*)
                app_reason="process $1 of $2 runs from $place_at, not from $RELEASE: the old code still runs"
                return 1
                ;;
        esac
    done
    case $place_cwd:$place_exe in
        "$place_release" | "$place_release":* | "$place_release"/* | *:"$place_release"/*) ;;
        *) place_doubts="$place_doubts; process $1 of $2 works in $place_cwd" ;;
    esac
}

# place_doubt TEXT: something that keeps the rest from being a proof.
place_doubt() { place_doubts="$place_doubts; $1"; }

# place_end: puts what was found into app_proof.
place_end() {
    if [ -n "$place_doubts" ]; then
        app_proof="unprovable ${place_doubts#; }"
    elif [ "$place_count" = 1 ]; then
        app_proof="proven 1 process runs from the release"
    else
        app_proof="proven $place_count processes run from the release"
    fi
}
