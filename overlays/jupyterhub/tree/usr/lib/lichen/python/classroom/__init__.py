"""The classroom: accounts, enrolment, hand-ins and first boot around JupyterHub.

Modules import only downwards in this order: layout, settings, accounts/people/setup_code, enrolment, then what uses
them (authenticator and its pages, spawner, handin_server, prepare, command).
"""
