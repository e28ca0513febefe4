"""The administrator's command for what the web pages cannot do, such as a forgotten password."""

import argparse
import getpass
import sys

from . import people, setup_code
from .accounts import Accounts
from .enrolment import Refused, check_password
from .settings import load_settings


def list_people(accounts: Accounts) -> str | None:
    """Print all accounts."""
    for name, account in accounts.read().items():
        state = "teacher" if account.admin else "student" if account.approved else "waiting"
        print(f"{name}\t{state}\t{account.created}")
    return None


def change_password(accounts: Accounts, name: str) -> str | None:
    """Ask for a new password, or read it from a pipe."""
    password = getpass.getpass("New password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    try:
        check_password(password, password, load_settings())
    except Refused as refusal:
        return str(refusal)
    return None if accounts.set_password(name, password) else f"There is no account {name}."


def remove(accounts: Accounts, name: str) -> str | None:
    """Remove an account and set its home aside."""
    if not accounts.remove(name):
        return f"There is no account {name}."
    people.retire(name)
    return None


def main() -> str | None:
    """Parse and do; return what went wrong."""
    parser = argparse.ArgumentParser(prog="classroom", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list the accounts")
    commands.add_parser("setup-code", help="print a new one-time code for the page /hub/setup")
    for command, help_text in (
        ("approve", "let a student sign in"),
        ("suspend", "shut a student out, keeping all files"),
        ("promote", "make a student a teacher, from the next sign-in on"),
        ("remove", "remove an account; the home is set aside"),
        ("password", "set a new password, asked for or read from standard input"),
    ):
        commands.add_parser(command, help=help_text).add_argument("name")
    arguments = parser.parse_args()
    accounts = Accounts()
    match arguments.command:
        case "list":
            return list_people(accounts)
        case "setup-code":
            print(setup_code.make())
            return None
        case "password":
            return change_password(accounts, arguments.name)
        case "remove":
            return remove(accounts, arguments.name)
        case "promote":
            found = accounts.promote(arguments.name)
        case command:
            found = accounts.approve(arguments.name, approved=command == "approve")
    return None if found else f"There is no account {arguments.name}."


if __name__ == "__main__":
    sys.exit(main())
