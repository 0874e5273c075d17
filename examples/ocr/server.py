"""ocr: reads the text in a picture that is posted to it.

The model is loaded before the port opens, so an open port means ready. It runs on the CPU; the
help page tells whether the container has a GPU.
"""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_BODY_BYTES = 20 * 1024 * 1024
NVIDIA_SMI = "/usr/local/nvidia/bin/nvidia-smi"
HELP = """ocr reads the text in a picture.

    curl --data-binary @picture.png {url}

{gpu}
"""


def log(severity, message, **fields):
    print(json.dumps({"severity": severity, "message": message, **fields}), flush=True)


def gpu():
    """One line on the container's GPU."""
    try:
        listed = subprocess.run([NVIDIA_SMI, "-L"], capture_output=True, text=True, timeout=10)
    except FileNotFoundError:
        return "no GPU in this container"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi cannot run: {error}"
    return (listed.stdout or listed.stderr).strip() or f"nvidia-smi exited with {listed.returncode}"


class Reader:
    """The model. It keeps state while it reads, so one picture at a time."""

    def __init__(self):
        from PIL import Image, ImageOps
        from rapidocr_onnxruntime import RapidOCR

        self.image, self.upright = Image, ImageOps.exif_transpose
        # One thread: several wait for each other by spinning, which eats the CPU time that a
        # container is allowed. Pictures are enlarged to 480 pixels, not 736: half the memory.
        self.model = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1, det_limit_side_len=480)
        self.lock = threading.Lock()

    def read(self, body):
        """Lines from top to bottom; a ValueError if the bytes are no picture."""
        import numpy

        try:
            picture = self.upright(self.image.open(io.BytesIO(body))).convert("RGB")
        except (OSError, SyntaxError, self.image.DecompressionBombError) as error:
            raise ValueError(f"not a picture that can be read (PNG, JPEG, WebP, ...): {error}") from error
        with self.lock:
            found, _ = self.model(numpy.asarray(picture)[:, :, ::-1])
        return [{"text": text, "score": round(float(score), 3)} for _, text, score in found or []]


class Handler(BaseHTTPRequestHandler):
    """GET / is help, POST / reads a picture."""

    protocol_version = "HTTP/1.1"
    server_version = "ocr"
    # A small answer otherwise waits for the client's delayed acknowledgement.
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path != "/":
            return self.answer(404, {"error": f"nothing at {self.path}; POST a picture to /"})
        url = "http://" + self.headers.get("Host", "this-service")
        return self.send(200, "text/plain; charset=utf-8", HELP.format(url=url, gpu=gpu()))

    def do_POST(self):
        started = time.monotonic()
        picture = self.body()
        if picture is None:
            return None
        try:
            lines = self.server.reader.read(picture)
        except ValueError as error:
            return self.answer(400, {"error": str(error)})
        except Exception as error:
            log("ERROR", f"reading failed: {error!r}", traceback=traceback.format_exc())
            return self.answer(500, {"error": "reading this picture failed; the log says why"})
        ms = round((time.monotonic() - started) * 1000)
        return self.answer(200, {"text": "\n".join(line["text"] for line in lines), "lines": lines, "ms": ms})

    def body(self):
        """The request's body, or None if it was refused."""
        try:
            if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
                data = self.chunks()
            else:
                length = int(self.headers.get("Content-Length", 0))
                data = self.rfile.read(length) if 0 <= length <= MAX_BODY_BYTES else None
        except ValueError:
            self.close_connection = True
            self.answer(400, {"error": "the length of the body cannot be read"})
            return None
        if data is None:
            self.close_connection = True
            self.answer(413, {"error": f"a picture is at most {MAX_BODY_BYTES} bytes"})
        elif not data:
            self.answer(400, {"error": "no picture: curl --data-binary @picture.png"})
        return data or None

    def chunks(self):
        data = bytearray()
        while size := int(self.rfile.readline(100).split(b";")[0], 16):
            if len(data) + size > MAX_BODY_BYTES:
                return None
            data += self.rfile.read(size)
            self.rfile.readline(3)
        while self.rfile.readline(65536).strip():
            pass
        return bytes(data)

    def answer(self, status, document):
        self.send(status, "application/json", json.dumps(document, ensure_ascii=False) + "\n")

    def send(self, status, kind, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code="-", size="-"):
        severity = "INFO" if int(code) < 400 else "WARNING"
        log(severity, f"{self.command} {self.path} {int(code)}")

    def log_message(self, format, *args):  # noqa: A002 - the name is the base class's
        log("ERROR", format % args)


def main():
    started = time.monotonic()
    server = None

    def stop(number, _frame):
        log("INFO", f"{signal.Signals(number).name} received")
        if server is None:
            sys.exit(0)
        # shutdown() waits for the loop that this thread runs, so another thread must ask.
        threading.Thread(target=server.shutdown).start()

    # Before the model: as PID 1 a signal without a handler is dropped.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    reader = Reader()
    ThreadingHTTPServer.daemon_threads = False
    ThreadingHTTPServer.request_queue_size = 128
    server = ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8080"))), Handler)
    server.reader = reader
    log("INFO", f"ready on port {server.server_port} after {time.monotonic() - started:.2f} s; {gpu()}")
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()
