"""Debian's and Python's words for licences as SPDX expressions."""

from __future__ import annotations

import pytest

from builder.data.licence import debian_licence, references, wheel_licence


@pytest.mark.parametrize(
    ("said", "expression"),
    [
        ("Expat", "MIT"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-3.0+", "GPL-3.0-or-later"),
        ("GPL", "GPL-1.0-or-later"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("ZLIB", "Zlib"),
        ("GPL-2 with Linux-syscall-note exception", "GPL-2.0-only WITH Linux-syscall-note"),
        ("GPL-2+ with OpenSSL exception", "LicenseRef-GPL-2-with-OpenSSL-exception"),
        ("Artistic or GPL-1+", "Artistic-1.0-Perl OR GPL-1.0-or-later"),
        ("GPL-2+ or AFL-2.1, and Expat", "MIT AND (AFL-2.1 OR GPL-2.0-or-later)"),
        ("public-domain", "LicenseRef-public-domain"),
        ("BSD-3-clause~Sun", "LicenseRef-BSD-3-clause-Sun"),
        ("<<<", "LicenseRef-unnamed"),
        ("MIT AND", "LicenseRef-MIT-AND"),
    ],
)
def test_debian_names(said: str, expression: str) -> None:
    text = f"Format: https://example.org/1.0/\n\nFiles: *\nLicense: {said}\n A text.\n"
    assert debian_licence(text) == expression


@pytest.mark.parametrize(
    "text",
    ["", "This is free software; see /usr/share/common-licenses/GPL-2.\n", "Format: 1.0\n\nFiles: *\nCopyright: me\n"],
)
def test_nothing_that_a_program_can_read(text: str) -> None:
    assert debian_licence(text) == "NOASSERTION"


def test_all_paragraphs_count_once_and_in_any_order() -> None:
    head = "Format: 1.0\n\n"
    one, two = "Files: a\nLicense: ISC\n\n", "Files: b\nLicense: Expat\n\n"
    alone = "License: GPL-3\n The text of what no file has.\n"
    assert debian_licence(head + one + two + one + alone) == debian_licence(head + two + one) == "ISC AND MIT"


@pytest.mark.parametrize(
    ("metadata", "expression"),
    [
        ("License-Expression: mit and apache-2.0\nLicense: other", "MIT AND Apache-2.0"),
        ("License-Expression: Nonsense-1.0", "LicenseRef-Nonsense-1.0"),
        ("License-Expression: MIT AND", "LicenseRef-MIT-AND"),
        ("License: Apache License 2.0", "Apache-2.0"),
        ("License: BSD 3-Clause License\n        \n        Copyright (c) somebody", "BSD-3-Clause"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: ISC License (ISCL)", "ISC"),
        ("Classifier: License :: OSI Approved :: BSD License", "LicenseRef-BSD-License"),
        ("License: Copyright (c) somebody\n        and a whole text", "NOASSERTION"),
        ("Classifier: Programming Language :: Python", "NOASSERTION"),
    ],
)
def test_wheels(metadata: str, expression: str) -> None:
    assert wheel_licence(f"Metadata-Version: 2.1\nName: x\n{metadata}\n\nLicense: in the description\n") == expression


def test_references() -> None:
    found = list(references("MIT AND (LicenseRef-a.b-C OR LicenseRef-d) AND ISC"))
    assert found == ["LicenseRef-a.b-C", "LicenseRef-d"]
