"""Programs that try to get out of the sandbox, to harm what is outside, or to use more than their share.

Each prints ESCAPED and what it reached if it reaches anything. `{canary}` is a file of the host, `{project}` the repository,
`{pid}` a process of the host.
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
        "         'OLDPWD', 'LC_CTYPE', 'container'}\n"
        "for name in set(os.environ) - known: print('ESCAPED', name)\n"
    ),
    "descriptors": (
        "import os\nfor fd in range(3, 256):\n    try: os.fstat(fd)\n    except OSError: continue\n    print('ESCAPED', fd)\n"
    ),
    "device": "import os\nos.mknod('disk', 0o600 | 0o060000, os.makedev(254, 0))\nprint('ESCAPED', open('disk', 'rb').read(9))",
    # writing outside
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
    # gaining rights
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
    # time
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
    # processes
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
    "close_everything": "import os\nos.closerange(0, 256)",
    "forge_result": (
        "import os, struct\nreport = struct.pack('<iBBdII', 0, 0, 0, 0.0, 6, 0) + b'forged'\n"
        "for fd in [1, 2, *range(3, 256)]:\n    try: os.write(fd, report)\n    except OSError: pass\nos._exit(9)"
    ),
    "leave": "import os; os._exit(7)",
    "null_bytes": "\0",
    "surrogate": "print('\ud800')",
}

TIMED_OUT = {"endless_loop", "sleep", "ignore_term", "stop_itself", "endless_regex", "fork_bomb", "print_for_ever"}
OVER_MEMORY = {"memory_tree", "memory_shared"}
"""Those that only the limit on the whole tree stops."""
