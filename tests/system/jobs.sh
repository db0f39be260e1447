#!/bin/bash
# Runs the jobs that the host asks for, until it asks for the end.
#
# The host writes lines to the virtio port: `run N`, `kill N`, `hung`, `shell`, `off`. A
# job is the script /share/jobs/N/script; it leaves `output` beside it, and its end is
# answered with `N STATUS`.
export PATH=/opt/scsi2nvme/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8
export JOB_LIBRARY=/opt/scsi2nvme/tests/system/library.sh

port() {
  local name
  for name in /sys/class/virtio-ports/*/name; do
    [ "$(cat "$name")" = "$1" ] && basename "$(dirname "$name")"
  done
}

run() {
  local directory=/share/jobs/$1
  BASH_ENV=$JOB_LIBRARY setsid --wait \
    bash -euo pipefail -c 'echo $$ >"$0"; . "$1"' "/run/job.$1" "$directory/script" \
    </dev/null >"$directory/output" 2>&1 3>&-
  echo "$1 $?" >&3
}

# A job can be killed once it leads a process group.
end() {
  until [ -s "/run/job.$1" ]; do sleep 0.1; done
  kill -KILL -- "-$(cat "/run/job.$1")"
}

exec 3<>"/dev/$(port jobs)"
echo "ready 0" >&3
while read -r verb job <&3; do
  case $verb in
    run) run "$job" & ;;
    kill) end "$job" & ;;
    hung) bash -c '. "$JOB_LIBRARY"; tell_hung' >/share/hung; echo "hung 0" >&3 ;;
    shell) { cd /root; setsid --ctty bash -i </dev/hvc0 >/dev/hvc0 2>&1; echo "shell 0" >&3; } & ;;
    off) break ;;
  esac
done
[ ! -d /run/systemd/system ] || systemctl poweroff
