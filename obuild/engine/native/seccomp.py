"""The system calls that a command of a step may not make, as an OCI runtime wants them told.

The form is ``linux.seccomp`` of the OCI runtime specification, ``config-linux.md``. What
Docker's default profile forbids to a container with the default capabilities is forbidden here
(its documentation: "Seccomp security profiles for Docker", "Significant syscalls blocked").

The list says what is forbidden, not what is allowed. libseccomp compiles a rule in a time that
grows with their number: measured, a list of all that is allowed costs 6 ms a step for one
architecture and 16 ms for two, this one 3 ms. What a list of forbidden calls lets through
is calls newer than itself; those that matter ask for capabilities which a step never has, and
the ways to a user namespace, in which it would have them, are closed by number here:
``unshare``, ``setns``, ``clone`` by its flags, ``clone3``. Names that an older libseccomp does
not know are passed over by runc and crun alike.

Calls of the x32 ABI are in no architecture below: libseccomp ends a process that makes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from obuild.errors import EngineUnavailable

__all__ = ["MACHINES", "architectures", "profile"]

MACHINES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "riscv64": ("SCMP_ARCH_RISCV64",),
}
"""The architectures whose programs run on a machine, by the kernel's name of it (uname)."""

_EPERM = 1
_ENOSYS = 38

_FORBIDDEN = """
    mount umount umount2 pivot_root fsopen fsconfig fsmount fspick move_mount open_tree
    open_tree_attr mount_setattr
    unshare setns
    kexec_load kexec_file_load reboot init_module finit_module delete_module create_module
    query_module get_kernel_syms bpf perf_event_open userfaultfd lookup_dcookie syslog
    io_uring_setup io_uring_enter io_uring_register
    keyctl add_key request_key
    open_by_handle_at fanotify_init quotactl quotactl_fd nfsservctl
    swapon swapoff acct sethostname setdomainname vhangup
    settimeofday stime clock_settime clock_settime64
    iopl ioperm vm86 vm86old uselib ustat sysfs _sysctl
    mbind get_mempolicy set_mempolicy set_mempolicy_home_node migrate_pages move_pages
    kcmp pidfd_getfd process_madvise
    pciconfig_read pciconfig_write pciconfig_iobase
    afs_syscall tuxcall security getpmsg putpmsg vserver bdflush idle
    epoll_ctl_old epoll_wait_old
"""

_SYNC = ("fdatasync", "fsync", "msync", "sync", "sync_file_range", "sync_file_range2", "syncfs")

_INT = 0xFFFFFFFF
"""A mask: of an argument that the kernel takes as an int, it does not see the upper half."""

_VSOCK = 40

# mount, cgroup, uts, ipc, user, pid, net
_NEW_NAMESPACES = (1 << 17, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30)

_ALLOWED_PERSONALITY = 0x8 | 0x20000  # PER_LINUX32 and UNAME26
_TOP = 1 << 31


def architectures(machine: str) -> tuple[str, ...]:
    """Raises ``EngineUnavailable`` for a machine that the profile was not made for."""
    try:
        return MACHINES[machine]
    except KeyError:
        known = ", ".join(sorted(MACHINES))
        raise EngineUnavailable(
            f"steps cannot be run natively on {machine}, only on {known}",
            hint="use a Docker engine: --store docker:PATH",
        ) from None


def profile(machine: str, *, fast_sync: bool = False) -> dict[str, Any]:
    """The value of ``linux.seccomp``. ``fast_sync``: calls that wait until data are on the
    disk succeed at once and do nothing. Raises as ``architectures`` does."""
    rules = [
        _rule(_FORBIDDEN.split(), _EPERM),
        # ENOSYS: the C library then calls clone, whose flags a filter can see.
        _rule(["clone3"], _ENOSYS),
        *(_rule(["clone"], _EPERM, _masked(0, flag, flag)) for flag in _NEW_NAMESPACES),
        _rule(["socket"], _EPERM, _masked(0, _INT, _VSOCK)),
        *(_rule(["personality"], _EPERM, _masked(0, *bits)) for bits in _personalities()),
    ]
    if fast_sync:
        rules.append(_rule(_SYNC, 0))
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": list(architectures(machine)),
        "syscalls": rules,
    }


def _personalities() -> Iterable[tuple[int, int]]:
    """Masks and values that cover exactly what may not be set.

    May be: any of the two allowed bits, and all 32 bits, which asks what is set. A condition
    cannot say "any of these bits", nor may a rule look at one argument twice; so each pair has
    a bit that is set and one that is not. The top bit is set in no real personality.
    """
    for position in range(31):
        bit = 1 << position
        yield bit | _TOP, _TOP
        if not bit & _ALLOWED_PERSONALITY:
            yield bit | _TOP, bit


def _masked(index: int, mask: int, value: int) -> dict[str, Any]:
    """True of an argument whose bits in ``mask`` are those of ``value``."""
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


def _rule(names: Sequence[str], errno: int, *conditions: dict[str, Any]) -> dict[str, Any]:
    """Calls that return ``errno``, or 0 for none, without being made."""
    rule: dict[str, Any] = {
        "names": list(names),
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": errno,
    }
    if conditions:
        rule["args"] = list(conditions)
    return rule
