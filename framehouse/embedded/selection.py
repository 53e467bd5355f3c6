"""Which programs a cluster runs with: its own, the machine's, or newly installed ones."""

from collections.abc import Sequence
from pathlib import Path

from framehouse.config import Settings
from framehouse.embedded import cluster
from framehouse.embedded.account import Account
from framehouse.embedded.install import MAJOR, install, installed
from framehouse.embedded.places import Places, server_dir
from framehouse.embedded.programs import Programs, Unfit, find_on_machine, inspect
from framehouse.errors import NoServerError, StartError
from framehouse.progress import Reporter

_WAYS_OUT = (
    "set FRAMEHOUSE_DATABASE_URL to a PostgreSQL with TimescaleDB; or install PostgreSQL and TimescaleDB from "
    "Timescale's packages, which framehouse then finds; or start the database of compose.yaml"
)


def choose_programs(
    settings: Settings, places: Places, account: Account, report: Reporter, machine_folders: Sequence[str]
) -> Programs:
    """The programs for the cluster: those it remembers, else some that fit it, else new ones."""
    folder = server_dir(settings)
    if not cluster.is_made(places):
        fit, unfit = find_on_machine(account, machine_folders)
        return fit[0] if fit else _install(settings, account, report, unfit)
    known = cluster.remembered(places)
    candidates: list[Programs] = []
    if "bin_dir" in known:
        same = inspect(Path(known["bin_dir"]), str(known.get("origin", "machine")), account)
        if isinstance(same, Programs):
            if cluster.misfit(places, same) is None:
                return same
            candidates.append(same)
    candidates += installed(folder, account)
    candidates += find_on_machine(account, machine_folders)[0]
    for programs in candidates:
        if cluster.misfit(places, programs) is None:
            return programs
    major = cluster.major_of(places)
    if major == MAJOR and known.get("edition") != "community" and not installed(folder, account):
        return _install(settings, account, report, [])
    reasons = [reason for programs in candidates if (reason := cluster.misfit(places, programs))]
    if not reasons:
        reasons = [f"the data was made by PostgreSQL {major}, which is no longer here"]
    raise StartError(
        f"nothing here can run the data in {places.data}: {'; '.join(dict.fromkeys(reasons))}",
        hint=f"install PostgreSQL {major} with TimescaleDB again; or dump the data where it runs (pg_dump -Fc) and "
        "restore it into a new FRAMEHOUSE_HOME; or move the folder away to begin empty",
    )


def _install(settings: Settings, account: Account, report: Reporter, unfit: Sequence[Unfit]) -> Programs:
    try:
        return install(server_dir(settings), settings.debian_mirror, account, report)
    except NoServerError as error:
        seen = "".join(f"; {other.bin_dir} {other.reason}" for other in unfit)
        raise NoServerError(f"no TimescaleDB for this machine: {error}{seen}", hint=_WAYS_OUT) from error
