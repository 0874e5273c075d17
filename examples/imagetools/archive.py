"""OCI archives (image-spec v1.1, "image layout" in a tar file): written, read, unpacked."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from datetime import datetime, timezone
from pathlib import Path

from . import ToolError
from .layer import MTIME, ZSTD

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def encode(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def descriptor(media_type, data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def write(out, layers, architecture, config):
    """Writes the image to `out` and returns its digest."""
    image = encode({
        "architecture": architecture,
        "os": "linux",
        "created": datetime.fromtimestamp(MTIME, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    })
    manifest = encode({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, image),
        "layers": [
            {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size} for layer in layers
        ],
    })
    entry = descriptor(MANIFEST, manifest)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    index = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    part = Path(f"{out}.part")
    with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:

        def add(name, size, file):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = size, MTIME
            tar.addfile(member, file)

        add("oci-layout", 30, io.BytesIO(b'{"imageLayoutVersion":"1.0.0"}'))
        add("index.json", len(index), io.BytesIO(index))
        for blob in (manifest, image):
            add(blob_name(descriptor("", blob)["digest"]), len(blob), io.BytesIO(blob))
        for layer in layers:
            with open(layer.path, "rb") as file:
                add(blob_name(layer.digest), layer.size, file)
    part.replace(out)
    return entry["digest"]


def blob_name(digest):
    return "blobs/" + digest.replace(":", "/")


class Archive:
    """The first image of an OCI archive."""

    def __init__(self, path):
        try:
            self.tar = tarfile.open(path)
            index = json.load(self.tar.extractfile("index.json"))
        except (OSError, tarfile.TarError, KeyError) as error:
            raise ToolError(f"{path} is not an OCI archive: {str(error).splitlines()[0]}") from error
        self.descriptor = index["manifests"][0]
        self.manifest_bytes = self.open(self.descriptor).read()
        self.manifest = json.loads(self.manifest_bytes)
        self.config = json.load(self.open(self.manifest["config"]))

    def open(self, blob):
        """The blob's content, as a file."""
        return self.tar.extractfile(blob_name(blob["digest"]))

    def blobs(self):
        """Every blob that the manifest names: the config, then the layers."""
        return [self.manifest["config"], *self.manifest["layers"]]

    def unpack(self, folder):
        """Lays the root file system into an empty folder, each digest checked."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ToolError(f"{folder} is not empty")
        for blob in self.blobs():
            with self.open(blob) as file:
                check(blob["digest"], file)
        for blob, diff_id in zip(self.manifest["layers"], self.config["rootfs"]["diff_ids"]):
            with self.open(blob) as file:
                plain = decompress(blob["mediaType"], file)
            check(diff_id, plain)
            with tarfile.open(fileobj=plain) as layer:
                if any(Path(member.name).name.startswith(".wh.") for member in layer):
                    raise ToolError("the image deletes files of a lower layer: only images of build-image unpack here")
                layer.extractall(folder, numeric_owner=os.geteuid() == 0)


def decompress(media_type, file):
    if media_type == ZSTD:
        plain = subprocess.run(["zstd", "-q", "-d", "-c"], input=file.read(), stdout=subprocess.PIPE, check=True)
        return io.BytesIO(plain.stdout)
    return io.BytesIO(gzip.decompress(file.read()))


def check(digest, file):
    found = hashlib.sha256()
    while piece := file.read(1 << 20):
        found.update(piece)
    file.seek(0)
    if digest != "sha256:" + found.hexdigest():
        raise ToolError(f"the archive is damaged: {digest} holds sha256:{found.hexdigest()}")
