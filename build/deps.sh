#!/usr/bin/env bash
# Makes sure that what the tests start is installed: real ZooKeeper, NSD, Knot,
# BIND, tinydns, gdnsd, Unbound, ldns-signzone, dig.
# As root on Debian it installs them; otherwise it says what to install.
set -euo pipefail

missing=()
[[ -e /usr/share/java/zookeeper.jar ]] || missing+=(zookeeper)
[[ -e /usr/share/java/slf4j-simple.jar && -e /usr/share/java/slf4j-log4j12.jar ]] || missing+=(libslf4j-java)
[[ -e /usr/share/java/log4j-1.2.jar ]] || missing+=(liblog4j1.2-java)
command -v java >/dev/null || missing+=(default-jre-headless)
command -v nsd >/dev/null || [[ -x /usr/sbin/nsd ]] || missing+=(nsd)
command -v named >/dev/null || [[ -x /usr/sbin/named ]] || missing+=(bind9)
command -v knotd >/dev/null || [[ -x /usr/sbin/knotd ]] || missing+=(knot)
compgen -G '/usr/lib/*/knot/modules-*/geoip.so' >/dev/null || missing+=(knot-module-geoip)
command -v unbound >/dev/null || [[ -x /usr/sbin/unbound ]] || missing+=(unbound)
command -v gdnsd >/dev/null || [[ -x /usr/sbin/gdnsd ]] || missing+=(gdnsd)
command -v ldns-signzone >/dev/null || missing+=(ldnsutils)
command -v dig >/dev/null || missing+=(dnsutils)
command -v tinydns-data >/dev/null || missing+=(tinydns)
if [[ ${POPDNS_SKIP_ZK:-} == 1 ]]; then
    echo "POPDNS_SKIP_ZK=1: tests against ZooKeeper are left out"
    missing=($(printf '%s\n' "${missing[@]}" | grep -vE 'zookeeper|slf4j|log4j|jre' || true))
fi
[[ ${#missing[@]} == 0 ]] && exit 0

install=(apt-get install -y --no-install-recommends "${missing[@]}")
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "missing: ${missing[*]}" >&2
    echo "install them with: sudo ${install[*]}" >&2
    echo "(or leave out what needs ZooKeeper: POPDNS_SKIP_ZK=1 make test)" >&2
    exit 1
fi
echo "installing ${missing[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${install[@]}" >/dev/null
