# shellcheck shell=bash disable=SC2034,SC2154,SC2029
# Ten hosts at once, a small app of 200 files and 2 MB of which one file changes, no supervisor.
hosts=10 rtt=100 rate=1000
contenders=(rdeploy floor ansible capistrano)

prepare() {
    trees tree "$BENCH_DIR/small" 200 2000000 10
    make_projects "$BENCH_DIR/small"
}

run_floor() {
    local host deploys=() deploy
    for host in $FLEET_HOSTS; do
        tar -czf - -C app . | ssh "deploy@$host" "mkdir /srv/floor/releases/$release && tar -xzf - -C /srv/floor/releases/$release && ln -s releases/$release /srv/floor/new && mv -T /srv/floor/new /srv/floor/current" &
        deploys+=($!)
    done
    for deploy in "${deploys[@]}"; do wait "$deploy" || return; done
}

run_ansible() { ansible-playbook deploy.yml -e "release=$release"; }

run_capistrano() { cap bench deploy; }

# Ansible leaves its connections open for a minute. A deploy a minute is no measure of a deploy.
after() {
    local socket
    for socket in "$projects"/ansible/control/*; do
        [[ ! -S $socket ]] || ssh -o "ControlPath=$socket" -O exit ansible 2>/dev/null || true
    done
}

criteria() {
    ratio rdeploy seconds floor 0.8
    ratio rdeploy seconds ansible 0.35
    ratio rdeploy seconds capistrano 0.35
}
