"""Who may import whom (a module imports only lower levels), and which heavy packages stay in one file."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEVELS = [
    {"errors", "config", "configs", "schema", "predictions", "metrics", "files", "tables", "dicom", "command_line",
     "auxiliary", "balance", "cluster", "cross_fit", "embeddings", "evaluation", "fold_counts",
     "kernels", "keras_compat", "layers", "paired", "precision", "progress", "randomness", "ranges", "targets",
     "__init__"},
    {"data", "augment", "models", "losses", "schedules", "optimizers", "distribute", "folds", "ensemble", "context",
     "calibration", "submission", "audit"},
    {"inference", "miniature", "report"},
    {"predict"},
    {"train", "grad_cam", "embed"},
    {"commands", "__main__"},
]  # fmt: skip
ONE_FILE_EACH = {
    "apache_beam": "tfrecord_tools/beam.py",
    "efficientnet": "melanoma_tf/models/efficientnet_package.py",
    "pydicom": "melanoma_tf/dicom.py",
    "tensorflow_addons": "melanoma_tf/optimizers/addons.py",
}
FILES = sorted([*ROOT.glob("melanoma_tf/**/*.py"), *ROOT.glob("tfrecord_tools/**/*.py")])


def imported(path):
    """(module, is at top level) of every import in a file."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module, id(node) in top
            yield from ((f"{node.module}.{alias.name}", id(node) in top) for alias in node.names)


def level_of(part):
    found = [number for number, names in enumerate(LEVELS) if part in names]
    assert found, f"melanoma_tf/{part} has no level: put it into LEVELS"
    return found[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_downwards(path):
    package, *rest = path.relative_to(ROOT).with_suffix("").parts
    for module, _ in imported(path):
        first, *parts = module.split(".")
        assert first != "tfrecord_tools" or package == "tfrecord_tools", f"nothing imports tfrecord_tools: {module}"
        if first != "melanoma_tf" or not parts or parts[0].startswith("__version"):
            continue
        if package == "tfrecord_tools":
            assert level_of(parts[0]) == 0 or module.startswith("melanoma_tf.data"), module
        elif parts[0] != rest[0]:
            below, here = level_of(parts[0]), level_of(rest[0])
            assert below < here or below == here == 0, f"{path} imports {module}"


@pytest.mark.parametrize("package, only", ONE_FILE_EACH.items())
def test_one_file_knows_a_package_and_imports_it_lazily(package, only):
    users = {
        (str(path.relative_to(ROOT)), top)
        for path in FILES
        for module, top in imported(path)
        if module.split(".")[0] == package
    }
    assert users == {(only, False)}


def test_importing_the_package_is_light():
    code = (
        "import melanoma_tf, melanoma_tf.__main__, tfrecord_tools.__main__, sys;"
        "heavy = {'tensorflow', 'keras', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_from_predictions_on_nothing_imports_tensorflow():
    code = (
        "import sys, melanoma_tf.ensemble, melanoma_tf.submission, melanoma_tf.report, melanoma_tf.folds;"
        "import melanoma_tf.audit, melanoma_tf.evaluation, melanoma_tf.calibration.study, melanoma_tf.metrics;"
        "import melanoma_tf.predictions, melanoma_tf.data.shards, melanoma_tf.data.image_set;"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_size_of_functions_and_files():
    lengths = []
    for path in FILES:
        source = path.read_text()
        assert source.count("\n") <= 300, f"{path} has more than 300 lines"
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                lengths.append(node.end_lineno - node.lineno + 1)
                assert lengths[-1] <= 60, f"{path}: {node.name} has {lengths[-1]} lines"
    assert sorted(lengths)[len(lengths) // 2] <= 12
