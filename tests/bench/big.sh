# shellcheck shell=bash disable=SC2034,SC2154,SC2029
# The first deploy of 1 GiB that does not compress, over loopback to an sshd of its own, on this machine's disk.
contenders=(rdeploy tar)
mib=1024

prepare() {
    local who
    start_sshd
    # What the client keeps would lie on a disk of its own; on the host's, every sync of the host would wait for it.
    mkdir -p "$HOME/.cache/rdeploy"
    mount -t tmpfs tmpfs "$HOME/.cache/rdeploy"
    for who in "${contenders[@]}"; do
        mkdir -p "$(tree_of "$who")"
        [[ -d $BENCH_DIR/blocks ]] || trees blocks "$BENCH_DIR/blocks" $((mib << 20))
        cp -a --reflink=auto "$BENCH_DIR/blocks/." "$(tree_of "$who")"
    done
    rm -rf "$BENCH_DIR/blocks"
    cat >"$projects/rdeploy/deploy.toml" <<-END
	app = "bench"
	deploy_to = "$BENCH_DIR/srv/rdeploy"
	supervisor = { kind = "none" }
	[env.prod]
	hosts = ["root@127.0.0.1"]
	END
}

start_sshd() {
    mkdir -p /run/sshd
    ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/id_ed25519"
    ssh-keygen -q -t ed25519 -N '' -f "$BENCH_DIR/host_key"
    cp "$HOME/.ssh/id_ed25519.pub" "$BENCH_DIR/authorized_keys"
    echo "127.0.0.1 $(cut -d' ' -f1,2 "$BENCH_DIR/host_key.pub")" >"$HOME/.ssh/known_hosts"
    /usr/sbin/sshd -f /dev/null -h "$BENCH_DIR/host_key" -o ListenAddress=127.0.0.1 -o PidFile=none \
        -o AuthorizedKeysFile="$BENCH_DIR/authorized_keys" -o StrictModes=no -o UsePAM=no
}

# Nothing is there, nothing is left here of the time before, and the disk has nothing to do.
before() {
    rm -rf "$BENCH_DIR/srv"
    find "$HOME/.cache/rdeploy" -mindepth 1 -delete
    mkdir -p "$BENCH_DIR/srv/$1"
    sync
}

verify() {
    local at=$BENCH_DIR/srv/$1
    [[ $1 != rdeploy ]] || at=$at/current
    diff -rq --exclude=deploy.toml "$(tree_of "$1")" "$at/"
}

run_tar() { tar -cf - -C app . | ssh root@127.0.0.1 "tar -xf - -C $BENCH_DIR/srv/tar && sync -f $BENCH_DIR/srv/tar"; }

criteria() { ratio rdeploy seconds tar 1.15; }
