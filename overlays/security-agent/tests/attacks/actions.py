"""One real action per technique, each with the alerts that must come of it; all harmless to the machine they run on.

Scripts run as root in /bin/sh, in an empty folder of their own ($WORK) that is removed afterwards; they take back what
they did elsewhere. Addresses are those reserved for documentation (RFC 5737): nobody answers.
"""

from credentials import CREDENTIALS
from destruction import DESTRUCTION
from execution import EXECUTION
from isolation import ISOLATION
from models import MODELS
from network import NETWORK
from persistence import PERSISTENCE

ACTIONS = (
    *CREDENTIALS,
    *EXECUTION,
    *PERSISTENCE,
    *DESTRUCTION,
    *ISOLATION,
    *NETWORK,
    *MODELS,
)
