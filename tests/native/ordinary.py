"""Running a command as an ordinary user, who may read neither root's Python nor this folder.

Both are bound, in a mount namespace of the command's own, where everybody can read them.
"""

from __future__ import annotations

import pwd
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

__all__ = ["as_user", "python"]

_ROOT = Path(__file__).resolve().parents[2]

_SCRIPT = """
set -eu
folder=$1 python=$2 packages=$3 project=$4 user=$5 group=$6
shift 6
for name in python packages project; do mkdir -p "$folder/$name"; done
mount --bind "$python" "$folder/python"
mount --bind "$packages" "$folder/packages"
mount --bind "$project" "$folder/project"
cd "$folder/project"
exec setpriv --reuid "$user" --regid "$group" --clear-groups -- "$@"
"""


def python(folder: Path) -> list[str]:
    """This Python, as the user finds it, with all packages of this environment."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = f"{folder}/project:{folder}/packages"
    libraries = f"LD_LIBRARY_PATH={folder}/python/lib"
    return ["env", f"PYTHONPATH={packages}", libraries, f"{folder}/python/bin/{name}"]


def as_user(user: pwd.struct_passwd, folder: Path, command: Sequence[str]) -> list[str]:
    """The command that runs ``command`` as ``user``, in the project's folder. ``folder`` is an
    empty one that the user can reach."""
    for tool in ("unshare", "setpriv", "mount"):
        assert shutil.which(tool), f"{tool} is missing: apt-get install util-linux mount"
    places = [str(folder), sys.base_prefix, sysconfig.get_path("purelib"), str(_ROOT)]
    return [
        *("unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh"),
        *places,
        *(str(user.pw_uid), str(user.pw_gid)),
        *command,
    ]
