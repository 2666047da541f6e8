"""The one runner behind `melanoma-tf` and `tfrecord-tools`: sub-commands, absl flags, help, exit codes."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from absl import flags

from melanoma_tf import errors

EXTRAS = {
    "tensorflow": "tf (or cpu, gpu, tpu)",
    "efficientnet": "efficientnet",
    "tensorflow_addons": "addons",
    "pydicom": "dicom",
    "matplotlib": "plots",
    "apache_beam": "beam",
}
HELP = ("--help", "-h", "--helpfull")
HELP_WIDTH, FLAG_WIDTH = 110, 20


class CommandFlags(flags.FlagValues):
    """The flags of one command. `required_names`: those without which it cannot run, told together if missing.
    `positional_name`: the list flag that arguments without a name are added to, "" where there is none.

    absl's own required flags are checked before positional arguments are known, one clumsy sentence each.
    """

    required_names: list[str]
    positional_name: str

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["required_names"] = []  # assignment as such would set a flag of that name
        self.__dict__["positional_name"] = ""


def text_flag(
    flag_values: CommandFlags, name: str, default: str | None, help_text: str, *, required: bool = False
) -> None:
    """A string; None is told apart from the empty string."""
    flags.DEFINE_string(name, default, help_text, flag_values=flag_values)
    _note_required(flag_values, name, required)


def list_flag(
    flag_values: CommandFlags, name: str, help_text: str, *, required: bool = False, positional: bool = False
) -> None:
    """Strings separated by commas; None without the flag. `positional`: they may be given without the name too."""
    flags.DEFINE_list(name, None, help_text, flag_values=flag_values)
    _note_required(flag_values, name, required)
    if positional:
        flag_values.__dict__["positional_name"] = name


def repeated_flag(flag_values: CommandFlags, name: str, help_text: str) -> None:
    """A string that may be given many times; an empty list without the flag."""
    flags.DEFINE_multi_string(name, [], help_text, flag_values=flag_values)


def choice_flag(
    flag_values: CommandFlags, name: str, default: str | None, choices: Iterable[str], help_text: str
) -> None:
    """One of `choices`, or None where that is the default."""
    flags.DEFINE_enum(name, default, list(choices), help_text, flag_values=flag_values)


def integer_flag(
    flag_values: CommandFlags, name: str, default: int, help_text: str, lower_bound: int | None = None
) -> None:
    """A whole number, at least `lower_bound`."""
    flags.DEFINE_integer(name, default, help_text, lower_bound=lower_bound, flag_values=flag_values)


def number_flag(
    flag_values: CommandFlags, name: str, default: float, help_text: str, lower_bound: float | None = None
) -> None:
    """A number, at least `lower_bound`."""
    flags.DEFINE_float(name, default, help_text, lower_bound=lower_bound, flag_values=flag_values)


def boolean_flag(flag_values: CommandFlags, name: str, help_text: str) -> None:
    """--name or --noname; off without the flag."""
    flags.DEFINE_boolean(name, False, help_text, flag_values=flag_values)


def _note_required(flag_values: CommandFlags, name: str, required: bool) -> None:
    if required:
        flag_values.required_names.append(name)


def run(program: str, summary: str, commands: dict[str, str], argv: Sequence[str]) -> int:
    """Runs one sub-command and returns the exit code.

    Args:
      program: name for messages. summary: first line of the help.
      commands: name -> module with a docstring, `define_flags(flag_values)` and `main(flag_values) -> int | None`.
      argv: arguments without the program's name.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up chatter hides our one line
    code = errors.EXIT_INTERRUPTED
    try:
        code = _dispatch(program, summary, commands, argv)
        sys.stdout.flush()  # here, where it can be handled, and not while Python shuts down
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        if not _reader_is_gone():
            raise  # some other pipe, such as the one to a worker process
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _reader_is_gone() -> bool:
    try:
        print(flush=True)  # a flush alone has nothing to write where Python's output is unbuffered
    except BrokenPipeError:
        return True
    return False


def _dispatch(program: str, summary: str, commands: dict[str, str], argv: Sequence[str]) -> int:
    if not argv or argv[0] in (*HELP, "help"):
        print(_program_help(program, summary, commands))
        return errors.EXIT_DONE if argv else errors.EXIT_USER
    if argv[0] == "--version":
        import melanoma_tf

        print(f"{program} {melanoma_tf.__version__}")
        return errors.EXIT_DONE
    if argv[0] not in commands:
        return _complain(program, f"no command {argv[0]!r}; {errors.nearest(argv[0], commands)}")
    return _run_command(f"{program} {argv[0]}", importlib.import_module(commands[argv[0]]), argv[1:])


def _run_command(name: str, module: ModuleType, arguments: Sequence[str]) -> int:
    flag_values = CommandFlags()
    module.define_flags(flag_values)
    if any(argument in HELP for argument in arguments):
        print(_command_help(name, module, flag_values))
        return errors.EXIT_DONE
    try:
        _parse(name, flag_values, arguments)
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


def _parse(name: str, flag_values: CommandFlags, arguments: Sequence[str]) -> None:
    """Fills `flag_values`. Raises UserError or flags.Error that says what would be valid."""
    try:
        rest = flag_values([name, *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        valid = errors.nearest(f"--{error.flagname}", (f"--{flag}" for flag in flag_values))
        raise errors.UserError(f"no flag --{error.flagname}; {valid}") from error
    if rest and flag_values.positional_name:
        flag = flag_values[flag_values.positional_name]
        flag.value = [*(flag.value or []), *rest]
    elif rest:
        raise errors.UserError(
            f"unexpected argument {rest[0]!r}; flags are written --name=value; {name} --help tells the flags"
        )
    missing = [f"--{required}" for required in flag_values.required_names if not flag_values[required].value]
    if missing:
        raise errors.UserError(f"missing {', '.join(missing)}; {name} --help tells the flags")


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without its start-up messages, which it writes before any setting can stop it (2.16-2.21)."""
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        for descriptor in (kept, nothing):
            stack.callback(os.close, descriptor)
        stack.callback(os.dup2, kept, 2)
        os.dup2(nothing, 2)
        importlib.import_module("tensorflow")


def _complain(name: str, message: str) -> int:
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    return errors.EXIT_USER


def _program_help(program: str, summary: str, commands: dict[str, str]) -> str:
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {_first_line(module)}" for name, module in commands.items()]
    usage = f"usage: {program} COMMAND [--flag=value ...]"
    hint = f"{program} COMMAND --help tells a command's flags; --flagfile=FILE reads flags from a file, one a line."
    return "\n".join([summary, "", usage, "", *lines, "", hint])


def _first_line(module: str) -> str:
    """Of its docstring, read and not imported: pandas and scipy would make a list of commands take a second."""
    specification = importlib.util.find_spec(module)
    assert specification is not None and specification.origin is not None, f"no module {module}"
    docstring = ast.get_docstring(ast.parse(Path(specification.origin).read_text(encoding="utf-8"))) or ""
    return docstring.splitlines()[0].rstrip(".")


def _command_help(name: str, module: ModuleType, flag_values: CommandFlags) -> str:
    required = flag_values.required_names
    positional = flag_values.positional_name
    given = [f"{flag.upper()}..." if flag == positional else f"--{flag}=..." for flag in required]
    usage = " ".join([f"usage: {name}", *given, "[--flag=value ...]"])
    lines = [usage, "", (module.__doc__ or "").strip(), "", "flags:"]
    names = list(flag_values.flag_values_dict())  # as they were defined: what belongs together stands together
    for flag in (*required, *(flag for flag in names if flag not in required)):
        lines += _flag_help(flag_values[flag], flag in required)
    return "\n".join([*lines, *_columns("--flagfile=...", "file with more flags, one a line")])


def _flag_help(flag: flags.Flag, required: bool) -> list[str]:
    choices = "|".join(flag.parser.enum_values) if isinstance(flag.parser, flags.EnumParser) else ""
    # absl writes the choices before the text, and how to repeat it behind
    text = (flag.help or "").removeprefix(f"<{choices}>: ").split(";\n")[0]
    notes = ["required"] if required else ["may be repeated"] if isinstance(flag, flags.MultiFlag) else []
    if flag.default not in (None, "", []) and not flag.boolean:
        notes.append(f"default {flag.default}")
    written = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}={choices or '...'}"
    return _columns(written, f"{text} [{', '.join(notes)}]" if notes else text)


def _columns(written: str, text: str) -> list[str]:
    indent = " " * (FLAG_WIDTH + 4)
    lines = textwrap.wrap(text, HELP_WIDTH, initial_indent=indent, subsequent_indent=indent)
    if len(written) > FLAG_WIDTH:
        return [f"  {written}", *lines]
    return [f"  {written:<{FLAG_WIDTH}}  {lines[0].strip()}", *lines[1:]]
