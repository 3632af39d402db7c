# shellcheck shell=bash disable=SC2034,SC2154,SC2029
# Hundreds of hosts from one client: embedded ones, in a process of their own. What counts is what each more costs.
contenders=(hosts-100 hosts-500)

prepare() {
    local who count
    # What each host sees there is its own.
    mount -t tmpfs tmpfs /srv
    mkdir /srv/bench
    ulimit -n "$(ulimit -Hn)"
    for who in "${contenders[@]}"; do
        count=${who#hosts-}
        trees tree "$projects/$who" 20 100000 10
        mkdir -p "$BENCH_DIR/$who"
        # In memory: hundreds of hosts on one disk would measure how long that takes to sync.
        mount -t tmpfs tmpfs "$BENCH_DIR/$who"
        start_hosts "$who" "$count"
    done
}

# Starts the hosts and writes the configuration that leads to them.
start_hosts() {
    local who=$1 count=$2 dir=$BENCH_DIR/$1 word port key n
    mkfifo "$dir/said"
    # They live until nobody can write to them.
    exec {kept}> >(exec "$BENCH_EXAMPLES/bench-hosts" "$dir" "$count" >"$dir/said")
    {
        # What is pruned is looked for in all processes of a host, and here those are the processes of all hosts.
        printf 'app = "bench"\ndeploy_to = "/srv/bench"\nsupervisor = { kind = "none" }\nkeep_releases = 50\n'
        printf '[ssh]\nidentity = ["%s/login_key"]\nknown_hosts = ["%s/known_hosts"]\n' "$dir" "$dir"
        printf 'connect_timeout = "5m"\n[env.prod]\nhosts = [\n'
        for ((n = 0; n < count; n++)); do
            read -r word port key
            [[ $word == host ]] || return
            printf '  "root@127.0.0.1:%s",\n' "$port"
            echo "$key" >>"$dir/known_hosts"
        done
        printf ']\n'
    } <"$dir/said" >"$projects/$who/deploy.toml"
}

before() { trees change "$projects/$1" "$2"; }

verify() {
    local app live=0
    for app in "$BENCH_DIR/$1"/host*/app; do
        grep -qx "// version $2" "$app/releases/$(basename "$(readlink "$app/current")")/src/changed.js" && live=$((live + 1))
    done
    ((live == ${1#hosts-}))
}

# The same command, and how much memory it took at most.
run_hosts-100() { peak_memory rdeploy prod; }
run_hosts-500() { peak_memory rdeploy prod; }

peak_memory() {
    python3 -c 'import os, resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, file=open(sys.argv[1], "w"))
sys.exit(code)' "$BENCH_DIR/peak" "$@"
}

after() {
    record "$1" memory "$(cat "$BENCH_DIR/peak")"
}

criteria() {
    local less more
    less=$(median hosts-100 memory) more=$(median hosts-500 memory)
    # Not a ratio but bytes for each host more.
    result rdeploy "$(shown memory "$more")" "100 hosts" "$(shown memory "$less")" \
        "$(awk "BEGIN { printf \"%.0f\", ($more - $less) / 400 }")" 100000
    less=$(median hosts-100 seconds) more=$(median hosts-500 seconds)
    # Five times as many hosts; a sixth more a host is still a line.
    result rdeploy "$(shown seconds "$more")" "100 hosts" "$(shown seconds "$less")" \
        "$(awk "BEGIN { printf \"%.2f\", $more / $less }")" 5.8
}
