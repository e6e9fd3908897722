"""How a machine ends itself: a shell command that deletes it through its provider's API, with the key that it was given."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from lorry.compute.providers._http import AGENT

_FROM_FIRST_PROCESS = r"tr '\0' '\n' 2>/dev/null </proc/1/environ | sed -n 's/^{name}=//p'"
# The key is on no command line: the shell's own `printf` pipes it to curl, and Python reads it from the environment. GNU wget
# takes it from a regular file only: that comes last, is nobody else's to read, in memory where there is such a place, and goes.
_SCRIPT = """\
: "${{{id}:=$({find_id})}}" "${{{key}:=$({find_key})}}"
[ -n "${id}" ] && [ -n "${key}" ] || {{ echo "no {id} or {key} on this machine" >&2; exit 1; }}
export {id} {key}
url={url}"${id}"{after}
agent={agent}
if command -v curl >/dev/null 2>&1; then
  printf 'header = "Authorization: Bearer %s"\\n' "${key}" | \
curl -fsS -m 60 -o /dev/null -X DELETE -A "$agent" -K - "$url" && exit 0
fi
if command -v python3 >/dev/null 2>&1; then
  python3 - "$url" "$agent" {key} <<'END' && exit 0
import os, sys, urllib.request
url, agent, key = sys.argv[1:]
headers = {{"Authorization": "Bearer " + os.environ[key], "User-Agent": agent}}
urllib.request.urlopen(urllib.request.Request(url, method="DELETE", headers=headers), timeout=60).read()
END
fi
command -v wget >/dev/null 2>&1 || {{ echo "neither curl nor python3 nor wget could end this machine" >&2; exit 1; }}
umask 077
file=$(mktemp /dev/shm/lorry.XXXXXX 2>/dev/null || mktemp) || exit 1
printf 'header = Authorization: Bearer %s\\n' "${key}" >"$file"
wget -q -O /dev/null -T 60 -t 1 --method=DELETE -U "$agent" --config="$file" "$url"
code=$?
rm -f "$file"
exit "$code"
"""


@dataclass(frozen=True)
class Deletion:
    """A DELETE that ends one machine."""

    before: str
    """The address up to the machine's id."""
    id: str
    """The variable that holds the id, on the machine."""
    key: str
    """The variable that holds a key which may do this and little else."""
    after: str = ""
    """What follows the id."""

    def command(self) -> str:
        """A POSIX shell command that succeeds only where the provider took it; with curl, else python3, else wget.

        Both variables are looked for in the first process's environment where this one has none, as in SSH sessions.
        """
        script = _SCRIPT.format(
            id=self.id,
            key=self.key,
            find_id=_FROM_FIRST_PROCESS.format(name=self.id),
            find_key=_FROM_FIRST_PROCESS.format(name=self.key),
            url=shlex.quote(self.before),
            after=shlex.quote(self.after) if self.after else "",
            agent=shlex.quote(AGENT),
        )
        return f"(\n{script})"
