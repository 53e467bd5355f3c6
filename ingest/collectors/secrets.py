"""Hide secrets in the command lines and parameters that are kept.

Masked, each by `***`:

- the user and password of an address: `rtmp://***@host/live`
- query parameters whose name says secret: `?X-Amz-Signature=***`, `&token=***`, `&sig=***`
- the value of an option whose name says secret: `-headers ***`, `--password=***`, `-decryption_key ***`
- `NAME=value` where the name says secret, as for `env`: `API_KEY=***`; and the same in JSON: `"token": "***"`
- whatever follows `Authorization:`, `Cookie:`, `Bearer` and the like, also inside a shell's `-c` text
- tokens known by their shape: AWS and Google keys, GitHub, GitLab, Hugging Face, OpenAI, Slack and JSON web tokens
- for curl and wget, the value of `-u`, `--user`

A name says secret when one of its words is password, passwd, passphrase, pwd, secret, token, auth, authorization,
bearer, credential(s), cookie(s), headers, signature, sig or jwt, or when it is or ends in a key that opens something
(api_key, access_key, private-key, decryption_key, key). `-pass 1` and `-force_key_frames` of ffmpeg say none.
"""

import re
from collections.abc import Sequence
from pathlib import PurePath

MASK = "***"

_WORDS = {
    "password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "tokens", "auth", "authorization",
    "bearer", "credential", "credentials", "cookie", "cookies", "header", "headers", "signature", "sig", "jwt",
    "apikey", "accesskey", "secretkey", "privatekey", "userpwd",
}  # fmt: skip
_KEY_WORDS = {
    "api", "access", "secret", "private", "encryption", "decryption", "auth", "aes", "account", "shared", "license",
    "stream", "service", "storage", "signing", "pair",
}  # fmt: skip
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Every repetition is bounded: a word may be 128 kB long, and nobody waits for a search that grows with its square.
_USERINFO = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]{0,30}://)[^/\s?#'\"]{0,1000}@")
_PARAMETER = re.compile(r"([?&;])([^=&;\s#'\"]{1,80})=([^&;\s#'\"|]+)")
_ASSIGNED = re.compile(
    r"(?<![\w?&;-])(-{0,2})([A-Za-z_][\w.-]{0,80})=(\"[^\"]{0,4000}\"|'[^']{0,4000}'|[^\s]+)"
)
_OPTION_IN_TEXT = re.compile(
    r"(?<!\S)(--?[A-Za-z][\w.:-]{0,80})(\s{1,5})(\"[^\"]{0,4000}\"|'[^']{0,4000}'|[^\s-]\S*)"
)
_JSON_MEMBER = re.compile(
    r"([\"'])([\w.-]{1,80})\1(\s{0,5}:\s{0,5})(?:\"(?:[^\"\\]|\\.){0,4000}\"|'[^']{0,4000}')"
)
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]{0,40}(?:token|key|secret|auth)[\w-]{0,40})\s{0,5}:"
    r"\s{0,5}[^\r\n'\"]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)\s{1,5}[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_SHAPES = re.compile(
    r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{35}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{20,}"
    r"|sk-[\w-]{16,}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{8,1000}\.[\w-]{8,4000}\.[\w-]{0,1000})"
)
_FETCHERS = {"curl", "wget"}


def masked(argv: Sequence[str]) -> list[str]:
    """A command's words with its secrets hidden."""
    is_fetcher = PurePath(argv[0]).name in _FETCHERS if argv else False
    found: list[str] = []
    hide_next = False
    for word in argv:
        if hide_next:
            found.append(MASK)
            hide_next = False
            continue
        found.append(masked_text(word))
        is_option = word.startswith("-") and "=" not in word and not any(c.isspace() for c in word)
        hide_next = is_option and (says_secret(word) or (is_fetcher and word in {"-u", "--user", "-U", "-H"}))
    return found


def masked_text(text: str) -> str:
    """One word, or a whole shell command, with its secrets hidden."""
    text = _USERINFO.sub(rf"\g<1>{MASK}@", text)
    text = _HEADER.sub(rf"\g<1>: {MASK}", text)
    text = _PARAMETER.sub(lambda m: f"{m[1]}{m[2]}={MASK if says_secret(m[2]) else m[3]}", text)
    text = _ASSIGNED.sub(lambda m: f"{m[1]}{m[2]}={MASK if says_secret(m[2]) else m[3]}", text)
    text = _JSON_MEMBER.sub(
        lambda m: f'{m[1]}{m[2]}{m[1]}{m[3]}"{MASK}"' if says_secret(m[2]) else m[0], text
    )
    if any(c.isspace() for c in text):
        text = _OPTION_IN_TEXT.sub(lambda m: f"{m[1]}{m[2]}{MASK if says_secret(m[1]) else m[3]}", text)
    text = _BEARER.sub(rf"\g<1> {MASK}", text)
    return _SHAPES.sub(MASK, text)


def says_secret(name: str) -> bool:
    """Whether the name of an option, parameter or variable says that its value is secret."""
    plain = _CAMEL.sub("_", name.lstrip("-").partition(":")[0])
    words = [word for word in re.split(r"[^A-Za-z0-9]+", plain.lower()) if word]
    if not words:
        return False
    if _WORDS.intersection(words):
        return True
    return words[-1] in {"key", "keyid"} and (len(words) == 1 or words[-2] in _KEY_WORDS)
