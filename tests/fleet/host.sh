# shellcheck shell=bash
# One host of a fleet: its root file system, its cable, its power switch. Sourced by tests/fleet/room.

fleet=/run/fleet
network=10.77.0
declare -A nspawn_pid

address() { echo "$network.$1"; }

# Lays host I's root over this machine's own: nothing is downloaded, and what a host writes is its own.
install_host() {
    local i=$1 dir=$fleet/$1 root=$fleet/$1/root
    mkdir -p "$dir"
    mount -t tmpfs -o mode=755 tmpfs "$dir"
    mkdir -p "$dir/upper" "$dir/work" "$root"
    mount -t overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" overlay "$root"

    echo "host$i" >"$root/etc/hostname"
    printf '127.0.0.1 localhost host%s\n' "$i" >"$root/etc/hosts"
    rm -f "$root/etc/resolv.conf" "$root/etc/machine-id" "$root/etc/nologin"
    # No name server at all: a look-up fails at once instead of waiting for one that is not there.
    : >"$root/etc/resolv.conf"
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"

    install_sshd "$i" "$root"
    install_user "$root" deploy 6001
    install_units "$root"
    ln -sf /opt/pm2/7/node_modules/.bin/pm2 "$root/usr/local/bin/pm2"
    mkdir -p "$root/opt/pm2"
}

install_sshd() {
    local i=$1 root=$2
    rm -rf "$root"/etc/ssh/{sshd_config,sshd_config.d,ssh_host_*}
    ssh-keygen -q -t ed25519 -N '' -C "host$i" -f "$root/etc/ssh/ssh_host_ed25519_key"
    echo "$(address "$i") $(cut -d' ' -f1,2 "$root/etc/ssh/ssh_host_ed25519_key.pub")" >>"$fleet/known_hosts"
    # Debian's own settings, but for where keys lie, and for limits that would punish a busy test.
    cat >"$root/etc/ssh/sshd_config" <<-'END'
	HostKey /etc/ssh/ssh_host_ed25519_key
	AuthorizedKeysFile /etc/ssh/authorized_keys/%u
	KbdInteractiveAuthentication no
	PasswordAuthentication no
	PermitRootLogin prohibit-password
	UsePAM yes
	PrintMotd no
	MaxStartups 100
	AcceptEnv LANG LC_*
	Subsystem sftp /usr/lib/openssh/sftp-server
	END
    # OpenSSH 9.8 and later; older ones do not know the word.
    mkdir -p "$root/run/sshd"
    if chroot "$root" /usr/sbin/sshd -T 2>/dev/null | grep -qi '^persourcepenalties'; then
        echo 'PerSourcePenalties no' >>"$root/etc/ssh/sshd_config"
    fi
    mkdir -p "$root/etc/ssh/authorized_keys"
    cp "$fleet/id_ed25519.pub" "$root/etc/ssh/authorized_keys/root"
    # Otherwise each of the tests' own logins starts root's manager, and the end of it stops that again.
    mkdir -p "$root/var/lib/systemd/linger"
    : >"$root/var/lib/systemd/linger/root"
}

# A user as `adduser` makes one, who may log in with the fleet's key and whose processes outlive a login.
install_user() {
    local root=$1 name=$2 id=$3 home=$1/home/$2
    sed -i "/^$name:/d" "$root"/etc/{passwd,group,shadow}
    echo "$name:x:$id:$id::/home/$name:/bin/bash" >>"$root/etc/passwd"
    echo "$name:x:$id:" >>"$root/etc/group"
    echo "$name:*:19000:0:99999:7:::" >>"$root/etc/shadow"
    rm -rf "$home"
    cp -r "$root/etc/skel" "$home"
    chown -R "$id:$id" "$home"
    cp "$fleet/id_ed25519.pub" "$root/etc/ssh/authorized_keys/$name"
    mkdir -p "$root/var/lib/systemd/linger"
    : >"$root/var/lib/systemd/linger/$name"
}

# Starts what a host needs and nothing else that this machine happens to have enabled.
install_units() {
    local root=$1 unit
    cat >"$root/etc/systemd/system/fleet.target" <<-'END'
	[Unit]
	Requires=basic.target
	Wants=ssh.service dbus.service systemd-logind.service systemd-user-sessions.service
	After=basic.target ssh.service systemd-logind.service systemd-user-sessions.service
	AllowIsolate=yes
	END
    for unit in ssh.socket timers.target systemd-networkd.service systemd-networkd.socket \
        systemd-resolved.service systemd-timesyncd.service systemd-pstore.service \
        systemd-firstboot.service e2scrub_reap.service; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
}

# Gives host I a network namespace with one interface, its other end on the bridge.
cable_host() {
    local i=$1 ns=host$1
    ip netns add "$ns"
    ip link add "cable$i" type veth peer name eth0 netns "$ns"
    ip link set "cable$i" master bridge up
    ip -n "$ns" link set lo up
    ip -n "$ns" addr add "$(address "$i")/24" dev eth0
    ip -n "$ns" link set eth0 up
}

# Turns host I on. Returns at once.
start_host() {
    local i=$1
    (
        enter_groups "$(group_of "$i")" "$BASHPID"
        exec systemd-nspawn --quiet --boot --directory="$fleet/$i/root" --machine="host$i" \
            --network-namespace-path="/run/netns/host$i" --register=no --keep-unit \
            --resolv-conf=off --link-journal=no --tmpfs=/root:mode=0700 \
            --bind-ro="$RDEPLOY_TEST_PM2:/opt/pm2" systemd.unit=fleet.target
    ) </dev/null >>"$fleet/$i/console" 2>&1 &
    nspawn_pid[$i]=$!
}

# Takes the power away: the end of a host's first process is the end of all of them at once.
halt_host() {
    local i=$1 nspawn=${nspawn_pid[$1]} inits=()
    read -ra inits 2>/dev/null <"/proc/$nspawn/task/$nspawn/children" || true
    # nspawn ends by itself once its init is gone; it is only killed when it has not come to start one.
    kill -KILL "${inits[@]:-$nspawn}" 2>/dev/null || true
    wait "$nspawn" 2>/dev/null || true
    remove_groups "$(group_of "$i")"
}

group_of() { echo "fleet-$FLEET_ID-$1"; }

# Waits until one can log in to host I as the user whose processes shall outlive a login.
await_host() {
    local i=$1 deadline=$((SECONDS + 60))
    until [[ $(fleet_ssh "deploy@$(address "$i")" "systemctl is-active user@6001") == active ]]; do
        ((SECONDS < deadline)) && kill -0 "${nspawn_pid[$i]}" 2>/dev/null || return 1
        sleep 0.05
    done
}

fleet_ssh() {
    # The key exchange that OpenSSH prefers takes a tenth of a second of both processors.
    ssh -F none -o KexAlgorithms=curve25519-sha256 \
        -i "$fleet/id_ed25519" -o IdentitiesOnly=yes -o UserKnownHostsFile="$fleet/known_hosts" \
        -o StrictHostKeyChecking=yes -o BatchMode=yes -o ConnectTimeout=2 -o LogLevel=ERROR "$@" \
        </dev/null 2>>"$fleet/ssh.log"
}

show_console() {
    echo "host $1 did not come up; its console:"
    tail -n 40 "$fleet/$1/console"
    echo "ssh said:"
    tail -n 5 "$fleet/ssh.log"
}
