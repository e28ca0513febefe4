"""Reliability: real commands are killed, starved of disk, lied to and given damaged files, at random moments.

``ci/chaos`` runs many rounds (``python -m tests.chaos``), ``test_short.py`` a few. A round makes a fresh place,
disturbs one command there, and checks what must hold whatever happens:

* earlier results are as they were;
* nothing that was started is left: no process, no mount, and after an orderly end no temporary file;
* an orderly end says what was wrong, without a traceback;
* the same command, run again, succeeds; its result is that of an undisturbed run, and then nothing is left over.
"""
