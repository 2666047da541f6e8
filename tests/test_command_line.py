"""What both programs say: help, and one line with exit code 2 for whatever was called in a wrong way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import melanoma_tf.__main__
import tfrecord_tools.__main__
from melanoma_tf import command_line, errors

PROGRAMS = {"melanoma-tf": melanoma_tf.__main__, "tfrecord-tools": tfrecord_tools.__main__}
COMMANDS = [(program, command) for program, entry in PROGRAMS.items() for command in entry.COMMANDS]
ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(monkeypatch, capsys):
    """run("melanoma-tf", "train", ...) -> (exit code, lines of stdout, lines of stderr)"""

    def run(program, *arguments):
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        code = PROGRAMS[program].main()
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return run


def one_line_of_user_error(result):
    code, out, err = result
    assert (code, out, len(err)) == (errors.EXIT_USER, [], 1), result
    return err[0]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_of_a_program_names_every_command_with_one_line(run, program):
    code, out, _ = run(program, "--help")
    assert code == errors.EXIT_DONE
    listed = [line.split()[0] for line in out if line.startswith("  ")]
    assert listed == list(PROGRAMS[program].COMMANDS)
    assert max(map(len, out)) <= 120
    assert run(program) == (errors.EXIT_USER, out, [])


@pytest.mark.parametrize(("program", "command"), COMMANDS)
def test_help_of_a_command_names_every_flag_once(run, program, command):
    code, out, _ = run(program, command, "--help")
    assert code == errors.EXIT_DONE
    assert out[0].startswith(f"usage: {program} {command}") and "required" in "\n".join(out)
    named = [line.split("=")[0].split()[0] for line in out if line.startswith("  --")]
    assert len(set(named)) == len(named) > 1
    assert max(map(len, out)) <= 120


def test_help_tells_defaults_choices_and_switches(run):
    text = " ".join(" ".join(run("tfrecord-tools", "convert", "--help")[1]).split())
    assert "--size=... side of the square in pixels" in text and "[default 1024]" in text
    assert "--fit=crop|squash|pad crop: short side" in text and "[default crop]" in text
    assert "--[no]overwrite delete" in text
    assert "[may be repeated]" in " ".join(run("melanoma-tf", "train", "--help")[1])


HEAVY = "{'tensorflow', 'keras', 'pandas', 'scipy', 'PIL'} & set(sys.modules)"


@pytest.mark.parametrize(("arguments", "unwanted"), [
    *(([program, "--help"], HEAVY) for program in PROGRAMS),
    *(([program, command, "--help"], "{'tensorflow', 'keras'} & set(sys.modules)") for program, command in COMMANDS),
])  # fmt: skip
def test_help_is_light(arguments, unwanted):
    package = arguments[0].replace("-", "_")
    code = (f"import sys, {package}.__main__ as entry; sys.argv = {arguments}; code = entry.main();"
            f"unwanted = {unwanted}; assert not unwanted, unwanted; sys.exit(code)")  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_version(run):
    assert run("melanoma-tf", "--version")[1] == [f"melanoma-tf {melanoma_tf.__version__}"]


@pytest.mark.parametrize(("arguments", "message"), [
    (["trian"], "melanoma-tf: no command 'trian'; did you mean 'train'? valid: audit, bench_input, "),
    (["train"], "melanoma-tf train: missing --data_dir, --work_dir; melanoma-tf train --help tells the flags"),
    (["train", "--data_dir=x"], "melanoma-tf train: missing --work_dir; "),
    (["train", "--data_dir=", "--work_dir=y"], "melanoma-tf train: missing --data_dir; "),
    (["train", "--data_dri=x"], "melanoma-tf train: no flag --data_dri; did you mean '--data_dir'? valid: --cache, "),
    (["train", "shards"], "melanoma-tf train: unexpected argument 'shards'; flags are written --name=value; "),
    (["train", "--data_dir"], "melanoma-tf train: Missing value for flag --data_dir"),
    (["folds", "--folds=many"], "melanoma-tf folds: flag --folds=many: "),
    (["folds", "--folds=1"], "melanoma-tf folds: flag --folds=1: 1 is not integer >= 2"),
    (["train", "--flagfile=/nowhere/flags"], "melanoma-tf train: ERROR:: Unable to open flagfile: "),
])  # fmt: skip
def test_a_wrong_call_is_one_line(run, arguments, message):
    assert one_line_of_user_error(run("melanoma-tf", *arguments)).startswith(message)


def test_a_choice_that_is_none_names_the_choices(run):
    message = one_line_of_user_error(run("tfrecord-tools", "convert", "--fit=corp"))
    assert message == "tfrecord-tools convert: flag --fit=corp: value should be one of <crop|squash|pad>"


def test_flags_from_a_file(run, tmp_path):
    (tmp_path / "table.csv").write_text("image_name,patient_id,target\na,p1,0\nb,p2,1\nc,p3,0\nd,p4,1\n")
    (tmp_path / "flags").write_text(f"# comment\n--train_csv={tmp_path / 'table.csv'}\n--folds=2\n--nooverwrite\n")
    code, out, err = run("melanoma-tf", "folds", f"--flagfile={tmp_path / 'flags'}", f"--out={tmp_path / 'folds.csv'}")
    assert (code, err, out[-1]) == (errors.EXIT_DONE, [], f"wrote {tmp_path / 'folds.csv'}")


def test_a_missing_extra_is_named(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    message = one_line_of_user_error(run("melanoma-tf", "train", f"--data_dir={tmp_path}", f"--work_dir={tmp_path}"))
    assert message == ("melanoma-tf train: needs tensorflow: install the extra tf (or cpu, gpu, tpu), "
                       "such as pip install 'melanoma_tf[tf]'")  # fmt: skip


class Command:
    """A command made of one function."""

    def __init__(self, main):
        self.main = lambda flag_values: main()

    def define_flags(self, flag_values):
        pass


def run_function(monkeypatch, main):
    monkeypatch.setitem(sys.modules, "a_command", Command(main))
    return command_line.run("program", "", {"go": "a_command"}, ["go"])


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(("error", "code", "message"), [
    (errors.UserError("two\n lines"), errors.EXIT_USER, "program go: two lines\n"),
    (errors.Interrupted("saved"), errors.EXIT_INTERRUPTED, "program go: saved\n"),
    (KeyboardInterrupt(), errors.EXIT_INTERRUPTED, "program go: interrupted\n"),
])  # fmt: skip
def test_exit_codes(monkeypatch, capsys, error, code, message):
    assert run_function(monkeypatch, raising(error)) == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("error", [
    ModuleNotFoundError("no x", name="x"), ValueError("a bug"), BrokenPipeError("of a worker"),
])  # fmt: skip
def test_bugs_are_not_hidden(monkeypatch, error):
    with pytest.raises(type(error)):
        run_function(monkeypatch, raising(error))


@pytest.mark.parametrize(("lines", "unbuffered", "code"), [
    (1, "", errors.EXIT_DONE), (10**6, "", errors.EXIT_INTERRUPTED), (1, "1", errors.EXIT_INTERRUPTED),
])  # fmt: skip
def test_a_reader_that_goes_away_leaves_no_traceback(lines, unbuffered, code):
    """`| head` closes the pipe: after the work, where all is done, or in the middle of it."""
    program = (
        "import sys, types; from melanoma_tf import command_line\n"
        "sys.stdin.readline()\n"
        f"command = types.SimpleNamespace(define_flags=lambda f: None, main=lambda f: print('line\\n' * {lines}))\n"
        "sys.modules['a_command'] = command\n"
        "sys.exit(command_line.run('program', '', {'go': 'a_command'}, ['go']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.close()
    process.stdin.write(b"go\n")
    process.stdin.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=300) == code
