#!/bin/sh
# Makes Docker ready for tests/compose, on a fresh Debian machine too: engine, both compose commands, base images.
#
# Prints the environment of the tests on stdout, NAME=VALUE a line, for `env`; talks on stderr, and keeps the whole
# story in .venv/compose.log. What is there already stays as it is. An engine that it starts is left running.
set -eu
cd "$(dirname "$0")/../.."
mkdir -p .venv
log=$PWD/.venv/compose.log
: >"$log"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() { echo "compose: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

# run COMMAND...: keeps its output in the log; shows the end of it and stops where it fails.
run() {
    "$@" >>"$log" 2>&1 </dev/null && return
    tail -n 25 "$log" >&2
    fail "failed: $* (the whole output: $log)"
}

# --- the engine -----------------------------------------------------------------------------------------------

engine_answers() { timeout -k 5 20 docker version >>"$log" 2>&1 </dev/null; }

# debian PACKAGE...: installs what is missing, or says what a person has to install.
debian() {
    command -v apt-get >/dev/null || fail "missing; install what your system has for: $*"
    [ "$(id -u)" = 0 ] || fail "missing; run: sudo apt-get install --no-install-recommends $*"
    say "installing $*"
    run apt-get update
    run env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

install_engine() {
    engine_answers || command -v dockerd >/dev/null || debian docker.io
    # In Debian 12 this is 1.29. Where it cannot be installed, the tests of 1.29 say so.
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        command -v docker-compose >/dev/null || debian docker-compose
    fi
}

# Starts the engine by hand, where no init system does. cgroupfs: it makes the groups of containers itself, below
# those that are mounted here, so that mem_limit and cpus bind also where systemd does not run.
start_engine() {
    engine_answers && return
    [ "$(id -u)" = 0 ] || fail "no Docker engine answers; start one, or run this as root"
    say "starting dockerd (log: .venv/dockerd.log)"
    setsid dockerd --exec-opt native.cgroupdriver=cgroupfs >.venv/dockerd.log 2>&1 </dev/null &
    tries=60
    until engine_answers; do
        tries=$((tries - 1))
        kill -0 $! 2>/dev/null && [ $tries -gt 0 ] || { tail -n 25 .venv/dockerd.log >&2; fail "dockerd does not start"; }
        sleep 1
    done
    remove_leftovers
}

# What a run of the tests left when it was killed starts again with the engine, and would load the machine. While the
# engine was down nobody ran them, so all of it is left over.
remove_leftovers() {
    left=$(docker ps --all --quiet --filter name=^albtest)
    # shellcheck disable=SC2086 (several words)
    [ -z "$left" ] || run docker rm --force --volumes $left
    for kind in volume network; do
        left=$(docker $kind ls --quiet --filter name=^albtest)
        # shellcheck disable=SC2086 (several words)
        [ -z "$left" ] || run docker $kind rm $left
    done
}

# Debian 12 has docker-compose 1.29 only. The plugin `docker compose` comes from the package of the next release,
# unpacked for this user; apt keeps what it knows about that release apart from the system's.
install_plugin() {
    docker compose version >>"$log" 2>&1 && return
    say "installing the plugin docker compose"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 2>/dev/null | head -n 1)
    [ -n "$mirror" ] || fail "docker compose is missing; install the compose plugin of your system"
    mkdir -p "$scratch/apt/lists/partial" "$scratch/apt/archives/partial" "$HOME/.docker/cli-plugins"
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$keyring] $mirror trixie main" >"$scratch/apt/sources.list"
    : >"$scratch/apt/status"
    cat >"$scratch/apt/apt.conf" <<EOF
Dir::Etc::SourceList "$scratch/apt/sources.list";
Dir::Etc::SourceParts "-";
Dir::State "$scratch/apt";
Dir::State::Status "$scratch/apt/status";
Dir::Cache "$scratch/apt";
APT::Sandbox::User "root";
EOF
    (
        cd "$scratch"
        export APT_CONFIG="$scratch/apt/apt.conf"
        run apt-get update
        run apt-get download docker-compose
        run dpkg-deb --extract docker-compose_*.deb package
    )
    install -m 0755 "$scratch/package/usr/libexec/docker/cli-plugins/docker-compose" "$HOME/.docker/cli-plugins/"
    run docker compose version
}

# --- images ---------------------------------------------------------------------------------------------------

# stand_in NAME PACKAGE...: a bare Debian system with these packages, then tests/compose/stand_ins/NAME on top.
stand_in() {
    name=$1
    shift
    system=alb-stand-in/$name-system
    if ! docker image inspect "$system" >>"$log" 2>&1; then
        command -v mmdebstrap >/dev/null || debian mmdebstrap
        say "making a stand-in for the image $name"
        run mmdebstrap --variant=minbase --include="$(echo "$*" | tr ' ' ,)" \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
            bookworm "$scratch/$name.tar"
        run docker import "$scratch/$name.tar" "$system"
        rm "$scratch/$name.tar"
    fi
    cp -R "tests/compose/stand_ins/$name" "$scratch/$name"
    if [ "$name" = python ]; then
        cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$scratch/$name/ca-certificates.crt"
        index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
        printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n%s\n' "${index:+index-url = $index}" >"$scratch/$name/pip.conf"
    fi
    run docker build --tag "alb-stand-in/$name" --build-arg "SYSTEM=$system" "$scratch/$name"
}

pullable() { timeout -k 5 300 docker pull --quiet "$1" >>"$log" 2>&1 </dev/null; }

make_images() {
    if [ -n "${ALB_BASE:-}" ] && [ -n "${ALB_ZOOKEEPER:-}" ] && [ -n "${ALB_POSTGRES:-}" ]; then
        return
    elif pullable zookeeper:3.9 && pullable postgres:16 && pullable python:3.12-slim; then
        ALB_ZOOKEEPER=zookeeper:3.9 ALB_POSTGRES=postgres:16 ALB_BASE=python:3.12-slim
    else
        say "no registry can be reached: stand-ins are used for the base images"
        stand_in python python3 python3-venv ca-certificates
        stand_in zookeeper libzookeeper-java default-jre-headless
        stand_in postgres postgresql
        ALB_ZOOKEEPER=alb-stand-in/zookeeper ALB_POSTGRES=alb-stand-in/postgres ALB_BASE=alb-stand-in/python
        ALB_BUILD_NETWORK=host
    fi
    export ALB_ZOOKEEPER ALB_POSTGRES ALB_BASE ALB_BUILD_NETWORK
}

ALB_BUILD_NETWORK=${ALB_BUILD_NETWORK:-default}
export ALB_IMAGE=alb-tested
install_engine
start_engine
install_plugin
make_images
proxies=
for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
    eval "[ -z \"\${$name:-}\" ]" || proxies="$proxies --build-arg $name"
done
# shellcheck disable=SC2086 (several words)
run docker compose build $proxies broker1
for name in ALB_IMAGE ALB_BASE ALB_ZOOKEEPER ALB_POSTGRES ALB_BUILD_NETWORK; do
    eval "echo $name=\"\$$name\""
done
