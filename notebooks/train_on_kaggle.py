# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Melanoma: from the competition's TFRecords to `submission.csv`
#
# This notebook trains the folds of a recipe on the SIIM-ISIC 2020 data, tells how good the result is on patients that
# no model of its own has seen, and writes a checked `submission.csv`. Run the cells from top to bottom; the only one to
# edit is **Settings**.
#
# **Before you start**
#
# 1. *Add Input* → the competition *SIIM-ISIC Melanoma Classification*. A smaller set of the same images does as well,
#    if it has the three tables, and `train*.tfrec` and `test*.tfrec` beside them or in `tfrecords/`.
# 2. *Add Input* → the dataset with the wheel of `melanoma_tf`, then install it in a cell of its own above this one:
#    `!pip install /kaggle/input/YOUR-DATASET/melanoma_tf-VERSION-py3-none-any.whl` (add `--no-deps` where the internet
#    is off). TensorFlow is not among its requirements, so the one of the Kaggle image stays; 2.15 to 2.21 will do.
#    Attached as a utility script the package needs no installation.
# 3. *Session options* → *Accelerator*. One GPU, two GPUs and a TPU are each found and used without a setting. A CPU
#    works too, and is for trying the notebook out on little data.
#
# The research use of the data has its limits: what is trained here ranks dermoscopic images. It is no medical device.

# %%
import itertools
import os
from pathlib import Path

import pandas as pd
import tensorflow as tf
from IPython.display import Image, display

from melanoma_tf import config as configuration
from melanoma_tf import distribute, ensemble, files, folds, report, schema, submission, tables
from melanoma_tf.data import shards
from melanoma_tf.data.pipeline import decode_jpeg
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions, read_predictions
from melanoma_tf.train import train
from melanoma_tf.train.contact_sheet import write_contact_sheet
from melanoma_tf.train.step import step_seed

# %% [markdown]
# ## Settings
#
# * `recipe` is a file of `melanoma_tf/configs/`; `settings` are changes to it, as in `--set` on the command line.
# * `model.weights=imagenet` downloads weights and so needs *Internet on*. Without it, attach a weights file and give
#   its path, such as `model.weights=/kaggle/input/...`; `model.weights=none` starts from random weights.
# * On a TPU both batch sizes must be multiples of the number of its cores.
# * `duplicates_csv` is the challenge's list of duplicate images, `ISIC_2020_Training_Duplicates.csv`, if attached.
#
# Each setting can also come from the environment variable that stands beside it.

# %% tags=["parameters"]
recipe = os.environ.get("MELANOMA_CONFIG", "b0_256")
settings = os.environ.get("MELANOMA_SET", "model.weights=imagenet").split()
fold_count = int(os.environ.get("MELANOMA_FOLDS", "5"))
duplicates_csv = os.environ.get("MELANOMA_DUPLICATES", "")
input_root = os.environ.get("MELANOMA_INPUT", "/kaggle/input")
output_root = os.environ.get("MELANOMA_OUTPUT", "/kaggle/working")

# %%
distribute.make_deterministic()  # the same notebook gives the same bits on the same kind of device
config = configuration.override(configuration.load_recipe(recipe), settings)
output = files.make_folder(output_root)
strategy = distribute.make_strategy()
print(
    f"TensorFlow {tf.__version__}, {strategy.num_replicas_in_sync} x {tf.config.list_logical_devices()[-1].device_type}"
)
display(pd.Series(configuration.flatten(config), name=recipe).to_frame())

# %% [markdown]
# ## What is here
#
# The competition is the folder that holds the three tables and has shards beside them or in `tfrecords/`. The tables
# are the truth about every image; of the shards only the pixels are used. Whether the two agree image by image is
# checked when training starts.

# %%
TABLES = {"train.csv", "test.csv", "sample_submission.csv"}


def has_shards(folder: str) -> bool:
    """Whether there are shards of both sets in the folder or in its `tfrecords/`."""
    places = (folder, f"{folder}/tfrecords")
    return all(any(files.list_folder(place, f"{split}*.tfrec") for place in places) for split in ("train", "test"))


def find_competitions(root: str) -> list[Path]:
    """Folders below `root`, or `root` itself, with the tables and with shards of both sets."""
    found = []
    for folder, below, names in os.walk(root):
        if set(names) >= TABLES and has_shards(folder):
            found.append(Path(folder))
            below.clear()  # its tens of thousands of photographs need no visit
    return sorted(found)


competitions = find_competitions(input_root)
if len(competitions) != 1:
    have = ", ".join(map(str, competitions)) or "none"
    raise UserError(f"expected one competition below {input_root}, found: {have}. Set input_root to the one you want.")
data_dir = competitions[0]

# %%
train_table = tables.read_table(data_dir / "train.csv", target=True)
test_table = tables.read_table(data_dir / "test.csv", target=False)


def describe(split: str, table: pd.DataFrame) -> dict[str, object]:
    """One row of the table of counts."""
    paths = shards.list_shards(data_dir, split)
    gigabytes = sum(os.path.getsize(path) for path in paths) / 1e9
    melanoma = int(table["target"].sum()) if "target" in table else "unknown"
    seen = {"images": len(table), "melanoma": melanoma, "patients": table["patient_id"].nunique()}
    return {"set": split, **seen, "shards": len(paths), "GB": round(gigabytes, 3)}


print(data_dir)
display(pd.DataFrame([describe("train", train_table), describe("test", test_table)]).set_index("set"))

# %% [markdown]
# ## Folds that do not leak
#
# Photographs of one patient resemble each other: same skin, same camera, often the same visit. If some of them were
# trained on and others validated on, the validation would reward remembering patients, and the score would be better
# than anything the leaderboard can confirm. So all images of a patient are in one fold, and patients who share a known
# duplicate image are treated as one. Melanoma is spread evenly, so that every fold measures about the same thing.
#
# Keep `folds.csv` with your models: scores are comparable, and blends valid, only on the same folds.

# %%
duplicates = folds.read_duplicates(duplicates_csv) if duplicates_csv else []
fold_of_image = folds.make_folds(train_table, fold_count, config.seed, duplicates)
folds.write_folds(output / "folds.csv", train_table, fold_of_image, config.seed)
print(f"{len(duplicates)} pairs of duplicates taken into account")
counts = folds.count_folds(train_table, fold_of_image)
display(counts.assign(share=counts["share"].map("{:.2%}".format)).set_index("fold"))

# %% [markdown]
# ## What the model will see
#
# The first row shows images as they are, the rows below the same images after augmentation, drawn anew at every step.
# If a lesion is no longer recognisable to you, turn the strengths down, such as `augment.zoom=0.2` in the settings.

# %%
records = itertools.islice(shards.read_records(shards.list_shards(data_dir, "train")[0]), 8)
jpegs = [schema.decode_record(record)[schema.IMAGE] for _, record in records]
images = tf.stack([decode_jpeg(tf.constant(jpeg), config.data.image_size) for jpeg in jpegs])
write_contact_sheet(output / "augmented.png", images, step_seed(config.seed, "0", 0), config.augment)
display(Image(filename=str(output / "augmented.png")))

# %% [markdown]
# ## Train
#
# One model per fold, each validated on the fold that it has not seen. How long that takes depends on recipe and
# accelerator; each epoch prints its images per second, and images x epochs x (folds - 1) / that speed is the time
# to expect for training. Validation, prediction and reading all shards once at the start come on top.
#
# The stop button saves first, and running the cell again continues at that step. A later session continues too if
# you attach the saved output and copy its `run` folder into the working folder.

# %%
run = train(
    config,
    data_dir=str(data_dir),
    work_dir=str(output / "run"),
    folds_csv=str(output / "folds.csv"),
    strategy=strategy,
    command="notebooks/train_on_kaggle.ipynb",
)

# %% [markdown]
# ## How good is it
#
# Every training image was predicted once, by the model that has seen none of its patient. Over these *out-of-fold*
# predictions the AUC is exact (no thresholds), and its 95 % interval treats a patient's images as one observation: with
# so few melanomas a difference well inside the interval is no difference. Both come from training images; the
# leaderboard's patients are others.

# %%
out_of_fold = read_predictions(run / "oof.csv")
print(f"out-of-fold AUC {report.evaluate(out_of_fold, train_table, 'this run').auc}")
last_epochs = {f"fold {name}": history.iloc[-1] for name, history in report.read_run(run).history.items()}
shown = ["epoch", "loss", "val_auc", "val_low", "val_high", "images_per_second"]
display(pd.DataFrame(last_epochs).T[shown].astype({"epoch": int}).round(4))

# %% [markdown]
# ## Blend
#
# Runs of different recipes make different mistakes, so a mean of them is often better than each. Add the folders of
# other runs on the same folds to `runs`; with one run the blend is that run. `"rank"` in place of `"mean"` suits
# members on different scales. Compare by the out-of-fold AUC of the blend, and mind its interval.

# %%
runs = [run]
method = "mean"


def blend(name: str) -> Predictions:
    """The blend of one file of every run."""
    members = [read_predictions(Path(folder) / name) for folder in runs]
    return ensemble.blend(members, method, sources=[str(folder) for folder in runs])


blended = blend("test.csv")
print(f"blend of {len(runs)}: out-of-fold AUC {report.evaluate(blend('oof.csv'), train_table, 'the blend').auc}")

# %% [markdown]
# ## Submission
#
# Columns and order are those of `sample_submission.csv`. The file is then read back and checked: every image once, no
# other, every value a probability. *Save Version*, then *Submit* from the output of that version.

# %%
sample = tables.read_csv(data_dir / "sample_submission.csv")
files.write_whole(output / "submission.csv", submission.make_submission(blended, sample))
checked = submission.check_submission(output / "submission.csv", sample)
print(f"{output / 'submission.csv'}: {len(checked):,} rows, checked")

# %% [markdown]
# ## Report
#
# One self-contained page: curves, subgroups, hits and misses, how much the shortcuts alone would score, and how to make
# the run again. Find `report.html` in the output folder.

# %%
finished = [report.read_run(folder) for folder in runs]
evaluation = report.evaluate(finished[0].oof, train_table, finished[0].name)
names = evaluation.rows["image_name"]
examples = {names[row] for group in report.choose_examples(evaluation) for row in group.rows}
pictures = shards.read_images(shards.list_shards(data_dir, "train"), examples)
files.write_whole(output / "report.html", report.build_report(finished, train_table, pictures))
print(output / "report.html")
