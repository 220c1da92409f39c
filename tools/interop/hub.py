"""Checks `sam3 package` against the Hub's protocol over TLS, and its cache against Python's `huggingface_hub`.

    cargo build --release && python tools/interop/hub.py --binary target/release/sam3

A server on this machine, with a certificate made by `openssl` for the occasion, plays a Hub with one gated repository.
It asserts that

- without the certificate's authority the connection is refused, with SSL_CERT_FILE it is trusted;
- what `sam3 package` fetched, `huggingface_hub` finds in the cache, and the other way round, with no socket opened.
"""

import argparse
import hashlib
import http.server
import os
import ssl
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent
REPOSITORY, COMMIT, TOKEN = "facebook/sam3", "3c879f39826c281e95690f02c7821c4de09afae7", "hf_secret"


def serve(folder, repository):
    """Starts a Hub of the files in a folder; returns its address and its certificate."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    words = ["openssl", *words.split(), "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", certificate]
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
    files = {f"/{REPOSITORY}/resolve/main/{file.name}": file.read_bytes() for file in repository.iterdir()}

    class Hub(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer(send=False)

        def do_GET(self):
            self.answer(send=True)

        def answer(self, send):
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, headers, content = 401, {"X-Error-Code": "GatedRepo"}, b""
            elif self.path not in files:
                status, headers, content = 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
            else:
                status, content = 200, files[self.path]
                digest = hashlib.sha256(content).hexdigest()
                headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"', "X-Linked-Etag": f'"{digest}"'}
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            if send:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("localhost", 0), Hub)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"https://localhost:{server.server_port}", certificate


def package(binary, folder, environment, *flags):
    """Runs `sam3 package` without a checkpoint; returns its exit code and what it said."""
    words = [binary, "package", "--no-tarball", "--force", "--output", folder / "x.pth", *flags]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "SSL_"))}
    run = subprocess.run([str(word) for word in words], env=clean | environment, capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=TOOLS.parent / "target/release/sam3")
    args = parser.parse_args()
    failures = []

    def expect(what, run, code, *words):
        if run[0] != code or not all(word in run[1] for word in words):
            failures.append(f"{what}: expected exit code {code} and {words}, found {run[0]} and {run[1]}")

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        repository, ours, theirs = folder / "repository", folder / "ours", folder / "theirs"
        repository.mkdir()
        checkpoint = repository / "model.safetensors"
        command = [sys.executable, TOOLS / "checkpoints.py", "--config", "odd", "--layout", "transformers", "--with-config"]
        subprocess.run([*command, "--output", checkpoint], check=True)
        endpoint, certificate = serve(folder, repository)
        environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(ours)}
        trusting = environment | {"SSL_CERT_FILE": str(certificate)}

        run = package(args.binary, folder, environment, "--token", TOKEN)
        expect("no authority", run, 3, "certificate", "SSL_CERT_FILE")
        run = package(args.binary, folder, environment | {"SSL_CERT_FILE": str(checkpoint)}, "--token", TOKEN)
        expect("no PEM", run, 3, "model.safetensors", "BEGIN CERTIFICATE")
        expect("no token", package(args.binary, folder, trusting), 3, "gated", f"{endpoint}/{REPOSITORY}")
        expect("fetched", package(args.binary, folder, trusting, "--token", TOKEN), 0, "packaged model.safetensors")

        os.environ |= {"HF_ENDPOINT": endpoint, "SSL_CERT_FILE": str(certificate), "HF_HUB_DISABLE_XET": "1"}
        from huggingface_hub import hf_hub_download

        for file in repository.iterdir():
            found = hf_hub_download(REPOSITORY, file.name, cache_dir=ours / "hub", local_files_only=True)
            if Path(found).read_bytes() != file.read_bytes():
                failures.append(f"huggingface_hub found another file at {found}")
            hf_hub_download(REPOSITORY, file.name, cache_dir=theirs / "hub", token=TOKEN)
        run = package(args.binary, folder, {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_HOME": str(theirs)}, "--offline")
        expect("from Python's cache", run, 0, "packaged model.safetensors")
    for failure in failures:
        print("FAIL", failure)
    print(f"{len(failures)} complaints" if failures else "sam3 and huggingface_hub share a cache, filled over TLS")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
