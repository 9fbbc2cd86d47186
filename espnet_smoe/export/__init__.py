"""A trained `u2pp` model as graphs for other runtimes: ONNX and TorchScript.

Read in this order: ``graphs.py`` - what is computed; ``write.py`` - into which files;
``runner.py`` - how they are fed, on onnxruntime; ``command.py`` - `espnet-smoe export`.
"""
