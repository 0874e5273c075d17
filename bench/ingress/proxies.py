"""What is measured: homerun, nginx, HAProxy, and the container without any of them.

A container has a network namespace, and homerun reaches it by a socket inside that. nginx and HAProxy run inside it
too, with their clients, so that every hop of every side is one over a loopback device and no side pays for a bridge.
Where homerun runs, the kernel tracks connections for the packet filter, as with any container engine, and each of its
clients' packets pays for that; so the same filter is put where the others run.
Both are set up as their users would: connections to the container kept and reused, a process or thread per core,
access logs on, since homerun writes an entry per request as well.
"""

import os
import pathlib
import re
import signal
import subprocess
import time

NGINX = """
daemon off;
user root;
pid {folder}/nginx.pid;
worker_processes auto;
worker_rlimit_nofile 17000;
error_log {folder}/nginx-error.log;
events {{ worker_connections 8000; }}
http {{
  access_log {folder}/nginx-access.log combined buffer=64k flush=1s;
  client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy; fastcgi_temp_path {folder}/nginx-f;
  uwsgi_temp_path {folder}/nginx-u; scgi_temp_path {folder}/nginx-s;
  sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 620s;
  client_max_body_size 0; proxy_request_buffering off;
  upstream http1 {{ server 127.0.0.1:{http1}; keepalive 512; keepalive_requests 1000000000; }}
  upstream h2c {{ server 127.0.0.1:{http1}; keepalive 512; keepalive_requests 1000000000; }}
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://http1; proxy_http_version 1.1; proxy_read_timeout 300s;
      proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
  server {{
    listen 127.0.0.1:{grpc} http2 backlog=4096;
    location / {{ grpc_pass grpc://h2c; grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }}
  }}
}}
"""

HAPROXY = """
global
  maxconn 8000
  nbthread {cores}
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 620s
  timeout server 300s
  timeout tunnel 300s
  timeout http-keep-alive 620s
frontend http1
  bind 127.0.0.1:{port} backlog 4096
  default_backend http1
frontend grpc
  bind 127.0.0.1:{grpc} proto h2 backlog 4096
  default_backend h2c
backend http1
  server one 127.0.0.1:{http1}
backend h2c
  server one 127.0.0.1:{http1} proto h2
"""

FILTER = """
table inet bench {
  chain input { type filter hook input priority filter; ct state established,related accept; }
  chain output { type nat hook postrouting priority srcnat; ip saddr 198.51.100.0/24 masquerade; }
}
"""


def inside(pid):
    """Runs a command in the network namespace of a process."""
    return ["nsenter", "--net", "--target", str(pid), "--"]


class Proxy:
    """A proxy in the container's network namespace, or the container itself."""

    def __init__(self, name, pid, port, grpc, command=None, output=None):
        self.name, self.enter = name, inside(pid)
        self.address, self.grpc = f"127.0.0.1:{port}", f"127.0.0.1:{grpc}"
        out = open(output, "ab") if output else None
        self.process = subprocess.Popen([*self.enter, *command], start_new_session=True, stdout=out) if command else None
        if command:
            time.sleep(1)
            if self.process.poll() is not None:
                raise SystemExit(f"{name} did not start")

    def pids(self):
        if not self.process:
            return []
        return [self.process.pid, *children(self.process.pid)]

    def end(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Homerun:
    """homerun, as something to measure."""

    def __init__(self, stack):
        self.name, self.enter, self.stack = "homerun", [], stack
        self.address = self.grpc = stack.ingress

    def pids(self):
        return [self.stack.process.pid]

    def end(self):
        pass


def children(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def cpu_seconds(pids):
    """To the nanosecond, where /proc/PID/stat counts in hundredths of a second; of the threads that live."""
    tasks = [task for pid in pids for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def resident(pids):
    """Bytes of memory that only these processes have: what they share is counted once."""
    total = 0
    for pid in pids:
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.M)[1]) * 1024
    return total


def start(folder, pid, port):
    """nginx, HAProxy and none, before the container whose first process is `pid`."""
    values = {"folder": folder, "http1": port, "cores": os.cpu_count()}
    (folder / "nginx.conf").write_text(NGINX.format(port=18081, grpc=18082, **values))
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=18083, grpc=18084, **values))
    subprocess.run([*inside(pid), "nft", "-f", "-"], input=FILTER, text=True, check=True)
    yield Proxy("direct", pid, port, port)
    yield Proxy("nginx", pid, 18081, 18082, ["nginx", "-c", str(folder / "nginx.conf")])
    yield Proxy("HAProxy", pid, 18083, 18084, ["haproxy", "-q", "-db", "-f", str(folder / "haproxy.cfg")],
                folder / "haproxy-access.log")
