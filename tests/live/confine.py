"""Becomes a command under the restrictions of a systemd unit, without systemd.

    python confine.py JSON COMMAND...     see ``units.Unit.confinement``

What systemd does as root is done here by the user itself, in a user namespace of
its own (PrivateUsers): a file system that is read-only but for some paths
(ProtectSystem, PrivateMounts), no capabilities and none to be had
(CapabilityBoundingSet, NoNewPrivileges), and the filters of system calls, made
by the very library that systemd uses. Not done is what hides things: PrivateTmp,
ProtectHome, PrivateDevices, ProtectProc. Linux on x86-64 and arm64.
"""

import ctypes
import errno
import json
import os
import resource
import sys

NAMESPACES = {
    "cgroup": 0x02000000, "ipc": 0x08000000, "net": 0x40000000, "mnt": 0x00020000,
    "pid": 0x20000000, "user": 0x10000000, "uts": 0x04000000,
}  # fmt: skip
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
MS_BIND, MS_REC = 0x1000, 0x4000
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, RDONLY = 442, -100, 0x8000, 1  # mount_setattr(2)
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 38, 24
ALLOW, ERRNO = 0x7FFF0000, 0x00050000  # seccomp.h
EQUAL, GREATER, MASKED_EQUAL = 4, 6, 7

_libc = ctypes.CDLL(None, use_errno=True)


class _Argument(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint),
        ("how", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("other", ctypes.c_uint64),
    )


class _Attributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user"))


class Filter:
    """One filter of system calls; the strictest of all that are loaded counts."""

    def __init__(self, default: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._library.seccomp_init.argtypes = [ctypes.c_uint32]
        self._context = ctypes.c_void_p(self._library.seccomp_init(default))

    def add(self, action: int, name: str, *argument: int) -> None:
        """Say what is done about a call, always or where its first argument is such."""
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # there is none on this machine
            return
        compared = [_Argument(0, *argument)] if argument else []
        array = (_Argument * 1)(*compared)
        add = self._library.seccomp_rule_add_array
        _check(-add(self._context, ctypes.c_uint32(action), number, len(compared), array))

    def load(self) -> None:
        """From now on, for this process and its children."""
        _check(-self._library.seccomp_load(self._context))


def main(said: str, command: list[str]) -> None:
    """Restrict this process and become the command."""
    wanted = json.loads(said)
    _own_namespaces()
    _set_read_only("/", True, AT_RECURSIVE)
    for path in ("/proc", "/dev"):
        _set_read_only(path, False, 0)
    paths = dict.fromkeys(["/tmp", "/dev/shm", *wanted["writable"]], False)
    paths |= dict.fromkeys(wanted["read_only"], True)
    for path in sorted(paths):  # what is deeper counts
        _mount(path, path, MS_BIND | MS_REC)
        _set_read_only(path, paths[path], 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted["files"], wanted["files"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(wanted["umask"])
    _drop_privileges()
    _filter(wanted)
    os.execv(command[0], command)  # noqa: S606 - to become it is what this is for


def _own_namespaces() -> None:
    user, group = os.getuid(), os.getgid()
    _check(_libc.unshare(NAMESPACES["user"] | NAMESPACES["mnt"] | NAMESPACES["ipc"]))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _mount(source: str, target: str, flags: int) -> None:
    _check(_libc.mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None))


def _set_read_only(path: str, yes: bool, flags: int) -> None:
    attributes = _Attributes(set=RDONLY if yes else 0, clear=0 if yes else RDONLY)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    pointer = ctypes.byref(attributes)
    _check(_libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), flags, pointer, size))


def _drop_privileges() -> None:
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for capability in range(last + 1):
        _check(_libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # capset(2), version 3
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()))


def _filter(wanted: dict[str, list[str]]) -> None:
    namespaces = Filter(ALLOW)
    for name in NAMESPACES.keys() - set(wanted["namespaces"]):
        for call in ("clone", "unshare"):
            namespaces.add(ERRNO | errno.EPERM, call, MASKED_EQUAL, NAMESPACES[name], NAMESPACES[name])
    namespaces.add(ERRNO | errno.ENOSYS, "clone3")  # its flags cannot be seen
    families = Filter(ALLOW)
    allowed = [FAMILIES[name] for name in wanted["families"]]
    families.add(ERRNO | errno.EAFNOSUPPORT, "socket", GREATER, max(allowed))
    for number in set(range(max(allowed))) - set(allowed):
        families.add(ERRNO | errno.EAFNOSUPPORT, "socket", EQUAL, number)
    calls = Filter(ERRNO | errno.EPERM)
    for name in wanted["system_calls"]:
        calls.add(ALLOW, name)
    for one in (namespaces, families, calls):
        one.load()


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno() if result < 0 else result
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
