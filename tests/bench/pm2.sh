# shellcheck shell=bash disable=SC2034,SC2154,SC2029
# One host, a small app of 200 files and 2 MB of which one file changes, under PM2, with no time to settle.
hosts=1 rtt=100 rate=1000
contenders=(rdeploy floor capistrano)

prepare() {
    local who port=3000
    trees tree "$BENCH_DIR/small" 200 2000000 10
    cp "$BENCH_HERE"/../../docs/examples/node-pm2/{server.js,package.json} "$BENCH_DIR/small"
    for who in "${contenders[@]}"; do
        port=$((port + 1))
        write_ecosystem "$who" "$port"
        more_configuration="[supervisor]
kind = \"pm2\"
ecosystem = \"ecosystem.config.js\"
settle = \"0s\"
[health]
http = \"http://127.0.0.1:$port/\""
        make_project "$who" "$BENCH_DIR/small"
        ports[$who]=$port
    done
    cp -r "$BENCH_HERE/peers/capistrano/lib" "$projects/capistrano"
    git_commit "$projects/capistrano"
}
declare -A ports

# rdeploy knows itself where an app runs.
write_ecosystem() {
    local cwd="cwd: '/srv/$1/current', "
    [[ $1 != rdeploy ]] || cwd=
    cat >"$BENCH_DIR/small/ecosystem.config.js" <<-JS
	module.exports = {
	  apps: [{ name: '$1', ${cwd}script: 'server.js', exec_mode: 'cluster', instances: 2, env: { PORT: '$2' } }],
	};
	JS
}

# The release runs that is live.
verify() {
    is_live "$1" "$2" || return
    local live
    live=$(basename "$(readlink "$(on_host 1 "/srv/$1/current")")")
    eventually_says "$live" "http://10.77.0.1:${ports[$1]}/"
}

# The old processes may still answer for a moment, to whoever does not look.
eventually_says() {
    local deadline=$((SECONDS + 20))
    until [[ $(ask "$2") == *"$1"* ]]; do ((SECONDS < deadline)) || return; done
}

ask() { python3 -c 'import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())' "$1"; }

run_floor() {
    tar -czf - -C app . | ssh deploy@10.77.0.1 "mkdir /srv/floor/releases/$release && tar -xzf - -C /srv/floor/releases/$release && ln -s releases/$release /srv/floor/new && mv -T /srv/floor/new /srv/floor/current && cd /srv/floor/current && pm2 startOrReload ecosystem.config.js"
}

run_capistrano() { cap bench deploy; }

criteria() {
    ratio rdeploy seconds capistrano 0.4
    ratio rdeploy seconds floor
}
