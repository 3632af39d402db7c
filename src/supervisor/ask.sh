# shellcheck shell=sh
# Owns how each tool that may be on a host asks: for a page, for a TCP port, for a Unix socket. Never through
# a proxy: what is asked runs on this host. Which check it is, and what comes of it, is in probe.sh.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

# probe_http: asks for a page, and judges what comes. Each probe_http_TOOL has the headers to send on its
# standard input, `Name: value` a line, since they may be secret; probe_socket, probe_limit and probe_out say
# the rest. It prints what it has to say, with the status as the last line; before that, where probe_out is
# not /dev/null, the answer's body.
probe_http() {
    probe_out=/dev/null probe_found=1
    if probe_wants_body; then
        probe_out=-
        probe_said=$(probe_headers | "probe_http_$probe_with" | probe_scan)
        probe_found=${probe_said%%
*}
        probe_said=${probe_said#*
}
    elif probe_has_headers; then
        probe_said=$(probe_headers | "probe_http_$probe_with")
    else
        probe_said=$("probe_http_$probe_with" </dev/null)
    fi
    probe_code=${probe_said##*
}
    # curl, where nothing answered; the reason comes first.
    [ "$probe_code" != 000 ] || probe_code=${probe_said%%
*}
    probe_judge
}

# probe_headers: prints the headers of the check.
probe_headers() {
    ! probe_has_headers || sed 's/^header = //' "$RECIPE/health-headers$probe_at"
}

# probe_scan: reads a page that ends with a line which is not part of it. Prints 1 when the page contains
# the text of the check, else 0; its first line, which may be a reason; and the line at the end.
probe_scan() {
    PROBE_TEXT=$RECIPE/health-body$probe_at awk '
        BEGIN { getline text <ENVIRON["PROBE_TEXT"] }
        NR > 1 && !found { found = index(last, text) > 0 }
        NR == 1 { first = $0 }
        { last = $0 }
        END { print found + 0; print first; print last }
    '
}

# probe_judge: whether probe_code and probe_found are what the check wants.
probe_judge() {
    probe_shown=$probe_url${probe_socket:+ at ${probe_socket#./}}
    case $probe_code in
        [1-9][0-9][0-9]) ;;
        *)
            echo "$probe_shown did not answer: ${probe_code:-the connection was closed}"
            return 1
            ;;
    esac
    probe_wanted=no
    for probe_range in $probe_status; do
        if [ "$probe_code" -ge "${probe_range%-*}" ] && [ "$probe_code" -le "${probe_range#*-}" ]; then
            probe_wanted=yes
        fi
    done
    if [ "$probe_wanted" = no ]; then
        case $probe_status in
            200-399 | 200-299) echo "$probe_shown answered $probe_code" ;;
            *) echo "$probe_shown answered $probe_code; expected is $probe_status" ;;
        esac
        return 1
    fi
    [ "$probe_found" != 1 ] || return 0
    IFS= read -r probe_text <"$RECIPE/health-body$probe_at"
    echo "$probe_shown answered $probe_code, but without \"$probe_text\""
    return 1
}

probe_http_curl() {
    set -- -o "$probe_out"
    [ -z "$probe_socket" ] || set -- "$@" --unix-socket "$probe_socket"
    if probe_has_headers; then
        sed -e 's/[\\"]/\\&/g' -e 's/.*/header = "&"/' | probe_curl --config - "$@"
    else
        probe_curl "$@" </dev/null
    fi
}

# probe_curl ARGUMENTS
probe_curl() {
    curl -q -sS -g --noproxy '*' --max-time "$probe_limit" -w '\n%{http_code}' "$@" "$probe_url" 2>&1
}

# GNU wget and BusyBox's both print the status lines with -S; the first is that of the URL itself.
probe_http_wget() {
    {
        if probe_busybox; then
            # Some builds know no -T; the limit is there anyway. The only header there can be is the host.
            set -- -O "$probe_out" ${probe_name:+"--header=Host: $probe_name"}
            probe_log=$(app_limit "$probe_limit" wget -S -Y off "$@" "$probe_url" 2>&1 >&5)
        else
            set -- --no-config
            ! probe_has_headers || set -- "--config=$RECIPE/health-headers$probe_at"
            probe_log=$(app_limit "$((probe_limit + 1))" wget "$@" -S --no-proxy --tries=1 --timeout="$probe_limit" \
                --max-redirect=0 --no-hsts --content-on-error -O "$probe_out" "$probe_url" 2>&1 >&5)
        fi
    } 5>&1
    probe_code=$(printf '%s\n' "$probe_log" | sed -n 's/^ *HTTP\/[0-9.]* \([0-9][0-9][0-9]\).*/\1/p' | head -n 1)
    printf '\n%s\n' "${probe_code:-$(printf '%s\n' "$probe_log" | tail -n 1)}"
}

probe_http_node() {
    env -u NODE_OPTIONS node -e '
        const [url, socketPath, out, limit] = process.argv.slice(1);
        const end = (text) => { process.stdout.write("\n" + text + "\n"); process.exit(0); };
        setTimeout(() => end("no answer within " + limit + " s"), limit * 1000);
        const headers = {};
        for (const line of require("fs").readFileSync(0, "latin1").split("\n")) {
            const at = line.indexOf(": ");
            if (at > 0) headers[line.slice(0, at)] = line.slice(at + 2);
        }
        const options = { agent: false, headers };
        if (socketPath) options.socketPath = socketPath;
        require("http").get(url, options, (res) => {
            if (out !== "-") end(res.statusCode);
            res.on("data", (data) => process.stdout.write(data));
            res.on("close", () => end(res.statusCode));
        }).on("error", (error) => end(error.message || error.code));
    ' "$probe_url" "$probe_socket" "$probe_out" "$probe_limit" 2>&1
}

probe_http_python3() {
    app_limit "$((probe_limit + 1))" python3 -c '
import http.client, socket, sys, urllib.parse

url, path, out, limit = sys.argv[1:5]

class Through(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(path)

try:
    parts = urllib.parse.urlsplit(url)
    kind = Through if path else http.client.HTTPConnection
    ask = kind(parts.hostname, parts.port, timeout=float(limit))
    headers = [line.split(": ", 1) for line in sys.stdin.read().split("\n") if ": " in line]
    if not any(name == "Host" for name, _ in headers):
        headers.insert(0, ["Host", parts.netloc])
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    ask.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers:
        ask.putheader(name, value)
    ask.endheaders()
    answer = ask.getresponse()
    if out == "-":
        sys.stdout.buffer.write(answer.read())
    print("\n%d" % answer.status)
except Exception as error:
    print("\n%s" % error)
' "$probe_url" "$probe_socket" "$probe_out" "$probe_limit" 2>&1
}

# It cannot put chunks together: where the body counts it asks as a client that does not know them.
probe_http_bash() {
    probe_address=${probe_url#http://}
    probe_path=/${probe_address#*/}
    [ "$probe_path" != "/$probe_address" ] || probe_path=/
    probe_address=${probe_address%%/*}
    case $probe_address in
        \[*\]:*) probe_port=${probe_address##*:} ;;
        \[*\]) probe_port=80 ;;
        *:*) probe_port=${probe_address##*:} ;;
        *) probe_port=80 ;;
    esac
    probe_host=${probe_address%:"$probe_port"}
    probe_host=${probe_host#\[}
    probe_host=${probe_host%\]}
    # shellcheck disable=SC2016 # for bash
    app_limit "$probe_limit" bash -c '
        exec 3<>"/dev/tcp/$1/$2" || exit
        lines= host="Host: $3" agent="User-Agent: rdeploy" version=1.1
        while IFS= read -r line; do
            case $line in
                Host:*) host=$line ;;
                [Uu][Ss][Ee][Rr]-[Aa][Gg][Ee][Nn][Tt]:*) agent=$line ;;
                *) lines=$lines$line$'"'\\r\\n'"' ;;
            esac
        done
        [ "$5" != - ] || version=1.0
        printf "GET %s HTTP/%s\r\n%s\r\n%s\r\nConnection: close\r\n%s\r\n" "$4" "$version" "$host" "$agent" "$lines" >&3
        read -r _ status _ <&3
        if [ "$5" = - ]; then
            while IFS= read -r line <&3; do
                [ -n "${line%$'"'\\r'"'}" ] || break
            done
            cat <&3
        fi
        [ -z "$status" ] || printf "\n%s\n" "$status"
    ' bash "$probe_host" "$probe_port" "$probe_address" "$probe_path" "$probe_out" 2>&1
    [ $? -ne 124 ] || printf '\nno answer within %s s\n' "$probe_limit"
}

# probe_tcp_judge STATUS HOST PORT TEXT
probe_tcp_judge() {
    [ "$1" -ne 0 ] || return 0
    echo "port $3 on $2 did not accept a connection${4:+: $4}"
    return 1
}

probe_tcp_node() {
    probe_said=$(probe_connect_node "$2" "$1")
    probe_tcp_judge $? "$1" "$2" "$probe_said"
}

# probe_connect_node PORT HOST, or probe_connect_node PATH
probe_connect_node() {
    env -u NODE_OPTIONS node -e '
        const [to, host] = process.argv.slice(1);
        const socket = require("net").connect(host ? { port: Number(to), host } : { path: to });
        const end = (status, text) => { if (text) console.log(text); process.exit(status); };
        socket.setTimeout(5000, () => end(1, "no answer within 5 s"));
        socket.on("connect", () => end(0)).on("error", (error) => end(1, error.message || error.code));
    ' "$@" 2>&1 </dev/null
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
    probe_code=$?
    [ "$probe_code" -ne 124 ] || probe_code=0
    probe_tcp_judge "$probe_code" "$1" "$2" "$probe_said"
}

probe_tcp_curl() {
    probe_to=$1
    case $probe_to in *:*) probe_to="[$probe_to]" ;; esac
    probe_said=$(probe_connect_curl "telnet://$probe_to:$2")
    probe_tcp_judge $? "$1" "$2" "$probe_said"
}

# probe_connect_curl ARGUMENTS: curl waits for the other side to say something; that it connected is in its
# account of the time. Prints why not.
probe_connect_curl() {
    probe_said=$(curl -q -sS -g --noproxy '*' --connect-timeout 5 --max-time 1 -o /dev/null \
        -w '\n%{time_connect}' "$@" 2>&1 </dev/null)
    case ${probe_said##*
} in
        *[1-9]*) ;;
        *)
            printf '%s\n' "${probe_said%%
*}"
            return 1
            ;;
    esac
}

# probe_socket_judge STATUS PATH TEXT
probe_socket_judge() {
    [ "$1" -ne 0 ] || return 0
    echo "the socket ${2#./} did not accept a connection${3:+: $3}"
    return 1
}

probe_socket_curl() {
    probe_said=$(probe_connect_curl --unix-socket "$1" telnet://localhost)
    probe_socket_judge $? "$1" "$probe_said"
}

probe_socket_node() {
    probe_said=$(probe_connect_node "$1")
    probe_socket_judge $? "$1" "$probe_said"
}

probe_socket_python3() {
    probe_said=$(python3 -c '
import socket, sys
try:
    ask = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    ask.settimeout(5)
    ask.connect(sys.argv[1])
except Exception as error:
    sys.exit(str(error))
' "$1" 2>&1 </dev/null)
    probe_socket_judge $? "$1" "$probe_said"
}
