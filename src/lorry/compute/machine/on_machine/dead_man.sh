# shellcheck shell=dash disable=SC2154,SC2164,SC2086
# (limits are set before it; a folder that cannot be entered changes nothing; numbers and a command's words are split on purpose)
# The dead-man switch: ends this machine when its time is up, or when nobody needs it any more, whoever else is gone.
#
# POSIX shell with `date`, `sleep` and `stat`, nothing else. `lorry.compute.dead_man` puts the limits before it and
# takes comments and indentation away: providers accept a few thousand characters. It sets, in whole seconds:
#   deadline made idle silence grace, and the command ends_itself (empty: this machine cannot end itself).
# What it keeps and reads lies in $HOME/.lorry: local to the machine, so that a volume that hangs cannot hold it up.
command -v date >/dev/null && command -v sleep >/dev/null || exit 1
trap '' HUP INT
watcher='' seen='' beat='' before='' told='' until=''
trap leave TERM
# A shell that cannot fork (no memory, too many processes) exits; it can still start itself again in its own place.
trap '[ -z "$watcher" ] || kill "$watcher"; exec sh -c "eval \"\$LORRY_DEAD_MAN\"" lorry-dead-man' EXIT
# Memory that training takes should not cost the machine its switch. Needs a privilege that containers may lack.
echo -900 >/proc/self/oom_score_adj
# Where SSH sessions have their home: a container's first process may be started without one.
[ "${HOME:-/}" != / ] || HOME=$(awk -F: -v u="$(id -u)" '$3 == u { print $6; exit }' /etc/passwd)
f=$HOME/.lorry
tick=${LORRY_DEAD_MAN_TICK:-5}
near=${LORRY_DEAD_MAN_TICK:-1}
wait=${LORRY_DEAD_MAN_WAIT:-20}
last=$(date +%s)
up=0

leave() {
  trap - EXIT
  kill "$watcher"
  exit
}

changed() {
  for file; do
    [ ! -e "$file" ] || stat -c %Y "$file" || date -r "$file" +%s
  done
}

# $up: seconds since some moment, that no setting of the clock changes. Without /proc, steps of the clock that cannot be
# true are left out.
clock() {
  if read -r up _ <"${LORRY_UPTIME:-/proc/uptime}"; then
    up=${up%%.*}
    return
  fi
  now=$(date +%s)
  step=$((now - last))
  [ $step -ge 0 ] && [ $step -le 60 ] || step=${tick%%.*}
  last=$now
  up=$((up + ${step:-1}))
}

note() {
  [ "$(wc -c <"$f/dead_man.log")" -lt 20000 ] || mv -f "$f/dead_man.log" "$f/dead_man.log.1"
  echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $1" >>"$f/dead_man.log"
}

# A process of its own for all that may hang: makes the place, and passes on when the run's heartbeat has changed.
# The note of it is overwritten where it lies, which a full disk allows.
watch() {
  trap - EXIT TERM
  place=${LORRY_PLACE:-$HOME/lorry}
  { mkdir -p "$place" && cd "$place"; } || { mkdir -p "$HOME/lorry" && cd "$HOME/lorry"; }
  pwd >"$f/place"
  cd /
  while kill -0 "$1"; do
    folder=''
    read -r folder <"$f/run" # which fails, having read it, where the line has no end
    if [ -n "$folder" ]; then
      beat=$(changed "$folder/heartbeat.json")
      [ "$beat" = "$seen" ] || echo "$beat" 1<>"$f/beat"
      seen=$beat
    fi
    sleep "$tick"
  done
}

# Lets the agent save its last step, once: it takes a second signal for impatience.
tell() {
  [ -z "$told" ] || return
  told=yes
  agent=''
  read -r agent _ <"$f/agent.pid"
  [ "${agent:-0}" -gt 1 ] || return
  # A machine that stays must not lose a process that only has the number of an agent of old.
  [ -n "$ends_itself" ] || grep -q lorry "/proc/$agent/cmdline" || return
  kill -TERM "$agent" || return
  clock
  until=$((up + wait))
}

end() {
  [ -n "$ends_itself" ] || note "$1: this machine cannot end itself"
  [ -n "$ends_itself" ] || [ "$1" = deadline ] || return
  tell
  while [ -n "$until" ] && [ $up -lt "$until" ] && kill -0 "$agent"; do
    sleep "$near"
    clock
  done
  # One that hangs is ended, and tried again.
  bounded=
  timeout -s KILL 9 true && bounded='timeout -s KILL 60'
  pause=1
  while [ -n "$ends_itself" ]; do
    $bounded sh -c "$ends_itself"
    note "$1: ending the machine, exit code $?"
    sleep $pause
    pause=$((pause * 2))
    [ $pause -le 60 ] || pause=60
  done
}

mkdir -p "$f"
echo $$ >"$f/dead_man.pid"
echo "$last" >"$f/booted"
clock
since=$up
# No machine can have been up for longer than the order for it is old: then it is late, whatever its clock says.
surely=$((up + deadline - made))
over=$((up + deadline - last))
[ $over -le $surely ] || over=$surely
note "armed, $((over - up)) s to the deadline"
watch $$ &
watcher=$!

while :; do
  # Whoever starts it anew takes over.
  if read -r newest <"$f/dead_man.pid" && [ "${newest:-$$}" != $$ ]; then
    leave
  fi
  clock
  if [ $up -ge $((over - wait)) ]; then
    now=$(date +%s)
    [ "$now" -lt $((deadline - wait)) ] && [ $up -lt $((surely - wait)) ] || tell
    if [ $up -ge $over ] && { [ "$now" -ge "$deadline" ] || [ $up -ge $surely ]; }; then
      end deadline
      leave
    fi
  fi
  # Not how old a file is counts, but how long ago it was seen to change: clocks may be set, and volumes have their own.
  if [ -e "$f/ended" ]; then
    state="grace $(changed "$f/ended" "$f/contact")"
    limit=$grace
  elif [ -e "$f/run" ]; then
    read -r beat <"$f/beat"
    state="silence $(changed "$f/run") $beat"
    limit=$silence
  else
    state="idle $(changed "$f/contact")"
    limit=$idle
  fi
  if [ "$state" != "$before" ]; then
    before=$state
    since=$up
  elif [ $((up - since)) -ge "$limit" ]; then
    end "${state%% *}"
    since=$up
  fi
  if [ $((over - up)) -gt 30 ]; then sleep "$tick"; else sleep "$near"; fi
done
