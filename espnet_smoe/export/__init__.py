"""A trained model as graphs for other runtimes: ONNX and TorchScript.

Read in this order: ``graphs.py`` - what is computed; ``write.py`` - into which files;
``runner.py`` - how they are fed, on onnxruntime; ``command.py`` - `espnet-smoe export`.
``wenet.py`` and ``whisper.py`` (with ``prompts.py``) have the forms that sherpa-onnx
and WeNet's runtime take, ``features.py`` what these compute, ``symbols.py`` how they
read tokens.
"""
