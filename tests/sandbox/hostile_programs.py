"""Programs that try to get out of the sandbox, to harm what is outside, or to use more than their share.

Each prints ESCAPED and what it reached if it reaches anything. `{canary}` is a file of the host, `{project}` the repository,
`{pid}` a process of the host, which listens on the abstract unix socket `kwen-hostile-{pid}`.
"""

_C = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"

PROGRAMS: dict[str, str] = {
    # reading the host
    "canary": "print('ESCAPED', open('{canary}').read())",
    "etc_passwd": "print('ESCAPED', open('/etc/passwd').read())",
    "project": "import os; print('ESCAPED', os.listdir('{project}'))",
    "homes": (
        "import os\nfor folder in ('/root', '/home', '/var', '/opt', '/mnt', '/srv', '/work', '/sys', '/run', '/boot'):\n"
        "    names = os.listdir(folder) if os.path.isdir(folder) else []\n"
        "    for name in names:\n"
        "        path = os.path.join(folder, name)\n"
        "        import sys\n"
        "        if not sys.base_prefix.startswith(path):\n"
        "            print('ESCAPED', path)\n"
    ),
    "symlink": "import os; os.symlink('{canary}', 'link'); print('ESCAPED', open('link').read())",
    "climb": "print('ESCAPED', open('../' * 40 + '{canary}'.lstrip('/')).read())",
    "proc_root": "print('ESCAPED', open('/proc/1/root{canary}').read())",
    "proc": "import os\nfor name in os.listdir('/proc'): print('ESCAPED', name)",
    "environment": (
        "import os\n"
        "known = {'PATH', 'HOME', 'USER', 'TMPDIR', 'LANG', 'PYTHONUTF8', 'PYTHONHASHSEED', 'PYTHONDONTWRITEBYTECODE', 'PWD',\n"
        "         'PYTHONPATH', 'MPLBACKEND', 'MPLCONFIGDIR', 'IPYTHONDIR', 'OPENBLAS_NUM_THREADS', 'OMP_NUM_THREADS',\n"
        "         'ARROW_DEFAULT_MEMORY_POOL',\n"
        "         'MKL_NUM_THREADS', 'KMP_DUPLICATE_LIB_OK', 'KMP_INIT_AT_FORK', 'JPY_PARENT_PID',\n"
        "         'OLDPWD', 'LC_CTYPE', 'container'}\n"
        "for name in set(os.environ) - known: print('ESCAPED', name)\n"
    ),
    "descriptors": (
        "import os\nfor fd in range(3, 256):\n    try: os.fstat(fd)\n    except OSError: continue\n    print('ESCAPED', fd)\n"
    ),
    "device": "import os\nos.mknod('disk', 0o600 | 0o060000, os.makedev(254, 0))\nprint('ESCAPED', open('disk', 'rb').read(9))",
    "proc_environ": "print('ESCAPED', open('/proc/1/environ', 'rb').read())",
    "proc_self": "import os; print('ESCAPED', os.readlink('/proc/self/exe'))",
    "sys_kernel": "print('ESCAPED', open('/sys/kernel/uevent_seqnum').read())",
    "hard_link": "import os; os.link('{canary}', 'link'); print('ESCAPED', open('link').read())",
    "symlink_loop": "import os; os.symlink('loop', 'loop'); open('loop').read(); print('ESCAPED')",
    "open_by_handle": _C + "if libc.syscall(304, -100, b'x' * 64, 0) >= 0: print('ESCAPED')",
    # writing outside
    "rename_out": "import os; open('mine', 'w').close(); os.rename('mine', '{canary}'); print('ESCAPED')",
    "mount_point": "import os; os.rename('/tmp', '/tmp2'); print('ESCAPED')",
    "write_library": "import os; open(os.path.dirname(os.__file__) + '/os.py', 'a').write('x'); print('ESCAPED')",
    "write_root": "open('/escaped', 'w').write('x'); print('ESCAPED')",
    "write_script": "import glob; open(glob.glob('/forkserver*')[0], 'a').write('x'); print('ESCAPED')",
    "write_device": "open('/dev/new', 'w').write('x'); print('ESCAPED')",
    # reaching other processes
    "kill_host": "import os; os.kill({pid}, 9); print('ESCAPED')",
    "kill_supervisor": (
        "import os, signal, time\n"
        "for number in range(1, 65):\n"
        "    try: os.kill(1, number)\n"
        "    except OSError: pass\n"
        "time.sleep(0.1); print('alive')\n"
    ),
    "kill_everything": "import os\ntry: os.kill(-1, 9)\nexcept ProcessLookupError: print('nobody')",
    "limit_supervisor": "import resource; resource.prlimit(1, resource.RLIMIT_CPU, (0, 0)); print('ESCAPED')",
    "ptrace_supervisor": _C + "if libc.ptrace(16, 1, 0, 0) == 0: print('ESCAPED')",
    "ptrace_child": _C + "if libc.ptrace(0, 0, 0, 0) == 0: print('ESCAPED')",
    "read_supervisor": (
        _C + "import struct\nbuffer = ctypes.create_string_buffer(8)\n"
        "here = struct.pack('PN', ctypes.addressof(buffer), 8)\n"
        "if libc.process_vm_readv(1, here, 1, here, 1, 0) >= 0: print('ESCAPED')\n"
    ),
    "write_supervisor": (
        _C + "import struct\nbuffer = ctypes.create_string_buffer(8)\n"
        "here = struct.pack('PN', ctypes.addressof(buffer), 8)\n"
        "if libc.process_vm_writev(1, here, 1, here, 1, 0) >= 0: print('ESCAPED')\n"
    ),
    "kill_parent": (
        "import os, time\nfor number in (9, 15, 19, 2):\n    try: os.kill(os.getppid(), number)\n    except OSError: pass\n"
        "time.sleep(0.1); print('alive')"
    ),
    "steal_descriptor": _C + "fd = os.pidfd_open(1)\nif libc.syscall(438, fd, 0, 0) >= 0: print('ESCAPED')",
    "compare_processes": _C + "if libc.syscall(312, 1, 1, 0, 0, 0) >= 0: print('ESCAPED')",
    # gaining rights
    "setns": _C + "fd = os.pidfd_open(1)\nif libc.setns(fd, 0x20000) == 0: print('ESCAPED')",
    "pivot_root": _C + "if libc.syscall(155, b'/tmp', b'/tmp') == 0: print('ESCAPED')",
    "open_tree": _C + "if libc.syscall(428, -100, b'/', 1) >= 0: print('ESCAPED')",
    "new_mount": _C + "if libc.syscall(430, b'tmpfs', 0) >= 0: print('ESCAPED')",
    "bpf": _C + "if libc.syscall(321, 0, b'\\0' * 128, 128) >= 0: print('ESCAPED')",
    "io_uring": _C + "if libc.syscall(425, 8, ctypes.create_string_buffer(256)) >= 0: print('ESCAPED')",
    "perf_events": _C + "if libc.syscall(298, ctypes.create_string_buffer(128), 0, -1, -1, 0) >= 0: print('ESCAPED')",
    "fault_handler": _C + "if libc.syscall(323, 0) >= 0: print('ESCAPED')",
    "load_module": _C + "if libc.syscall(175, b'x' * 64, 64, b'') == 0: print('ESCAPED')",
    "kernel_log": _C + "if libc.klogctl(3, ctypes.create_string_buffer(99), 99) >= 0: print('ESCAPED')",
    "reboot": _C + "if libc.reboot(0) == 0: print('ESCAPED')",
    "real_time": "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)); print('ESCAPED')",
    "niceness": "import os; os.nice(-5); print('ESCAPED')",
    "lock_memory": _C + "if libc.mlockall(3) == 0: print('ESCAPED')",
    "set_uid_file": (
        "import os, shutil, subprocess, sys\nshutil.copy(sys.executable, 'python'); os.chmod('python', 0o6755)\n"
        "if subprocess.run(['./python', '-c', 'import os; os.setuid(0)'], capture_output=True).returncode == 0: print('ESCAPED')"
    ),
    "user_namespace": _C + "if libc.unshare(0x10000000) == 0: print('ESCAPED')",
    "user_namespace_clone": (
        _C + "pid = libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)\nif pid == 0: os._exit(0)\nif pid > 0: print('ESCAPED')"
    ),
    "mount_namespace": _C + "if libc.unshare(0x20000) == 0: print('ESCAPED')",
    "mount": _C + "if libc.mount(b'proc', b'/proc', b'proc', 0, None) == 0: print('ESCAPED')",
    "remount": _C + "if libc.mount(None, b'/', None, 32 | 4096, None) == 0: print('ESCAPED')",
    "chroot": "import os; os.chroot('/tmp'); print('ESCAPED')",
    "set_uid": "import os; os.setuid(0); print('ESCAPED')",
    "set_groups": "import os; os.setgroups([0]); print('ESCAPED')",
    "raise_limit": "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40)); print('ESCAPED')",
    "hostname": "import socket; socket.sethostname('escaped'); print('ESCAPED')",
    "keyring": _C + "if libc.syscall(248, b'user', b'k', b'v', 1, -4) >= 0: print('ESCAPED')",
    "clock": "import time; time.clock_settime(time.CLOCK_REALTIME, 1.0); print('ESCAPED')",
    # network
    "connect": "import socket; socket.create_connection(('127.0.0.1', 22), 0.3); print('ESCAPED')",
    "tcp": "import socket; socket.socket(); print('ESCAPED')",
    "udp6": "import socket; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); print('ESCAPED')",
    "netlink": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW); print('ESCAPED')",
    "names": "import socket; print('ESCAPED', socket.gethostbyname('localhost.localdomain'))",
    "unix_to_host": (
        "import socket\nfor name in ('\\0kwen-hostile-{pid}', '/run/docker.sock', '/run/dbus/system_bus_socket'):\n"
        "    try: socket.socket(socket.AF_UNIX).connect(name)\n    except OSError: continue\n    print('ESCAPED', name)"
    ),
    "packet": "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW); print('ESCAPED')",
    "vsock": "import socket; socket.socket(socket.AF_VSOCK); print('ESCAPED')",
    # time
    "timers": (
        "import signal\nsignal.signal(signal.SIGALRM, lambda *_: None)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\nwhile True: pass"
    ),
    "blocked_signals": (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass"
    ),
    "endless_loop": "while True: pass",
    "sleep": "import time; time.sleep(1000)",
    "ignore_term": "import signal, time\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(1000)",
    "stop_itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "endless_regex": "import re; re.match('(a+)+$', 'a' * 64 + 'b')",
    # memory
    "memory": "x = bytearray(4 << 30)",
    "memory_slowly": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "memory_tree": (
        "import os, time\nfor _ in range(30):\n    if os.fork() == 0:\n"
        "        x = b'x' * (40 << 20)\n        time.sleep(9)\ntime.sleep(9)"
    ),
    "memory_shared": (
        "import mmap, os, time\nfor _ in range(30):\n    if os.fork() == 0:\n        m = mmap.mmap(-1, 60 << 20)\n"
        "        for i in range(0, len(m), 4096): m[i] = 1\n        time.sleep(9)\ntime.sleep(9)"
    ),
    "memory_files": "import os\nfds = [os.memfd_create(str(i)) for i in range(50)]\nprint('ESCAPED')",
    "memory_sysv": _C + "if libc.shmget(0, 1 << 30, 0o1600) >= 0: print('ESCAPED')",
    "zip_bomb": "import gzip; gzip.decompress(gzip.compress(bytes(8 << 20), 1) * 500)",
    "huge_number": "x = 1 << (8 << 36)",
    # processes
    "huge_argv": "import os, sys; os.execv(sys.executable, ['x' * 100_000] * 1000)",
    "exec_for_ever": (
        "import os, sys\nwhile True:\n    pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, '-c', '1'])\n"
    ),
    "descriptor_bomb": "import os\nwhile True: os.pipe()",
    "fork_bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "thread_bomb": (
        "import threading, time\nn = 0\ntry:\n    while True:\n"
        "        threading.Thread(target=time.sleep, args=(9,), daemon=True).start(); n += 1\n"
        "except (RuntimeError, MemoryError): print('ESCAPED' if n > 64 else 'refused')"
    ),
    "daemon": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        for fd in (0, 1, 2): os.close(fd)\n        time.sleep(1000)\n    os._exit(0)\nprint('left')"
    ),
    "daemon_holding_stdout": "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(1000)\nprint('left')",
    # output and disk
    "print_for_ever": "while True: print('x' * 10000)",
    "huge_stderr": "import sys\nsys.stderr.write('y' * (8 << 20))",
    "huge_file": "f = open('big', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()",
    "many_files": "i = 0\nwhile True:\n    open(f'f{{i}}', 'wb').write(bytes(8 << 20)); i += 1",
    "shared_memory_files": "i = 0\nwhile True:\n    open(f'/dev/shm/f{{i}}', 'wb').write(bytes(8 << 20)); i += 1",
    "many_inodes": "i = 0\nwhile True:\n    open(str(i), 'w').close(); i += 1",
    "deep_folders": "import os\nwhile True:\n    os.mkdir('d'); os.chdir('d')",
    # breaking the interpreter
    "segfault": "import ctypes; ctypes.string_at(0)",
    "abort": "import os; os.abort()",
    "recursion": "def f(): return f()\nf()",
    "c_recursion": "import json; json.loads('[' * 100_000)",
    "c_stack": (
        "import sys; sys.setrecursionlimit(1 << 30)\nclass A:\n    def __repr__(self): return repr([self])\nrepr(A())"
    ),
    "close_everything": "import os\nos.closerange(0, 256)",
    "forge_result": (
        "import os, struct\nreport = struct.pack('<iBBdII', 0, 0, 0, 0.0, 6, 0) + b'forged'\n"
        "for fd in [1, 2, *range(3, 256)]:\n    try: os.write(fd, report)\n    except OSError: pass\nos._exit(9)"
    ),
    "leave": "import os; os._exit(7)",
    "null_bytes": "\0",
    "surrogate": "print('\ud800')",
}

TIMED_OUT = {
    *("endless_loop", "sleep", "ignore_term", "stop_itself", "endless_regex", "timers", "blocked_signals"),
    *("fork_bomb", "print_for_ever"),
}
OVER_MEMORY = {"memory_tree", "memory_shared"}
"""Those that only the limit on the whole tree stops."""

CELLS: dict[str, str] = {
    # only a session has these to attack: its interpreter, and the pipes to its supervisor (descriptors 3 and 4)
    "close_protocol": "import os; os.close(3); os.close(4)",
    "close_reports_and_go_on": "import os, time; os.close(4); time.sleep(1000)",
    "garbage_everywhere": (
        "import os\nfor fd in range(256):\n    try: os.write(fd, b'\\xff' * 60_000)\n    except OSError: pass"
    ),
    "forged_report": "import os, struct; os.write(4, struct.pack('<8sII', bytes(8), 0, 0))",
    "endless_report": "import os\nwhile True: os.write(4, bytes(65536))",
    "stolen_command": "import os; os.read(3, 1)",
    "nonblocking": "import fcntl, os\nfor fd in range(5): fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)",
    "other_interpreter": "get_ipython().run_cell = print",
    "other_displayhook": "import sys; sys.displayhook = sys.excepthook = None\n1",
    "closed_streams": "import sys; sys.stdout.close(); sys.stderr.close()",
    "fork_and_return": "import os; os.fork()",
    "late_killer": "import signal; signal.setitimer(signal.ITIMER_REAL, 0.01)",
    "unending_value": "class A:\n    def __repr__(self):\n        while True: pass\nA()",
    "deaf": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "angry_error": "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
    "no_image": (
        "class A:\n    def _repr_png_(self): return b'no PNG' * 1000\n"
        "from IPython.display import display\nfor _ in range(1000): display(A())"
    ),
    "strange_names": "import os\nfor name in (b'\\xff', b'\\n', b'-rf', b'\\x1b[31m'): open(name, 'w').close()",
    "endless_folders": "import os\nfor i in range(30): os.makedirs('/'.join(['d'] * (i + 1)) + f'/{{i}}')",
    "pool": "import multiprocessing\nmultiprocessing.Process(target=lambda: [0 for _ in iter(int, 1)]).start()",
}

CELLS_TIMED_OUT = {"close_reports_and_go_on", "stolen_command", "unending_value", "deaf"}
