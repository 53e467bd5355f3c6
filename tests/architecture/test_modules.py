"""How the house is built: short modules, one reader of the environment, a client that needs nothing."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [
    path
    for package in ("framehouse", "ingest", "api", "migrations")
    for path in sorted((ROOT / package).rglob("*.py"))
]
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))

LONGEST = 400
READS_ENVIRONMENT = "framehouse/config.py"


@each_module
def test_a_module_fits_into_a_head(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@each_module
def test_a_module_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not tree.body or ast.get_docstring(tree)


def environment_reads(source: str) -> list[int]:
    """Lines that read the process's environment, under whatever name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        is_attribute = (
            isinstance(node, ast.Attribute)
            and node.attr in {"environ", "environb", "getenv", "getenvb"}
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
        )
        is_import = (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {alias.name for alias in node.names} & {"environ", "environb", "getenv", "getenvb"}
        )
        if is_attribute or is_import:
            found.append(node.lineno)
    return found


@each_module
def test_only_the_configuration_reads_the_environment(path: Path) -> None:
    reads = environment_reads(path.read_text(encoding="utf-8"))
    assert bool(reads) == (str(path.relative_to(ROOT)) == READS_ENVIRONMENT), f"lines {reads}"


@pytest.mark.parametrize(
    "source", ["import os\nos.environ['A']", "import os\nos.getenv('A')", "from os import environ"]
)
def test_reads_are_seen(source: str) -> None:
    assert environment_reads(source)


_EMIT_ALONE = """
import sys
sys.path.insert(0, sys.argv[1])
import ingest.emit
own = {name for name in sys.modules if name.partition(".")[0] in {"framehouse", "ingest", "api", "migrations"}}
foreign = {
    name for name in {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
    if name not in {"framehouse", "ingest", "__main__"} and not name.startswith("_sysconfigdata")
}
print(sorted(own))
print(sorted(foreign))
"""


def test_the_client_imports_with_the_standard_library_alone(tmp_path: Path) -> None:
    """`ingest.emit` is imported inside other people's engines: no package of ours may come along by accident."""
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _EMIT_ALONE, str(ROOT)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    own, foreign = (ast.literal_eval(line) for line in result.stdout.splitlines())
    modules = {"framehouse.config", "framehouse.errors", "framehouse.zones", "ingest.emit"}
    assert set(own) <= {"framehouse", "ingest", *modules}
    assert foreign == []
