"""What user code calls. It asks, and never acts: in a workflow every call goes to the live run of the calling thread
(``replay.interface.current()``), which is the authority on ids, time and what has happened; elsewhere steps just run.

Nothing is re-exported here, for submodules have the names of what they define (``step``, ``hook``): import from
``fencepost``, or from the submodule.
"""
