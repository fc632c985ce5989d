#!/bin/bash
# See that a Docker engine answers and has an image of Kafka.  setup.sh WORK_FOLDER JARS_FOLDER
#
# Without an engine: install Debian's (root only) and start it; its pid is in WORK_FOLDER/pid.
# Prints the image's name. Where no registry can be reached, the image is a stand-in made of
# Debian's Java and the given jars, with the same entry as the official one.
set -e
here=$(cd "$(dirname "$0")" && pwd)
work=$1 jars=$2
official=apache/kafka:4.3.1 standin=streamjobs-test/kafka:4.3.1

need() {  # PROGRAM PACKAGE...: install the packages unless the program is there
  local program=$1; shift
  PATH=$PATH:/usr/sbin type -P "$program" > /dev/null && return
  [ "$(id -u)" = 0 ] || { echo "no $program, and only root can install it" >&2; exit 77; }
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -qq -y --no-install-recommends "$@" >&2 && return
  apt-get update -qq >&2 && apt-get install -qq -y --no-install-recommends "$@" >&2
}

if ! docker info > /dev/null 2>&1; then
  [ "$(id -u)" = 0 ] || { echo "no Docker engine answers, and only root can start one" >&2; exit 77; }
  need dockerd docker.io iptables
  mkdir -p "$work/data"
  nohup dockerd --data-root "$work/data" --exec-root "$work/exec" -p "$work/pid" > "$work/log" 2>&1 &
  for _ in $(seq 120); do docker info > /dev/null 2>&1 && break; sleep 0.25; done
  docker info > /dev/null 2>&1 || { tail -5 "$work/log" >&2; exit 1; }
fi

for image in $official $standin; do
  docker image inspect $image > /dev/null 2>&1 && { echo $image; exit; }
done
timeout 120 docker pull -q $official > /dev/null 2>&1 && { echo $official; exit; }

need debootstrap debootstrap
mirror=$(awk '/^deb |^URIs/{for (i = 1; i <= NF; i++) if ($i ~ /^http/) {print $i; exit}}' \
  $(ls /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null))
debootstrap --variant=minbase --include=openjdk-17-jre-headless bookworm "$work/root" "$mirror" >&2
tar -C "$work/root" --exclude=./var/cache/apt --exclude=./var/lib/apt/lists --exclude=./usr/share/doc -c . |
  docker import - streamjobs-test/java:17 > /dev/null
cp -r "$here/image" "$work/image"
mkdir "$work/image/libs"
cp "$jars"/*.jar "$work/image/libs/"
DOCKER_BUILDKIT=0 docker build -q --network none -t $standin "$work/image" > /dev/null 2>> "$work/log"
echo $standin
