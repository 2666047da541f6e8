"""Melanoma from skin-lesion images and the patient's other lesions: SIIM-ISIC 2020 on TensorFlow, GPU and TPU.

Importing the package imports neither TensorFlow nor Keras; each function imports what it needs.
"""

__version__ = "0.1.0"
