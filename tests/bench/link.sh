# shellcheck shell=bash
# The delayed link between a client and hosts: its two ends, their addresses. Sourced in namespaces of its own
# (network and mounts; /run/netns is there): by tests/bench/run beside booted hosts, by tests/bench/linked alone.

link_source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/link.rs
# In the network of tests/fleet/, at an address that no host has.
client_address=10.77.0.200

# Compiles the program to $1, unless that is there and newer than its source.
build_link() {
    [[ $1 -nt $link_source ]] || rustc --edition 2024 -O -o "$1" "$link_source"
}

# Lays the link: `client`, a network namespace of its own, reaches the bridge `bridge` through program $1 with a
# round trip of $2 milliseconds at $3 Mbit/s (0: no limit). At a rate, 50 ms of packets may wait, as at a router.
lay_link() {
    local program=$1 delay=$(($2 * 500)) rate=$(($3 * 1000000)) said soon=()
    local queue=$((rate / 8 / 20))
    ip netns add client
    # Nothing on this machine is to make a packet late but the machine itself.
    chrt --rr 10 true 2>/dev/null && soon=(chrt --rr 10)
    coproc "${soon[@]}" "$program" "$delay" "$rate" "$queue" link0 link1
    read -r said <&"${COPROC[0]}" && [[ $said == ready ]] || return 1
    ip link set link1 netns client name link0
    quiet_end link0
    ip netns exec client bash -c "$(declare -f quiet_end plain_tcp); quiet_end link0; plain_tcp"
    ip link set link0 master bridge
    ip -n client addr add "$client_address/24" dev link0
    ip link set link0 up
    ip -n client link set lo up
    ip -n client link set link0 up
}

# No packets of its own on device $1 of this namespace, and room for bursts at the device.
quiet_end() {
    echo 1 >"/proc/sys/net/ipv6/conf/$1/disable_ipv6" 2>/dev/null || true
    ip link set "$1" txqueuelen 20000
}

# TCP of this namespace as Linux has it by itself, whatever this machine was tuned to; and each connection starts anew,
# knowing nothing of those before it.
plain_tcp() {
    cd /proc/sys/net/ipv4 || return
    echo 1 >tcp_no_metrics_save
    echo '4096 131072 6291456' >tcp_rmem
    echo '4096 16384 4194304' >tcp_wmem
}

# Lets the client and network namespace $1 (device $2, address $3) know each other's addresses for good, so that
# asking for them costs no round trip, and speak TCP as `plain_tcp` says. (Which way of finding the speed is taken
# cannot be said for a namespace where this machine's own is another, but for a route.)
introduce() {
    local net=10.77.0.0/24
    ip netns exec "$1" bash -c "$(declare -f plain_tcp); plain_tcp"
    ip -n client route replace "$net" dev link0 proto kernel scope link src "$client_address" congctl cubic
    ip -n "$1" route replace "$net" dev "$2" proto kernel scope link src "$3" congctl cubic
    ip -n client neigh replace "$3" lladdr "$(ip -n "$1" -o link show "$2" | hardware_address)" dev link0 nud permanent
    ip -n "$1" neigh replace "$client_address" lladdr "$(ip -n client -o link show link0 | hardware_address)" \
        dev "$2" nud permanent
}

hardware_address() { sed 's/.*link.ether \([^ ]*\).*/\1/'; }

# The bytes that the client, in whose network this is called, has sent and received over the link, Ethernet headers
# included: `SENT RECEIVED`.
link_bytes() { awk '$1 == "link0:" { print $10, $2 }' /proc/self/net/dev; }
