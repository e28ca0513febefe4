# Debian has no "python" command of its own, so appending is enough to make it mean the AI environment.
PATH="$PATH:/opt/ai/bin"
