"""The system calls that a program in the sandbox never needs, as a BPF filter."""

import errno
import functools
import tempfile

# Each either reaches other processes, changes namespaces or mounts, talks to a rarely tested part of the kernel, or holds
# memory that no resource limit counts. They fail with EPERM.
_DENIED = """
ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd process_madvise move_pages migrate_pages mbind set_mempolicy
unshare setns mount umount umount2 pivot_root chroot mount_setattr move_mount open_tree fsopen fsconfig fsmount fspick
swapon swapoff quotactl quotactl_fd acct
bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
keyctl add_key request_key
init_module finit_module delete_module kexec_load kexec_file_load reboot
syslog settimeofday clock_settime clock_adjtime adjtimex stime sethostname setdomainname vhangup
iopl ioperm modify_ldt personality uselib ustat sysfs nfsservctl lookup_dcookie
name_to_handle_at open_by_handle_at fanotify_init
shmget shmat shmctl semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink
memfd_create memfd_secret
"""

# linux/sched.h: NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_NAMESPACE_FLAGS = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
_AF_UNIX = 1


@functools.cache
def filter_bytes() -> bytes:
    """The filter as BPF instructions of 8 bytes each; empty where pyseccomp or libseccomp is not installed.

    Beside the calls above: sockets other than AF_UNIX, clone into a new namespace, and resource limits of other processes
    are denied; clone3, whose flags a filter cannot see, does not exist (the C library then uses clone). A program of a foreign
    architecture's system calls is killed.
    """
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError):
        return b""
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    denied, absent = pyseccomp.ERRNO(errno.EPERM), pyseccomp.ERRNO(errno.ENOSYS)

    def deny(action: int, name: str, *arguments: "pyseccomp.Arg") -> None:
        if pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) >= 0:  # negative: not on this architecture
            rules.add_rule(action, name, *arguments)

    for name in _DENIED.split():
        deny(denied, name)
    for flag in _NAMESPACE_FLAGS:
        deny(denied, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    deny(absent, "clone3")
    deny(denied, "socket", pyseccomp.Arg(0, pyseccomp.NE, _AF_UNIX))
    deny(denied, "prlimit64", pyseccomp.Arg(0, pyseccomp.NE, 0))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
