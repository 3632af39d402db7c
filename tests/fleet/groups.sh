# shellcheck shell=bash
# Control groups of a fleet's hosts. Sourced by tests/fleet/boot and tests/fleet/room.
# Each host has one of its own, `fleet-PID-I` (PID is the fleet's outer process): two systemds in one
# group would end each other's services.

# Prints this process's own group on each hierarchy that systemd uses.
own_groups() {
    local id controllers path mounted
    while IFS=: read -r id controllers path; do
        case $id:$controllers in
            *:name=systemd) mounted=$(findmnt -nro TARGET -t cgroup -O name=systemd | head -n1) ;;
            0:) mounted=$(findmnt -nro TARGET -t cgroup2 | head -n1) ;;
            *) continue ;;
        esac
        [[ -z $mounted ]] || echo "$mounted${path%/}"
    done </proc/self/cgroup
}

# Moves process $2 into the group named $1.
enter_groups() {
    local group
    own_groups | while read -r group; do
        mkdir -p "$group/$1"
        echo "$2" >"$group/$1/cgroup.procs"
    done
}

# Removes the group named $1, whose processes have ended.
remove_groups() {
    local group
    own_groups | while read -r group; do
        [[ ! -d $group/$1 ]] || find "$group/$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
}

# Removes what fleets left behind whose outer process was killed: empty groups are all there can be.
remove_dead_groups() {
    local group dead pid
    own_groups | while read -r group; do
        for dead in "$group"/fleet-*; do
            pid=${dead##*/fleet-} pid=${pid%-*}
            [[ ! -d $dead || -d /proc/$pid ]] || find "$dead" -depth -type d -exec rmdir {} + 2>/dev/null || true
        done
    done
}
