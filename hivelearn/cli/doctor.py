"""`hivelearn doctor`: what the machine lacks, and what to do (`doctor_checks.py`)."""

import json
from dataclasses import asdict, dataclass, field

from hivelearn.cli.command import DONE, AsJson, NodeOptions


@dataclass(frozen=True, slots=True)
class DoctorCommand:
    """What `doctor` was given."""

    json: AsJson = False
    node: NodeOptions = field(default_factory=NodeOptions)


def doctor(wanted: DoctorCommand) -> int:
    """Check what a node needs, and say what to do.

    Exit code 4: there is a problem.
    """
    from hivelearn.cli import doctor_checks
    from hivelearn.errors import DeviceError

    found = []
    for check in doctor_checks.run(wanted.node):
        if not wanted.json:
            print(check, flush=True)  # one at a time: the last ones take seconds
        found.append(check)
    problems = sum(check.state == "problem" for check in found)
    if wanted.json:
        print(json.dumps({"checks": [asdict(check) for check in found], "problems": problems}))
    else:
        print(f"{problems or 'no'} problem{'' if problems == 1 else 's'}")
    return DeviceError.exit_code if problems else DONE
