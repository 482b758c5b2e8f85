"""Imported by the server that the processes of `replay.runs.workers` are forked from: they all find the loop loaded."""

import signal

from replay.runs.one_run import compile_ahead

signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt from the keyboard is the parent's
compile_ahead()
