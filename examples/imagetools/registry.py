"""The client half of the registry protocol (distribution-spec v1.1) that a push needs."""

import base64
import http.client
import re
import ssl
import urllib.parse
from dataclasses import dataclass

from . import ToolError
from .layer import say

LOOPBACK = re.compile(r"^(localhost|[^:]+\.localhost|127\.[0-9.]+|\[::1\])(:\d+)?$")
REFERENCE = re.compile(r"^(?P<host>[^/]+)/(?P<name>[a-z0-9._/-]+?)(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]*))?$")


@dataclass(frozen=True)
class Reference:
    """HOST[:PORT]/NAME[:TAG], the host always named."""

    host: str
    name: str
    tag: str

    @staticmethod
    def parse(text):
        found = REFERENCE.match(text)
        if not found or not re.search(r"[.:]|^localhost$", found["host"]):
            raise ToolError(f"{text}: not of the form HOST:PORT/NAME:TAG, such as localhost:5000/hello:v1")
        return Reference(found["host"], found["name"], found["tag"] or "latest")


class Registry:
    """One connection to a registry: plain HTTP on loopback, HTTPS elsewhere."""

    def __init__(self, host, user=None):
        self.host = host
        self.headers = {"User-Agent": "homerun-examples"}
        if user:
            self.headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
        if LOOPBACK.match(host):
            self.connection = http.client.HTTPConnection(host, timeout=60)
        else:
            self.connection = http.client.HTTPSConnection(host, timeout=60, context=ssl.create_default_context())

    def call(self, method, path, expected, body=None, headers=None):
        """The answer's status and headers; a ToolError unless the status is one of `expected`."""
        try:
            self.connection.request(method, path, body=body, headers={**self.headers, **(headers or {})})
            answer = self.connection.getresponse()
            text = answer.read()
        except OSError as error:
            raise ToolError(f"no registry answers at {self.host}: {error}") from error
        if answer.status == 401:
            raise ToolError(f"{self.host} asks who you are: push with --user NAME:PASSWORD")
        if answer.status not in expected:
            raise ToolError(f"{self.host}: {method} {path}: {answer.status} {text[:300].decode(errors='replace')}")
        return answer.status, answer.headers

    def push(self, archive, reference, mount_from=None):
        """Sends what the registry lacks, then the manifest."""
        base = f"/v2/{reference.name}"
        for blob in archive.blobs():
            self.push_blob(archive, blob, base, mount_from)
        headers = {"Content-Type": archive.descriptor["mediaType"]}
        self.call("PUT", f"{base}/manifests/{reference.tag}", {201}, archive.manifest_bytes, headers)

    def push_blob(self, archive, blob, base, mount_from):
        digest, size = blob["digest"], f"{blob['size'] / 1e6:.1f} MB"
        if self.call("HEAD", f"{base}/blobs/{digest}", {200, 404})[0] == 200:
            return say(f"  {digest[:19]} {size} already there")
        query = "?" + urllib.parse.urlencode({"mount": digest, "from": mount_from}) if mount_from else ""
        status, headers = self.call("POST", f"{base}/blobs/uploads/{query}", {201, 202}, b"")
        if status == 201:
            return say(f"  {digest[:19]} {size} shared with {mount_from}")
        place = urllib.parse.urlsplit(headers["Location"])
        query = "&".join(filter(None, [place.query, urllib.parse.urlencode({"digest": digest})]))
        with archive.open(blob) as file:
            sent = {"Content-Type": "application/octet-stream", "Content-Length": str(blob["size"])}
            self.call("PUT", f"{place.path}?{query}", {201}, file, sent)
        return say(f"  {digest[:19]} {size} sent")
