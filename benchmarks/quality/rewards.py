"""What GRPO and PPO are rewarded for here: answering a request with a command, and nothing else."""

from __future__ import annotations

import subprocess

LONGEST = 200
"""Characters of a command; a longer answer explains itself."""
_NAMES = (
    "awk basename bash bzip2 cal cat cd chmod chown comm convert cp crontab curl cut date df diff dig dirname du echo env "
    "exit expr false file find fold for grep groups gunzip gzip head history hostname id ifconfig jobs join kill less ln "
    "ls make man mkdir mktemp mount mv mysql nl od paste perl ping printf ps pwd python read readlink rename rev rm rmdir "
    "rsync scp screen sed seq set sh shopt shred shuf sleep sort split ssh stat su sudo tac tail tar tee test time top "
    "touch tr tree true uname uniq unzip uptime watch wc wget which while who whoami xargs yes zcat zip"
)
PROGRAMS = frozenset(_NAMES.split())
"""What a command may begin with: words that no sentence begins with."""


def command(completion: str, answer: str = "") -> float:
    """A third each for one line that bash parses, for beginning with a program, and with that of the row's own command."""
    line = completion.strip()
    if not line or "\n" in line or "\0" in line or len(line) > LONGEST:
        return 0.0
    parses = subprocess.run(["bash", "--norc", "-n"], input=line.encode(), capture_output=True, check=False)
    begins, wanted = line.split()[0], answer.split()[:1]
    return ((parses.returncode == 0) + (begins in PROGRAMS) + (wanted == [begins])) / 3
