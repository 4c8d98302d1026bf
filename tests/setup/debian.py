"""Debian packages: installing them, unpacking them aside, making whole roots of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.setup.shell import SetupError, cache_folder, is_root, locked, output, run, say

__all__ = [
    "Source",
    "bootstrap",
    "candidate",
    "install",
    "is_half_installed",
    "mirror",
    "sources",
    "unpack",
]

_APT = ("-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3")
_QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Source:
    """One address from which apt takes binary packages, for one suite."""

    uri: str
    suite: str
    components: tuple[str, ...]


def install(*packages: str) -> None:
    """Install packages that are missing. Raises ``SetupError`` where that may not be."""
    if not is_root():
        raise SetupError(f"only root can install {' '.join(packages)}: run this as root (sudo)")
    if shutil.which("apt-get") is None:
        raise SetupError(f"there is no apt-get here to install {' '.join(packages)} with")
    say(f"installing {' '.join(packages)}")
    command = ["apt-get", *_APT, "install", "-y", "-q", "--no-install-recommends", *packages]
    try:
        run(command, env=_QUIET)
    except SetupError:
        _update()
        run(command, env=_QUIET)


def is_half_installed(package: str) -> bool:
    """Whether an installation of the package was begun and not finished."""
    status = output(["dpkg-query", "-W", "-f=${db:Status-Status}", package]) or ""
    return status.startswith(("half-", "unpacked", "triggers-"))


def candidate(package: str) -> str | None:
    """The version of a package that apt would install, None if it has none."""
    if shutil.which("apt-cache") is None:
        return None
    found = _candidate(package)
    if found is None and is_root():
        _update()
        found = _candidate(package)
    return found


def unpack(package: str) -> Path:
    """The files of a package, unpacked in the cache folder; nothing is installed."""
    target = cache_folder() / "packages" / package
    with locked(f"package-{package}"):
        if target.is_dir():
            return target
        if candidate(package) is None:
            raise SetupError(f"apt knows no package {package}: run `apt-get update` as root")
        say(f"fetching the package {package}")
        half = target.with_name(f"{package}.half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        command = ["apt-get", *_APT, "-o", "APT::Sandbox::User=root", "download", "-q", package]
        try:
            run(command, cwd=half, env=_QUIET)
        except SetupError:
            if not is_root():
                raise
            _update()
            run(command, cwd=half, env=_QUIET)
        archive = next(half.glob("*.deb"))
        run(["dpkg-deb", "-x", archive, half])
        archive.unlink()
        half.rename(target)
    return target


def bootstrap(suite: str, target: Path, *, variant: str, packages: Sequence[str] = ()) -> None:
    """Make a Debian root, as a folder or (where the name ends in .tar) as an archive."""
    if shutil.which("mmdebstrap") is None:
        install("mmdebstrap")
    half = target.with_name(f"half-{target.name}")
    _remove(half)
    half.parent.mkdir(parents=True, exist_ok=True)
    say(f"making {target.name} of Debian {suite} (takes about a minute)")
    command: list[str | Path] = ["mmdebstrap", "--quiet", f"--variant={variant}"]
    command += ['--aptopt=Acquire::Check-Valid-Until "false"', '--aptopt=Acquire::Retries "3"']
    command += [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("man", "locale")]
    if packages:
        command.append(f"--include={','.join(packages)}")
    run([*command, suite, half, mirror()], deadline=1800)
    half.rename(target)


def mirror(etc: Path = Path("/etc/apt"), codename: str | None = None) -> str:
    """The address of the Debian archive that this machine uses."""
    release = codename or _codename()
    found = [s for s in sources(etc) if "main" in s.components and "security" not in s.uri]
    found.sort(key=lambda source: source.suite != release)
    if not found:
        raise SetupError(f"no Debian archive in the machine's apt sources ({etc})")
    return _first_of_list(found[0].uri)


def sources(etc: Path = Path("/etc/apt")) -> list[Source]:
    """All sources of binary packages, from both forms of files."""
    found: list[Source] = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        if path.is_file():
            found += _one_line_form(path.read_text("utf-8", "replace"))
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        found += _deb822_form(path.read_text("utf-8", "replace"))
    return found


def _one_line_form(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if not line.startswith(("deb ", "deb\t")):
            continue
        rest = line[3:].strip()
        if rest.startswith("["):
            rest = rest.partition("]")[2].strip()
        words = rest.split()
        if len(words) >= 2:
            yield Source(words[0], words[1], tuple(words[2:]))


def _deb822_form(text: str) -> Iterator[Source]:
    for stanza in _stanzas(text):
        if "deb" not in stanza.get("types", "").split():
            continue
        if stanza.get("enabled", "yes").lower() in ("no", "false", "0", "off"):
            continue
        for uri in stanza.get("uris", "").split():
            for suite in stanza.get("suites", "").split():
                yield Source(uri, suite, tuple(stanza.get("components", "").split()))


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    stanza: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, name = {}, ""
        elif line[0] in " \t":
            stanza[name] = f"{stanza.get(name, '')} {line.strip()}"
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            stanza[name] = value.strip()


def _first_of_list(uri: str) -> str:
    """A ``mirror+file:`` address names a file with the real ones."""
    if not uri.startswith("mirror+file:"):
        return uri
    lines = Path(uri.removeprefix("mirror+file:")).read_text().splitlines()
    real = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    if not real:
        raise SetupError(f"{uri} names no address")
    return real[0]


def _codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    return ""


def _candidate(package: str) -> str | None:
    for line in (output(["apt-cache", "policy", package]) or "").splitlines():
        name, _, version = line.strip().partition(": ")
        if name == "Candidate" and version != "(none)":
            return version
    return None


def _update() -> None:
    # Its exit code says little: one foreign source that is down makes it fail.
    output(["apt-get", *_APT, "update", "-q"], deadline=600)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
