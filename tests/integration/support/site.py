"""The document root that the suite serves."""

import os
import random

ONE_MIB = 1 << 20
HELLO = b"Hello from a file\n"
SECRET = b"the secret outside of the document root\n"

FILES = {
    "index.html": b"<!doctype html><title>root</title>\n",
    "hello.txt": HELLO,
    "empty.txt": b"",
    "style.css": b"p { color: black }\n",
    "script.js": b"'use strict';\n",
    "data.json": b"{}\n",
    "picture.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>\n",
    "picture.png": b"\x89PNG\r\n\x1a\n",
    "blob.unknown-extension": b"\x00\x01",
    "with space.txt": b"space\n",
    "directory/index.html": b"<!doctype html><title>directory</title>\n",
    "directory/inner.txt": b"inner\n",
    ".hidden": b"hidden\n",
    ".git/config": b"hidden too\n",
    "1mib.bin": random.Random(1).randbytes(ONE_MIB),
    "20mib.bin": random.Random(2).randbytes(20 * ONE_MIB),
}


def build(parent):
    """Makes the root in parent and a secret beside it; returns the root."""
    root = parent / "www"
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (parent / "secret.txt").write_bytes(SECRET)
    (root / "no-index").mkdir()
    (root / "escape").symlink_to(parent)
    (root / "escape.txt").symlink_to(parent / "secret.txt")
    (root / "inside.txt").symlink_to("hello.txt")
    os.mkfifo(root / "fifo")
    return root
