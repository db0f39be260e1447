# What every job has at hand: bash reads this before the job's script. A process costs as much
# here as a thousand lines of bash: what is done again and again starts none.

# Wait for so many seconds: nobody writes to this.
pause() {
  [ -p /run/never ] || mkfifo /run/never 2>/dev/null || [ -p /run/never ]
  read -rt "$1" <>/run/never || true
}

# Run a command until it succeeds, at most for so many seconds: `eventually 10 test -b /dev/sda`.
eventually() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "never came true: $*" >&2
      return 1
    fi
    pause 0.1
  done
}

# Say what the machine is about, where something does not go on.
tell_hung() {
  (cd /opt/scsi2nvme && timeout --kill-after=5 90 python3 -m tests.system.hung) 2>&1 || true
}

# Programs without their start, which costs seconds: forks of a process that has imported them, see
# forks.py. `command scsi2nvme` runs the program itself.
scsi2nvme() { wait_for_fork scsi2nvme "$@"; }
targetcli() { wait_for_fork targetcli "$@"; }
targetctl() { wait_for_fork targetctl "$@"; }

readonly forks_port=1023

wait_for_fork() { # program, arguments
  local line number status
  ask_for_fork wait "$@"
  read -ru "$line" status || status=255
  exec {line}>&-
  return "$status"
}

# Begin a program of these, and leave it running: its number is `$left` then.
leave_fork() { # program, arguments
  local line number
  ask_for_fork leave "$@"
  exec {line}>&-
  left=$number
}

ask_for_fork() { # how, program, arguments
  local how=$1 program=$2 in out err
  shift 2
  connect_to_forks 2>/dev/null || { start_forks && connect_to_forks; }
  # The standard ones are others while something is written to the line.
  exec {in}<&0 {out}>&1 {err}>&2
  printf '%s\n' "$BASHPID $in $out $err $how $program $#" >&"$line"
  # Without arguments there are no words: printf would print an empty one.
  [ $# = 0 ] || printf '%s\0' "$@" >&"$line"
  read -ru "$line" number
  exec {in}<&- {out}>&- {err}>&-
}

connect_to_forks() { exec {line}<>/dev/tcp/127.0.0.1/$forks_port; }

start_forks() {
  {
    flock 9
    if ! connectable; then
      (cd /opt/scsi2nvme && exec setsid python3 -m tests.system.forks $forks_port) \
        </dev/null >/run/forks.log 2>&1 9>&- &
      # As long as it lives: what it imports takes a minute on a busy host.
      until connectable; do
        kill -0 $! || { cat /run/forks.log; break; }
        pause 0.1
      done
    fi
  } 9>/run/forks.lock
}
connectable() { : <>/dev/tcp/127.0.0.1/$forks_port; } 2>/dev/null

# Print the block device of a namespace: `namespace 0000:01:00.0 2`. The numbers that the
# kernel gives to controllers are in no order.
namespace() {
  local path nsid
  for path in /sys/bus/pci/devices/"$1"/nvme/nvme*/nvme*n*; do
    if { read -r nsid <"$path/nsid"; } 2>/dev/null && [ "$nsid" = "$2" ]; then
      echo "/dev/${path##*/}"
      return
    fi
  done
  return 1
}

# Take a PCI function from its driver and give it to vfio-pci, or to who is its driver by itself.
# `scsi2nvme bind` does this with many a check, which costs seconds here.
bind_vfio() { hand_over "$1" vfio-pci; }
unbind_vfio() { hand_over "$1" ""; }
hand_over() {
  local function=/sys/bus/pci/devices/$1
  echo "$2" >"$function/driver_override"
  if [ -e "$function/driver" ]; then echo "$1" >"$function/driver/unbind"; fi
  echo "$1" >/sys/bus/pci/drivers_probe
  [ "$function/driver" -ef "/sys/bus/pci/drivers/${2:-nvme}" ]
}

# Run commands of targetcli, given on standard input, in one go: each start looks at all that there
# is. It goes on after an error; this then fails.
targetcli_all() {
  local commands output
  commands=$(cat)
  output=$(targetcli <<<"$commands" 2>&1)
  echo "$output"
  ! grep --quiet --extended-regexp \
    '^(/[^>]*> )?(Could not|Cannot|No such path|Command not found|Unexpected|Error)' <<<"$output"
}

# Print the block device of a LUN of a loopback target: `loop_disk naa.5001405000000001 0`.
loop_disk() {
  local address blocks
  address=$(cat "/sys/kernel/config/target/loopback/$1/tpgt_1/address")
  blocks="/sys/bus/scsi/devices/$address:$2/block"
  eventually 20 test -d "$blocks" # the kernel looks for disks after the LUN is there
  echo "/dev/$(ls "$blocks")"
}

# Start the initiator's daemon.
iscsi_start() {
  modprobe iscsi_tcp
  # systemd starts it for whoever asks it.
  [ -e /run/iscsid.pid ] || [ -d /run/systemd/system ] || iscsid
}

# End iscsid, so that the next one reads its name anew.
iscsi_stop() {
  local pid
  [ -e /run/iscsid.pid ] || return 0
  pid=$(</run/iscsid.pid)
  kill "$pid"
  eventually 20 test ! -e "/proc/$pid"
  rm -f /run/iscsid.pid
}

# Log in to every target of the local portal.
iscsi_login() {
  iscsi_start
  iscsiadm --mode discovery --type sendtargets --portal 127.0.0.1
  iscsiadm --mode node --login
  udevadm settle
}

# Print the block device of a LUN of an iSCSI target: `iscsi_disk iqn.2026-11.org.example:a 0`,
# that behind another portal than the usual with its address as the third argument.
iscsi_disk() {
  local link="/dev/disk/by-path/ip-${3:-127.0.0.1}:3260-iscsi-$1-lun-$2"
  eventually 20 test -e "$link" # the kernel looks for disks after the login has ended
  readlink --canonicalize-existing "$link"
}

# Log out of every target, or of what iscsiadm's arguments name, while udev is kept from the disks.
# It looks at each that something has had open for writing, and the kernel warns where a disk goes
# while it is read: it waits for runtime power management of the target then, in a work queue in which
# nobody may wait for that (check_flush_dependency).
iscsi_logout() {
  local block disks=()
  for block in /sys/class/iscsi_session/session*/device/target*/*/block/*; do
    if [ -e "$block" ]; then disks+=("/dev/${block##*/}"); fi
  done
  # A disk that fails, or hangs for udev too, is to go all the same.
  keep_from_udev "${disks[@]}" || true
  iscsiadm --mode node --logout "$@"
  leave_to_udev
}

# Log out, and leave the kernel's target without configuration.
clear_targets() {
  if iscsiadm --mode session >/dev/null 2>&1; then iscsi_logout; fi
  rm -rf /etc/iscsi/ifaces /etc/iscsi/nodes /etc/iscsi/send_targets
  # It takes a second or two to find nothing.
  if compgen -G '/sys/kernel/config/target/*/*[.:]*' || compgen -G '/sys/kernel/config/target/core/*_*'; then
    targetctl clear
  fi >/dev/null
  rm -rf ~/.targetcli # what `set global` of targetcli has left
}

# Start tcmu-runner; `targetcli` does not do so by itself here.
start_tcmu_runner() {
  modprobe target_core_user
  tcmu-runner >/dev/null 2>&1 &
  echo $! >/run/tcmu-runner.pid
  eventually 60 has_owner org.kernel.TCMUService1
}

# End it, and the wait for its answers that it leaves switched on in the kernel.
stop_tcmu_runner() {
  local kernel=/sys/module/target_core_user/parameters
  kill "$(cat /run/tcmu-runner.pid)"
  eventually 20 test ! -e "/proc/$(cat /run/tcmu-runner.pid)"
  echo 1 >$kernel/block_netlink
  echo 1 >$kernel/reset_netlink
  echo 0 >$kernel/block_netlink
}

has_owner() {
  dbus-send --system --print-reply --dest=org.freedesktop.DBus / \
    org.freedesktop.DBus.NameHasOwner "string:$1" | grep --quiet 'boolean true'
}

# Read and write at random and compare what is read: `fio_verify DISK BYTES [OPTION…]`.
fio_verify() {
  local disk=$1 size=$2
  shift 2
  fio --name=verify --filename="$disk" --size="$size" --direct=1 --ioengine=libaio \
    --iodepth=32 --rw=randrw --bsrange=4k-64k --blockalign=4k --verify=crc32c \
    --verify_fatal=1 --randrepeat=0 "$@"
}

# Keep udev from a disk until `leave_to_udev`, and wait for what it does with it now: it does not
# touch what is locked (https://systemd.io/BLOCK_DEVICE_LOCKING). Else it would look at it whenever
# something has had it open for writing, and have the kernel read its partitions anew, for which
# that starts a disk that is stopped.
keep_from_udev() {
  local disk lock
  for disk; do
    [ -z "${udev_locks[$disk]-}" ] || continue
    exec {lock}<"$disk" || return
    udev_locks[$disk]=$lock
    flock --timeout 20 "$lock" || return
  done
}
leave_to_udev() {
  local lock
  for lock in "${udev_locks[@]}"; do exec {lock}<&-; done
  udev_locks=()
}
declare -A udev_locks=()

# Start the daemon with these further arguments, and wait until it serves the kernel. It is
# left running: `end_daemon` is for any job.
start_daemon() {
  [ -d /sys/module/target_core_user ] || modprobe target_core_user
  : >/run/daemon.log
  leave_fork scsi2nvme serve --tcmu --state-dir /run/daemon "$@" >>/run/daemon.log 2>&1
  echo "$left" >/run/daemon.pid
  eventually 100 daemon_ready
}

daemon_ready() {
  [[ $'\n'$(</run/daemon.log) == *$'\n'Ready* ]] && return
  if [ ! -e "/proc/$(</run/daemon.pid)" ]; then
    cat /run/daemon.log >&2
    exit 1
  fi
  return 1
}

# End the daemon, if one was started, by SIGTERM or the signal named; show what it said.
end_daemon() {
  local pid
  [ -e /run/daemon.pid ] || return 0
  pid=$(</run/daemon.pid)
  rm /run/daemon.pid
  kill -"${1:-TERM}" "$pid"
  eventually 60 test ! -e "/proc/$pid"
  cat /run/daemon.log
}
