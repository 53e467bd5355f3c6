"""What is hidden in command lines, and what is not."""

import shlex

import pytest

from ingest.collectors.secrets import MASK, masked, masked_text, says_secret


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ffmpeg -i https://u:p@host/a.mp4 b.mp4", "ffmpeg -i https://***@host/a.mp4 b.mp4"),
        ("ffmpeg -i rtmp://key@live.host/app/x -c copy o", "ffmpeg -i rtmp://***@live.host/app/x -c copy o"),
        ("ffmpeg -headers 'Authorization: Bearer abc' -i a b", "ffmpeg -headers *** -i a b"),
        ("ffmpeg -cookies 'sid=1; path=/' -i a b", "ffmpeg -cookies *** -i a b"),
        ("ffmpeg -decryption_key 00aa -i a b", "ffmpeg -decryption_key *** -i a b"),
        ("ffmpeg -key 00aa -iv 00bb -i crypto:a b", "ffmpeg -key *** -iv 00bb -i crypto:a b"),
        (
            "ffmpeg -i a 'srt://host:9?passphrase=long&latency=5'",
            "ffmpeg -i a 'srt://host:9?passphrase=***&latency=5'",
        ),
        ("x --password hunter2 --user me", "x --password *** --user me"),
        ("x --password=hunter2 --apiKey=abc", "x --password=*** --apiKey=***"),
        ("x --api-key abc --access_token def", "x --api-key *** --access_token ***"),
        ("env API_KEY=abc HOME=/root x", "env API_KEY=*** HOME=/root x"),
        ("curl -u me:pass -H 'X-Any: 1' https://h/", "curl -u *** -H *** https://h/"),
        ('curl -d \'{"token": "abc", "w": 1}\' h', 'curl -d \'{"token": "***", "w": 1}\' h'),
        ("aws --secret-access-key abc s3", "aws --secret-access-key *** s3"),
    ],
)
def test_secrets_are_hidden(line: str, expected: str) -> None:
    assert shlex.split(shlex.join(masked(shlex.split(line)))) == shlex.split(expected)


@pytest.mark.parametrize(
    "line",
    [
        "ffmpeg -y -pass 1 -passlogfile log -i a -force_key_frames 'expr:gte(t,n_forced*2)' -keyint_min 25 b",
        "ffmpeg -i a -filter_complex '[0:v]colorkey=green:0.3[k];[1:v][k]overlay=x=1:y=2' -metadata title=x o",
        "ffmpeg -i 'https://host/a.mp4?w=1&h=2' -x264-params keyint=50:scenecut=0 -hls_time 4 o.m3u8",
        "python render.py --steps 20 --seed 7 --prompt 'a monkey with a key: gold' --author me --tokenizer bpe",
        "sh -c 'for i in 1 2; do echo $i | tee a=b; done'",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert masked(shlex.split(line)) == shlex.split(line)


@pytest.mark.parametrize(
    "text",
    [
        "curl -H 'Authorization: Bearer SECRETSECRET' https://h",
        'curl -H "X-Api-Key: SECRETSECRET" h',
        "wget --header 'Cookie: a=SECRETSECRET; b=2' h",
        "TOKEN=SECRETSECRET ./run --x 1",
        'export DB_PASSWORD="SECRETSECRET more"; ./run',
        "./run --password SECRETSECRET --x",
        "ffmpeg -i 'https://cdn/a?Expires=1&X-Amz-Signature=SECRETSECRET&X-Amz-Credential=SECRETSECRET' b",
        "ffmpeg -i 'https://blob/a?sv=1&sig=SECRETSECRET%3D' b",
        "psql postgresql://me:SECRETSECRET@db/x",
        "AKIAABCDEFGHIJKLMNOP".replace("ABCDEFGH", "SECRETSECRET"[:8]),
    ],
)
def test_secrets_inside_a_shell_s_text_are_hidden(text: str) -> None:
    assert "SECRET" not in masked_text(text)
    assert MASK in masked_text(text)


@pytest.mark.parametrize(
    "token",
    [
        "ghp_" + "a" * 36, "github_pat_" + "a1_" * 10, "glpat-" + "x" * 20, "hf_" + "Q" * 34, "sk-proj-" + "z" * 30,
        "xoxb-123456789012-abc", "AIza" + "b" * 35, "ASIA" + "Q7" * 8, "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
    ],
)  # fmt: skip
def test_tokens_are_known_by_their_shape(token: str) -> None:
    assert masked(["run", token, f"--name=x{MASK}", f"a {token} b"]) == [
        "run",
        MASK,
        f"--name=x{MASK}",
        f"a {MASK} b",
    ]


@pytest.mark.parametrize(
    "name",
    ["key", "api_key", "apiKey", "X-Amz-Security-Token", "--password", "-headers:v", "dbPassword", "auth"],
)
def test_names_that_say_secret(name: str) -> None:
    assert says_secret(name)


@pytest.mark.parametrize(
    "name", ["pass", "keyframe", "force_key_frames", "monkey", "author", "tokenizer", "keyint", "", "-"]
)
def test_names_that_do_not(name: str) -> None:
    assert not says_secret(name)


def test_masking_twice_changes_nothing() -> None:
    line = "env TOKEN=a x --password b 'https://u:p@h/?sig=c' 'Authorization: Basic abcdefgh'"
    once = masked(shlex.split(line))
    assert masked(once) == once
    assert masked([]) == []


@pytest.mark.parametrize(
    "piece",
    [
        "x",
        "a.",
        "-eyJ",
        "x-",
        "?a",
        "&a=",
        '"',
        "'a",
        "--a ",
        "://",
        "a://",
        "x-token",
        "bearer ",
        "u:p@",
        ";=",
    ],
)
def test_long_words_are_searched_in_no_time(piece: str) -> None:
    """As long as a word on a command line may be; a search that grows with the square would not come back."""
    word = piece * (128 * 1024 // len(piece))
    assert len(masked_text(word)) > 0
