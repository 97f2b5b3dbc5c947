"""The data plane: one bare process (or a few equal ones) that answers prediction requests.

It reads `plan.json`, loads and warms the models named there, answers the Open Inference Protocol v2 over HTTP, and logs
every prediction durably before the answer leaves. It imports no SQL toolkit and no web framework. Start it with
`python -m mainspring.serving.modelserver --plan DIR`; `mainspring.serving.supervisor` does.
"""
