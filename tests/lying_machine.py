"""The other end of a transfer that lies, each time in one way: `python lying_machine.py LIE -u -c '...'` in place of Python.

It speaks the protocol by the product's own code as far as the lie lets it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from lorry.compute.machine.on_machine.files import HEADER, MAGIC, Server

HOUR = 3600 * 10**9


def entry(name: object, size: object = 3, kind: object = "file", sha256: object = None) -> list[object]:
    return [name, size, HOUR, kind, sha256, 7]


LISTS: dict[str, list[object]] = {
    "name_up": [entry("../evil.json")],
    "name_up_inside": [entry("a/../../evil.json")],
    "name_absolute": [entry("/tmp/evil.json")],
    "name_backslash": [entry("a\\..\\evil.json")],
    "name_drive": [entry("C:evil.json")],
    "name_nul": [entry("a\0b.json")],
    "name_newline": [entry("a\nb.json")],
    "name_escape": [entry("a\x1b[2Jb.json")],
    "name_turned": [entry("a\u202egnp.json")],
    "name_surrogate": [entry("a\udc80.json")],
    "name_long": [entry("a" * 300 + ".json")],
    "name_deep": [entry("a/" * 1000 + "b.json")],
    "name_device": [entry("nul.json")],
    "name_dot": [entry("a./b.json")],
    "name_empty": [entry("")],
    "name_empty_word": [entry("a//b.json")],
    "name_number": [entry(5)],
    "name_part": [entry(".a.json.part")],
    "twice": [entry("a.json"), entry("a.json")],
    "twice_by_case": [entry("a.json"), entry("A.json")],
    "twice_by_accent": [entry("\u00e9.json"), entry("e\u0301.json")],
    "file_and_folder": [entry("a.json"), entry("a.json/b.json")],
    "folder_and_file": [entry("a.json/b.json"), entry("A.json")],
    "link": [entry("a.json", kind="link")],
    "device": [entry("a.json", kind="device")],
    "kind_number": [entry("a.json", kind=1)],
    "unexpected": [entry("other.bin")],
    "large": [entry("a.json", size=10_000_000_000)],
    "large_in_all": [entry("a.json", size=900), entry("b.json", size=900)],
    "negative": [entry("a.json", size=-1)],
    "size_true": [entry("a.json", size=True)],
    "size_float": [entry("a.json", size=3.5)],
    "size_endless": [entry("a.json", size=10**4000)],
    "hash_path": [entry("a.json", sha256="../x")],
    "many": [entry(f"{number}.json") for number in range(150)],
    "no_list": [{"name": "a.json"}],
    "short": [["a.json", 3]],
}


class Liar(Server):
    """Tells the lie that its name says."""

    lie = ""

    def _list(self, message):
        if self.lie in LISTS:
            self._tell(files=LISTS[self.lie])
            self._tell(end=True)
            return
        getattr(self, f"_list_{self.lie}", super()._list)(message)

    def _list_empty_batches(self, _):
        while True:
            self._tell(files=[])

    def _list_endless_list(self, _):
        for number in range(10**9):
            self._tell(files=[entry(f"{number}.json")])

    def _list_deep(self, _):
        self._write(HEADER.pack(b"J", 1_000_000) + b"[" * 1_000_000)

    def _list_no_object(self, _):
        self._write(HEADER.pack(b"J", 2) + b"[]")

    def _list_no_json(self, _):
        self._write(HEADER.pack(b"J", 4) + b"\xff\xfe{}")

    def _list_huge_frame(self, _):
        self._write(HEADER.pack(b"J", 0xFFFFFFFF))
        self._for_ever(b"{" * 65536)

    def _list_garbage(self, _):
        self._for_ever(os.urandom(65536))

    def _list_beats(self, _):
        while True:
            self._beat()

    def _list_escape_in_error(self, _):
        self._tell(error="no \x1b[31msuch\x1b[0m\n\n\rthing\x07", path="\x1b]0;title\x07")
        sys.exit()

    def _have(self, message):
        if self.lie == "have_short":
            return self._tell(have=[])
        if self.lie == "have_text":
            return self._tell(have=["x" for _ in message["files"]])
        return super()._have(message)

    def _put(self, message):
        if self.lie == "put_nonsense":
            super()._put(message)
            return self._tell(well=True)
        if self.lie == "part_endless":
            return self._tell(part=10**30, sha256="0" * 64)
        if self.lie == "always_bad":
            real, self._tell = self._tell, lambda **_: None
            super()._put(message)
            self._tell = real
            return self._tell(bad=True)
        return super()._put(message)

    def _get(self, message):
        size = message["size"]
        if self.lie == "offset_elsewhere":
            return self._tell(offset=1)
        if self.lie == "offset_text":
            return self._tell(offset="0")
        if self.lie == "always_changed":
            return self._tell(changed=True)
        if self.lie == "never_there":
            time.sleep(3600)
        if self.lie not in ("wrong_hash", "no_hash", "more", "endless", "less", "nothing", "dies", "half_frames"):
            return super()._get(message)
        self._tell(offset=0)
        if self.lie == "endless":
            while True:
                self._write(HEADER.pack(b"D", 4) + b"evil")
        if self.lie == "dies":
            self._write(HEADER.pack(b"D", size) + b"x" * (size // 2))
            os._exit(1)
        data = {"more": size + 1, "less": size - 1, "nothing": 0, "half_frames": size // 2}.get(self.lie, size)
        self._write(HEADER.pack(b"D", data) + b"x" * data)
        if self.lie == "half_frames":
            self._write(HEADER.pack(b"D", size - data) + b"x" * (size - data))
        return self._tell(**({} if self.lie == "no_hash" else {"sha256": "0" * 64}))

    def _for_ever(self, data: bytes) -> None:
        while True:
            self._write(data)


def main(lie: str, program: str) -> None:
    sys.stdin.buffer.read(int(re.findall(r"read\((\d+)\)", program)[0]))
    if lie == "noise":
        sys.stdout.buffer.write(b"Welcome to the machine!\n" * 20)
        sys.stdout.buffer.flush()
    if lie == "endless_noise":
        while True:
            sys.stdout.buffer.write(b"Welcome to the machine!\n" * 100)
    if lie == "endless_stderr":
        os.dup2(2, 1)
        while True:
            os.write(2, b"error\n" * 1000)
    if lie == "web_server":
        sys.stdout.buffer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        sys.exit(1)
    if lie == "other_version":
        os.write(1, MAGIC.replace(b"1", b"9"))
        os.write(1, json.dumps({}).encode())
        sys.exit(1)
    Liar.lie = lie
    Liar(sys.stdin.buffer, 1).run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[-1])
