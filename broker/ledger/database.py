"""Opening the ledger's database: the engine, its durability, and bringing its tables up to date.

SQLite runs in WAL mode with ``synchronous=FULL``, so a commit has survived a power cut. WAL needs shared memory between
processes of one machine, so network file systems are refused: there it corrupts silently.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url

from ..errors import LedgerError

NEWEST_REVISION = "0008"
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "ncpfs", "9p", "ceph", "glusterfs", "lustre", "beegfs"}
    | {"gpfs", "pvfs2", "orangefs", "davfs", "webdav"}
    | {f"fuse.{name}" for name in ("sshfs", "glusterfs", "s3fs", "gcsfuse", "rclone", "davfs2", "ceph-fuse")}
)
MOUNTS = Path("/proc/self/mounts")


def default_url(data_dir: Path) -> str:
    return f"sqlite:///{data_dir / 'ledger.db'}"


def open_database(url: str) -> Engine:
    """An engine on a database whose tables are up to date.

    Raises:
        LedgerError: when it lies on a network file system, is newer than this program, or cannot be opened.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        engine = create_engine(url, pool_pre_ping=True)
    else:
        engine = _sqlite(url, parsed.database or "")
    try:
        _bring_up_to_date(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _sqlite(url: str, database: str) -> Engine:
    path = Path(database).absolute()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (kind := file_system_of(path.parent)) in NETWORK_FILE_SYSTEMS:
        raise LedgerError(
            f"the ledger cannot be kept at {path}: that is on a network file system ({kind}), where SQLite loses data; "
            "set the data directory to a local disk, or the database to a PostgreSQL URL"
        )
    path.touch(mode=0o600)
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _make_durable(connection: Any, _record: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def file_system_of(directory: Path, mounts: Path = MOUNTS) -> str:
    """The type of file system a directory is on, such as ``ext4``; empty where the system does not tell."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    real = os.path.realpath(directory)
    best, kind = "", ""
    for line in lines:
        fields = line.split()
        point = fields[1].encode().decode("unicode_escape")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def _bring_up_to_date(engine: Engine) -> None:
    """Migrate if need be. Alembic is imported only then: it costs more than the rest of the start."""
    with engine.connect() as connection:
        found = _revision(connection)
    if found == NEWEST_REVISION:
        return
    if found is not None and found > NEWEST_REVISION:
        raise LedgerError(
            f"the ledger at {engine.url.render_as_string()} was written by a newer perijove (version {found} of its "
            f"tables, this one knows {NEWEST_REVISION}); upgrade perijove, or use another data directory"
        )
    with engine.begin() as connection:
        migrate(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def migrate(connection: Connection) -> None:
    """Run the migrations that are missing."""
    from alembic import command  # 0.6 s to import, needed once per upgrade
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
