"""An index of wheels made in the test, in the simple API's JSON form or as plain HTML."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field

from builder.foundation.digest import digest_bytes
from tests.store.mirror import Mirror

JSON = "application/vnd.pypi.simple.v1+json"
X86 = "cp313-cp313-manylinux_2_28_x86_64"
ARM = "cp313-cp313-manylinux_2_28_aarch64"


def wheel(name: str, version: str, tag: str, requires: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> bytes:
    """A wheel with nothing in it but its own description; the same bytes everywhere."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    needs += "".join(f"Provides-Extra: {extra}\n" for extra in extras)
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        "WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        "RECORD": "",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file, text in files.items():
            archive.writestr(zipfile.ZipInfo(f"{info}/{file}"), text)
    return buffer.getvalue()


@dataclass
class Index:
    """The files of an index under a folder of a mirror."""

    mirror: Mirror
    folder: str = "simple"
    html: bool = False
    hashes: bool = True
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """What a person gives as ``--index``."""
        return f"{self.mirror.url}/{self.folder}"

    def add(
        self,
        name: str,
        version: str = "1.0",
        tag: str = "py3-none-any",
        requires: tuple[str, ...] = (),
        extras: tuple[str, ...] = (),
    ) -> tuple[str, bytes]:
        """Offer a wheel; its file name and content."""
        content = wheel(name, version, tag, requires, extras)
        return self.put(name, f"{name.replace('-', '_')}-{version}-{tag}.whl", content)

    def put(self, name: str, filename: str, content: bytes) -> tuple[str, bytes]:
        """Offer any file of a project."""
        self.files.setdefault(name, {})[filename] = content
        self.mirror.files[f"/{self.folder}/files/{filename}"] = content
        path = f"/{self.folder}/{name}/"
        self.mirror.files[path] = self._html(name) if self.html else self._json(name)
        self.mirror.kinds[path] = "text/html" if self.html else JSON
        return filename, content

    def _json(self, name: str) -> bytes:
        files = [
            {
                "filename": filename,
                "url": f"../files/{filename}",
                "hashes": {"sha256": digest_bytes(content)} if self.hashes else {},
                "size": len(content),
            }
            for filename, content in self.files[name].items()
        ]
        return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "versions": [], "files": files}).encode()

    def _html(self, name: str) -> bytes:
        links = "".join(
            f'<a href="../files/{filename}{f"#sha256={digest_bytes(content)}" if self.hashes else ""}">{filename}</a>\n'
            for filename, content in self.files[name].items()
        )
        return f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
