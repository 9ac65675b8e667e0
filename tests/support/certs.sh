#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Certificates for tests, valid for two days.
#
#   certs.sh DIR    writes NAME.pem and NAME.key to DIR, unless they are there:
#                   ca, rogue         authorities: the one that the tests trust, and another one
#                   server            for localhost and 127.0.0.1
#                   elsewhere         for another host
#                   expired           for localhost, until yesterday
#                   selfsigned        for localhost, by itself
#                   unknown           for localhost, by the other authority
#                   client            of the client `client`; untrusted: the same by the other authority
#                   and in authorities/ the first authority by its hash, as `openssl rehash` does
set -euo pipefail

dir=${1:?directory}
mkdir -p "$dir"
cd "$dir"
[ ! -f complete ] || exit 0

key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
local_name="subjectAltName=DNS:localhost,IP:127.0.0.1"

# authority NAME
authority() {
    openssl req -x509 "${key[@]}" -keyout "$1.key" -out "$1.pem" -days 2 -subj "/CN=$1" \
        -addext basicConstraints=critical,CA:TRUE 2>/dev/null
}

# certificate NAME AUTHORITY COMMON-NAME EXTENSION
certificate() {
    openssl req "${key[@]}" -keyout "$1.key" -out "$1.csr" -subj "/CN=$3" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -out "$1.pem" -days 2 \
        -extfile <(echo "$4") 2>/dev/null
}

authority ca
authority rogue
certificate server ca localhost "$local_name"
certificate elsewhere ca elsewhere "subjectAltName=DNS:elsewhere.example"
certificate unknown rogue localhost "$local_name"
certificate client ca client "extendedKeyUsage=clientAuth"
certificate untrusted rogue client "extendedKeyUsage=clientAuth"
openssl req -x509 "${key[@]}" -keyout selfsigned.key -out selfsigned.pem -days 2 -subj /CN=localhost \
    -addext "$local_name" 2>/dev/null

# `openssl x509` cannot sign for a time that has passed; `openssl ca` can.
openssl req "${key[@]}" -keyout expired.key -out expired.csr -subj /CN=localhost 2>/dev/null
mkdir -p expired.ca
: >expired.ca/index
cat >expired.ca/config <<CONFIG
[ca]
default_ca = own
[own]
database = expired.ca/index
rand_serial = yes
new_certs_dir = expired.ca
default_md = sha256
policy = any
[any]
commonName = supplied
CONFIG
openssl ca -batch -config expired.ca/config -in expired.csr -out expired.pem -cert ca.pem -keyfile ca.key -notext \
    -startdate "$(date -u -d '3 days ago' +%Y%m%d%H%M%SZ)" -enddate "$(date -u -d '1 day ago' +%Y%m%d%H%M%SZ)" \
    -extfile <(echo "$local_name") 2>/dev/null

mkdir -p authorities
cp ca.pem "authorities/$(openssl x509 -in ca.pem -noout -hash).0"
touch complete
