# shellcheck shell=sh
# Owns asking the app whether it is well, with whatever tool the host has. Never through a proxy:
# what is asked runs on this host.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

# probe_tool: prints the tool that will ask, fails when there is none.
probe_tool() {
    case $(app_health kind) in
        http) probe_first curl wget node python3 bash ;;
        tcp) probe_first node python3 bash nc curl ;;
        command) echo command ;;
    esac
}

# probe_first TOOL...: prints the first that is on PATH and works.
probe_first() {
    for probe_name in "$@"; do
        command -v "$probe_name" >/dev/null 2>&1 || continue
        case $probe_name in
            # A program of that name may be a stub that a version manager left.
            python3) python3 -c 'import socket, urllib.request' 2>/dev/null || continue ;;
            node) env -u NODE_OPTIONS node -e 0 2>/dev/null || continue ;;
        esac
        printf '%s\n' "$probe_name"
        return 0
    done
    return 1
}

# probe_once: asks once. 0 when the app is well, 1 when it is not (prints one line why), 2 when this
# host has no tool to ask with.
probe_once() {
    probe_kind=$(app_health kind)
    if [ "$probe_kind" = command ]; then
        probe_command
        return
    fi
    : "${probe_with:=$(probe_tool)}"
    [ -n "$probe_with" ] || return 2
    case $probe_kind in
        http) "probe_http_$probe_with" "$(app_health url)" ;;
        tcp) "probe_tcp_$probe_with" "$(app_health host)" "$(app_health port)" ;;
        *)
            echo "the recipe's health check is of an unknown kind: '$probe_kind'"
            return 1
            ;;
    esac
}

# probe_command: the user's own check, which may take as long as the whole health check.
probe_command() {
    probe_said=$(
        set -- "$RECIPE/health-command" "$(app_health timeout)"
        cd "$ROOT/current" || exit
        app_user_env
        app_limit "${2:-30}" sh "$1" </dev/null 2>&1
    )
    probe_status=$?
    [ "$probe_status" -ne 0 ] || return 0
    echo "the health command ended with status $probe_status: $(printf '%s\n' "$probe_said" | tail -n 1)"
    return 1
}

# probe_judge STATUS URL: 2xx and 3xx are well.
probe_judge() {
    case $1 in
        2?? | 3??) return 0 ;;
        [1-9]??) echo "$2 answered $1" ;;
        *) echo "$2 did not answer: ${1:-the connection was closed}" ;;
    esac
    return 1
}

probe_http_curl() {
    probe_said=$(curl -q -sS -g -o /dev/null --noproxy '*' --max-time 5 -w '\n%{http_code}' "$1" 2>&1 </dev/null)
    probe_status=${probe_said##*
}
    [ "$probe_status" != 000 ] || probe_status=${probe_said%%
*}
    probe_judge "$probe_status" "$1"
}

# GNU wget and BusyBox's both print the status lines with -S; the first is that of the URL itself.
probe_http_wget() {
    if wget --help 2>&1 | grep -q BusyBox; then
        # Some builds know no -T; the limit is there anyway.
        probe_said=$(app_limit 5 wget -S -Y off -O /dev/null "$1" 2>&1 </dev/null)
    else
        probe_said=$(app_limit 6 wget --no-config -S --no-proxy --tries=1 --timeout=5 --max-redirect=0 \
            --no-hsts -O /dev/null "$1" 2>&1 </dev/null)
    fi
    probe_status=$(printf '%s\n' "$probe_said" | sed -n 's/^ *HTTP\/[0-9.]* \([0-9][0-9][0-9]\).*/\1/p' | head -n 1)
    [ -n "$probe_status" ] || probe_status=$(printf '%s\n' "$probe_said" | tail -n 1)
    probe_judge "$probe_status" "$1"
}

probe_http_node() {
    probe_status=$(env -u NODE_OPTIONS node -e '
        const url = process.argv[1];
        const end = (text) => { console.log(text); process.exit(0); };
        setTimeout(() => end("no answer within 5 s"), 5000);
        require("http").get(url, { agent: false }, (res) => end(res.statusCode))
            .on("error", (error) => end(error.message || error.code));
    ' "$1" 2>&1 </dev/null)
    probe_judge "$probe_status" "$1"
}

probe_http_python3() {
    probe_status=$(python3 -c '
import sys, urllib.error, urllib.request

class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None

try:
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay)
    print(ask.open(sys.argv[1], timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
except Exception as error:
    print(getattr(error, "reason", error))
' "$1" 2>&1 </dev/null)
    probe_judge "$probe_status" "$1"
}

probe_http_bash() {
    probe_host=${1#http://}
    probe_path=/${probe_host#*/}
    [ "$probe_path" != "/$probe_host" ] || probe_path=/
    probe_host=${probe_host%%/*}
    probe_host=${probe_host##*@}
    case $probe_host in
        \[*\]:*) probe_port=${probe_host##*:} ;;
        \[*\]) probe_port=80 ;;
        *:*) probe_port=${probe_host##*:} ;;
        *) probe_port=80 ;;
    esac
    probe_name=${probe_host%:"$probe_port"}
    probe_name=${probe_name#\[}
    probe_name=${probe_name%\]}
    # shellcheck disable=SC2016 # for bash
    probe_status=$(app_limit 5 bash -c '
        exec 3<>"/dev/tcp/$1/$2" || exit
        printf "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: rdeploy\r\nConnection: close\r\n\r\n" "$4" "$3" >&3
        read -r _ status _ <&3 && echo "$status"
    ' bash "$probe_name" "$probe_port" "$probe_host" "$probe_path" 2>&1 </dev/null)
    probe_judge "${probe_status##*
}" "$1"
}

# probe_tcp_judge STATUS HOST PORT TEXT
probe_tcp_judge() {
    [ "$1" -ne 0 ] || return 0
    echo "port $3 on $2 did not accept a connection${4:+: $4}"
    return 1
}

probe_tcp_node() {
    probe_said=$(env -u NODE_OPTIONS node -e '
        const socket = require("net").connect(Number(process.argv[2]), process.argv[1]);
        const end = (status, text) => { if (text) console.log(text); process.exit(status); };
        socket.setTimeout(5000, () => end(1, "no answer within 5 s"));
        socket.on("connect", () => end(0)).on("error", (error) => end(1, error.message || error.code));
    ' "$1" "$2" 2>&1 </dev/null)
    probe_tcp_judge $? "$1" "$2" "$probe_said"
}

probe_tcp_python3() {
    probe_said=$(python3 -c '
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()
except Exception as error:
    sys.exit(str(error))
' "$1" "$2" 2>&1 </dev/null)
    probe_tcp_judge $? "$1" "$2" "$probe_said"
}

probe_tcp_bash() {
    # shellcheck disable=SC2016 # for bash
    probe_said=$(app_limit 5 bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$1" "$2" 2>&1 </dev/null)
    probe_tcp_judge $? "$1" "$2" "${probe_said##*: }"
}

# BusyBox's nc knows no -z in some builds. Without it nc stays until the other side hangs up, so to be
# stopped means to have been connected.
probe_tcp_nc() {
    probe_said=$(app_limit 4 nc -w 2 "$1" "$2" 2>&1 >/dev/null </dev/null)
    probe_status=$?
    [ "$probe_status" -ne 124 ] || probe_status=0
    probe_tcp_judge "$probe_status" "$1" "$2" "$probe_said"
}

# curl waits for the other side to say something; that it connected is in its account of the time.
probe_tcp_curl() {
    probe_host=$1
    case $probe_host in *:*) probe_host="[$probe_host]" ;; esac
    probe_said=$(curl -q -sS -g --noproxy '*' --connect-timeout 5 --max-time 1 -o /dev/null \
        -w '\n%{time_connect}' "telnet://$probe_host:$2" 2>&1 </dev/null)
    case ${probe_said##*
} in
        *[1-9]*) probe_tcp_judge 0 "$1" "$2" ;;
        *) probe_tcp_judge 1 "$1" "$2" "${probe_said%%
*}" ;;
    esac
}
