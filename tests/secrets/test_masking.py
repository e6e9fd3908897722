"""The filter for secrets: what it hides, what it leaves, and that JSON stays JSON."""

from __future__ import annotations

import base64
import html
import json
import random
import urllib.parse

import pytest

from lorry.secrets.key_forms import FORMS
from lorry.secrets.masking import StreamMask, mask, mask_values

HIDDEN = "Tr0ub4dor/and+3 horses"
KEYS = {
    "hf": "hf_" + "aBcDeFgHiJ" * 3 + "wxyz",
    "openai": "sk-proj-" + "aB3_" * 12,
    "anthropic": "sk-ant-api03-" + "x9Y-" * 20,
    "old openai": "sk-" + "a1B2" * 12,
    "github": "ghp_" + "a1B2c3" * 6,
    "github fine": "github_pat_" + "a1B2c3_" * 11,
    "gitlab": "glpat-" + "a1B2_" * 4,
    "aws": "AKIA" + "ABCD1234" * 2,
    "slack": "xoxb-" + "123456789012-abcDEF",
    "google": "AIza" + "aB3-_" * 7,
    "runpod": "rpa_" + "ABC123" * 6,
    "wandb": "wandb_v1_" + "aB3" * 20,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
}
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + ("MIIEowIBAAKCAQEA" * 4 + "\n") * 6 + "Zm9v\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("around", ["{}", "a {} b", "x={};", '"{}"', "(`{}`)", "/{}/", "%20{}", "https://h/?q={}&b=1"])
def test_published_form_is_masked_wherever_it_stands(key: str, around: str):
    assert key not in mask(around.format(key))


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_key_at_the_beginning_of_a_line_is_masked_in_json_too(key: str):
    masked = mask(json.dumps({"error": f"no:\n{key}\nand\t{key}\u2028{key}"}))
    assert key not in masked
    assert json.loads(masked)["error"] == "no:\n***\nand\t***\u2028***"


@pytest.mark.parametrize(
    "text",
    [
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "commit 2807715aa1f0c3e5d7b9a1c3e5f70912a4b6c8da",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "task-oriented-language-model-with-a-long-name-2024",
        "/home/ann/.cache/huggingface/hub/models--a--b/snapshots/0123456789abcdef0123456789abcdef01234567",
        "from transformers import hf_argparser; hf_hub_download_with_retries",
        "sk-learn and scikit-learn",
        "basic understanding, bearer internationalization",
        "step 12,345,678 of 100,000,000",
        "https://example.org/a@b?x=1#c@d",
        "2026-01-03T14:30:52+00:00",
        "model.layers.0.self_attn.q_proj.lora_A.weight",
        "torch.AKIAlike, gho_st, my_hf_" + "a" * 30,
    ],
)
def test_what_is_no_secret_stays(text: str):
    assert mask(text) == text


def test_private_key_is_masked_whole_also_when_it_was_cut():
    assert mask(f"a\n{PEM}\nb") == "a\n***\nb"
    assert "MIIE" not in mask(PEM[:200])
    assert json.loads(mask(json.dumps({"k": PEM, "n": 1}))) == {"k": "***", "n": 1}


def test_text_after_a_private_key_without_an_end_stays():
    assert mask("`-----BEGIN PRIVATE KEY-----` is how such a file begins.").endswith("is how such a file begins.")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("git+https://ann:pw@host/x", "git+https://***@host/x"),
        ("Authorization: Bearer abc1def2ghi3jkl4mno5", "Authorization: Bearer ***"),
        ("authorization: Basic YW5uOnB3cHdwdw==", "authorization: Basic ***"),
        ("https://cdn/x?X-Amz-Signature=" + "ab12" * 16 + "&y=1", "https://cdn/x?X-Amz-Signature=***&y=1"),
        ("https://hooks.slack.com/services/T000/B000/abcdefghij", "https://hooks.slack.com/services/***"),
    ],
)
def test_secret_behind_a_known_word_is_masked_and_the_word_stays(text: str, shown: str):
    assert mask(text) == shown


def encoded(value: str) -> list[str]:
    return [
        value,
        json.dumps(value)[1:-1],
        repr(value)[1:-1],
        html.escape(value),
        urllib.parse.quote(value, safe=""),
        urllib.parse.quote_plus(value),
        *(base64.b64encode(f"{'u' * extra}:{value}".encode()).decode() for extra in range(3)),
        *(base64.urlsafe_b64encode(f"{'u' * extra}:{value}:x".encode()).decode() for extra in range(3)),
    ]


@pytest.mark.parametrize("value", [HIDDEN, 'quo"te\\and\nline', "zaubersprüche&<b>", "plain1234"])
def test_secret_of_the_environment_is_masked_in_every_encoding(value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_SERVICE_PASSWORD", value)
    for form in encoded(value):
        assert "***" in mask(f"a {form} b"), form
        assert form not in mask(f"a {form} b")


@pytest.mark.parametrize("value", ["1", "true", "12345678901", "1e-4", "short", ""])
def test_values_that_stand_everywhere_are_not_masked(value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_TOKEN", value)
    text = f"loss {value} at 12345678901"
    assert mask(text) == text


def test_paths_limits_and_the_folder_we_are_in_are_no_secrets(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "key.json").touch()
    monkeypatch.chdir(tmp_path)
    for name, value in [
        ("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json")),
        ("HF_TOKEN_PATH", "/somewhere/else/token"),
        ("TOKENIZERS_PARALLELISM", "falsefalse"),
        ("VNC_PASSWORD", tmp_path.name),
    ]:
        monkeypatch.setenv(name, value)
        assert mask(f"see {value}") == f"see {value}"


def test_numbers_and_names_of_fields_survive_a_weak_password(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PASSWORD", "learning_rate")
    assert mask_values({"learning_rate": 0.1, "x": ["learning_rate"]}) == {"learning_rate": 0.1, "x": ["***"]}


@pytest.mark.parametrize("seed", range(200))
def test_json_stays_json_whatever_the_secret_is(seed: int, monkeypatch: pytest.MonkeyPatch):
    draw = random.Random(seed)
    signs = "abcXYZ012 \"'\\{}[]:,/+=\n\t%&<>üé日\u2028"

    def text(length: int) -> str:
        return "".join(draw.choice(signs) for _ in range(length))

    value = (
        text(draw.randint(8, 14))
        if seed % 2
        else draw.choice(['", "kind": "', '"message": ', "0passwords", ": 1.5, 2"])
    )
    monkeypatch.setenv("HOSTILE_SECRET", value)
    told = {
        "kind": text(5),
        "message": text(9) + value + text(9),
        "kind2": [value, 1.5, 22, None],
        value: "\n0passwords",
    }
    line = json.dumps(told, ensure_ascii=bool(seed % 3))
    for masked in (mask(line), mask(f"{line}\n{line}\n").split("\n")[0], json.dumps(mask_values(told))):
        found = json.loads(masked)
        assert len(found) == len(told)
        if len(value.strip()) >= 8 and not value.strip(" 0123456789.,:\n\t"):
            continue
        assert value.strip() not in str(list(found.values())) or len(value.strip()) < 8


def test_line_of_json_lines_that_a_secret_would_tear_is_masked_inside(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVIL_SECRET", '"b": "x')
    lines = '{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'
    assert [json.loads(line) for line in mask(lines).splitlines()] == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
def test_secret_in_pieces_does_not_slip_through(size: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_PASSWORD", HIDDEN)
    text = f"begin {KEYS['hf']} x\n50%\r{HIDDEN}\r\n{PEM}\nüé\xff\nlast {HIDDEN}".encode("latin-1")
    stream = StreamMask()
    out = b"".join(stream.feed(text[at : at + size]) for at in range(0, len(text), size)) + stream.close()
    assert out == b"begin *** x\n50%\r***\r\n***\n\xfc\xe9\xff\nlast ***"


def test_line_without_an_end_goes_on_and_its_secrets_do_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_PASSWORD", HIDDEN)
    text = (("x" * 50 + " " + HIDDEN + " " + KEYS["hf"] + " ") * 4000).encode()
    stream, out = StreamMask(), b""
    for at in range(0, len(text), 4096):
        out += stream.feed(text[at : at + 4096])
        assert at < 200_000 or out
    out += stream.close()
    assert out == text.replace(HIDDEN.encode(), b"***").replace(KEYS["hf"].encode(), b"***")


def test_whole_lines_are_not_held_back():
    assert StreamMask().feed(b"step 1\nste") == b"step 1\n"


def test_every_form_says_what_it_begins_with():
    assert all(form.beginnings and form.rest for form in FORMS)
