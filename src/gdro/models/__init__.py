"""Pre-trained models: fetching one, reading .gguf files, and loading whatever a `model:` setting
names.

`cache`, `gguf`, `locate` and `fetch` need no torch until something is unpacked; `loading` does.
"""
