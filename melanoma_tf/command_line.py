"""The one runner behind `melanoma-tf` and `tfrecord-tools`: sub-commands, absl flags, exit codes."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import textwrap
from collections.abc import Sequence

from absl import flags

from melanoma_tf import errors

EXTRAS = {
    "tensorflow": "tf (or cpu, gpu, tpu)",
    "efficientnet": "efficientnet",
    "tensorflow_addons": "addons",
    "pydicom": "dicom",
    "matplotlib": "plots",
}


def run(program: str, summary: str, commands: dict[str, str], argv: Sequence[str]) -> int:
    """Runs one sub-command and returns the exit code.

    Args:
      program: name for messages. summary: first line of the help.
      commands: name -> module with a docstring, `define_flags(flag_values)` and `main(flag_values) -> int | None`.
      argv: arguments without the program's name.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up chatter hides our one line
    if not argv or argv[0] in ("--help", "-h", "help", "--helpfull"):
        print(_program_help(program, summary, commands))
        return errors.EXIT_DONE if argv else errors.EXIT_USER
    if argv[0] == "--version":
        import melanoma_tf

        print(f"{program} {melanoma_tf.__version__}")
        return errors.EXIT_DONE
    if argv[0] not in commands:
        return _complain(program, f"no command {argv[0]!r}; {errors.nearest(argv[0], commands)}")
    return _run_command(f"{program} {argv[0]}", importlib.import_module(commands[argv[0]]), argv[1:])


def _run_command(name: str, module, arguments: Sequence[str]) -> int:
    flag_values = flags.FlagValues()
    module.define_flags(flag_values)
    if any(argument in ("--help", "-h", "--helpfull") for argument in arguments):
        print(_command_help(name, module, flag_values))
        return errors.EXIT_DONE
    try:
        rest = flag_values([name, *arguments])[1:]
        if rest:
            raise errors.UserError(f"unexpected argument {rest[0]!r}; flags are written --name=value")
        return module.main(flag_values) or errors.EXIT_DONE
    except (errors.UserError, flags.Error) as error:
        return _complain(name, str(error))
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        return _complain(name, f"needs {error.name}: install the extra {EXTRAS[error.name]}, "
                               f"such as pip install 'melanoma_tf[{EXTRAS[error.name].split()[0]}]'")  # fmt: skip
    except (errors.Interrupted, KeyboardInterrupt) as error:
        _complain(name, str(error) or "interrupted")
        return errors.EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.EXIT_DONE


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without its start-up messages, which it writes before any setting can stop it (2.16-2.21)."""
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        stack.callback(lambda: (os.dup2(kept, 2), os.close(kept), os.close(nothing)))
        os.dup2(nothing, 2)
        importlib.import_module("tensorflow")


def _complain(name: str, message: str) -> int:
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    return errors.EXIT_USER


def _program_help(program: str, summary: str, commands: dict[str, str]) -> str:
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {_first_line(module)}" for name, module in commands.items()]
    usage = f"usage: {program} COMMAND [--flag=value ...]"
    hint = f"{program} COMMAND --help tells a command's flags; --flagfile=FILE reads flags from a file."
    return "\n".join([summary, "", usage, "", *lines, "", hint])


def _first_line(module: str) -> str:
    return (importlib.import_module(module).__doc__ or "").strip().splitlines()[0]


def _command_help(name: str, module, flag_values: flags.FlagValues) -> str:
    lines = [f"{name}: {(module.__doc__ or '').strip()}", "", "flags:"]
    own = flag_values.flags_by_module_dict()
    for flag in sorted((flag for group in own.values() for flag in group), key=lambda flag: flag.name):
        default = "" if flag.default in (None, "", False, []) else f" (default {flag.default_as_str.strip(chr(39))})"
        value = "" if flag.boolean else "=..."
        lines.append(f"  --{flag.name}{value}")
        lines += textwrap.wrap(f"{flag.help}{default}", 100, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)
