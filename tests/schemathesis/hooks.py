"""Gives half of schemathesis's valid requests a tenant and a token that there are: made-up ones get no further than 401 and 404."""

import itertools
import json
import os

import schemathesis

PATH = json.loads(os.environ["TURNPIKE_PATH"])
TOKEN = os.environ.get("TURNPIKE_TOKEN")
turns = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    mode = case.meta.generation.mode if case.meta else None
    if mode is None or not mode.is_positive or next(turns) % 2:
        return
    for name, value in PATH.items():
        if name in (case.path_parameters or {}):
            case.path_parameters[name] = value
    if TOKEN is not None and isinstance(case.body, dict) and "apiToken" in case.body:
        case.body["apiToken"] = TOKEN
