"""From photographs (DICOM, JPEG, PNG) and a CSV to TFRecord shards, and what is in such shards. Needs no TensorFlow."""
